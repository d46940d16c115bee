"""Datasets: read, checked and encoded as token ids.

    python utils.py --dataset D --vectors FILE      # the vocabulary's vectors, into D/data/embedding_<name>.npz

A dataset is a directory with `data/class.txt`, one class a line, and `data/{train,dev,test}.txt`, UTF-8, one
`text<TAB>label` a line, the label an index into class.txt or a class's name.
"""

from cli.start import run_script

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.console import Parser, UserError, boolean, number, say
from cli.files import default_dataset
from cli.installation import version_of
from engine.batches import Batches
from text import cache, vectors
from text.labelled import LabelledFile, read_classes
from text.rows import Rows, ids_dtype, texts_of
from text.vocabulary import SEGMENTERS, TokenCounter, Vocabulary, choose_segmenter
from text.wordpieces import WordPieces

LEAST = 32  # tokens that are read of a row
SEGMENTER_ROWS = 10000  # rows of train.txt that decide its segmenter


class Split(NamedTuple):
    """A split's rows, encoded and uncut, in arrays that are mapped from files."""

    rows: Rows
    labels: np.ndarray  # (N,) uint8, or int32 where there are more than 256 classes
    digest: str  # of the file
    texts: Rows | None  # the rows' code points, of the test split alone


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
        return Batches(split.rows, split.labels, self.vocabulary, limit, device)


def read_dataset(directory, vocabulary=None, word=False, segmenter="auto", max_vocab=10000):
    """Reads a dataset. Without a vocabulary, that of train.txt is built.

    Raises UserError if anything is wrong with its files.
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
        raise UserError(f"--dataset {directory}: no such directory; expected one with data/class.txt")
    return read_classes(Path(directory) / "data" / "class.txt")


def _read_train(directory, classes, word, segmenter, max_vocab):
    """The vocabulary of train.txt, and its rows."""
    if not word and segmenter != "auto":
        raise UserError(f"--segmenter {segmenter} is for words: add --word True")
    path = Path(directory) / "data" / "train.txt"
    segmenter = segmenter if word else "char"
    key = {"segmenter": segmenter, "max_vocab": max_vocab}
    key |= {"classes": classes, "version": version_of("rjieba") if word else None}

    def fill(draft):
        chosen, notes = _choose_segmenter(path, classes, segmenter)
        counter, spool = TokenCounter(chosen), cache.Spool(draft)
        file = LabelledFile(path, classes, counter.prepare)
        labels, offsets = draft.column("labels", _label_dtype(classes)), draft.offsets("rows.offsets")
        for prepared, block_labels in file:
            rows = counter.add(prepared)
            spool.append(rows.ids)
            offsets.append(rows.offsets)
            labels.append(block_labels)
        vocabulary = counter.vocabulary(max_vocab)
        ids, table = draft.column("rows.ids", ids_dtype(len(vocabulary))), counter.final_ids(vocabulary)
        for part in spool:
            ids.append(table.take(part))
        notes += file.notes
        return {"digest": file.digest.hexdigest(), "notes": notes, "vocabulary": vocabulary.content}

    entry = cache.cached(path, key, fill)
    return Vocabulary(**entry.meta["vocabulary"]), _split(entry)


def _read_split(directory, name, classes, vocabulary, keep_texts=False):
    path = Path(directory) / "data" / f"{name}.txt"
    key = {"vocabulary": vocabulary.digest, "version": vocabulary.package and version_of(vocabulary.package)}
    key |= {"classes": classes, "texts": keep_texts}

    def fill(draft):
        file = LabelledFile(path, classes, lambda texts: (vocabulary.encode(texts), texts))
        labels = draft.column("labels", _label_dtype(classes))
        ids, offsets = draft.column("rows.ids", ids_dtype(len(vocabulary))), draft.offsets("rows.offsets")
        codes, ends = (draft.column("texts.ids", np.uint32), draft.offsets("texts.offsets")) if keep_texts else (0, 0)
        for (rows, texts), block_labels in file:
            ids.append(rows.ids)
            offsets.append(rows.offsets)
            labels.append(block_labels)
            if keep_texts:
                codes.append(texts.ids)
                ends.append(texts.offsets)
        return {"digest": file.digest.hexdigest(), "notes": file.notes}

    return _split(cache.cached(path, key, fill))


def _split(entry):
    texts = entry.rows("texts") if "texts.ids" in entry.arrays else None
    return Split(entry.rows("rows"), entry.arrays["labels"], entry.meta["digest"][:16], texts)


def _label_dtype(classes):
    return np.uint8 if len(classes) <= 256 else np.int32


def _choose_segmenter(path, classes, segmenter):
    """The segmenter that `auto` means for this train.txt, and messages for the user about it."""
    if segmenter != "auto":
        return segmenter, []
    texts = []
    for block, _ in LabelledFile(path, classes):
        texts += texts_of(block)
        if len(texts) >= SEGMENTER_ROWS:
            break
    segmenter = choose_segmenter(texts[:SEGMENTER_ROWS])
    why = "is segmented by spaces" if segmenter == "space" else "is not segmented"
    return segmenter, [f"Segmenter: {segmenter} (train.txt {why}; --segmenter chooses another)"]


def fit_to_rows(config, rows, positions=None):
    """The Config with the `pad_size` and `batch_size` for these training rows where its own are 0.

    pad_size keeps the share `whole` of the rows whole, as far as the model can afford that, and is at least 32.
    Reports both, and how many rows are cut. positions: the largest `pad_size` that the model supports.
    """
    counts = np.zeros(1, np.int64)  # of rows of each length
    for lengths in rows.length_blocks():
        found = np.bincount(lengths, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    total = int(counts.sum())
    needed = int(np.searchsorted(counts.cumsum(), math.ceil(config.whole * (total - 1)) + 1))
    if not config.pad_size:
        size = max(LEAST, min(needed, config.affordable))
        config = dataclasses.replace(config, pad_size=min(size, positions or size))
        say(f"Tokens read of a row: {config.pad_size} (--pad_size)")
    if not config.batch_size:
        config = dataclasses.replace(config, batch_size=config.batch_size_for(total))
        say(f"Rows of a batch: {config.batch_size} (--batch_size)")
    cut = int(counts[config.pad_size + 1 :].sum())
    if cut:
        advice = f"; --pad_size {needed} keeps {config.whole * 100:.0f} % whole" if needed > config.pad_size else ""
        advice += f", but this encoder reads at most {positions}" if advice and positions and needed > positions else ""
        share = f"{cut} of {total} training rows ({cut / total:.1%})"
        say(f"{share} are longer than {config.pad_size} tokens and are cut{advice}")
    return config


def add_dataset_flag(parser):
    parser.add_argument("--dataset", help="directory of the dataset (THUCNews, or sample if that is missing)")


def add_text_flags(parser):
    """Adds the flags that decide a dataset's vocabulary."""
    parser.add_argument(
        "--word", type=boolean, nargs="?", const=True, default=False, help="use words instead of characters"
    )
    parser.add_argument(
        "--segmenter", choices=("auto", *SEGMENTERS[1:]), default="auto", help="how texts are split into words"
    )
    parser.add_argument("--max_vocab", type=number(int, 1), default=10000, help="size of the vocabulary, at most")


def main():
    parser = Parser(__doc__)
    add_dataset_flag(parser)
    add_text_flags(parser)
    parser.add_argument("--vectors", required=True, help="text file of vectors (word2vec format), plain, .gz or .bz2")
    parser.add_argument("--name", help="name in embedding_<name>.npz (that of the file)")
    args = parser.parse_args()
    dataset = Path(args.dataset or default_dataset())
    vocabulary, _ = _read_train(dataset, _read_classes(dataset), args.word, args.segmenter, args.max_vocab)
    name = args.name or Path(args.vectors).name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".txt")
    vectors.extract(Path(args.vectors), vocabulary, dataset / "data" / f"embedding_{name}.npz")


if __name__ == "__main__":
    run_script(main)
