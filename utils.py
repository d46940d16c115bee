"""Datasets: read and checked, encoded as token ids, cut into batches.

    python utils.py --dataset D --vectors FILE      # the vocabulary's vectors, into D/data/embedding_<name>.npz

A dataset is a directory with `data/class.txt`, a class a line, and `data/{train,dev,test}.txt`, UTF-8, one
`text<TAB>label` a line, the label an index into class.txt or a class's name.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import vectors
from console import RANK, Parser, UserError, boolean, number, run_script, say
from runtime import RANKS
from textfile import LabelledFile, read_classes
from vocabulary import SEGMENTERS, RawTokens, Rows, Vocabulary, choose_segmenter, concatenate, texts_of
from wordpieces import WordPieces

ROOT = Path(__file__).parent
BATCH_TOKENS = 8192  # of a batch in evaluation and prediction


class Split(NamedTuple):
    """A split's rows, encoded and uncut."""

    rows: Rows
    labels: np.ndarray  # (N,) int64
    digest: str  # of the file, to tell other data from the same
    texts: Rows | None  # the code points of the rows, kept for the test split alone


class Dataset(NamedTuple):
    """A dataset, read and encoded."""

    classes: list
    vocabulary: Vocabulary | WordPieces
    train: Split
    dev: Split
    test: Split

    def batches(self, name, limit, device):
        """A split's Batches, its rows cut to `limit` tokens."""
        split = getattr(self, name)
        return Batches(self.vocabulary.cut(split.rows, limit), split.labels, self.vocabulary.pad, device)


def default_dataset():
    """THUCNews where its data lies there, else the bundled sample."""
    if (ROOT / "THUCNews" / "data" / "train.txt").exists():
        return shown(ROOT / "THUCNews")
    say("No THUCNews/data/train.txt: the bundled sample is used (python download.py thucnews gets the real data)")
    return shown(ROOT / "sample")


def shown(path):
    """A path as a person would type it here."""
    return os.path.relpath(path) if Path.cwd() in Path(path).absolute().parents else str(path)


def read_dataset(directory, vocabulary=None, word=False, segmenter="auto", max_vocab=10000):
    """Reads a dataset; with no vocabulary given, it builds that of train.txt.

    Raises UserError for whatever is wrong with its files.
    """
    classes = _read_classes(directory)
    if vocabulary:
        train = _read_split(directory, "train", classes, vocabulary)
    else:
        vocabulary, train = _read_train(directory, classes, word, segmenter, max_vocab)
    dev = _read_split(directory, "dev", classes, vocabulary)
    test = _read_split(directory, "test", classes, vocabulary, keep_texts=True)
    return Dataset(classes, vocabulary, train, dev, test)


def _read_classes(directory):
    if not Path(directory).is_dir():
        raise UserError(f"--dataset {directory}: no such directory; expected one that holds data/class.txt")
    return read_classes(Path(directory) / "data" / "class.txt")


def _read_train(directory, classes, word, segmenter, max_vocab):
    """The vocabulary of train.txt, and its rows."""
    file = LabelledFile(Path(directory) / "data" / "train.txt", classes)
    tokens = None
    for texts in file:
        tokens = tokens or RawTokens(_decide_segmenter(word, segmenter, texts))
        tokens.add(texts)
    vocabulary = tokens.count(max_vocab)
    return vocabulary, Split(tokens.encode(vocabulary), file.labels(), file.digest.hexdigest()[:16], None)


def _read_split(directory, name, classes, vocabulary, keep_texts=False):
    file = LabelledFile(Path(directory) / "data" / f"{name}.txt", classes)
    parts = [(vocabulary.encode(texts), texts if keep_texts else None) for texts in file]
    rows, texts = zip(*parts, strict=True)
    return Split(
        concatenate(rows), file.labels(), file.digest.hexdigest()[:16], concatenate(texts) if keep_texts else None
    )


def _decide_segmenter(word, segmenter, texts):
    if not word:
        if segmenter != "auto":
            raise UserError(f"--segmenter {segmenter} is for words: add --word True")
        return "char"
    if segmenter == "auto":
        segmenter = choose_segmenter(texts_of(texts)[:10000])
        why = "lies segmented by spaces" if segmenter == "space" else "is not segmented"
        say(f"Segmenter: {segmenter} (train.txt {why}; --segmenter says otherwise)")
    return segmenter


class Batch(NamedTuple):
    """Rows that are computed together: B rows, T tokens (the longest row's)."""

    tokens: torch.Tensor  # (B, T) int64, padded at the right
    lengths: torch.Tensor  # (B,) int64
    labels: torch.Tensor  # (B,) int64
    places: torch.Tensor | None = None  # (M,) of the flattened tokens, where those have the labels and not the rows

    @property
    def mask(self):
        """(B, T) bool, true at the rows' own tokens."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


class Batches:
    """Cuts a split's rows into batches of rows of like length, each padded to its own longest row.

    rows: encoded and cut to the length that the model takes; labels: (N,) or None where there are none.
    """

    def __init__(self, rows, labels, pad, device="cpu"):
        self.rows, self.lengths, self.pad, self.device = rows, rows.lengths, pad, device
        self.labels = np.zeros(len(self.lengths), np.int64) if labels is None else labels

    def shuffled(self, batch_size, seed, epoch):
        """One epoch's batches for training, as arrays of row numbers: the same for the same seed and epoch.

        Rows are shuffled, then sorted by length within pools of 64 batches, then the batches are shuffled.
        """
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(self.lengths))
        plan = []
        for start in range(0, len(order), 64 * batch_size):
            pool = order[start : start + 64 * batch_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            plan += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        return [plan[i] for i in rng.permutation(len(plan))]

    def by_length(self):
        """Batches for evaluation and prediction, as arrays of row numbers, the longest first; without empty rows."""
        order = np.argsort(-self.lengths, kind="stable")[: np.count_nonzero(self.lengths)]
        start = 0
        while start < len(order):
            end = start + max(1, BATCH_TOKENS // int(self.lengths[order[start]]))
            yield order[start:end]
            start = end

    def cut(self, numbers):
        """The batch of these rows."""
        _, tokens, lengths = self.grid(numbers)
        return self.batch(tokens, lengths, self.labels[numbers])

    def grid(self, numbers):
        """These rows' places in `rows.ids` and their tokens, (B, T) each, and their lengths."""
        lengths = self.lengths[numbers]
        columns = np.arange(lengths.max())
        places = self.rows.offsets[numbers][:, None] + columns
        np.minimum(places, len(self.rows.ids) - 1, out=places)
        return places, np.where(columns < lengths[:, None], self.rows.ids[places], self.pad), lengths

    def batch(self, tokens, *parts):
        """A Batch on the device."""
        parts = (tokens.astype(np.int64), *parts)
        return Batch(*(torch.from_numpy(part).to(self.device) for part in parts))

    def parts(self, numbers, count):
        """This rank's share of a training batch, cut into `count` passes, fewer where it has fewer rows.

        A rank without a row gets one without a label, since all ranks compute each step together.
        """
        mine = numbers[RANK::RANKS]
        if len(mine):
            return [self.cut(part) for part in np.array_split(mine, min(count, len(mine)))]
        batch = self.cut(numbers[:1])
        places = None if batch.places is None else batch.places[:0]
        return [batch._replace(labels=batch.labels[:0], places=places)]


def say_what_is_cut(lengths, pad_size, most=None):
    """Tells how many rows are longer than the model reads; `most` is what it could read at the most."""
    cut = int((lengths > pad_size).sum())
    if cut:
        whole = int(np.quantile(lengths, 0.99, method="higher"))
        advice = f"; --pad_size {whole} keeps 99 % whole" if whole > pad_size else ""
        advice += f", but this encoder reads {most} at the most" if advice and most and whole > most else ""
        share = f"{cut} of {len(lengths)} training rows ({cut / len(lengths):.1%})"
        say(f"{share} are longer than {pad_size} tokens and are cut{advice}")


def add_dataset_flag(parser):
    parser.add_argument("--dataset", help="directory of the dataset (THUCNews where it lies there, else sample)")


def add_text_flags(parser):
    """The flags that decide a dataset's vocabulary."""
    parser.add_argument("--word", type=boolean, nargs="?", const=True, default=False, help="words, not characters")
    parser.add_argument("--segmenter", choices=("auto", *SEGMENTERS[1:]), default="auto", help="what splits words")
    parser.add_argument(
        "--max_vocab", type=number(int, 1), default=10000, help="tokens at most, the most frequent ones"
    )


def main():
    parser = Parser(__doc__)
    add_dataset_flag(parser)
    add_text_flags(parser)
    parser.add_argument("--vectors", required=True, help="text file of vectors (word2vec format), plain, .gz or .bz2")
    parser.add_argument("--name", help="the name in embedding_<name>.npz (default: the file's own)")
    args = parser.parse_args()
    dataset = Path(args.dataset or default_dataset())
    vocabulary, _ = _read_train(dataset, _read_classes(dataset), args.word, args.segmenter, args.max_vocab)
    name = args.name or Path(args.vectors).name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".txt")
    vectors.extract(Path(args.vectors), vocabulary, dataset / "data" / f"embedding_{name}.npz")


if __name__ == "__main__":
    run_script(main)
