"""A trained model that classifies texts."""

from pathlib import Path

import numpy as np
import torch

from cli.console import UserError, say
from cli.files import default_dataset, shown
from engine import checkpoint as checkpoints
from engine.batches import Batches, infer
from engine.device import autocast, enough_memory, pick_device, precision
from engine.predictions import UNSURE, check_unsure, label_ids
from models import ENCODERS, LINEAR, NETWORKS, trainer
from text.kind import check_kind
from text.labelled import read_classes, read_split

WORKERS = 16  # threads at most, since they share Python's lock


class Predict:
    """A trained model.

    model: its name, by default the one whose checkpoint is the newest; dataset: the directory that training wrote to;
    checkpoint: a file, instead of the two; device: as `--device`; amp: the precision, by default the fastest that the
    device has, `off` is float32. Raises UserError if there is no such checkpoint.
    """

    names = NETWORKS + LINEAR  # among which the newest checkpoint is looked for

    def __init__(self, model=None, dataset=None, checkpoint=None, device="auto", amp="auto"):
        self.path = Path(checkpoint) if checkpoint else find_checkpoint([model] if model else self.names, dataset)
        self.device = pick_device(device)
        self.amp = precision(amp, self.device)
        with enough_memory(self.device, "use --device cpu"):
            self.saved = checkpoints.load(self.path, self.device)
        self.classes, self.hierarchy = self.saved.classes, self.saved.hierarchy
        equal = {member.vocabulary.digest: member.vocabulary for member in self.saved.members}  # encoded once
        self.vocabularies = [equal[member.vocabulary.digest] for member in self.saved.members]
        self.cut = 0  # texts so far that were longer than what is read of them
        self.stopped = False
        self.int8 = None  # the context of products in 8 bits, if `engine.int8.use_int8` was called

    def predict(self, text, min_confidence=0.0):
        """A text's class, None if it is empty; with several labels a row their list.

        min_confidence: as in `predict_list`.
        """
        if not isinstance(text, str):
            raise TypeError(f"predict expects a text (str), got {type(text).__name__}; predict_list takes a list")
        return self.predict_list([text], min_confidence)[0]

    def predict_list(self, texts, min_confidence=0.0):
        """Each text's class, in order, None if it is empty; with several labels a row their lists.

        The most probable label is the first of a list. min_confidence: the least probability of a class, 0 to 1; if it
        is lower, `UNSURE` is returned, or the deepest node above with this probability if names are paths; with several
        labels a row, in the place of the label. Raises UserError if a class is called `UNSURE`.
        """
        probabilities = self.predict_proba(texts)
        if min_confidence:
            check_unsure(self.hierarchy.names)
        if self.saved.multi_label:
            found = label_ids(probabilities, self.predicted(probabilities))
            sure = probabilities >= np.float32(min_confidence)
            rows = zip(found, sure, strict=True)
            return [[self.classes[i] if is_sure[i] else UNSURE for i in ids] for ids, is_sure in rows]
        if min_confidence:
            names, ids = [*self.hierarchy.names, UNSURE], self.hierarchy.answer(probabilities, min_confidence)[0]
        else:
            names, ids = self.classes, probabilities.argmax(axis=1)
        return [names[i] if read else None for i, read in zip(ids, probabilities.any(axis=1), strict=True)]

    def predict_proba(self, texts):
        """Each text's probability of each class, calibrated, (N, C) float32; all 0 for an empty text."""
        if isinstance(texts, (str, bytes)):
            raise TypeError(f"expected a list of texts, got one {type(texts).__name__}; predict takes a single text")
        texts = list(texts)
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"expected a list of texts (str), but item {i} is {type(text).__name__}")
        probabilities, cut = self.compute(texts)
        self.cut += cut
        return probabilities

    def compute(self, texts):
        """What `predict_proba` returns, and how many of the texts were longer than what is read of them.

        Several threads may call it. A `stopped` predictor ends after the current batch.
        """
        texts = [text.strip() for text in texts]
        encoded = {vocabulary: vocabulary.encode_texts(texts) for vocabulary in set(self.vocabularies)}
        probabilities = np.zeros((len(texts), len(self.classes)), np.float32)
        read, cut = np.zeros((len(texts), 1), np.float32), np.zeros(len(texts), bool)
        for member, share, vocabulary in zip(self.saved.members, self.saved.shares, self.vocabularies, strict=True):
            rows, truncation = encoded[vocabulary], member.config.truncation
            batches = Batches(rows, None, vocabulary, truncation, self.device)
            with enough_memory(self.device, "use --device cpu"), self.products():
                for row_ids, _, logits in infer(member.model, batches):
                    found = member.calibration.probabilities(logits.float())
                    probabilities[row_ids] += share * found.cpu().numpy()
                    read[row_ids] += share
                    if self.stopped:
                        break
            cut |= rows.lengths > truncation.most
        if not np.isfinite(probabilities).all():
            raise UserError(f"{self.path}: the model computes numbers that are not finite; train again")
        probabilities /= np.where(read > 0, read, 1)  # a member may find no token in a text in which others do
        if self.saved.name == checkpoints.ENSEMBLE:
            probabilities = self.saved.calibration.of_mean(probabilities)
        return probabilities, int(cut.sum())

    def products(self):
        """The context in which the models compute their matrix products."""
        return self.int8 or autocast(self.device, self.amp)

    @property
    def multi_label(self):
        """Whether a text has any number of labels."""
        return self.saved.multi_label

    def predicted(self, probabilities):
        """Whether each label is predicted, (N, C) bool, of probabilities of texts with any number of labels."""
        return self.saved.calibration.predicted(probabilities)

    @property
    def truncations(self):
        """Of each member the segmenter of its tokens, None for word pieces, and its Truncation."""
        members = self.saved.members
        return [(getattr(member.vocabulary, "segmenter", None), member.config.truncation) for member in members]

    @property
    def limit(self):
        """Tokens of a text that the model reads, or that member of an ensemble which reads the fewest."""
        return min(member.config.truncation.most for member in self.saved.members)

    @property
    def workers(self):
        """Threads that predict a file's texts, and the cores that each of them computes on."""
        cores = torch.get_num_threads()
        if self.device.type != "cpu":
            return (2 if self.device.type == "cuda" else 1), cores  # on CUDA one encodes while the GPU computes
        if any(member.name in ENCODERS for member in self.saved.members):
            return 1, cores  # the activations of one batch take hundreds of megabytes
        return min(cores, WORKERS), 1  # a network's batch is too small for several cores


def find_checkpoint(names, dataset):
    """The newest checkpoint of these models under a dataset."""
    directory = dataset or default_dataset()
    path = checkpoints.newest(directory, names)
    if path is None:
        what = f"no {names[0]}.ckpt" if len(names) == 1 else f"no checkpoint of {', '.join(names)}"
        train = f"python {trainer(names)} --model {names[0]}"
        raise UserError(f"{what} in {Path(directory) / 'saved_dict'}; train one: {train}")
    return path


def labelled_rows(predictor, dataset, split):
    """The texts and labels of a dataset's split for a `Predict`, none if there is no such file.

    Raises UserError if the dataset has other classes than the model.
    """
    data = dataset / "data"
    if not (data / f"{split}.txt").exists():
        say(f"No {shown(data / split)}.txt")
        return [], None
    check_kind(predictor.path, predictor.saved.multi_label, data)
    if read_classes(data / "class.txt") != predictor.classes:
        raise UserError(f"{data / 'class.txt'} has other classes than {predictor.path}; --dataset names the model's")
    return read_split(dataset, split)
