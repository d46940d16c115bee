"""Similar rows: the training rows that a model finds most alike to a text.

Rows are compared by the cosine of the angle between their vectors. That of a linear model has the values of the n-grams
that it uses. That of a network has the features that its last layer takes and its logits, so that the similarity is the
mean of both cosines: the logits alone find rows of the same class, but on other subjects, and the features of FastText
alone lack the n-gram evidence. Of an ensemble, the member with the largest share compares the rows.
"""

import functools
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from cli.console import UserError, say
from cli.files import shown
from engine.batches import Batches, infer
from engine.fitting import feature_matrix
from models import LINEAR
from text.cosine import most_similar
from text.labelled import lines_with_rows, read_classes, split_file
from text.rows import concatenate, text_of

MOST_CLASSES = 512  # with more, the logits are left out
CACHED = 32  # lists of texts whose similar rows are kept, since each of the columns asks for them


class Similar:
    """Finds the training rows that are most alike to texts, as columns of `predictions.Lines`.

    predictor: a `predictor.Predict`; directory: of the dataset that has the training rows; count: rows for each text.
    All training rows are encoded first. Raises UserError if they cannot be read.
    """

    def __init__(self, predictor, directory, count):
        data, start = Path(directory) / "data", time.monotonic()
        self.path, self.predictor, self.count = data / "train.txt", predictor, count
        if not self.path.exists():
            where = f"--checkpoint {shown(predictor.path)} --dataset DATASET"
            raise UserError(f"--similar needs the training rows, but {shown(self.path)} is missing; use {where}")
        best = int(np.argmax(predictor.saved.shares))
        self.member, self.vocabulary = predictor.saved.members[best], predictor.vocabularies[best]
        self.inputs, self.layer = threading.local(), None  # of the last layer, and the layer: several threads predict
        if self.member.name not in LINEAR:
            network = self.member.model.model if self.member.config.evidence else self.member.model
            self.layer = network.classifier
            self.layer.register_forward_pre_hook(self._keep)
        self.classes = read_classes(data / "class.txt")
        self._encode(split_file(directory, "train", self.classes))
        self.find = functools.lru_cache(CACHED)(self._find)
        seconds = time.monotonic() - start
        say(f"--similar: {len(self.lines):,} rows of {self.path} encoded in {seconds:.1f} s, {self._size() >> 20} MB")

    def __call__(self, texts, _):
        """The similar rows of each text, a list of dicts of their text, label, line, similarity, and `same`.

        The most similar one is the first; `same` is whether it is the same text. White space has none.
        """
        return self.find(tuple(texts))

    def shown(self, rank, texts, _):
        """The similar row of this rank, from 0, of each text as a person reads it."""
        rows = [found[rank] if rank < len(found) else None for found in self.find(tuple(texts))]
        return ["" if row is None else description(row, self.path.name) for row in rows]

    def _encode(self, file):
        """Reads the rows, and keeps their vectors, those of a network in a temporary file."""
        texts, labels, parts = [], [], []
        self.file = tempfile.TemporaryFile() if self.layer else None  # noqa: SIM115 (it is mapped)
        for rows, values in file:
            texts.append(rows)
            labels.append(values)
            vectors = self._vectors(self.vocabulary.encode(rows))
            if self.file:
                self.file.write(vectors.astype(np.float16).tobytes())
            else:
                parts.append(vectors)
        self.texts, self.labels = concatenate(texts), np.concatenate(labels)
        self.lines = np.fromiter((number for number, _ in lines_with_rows(self.path)), np.int64)
        if self.file:
            self.file.flush()
            self.matrix = np.memmap(self.file, np.float16, "r", shape=(len(self.lines), vectors.shape[1]))
        else:
            self.matrix = sparse.vstack(parts, format="csr")

    def _size(self):
        """The bytes of the vectors."""
        return self.matrix.nbytes if self.file else self.matrix.data.nbytes + self.matrix.indices.nbytes

    def _keep(self, _, inputs):
        self.inputs.last = inputs[0]

    def _vectors(self, rows):
        """The vectors of encoded rows, of unit length, those of rows without tokens 0: (N, D), an array or sparse."""
        batches = Batches(rows, None, self.vocabulary, self.member.config.truncation, self.predictor.device)
        if not self.layer:
            features, row_ids = feature_matrix(self.member.model, batches)
            size, places = (len(batches.lengths), len(row_ids)), (row_ids, np.arange(len(row_ids)))
            in_order = sparse.csr_matrix((np.ones(len(row_ids)), places), size) @ features  # empty rows are 0
            return normalize(in_order.astype(np.float32))
        sizes = self.layer.in_features, self.layer.out_features if self.layer.out_features <= MOST_CLASSES else 0
        features, values = (np.zeros((len(batches.lengths), size), np.float32) for size in sizes)
        with self.predictor.products():
            for row_ids, batch, logits in infer(self.member.model, batches):
                features[row_ids] = batch.mean(self.inputs.last.float()).cpu().numpy()
                centred = logits.float() - logits.float().mean(dim=1, keepdim=True)
                values[row_ids] = centred[:, : sizes[1]].cpu().numpy()
        parts = [normalize(part) for part in (features, values) if part.shape[1]]
        return normalize(np.concatenate(parts, axis=1), copy=False)

    def _find(self, texts):
        texts = [text.strip() for text in texts]
        vectors = self._vectors(self.vocabulary.encode_texts(texts))
        found, similarity = most_similar(vectors, self.matrix, np.arange(len(self.lines)), self.count)
        return [
            [self._row(i, value, text) for i, value in zip(*pair, strict=True) if value > 0]
            for text, *pair in zip(texts, found.tolist(), similarity.tolist(), strict=True)
        ]

    def _row(self, index, similarity, text):
        start, end = self.texts.offsets[index : index + 2]
        own, label = text_of(self.texts.ids[start:end]), self.labels[index]
        names = [self.classes[i] for i in (np.flatnonzero(label) if label.ndim else [label])]
        row = {"text": own, "label": ",".join(names), "line": int(self.lines[index])}
        return row | {"similarity": round(min(similarity, 1.0), 4), "same": own == text}


def description(row, name):
    """A similar row in the file of this name as a person reads it."""
    alike = "same text" if row["same"] else f"{row['similarity']:.4f}"
    return f"{alike}, {name}:{row['line']}, {row['label']}: {row['text']}"
