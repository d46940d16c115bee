"""Datasets: read, checked and encoded as token ids.

    python utils.py --dataset D --vectors FILE      # the vocabulary's vectors, into D/data/embedding_<name>.npz

A dataset is a directory with `data/class.txt`, one class a line, and `data/{train,dev,test}.txt`, UTF-8, one
`text<TAB>label` a line, the label an index into class.txt or a class's name. With `data/dataset.json` a row has any
number of labels, between commas (see `text.kind`).
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
from text import augmentation, cache, vectors
from text.aliases import RARER, aliases_of, count_characters, notes_on
from text.kind import is_multi_label
from text.labelled import LabelledFile, read_classes
from text.rows import Rows, texts_of
from text.truncation import HEAD, HEAD_TAIL, WINDOWS
from text.vocabulary import SEGMENTERS, Vocabulary, WordCounter, character_vocabulary, choose_segmenter
from text.wordpieces import WordPieces

LEAST = 32  # tokens that are read of a row
SEGMENTER_ROWS = 10000  # rows of train.txt that decide its segmenter


class Split(NamedTuple):
    """A split's rows, encoded and uncut, in arrays that are mapped from files."""

    rows: Rows
    labels: np.ndarray  # (N,) uint8, or int32 if there are more than 256 classes; or (N, C) uint8, see `text.kind`
    digest: str  # of the file, with the changes of its rows if there are any
    texts: Rows | None  # the rows' code points, of the test split alone


class Dataset(NamedTuple):
    """A dataset, read and encoded."""

    classes: list
    vocabulary: Vocabulary | WordPieces
    train: Split
    dev: Split
    test: Split

    @property
    def multi_label(self):
        return self.train.labels.ndim == 2

    def batches(self, name, config, device):
        """A split's Batches, its rows cut as the Config of a model says."""
        split = getattr(self, name)
        return Batches(split.rows, split.labels, self.vocabulary, config.truncation, device)


def read_dataset(
    directory, vocabulary=None, word=False, segmenter="auto", max_vocab=10000, known=None, marks_words=False, augment=0
):
    """Reads a dataset. Without a vocabulary, that of train.txt is built, as an extension of `known` if that is given.

    marks_words: whether characters are marked where words end, see `Vocabulary`; an extension has marks if `known` has.
    augment: the share of the training rows that an `Augmentation` changes.
    Raises UserError if anything is wrong with its files.
    """
    classes = classes_of(directory)
    if vocabulary:
        train = _read_split(directory, "train", classes, vocabulary, augment=augment)
    else:
        vocabulary, train = _read_train(directory, classes, word, segmenter, max_vocab, known, marks_words, augment)
    dev = _read_split(directory, "dev", classes, vocabulary)
    test = _read_split(directory, "test", classes, vocabulary, keep_texts=True)
    return Dataset(classes, vocabulary, train, dev, test)


def classes_of(directory):
    """The classes of a dataset. Raises UserError if there is no such directory, or if its class.txt is wrong."""
    if not Path(directory).is_dir():
        raise UserError(f"--dataset {directory}: no such directory; expected one with data/class.txt")
    return read_classes(Path(directory) / "data" / "class.txt")


def _read_train(directory, classes, word, segmenter, max_vocab, known=None, marks_words=False, augment=0):
    """The vocabulary of train.txt, as an extension of `known` if that is given, and its rows."""
    if not word and segmenter != "auto":
        raise UserError(f"--segmenter {segmenter} is for words: add --word True")
    path = Path(directory) / "data" / "train.txt"
    segmenter = segmenter if word else "char"
    marks_words = known.marks_words if known else marks_words and not word
    key = {"segmenter": segmenter, "max_vocab": max_vocab, "rarer": RARER}
    key |= {"classes": classes, "version": version_of("rjieba") if word or marks_words else None}
    key |= {"marks_words": True} if marks_words else {}
    key |= {"known": known.digest} if known else {}
    key |= augmentation.key_of(augment)
    multi_label = is_multi_label(path.parent)

    def fill(draft):
        chosen, notes = _choose_segmenter(path, classes, segmenter, multi_label)
        if known and chosen == "space" and _choose_segmenter(path, classes, "auto", multi_label)[0] != "space":
            notes.append("Warning: {path} is not segmented by spaces, but the texts of the checkpoint were")
        change, spool = augmentation.Augmentation(augment), cache.Spool(draft, "texts")
        file = LabelledFile(path, classes, change, multi_label)
        labels, counts = draft.column("labels", _label_dtype(classes, multi_label)), np.zeros(0x110000, np.int64)
        for texts, block_labels in file:
            count_characters(texts, counts)
            spool.append(texts)
            labels.append(block_labels.ravel())
        aliases = aliases_of("".join(known.ids) if known else "", counts)
        if chosen == "char":
            vocabulary = character_vocabulary(counts, aliases, max_vocab, marks_words)
            vocabulary = known.extended(vocabulary) if known else vocabulary
            encoded = map(vocabulary.encode, spool)
        else:
            counter, numbered = WordCounter(chosen, aliases), cache.Spool(draft, "words")
            for texts in spool:
                numbered.append(counter.add(texts))
            vocabulary = counter.vocabulary(max_vocab)
            vocabulary = known.extended(vocabulary) if known else vocabulary
            table = counter.final_ids(vocabulary)
            encoded = (Rows(table.take(rows.ids), rows.offsets) for rows in numbered)
        ids, offsets = draft.column("rows.ids", vocabulary.dtype), draft.offsets("rows.offsets")
        for rows in encoded:
            ids.append(rows.ids)
            offsets.append(rows.offsets)
        notes += file.notes + change.notes + notes_on(vocabulary.aliases.replaced(counts))
        return {"digest": file.digest.hexdigest(), "notes": notes, "vocabulary": vocabulary.content}

    entry = cache.cached(path, key | _kind_key(multi_label), fill)
    return Vocabulary(**entry.meta["vocabulary"]), _split(entry, classes, multi_label, augment)


def _read_split(directory, name, classes, vocabulary, keep_texts=False, augment=0):
    path = Path(directory) / "data" / f"{name}.txt"
    key = {"vocabulary": vocabulary.digest, "version": vocabulary.package and version_of(vocabulary.package)}
    key |= {"classes": classes, "texts": keep_texts} | augmentation.key_of(augment)
    multi_label = is_multi_label(path.parent)

    def fill(draft):
        change = augmentation.Augmentation(augment)
        file = LabelledFile(path, classes, lambda texts: (vocabulary.encode(change(texts)), texts), multi_label)
        labels = draft.column("labels", _label_dtype(classes, multi_label))
        ids, offsets = draft.column("rows.ids", vocabulary.dtype), draft.offsets("rows.offsets")
        codes, ends = (draft.column("texts.ids", np.uint32), draft.offsets("texts.offsets")) if keep_texts else (0, 0)
        counts = np.zeros(0x110000, np.int64)
        for (rows, texts), block_labels in file:
            ids.append(rows.ids)
            offsets.append(rows.offsets)
            labels.append(block_labels.ravel())
            count_characters(texts, counts)
            if keep_texts:
                codes.append(texts.ids)
                ends.append(texts.offsets)
        replaced = notes_on(vocabulary.aliases.replaced(counts)) if vocabulary.aliases else []
        return {"digest": file.digest.hexdigest(), "notes": file.notes + change.notes + replaced}

    return _split(cache.cached(path, key | _kind_key(multi_label), fill), classes, multi_label, augment)


def _split(entry, classes, multi_label, augment):
    texts = entry.rows("texts") if "texts.ids" in entry.arrays else None
    labels = entry.arrays["labels"].reshape(-1, len(classes)) if multi_label else entry.arrays["labels"]
    digest = ", ".join([entry.meta["digest"][:16], *map(str, augmentation.key_of(augment).values())])
    return Split(entry.rows("rows"), labels, digest, texts)


def _kind_key(multi_label):
    """What the kind of a dataset adds to the key of an entry; nothing for one label a row, as in earlier versions."""
    return {"multi_label": True} if multi_label else {}


def _label_dtype(classes, multi_label):
    return np.uint8 if multi_label or len(classes) <= 256 else np.int32


def _choose_segmenter(path, classes, segmenter, multi_label):
    """The segmenter that `auto` means for this train.txt, and messages for the user about it."""
    if segmenter != "auto":
        return segmenter, []
    texts = []
    for block, _ in LabelledFile(path, classes, multi_label=multi_label):
        texts += texts_of(block)
        if len(texts) >= SEGMENTER_ROWS:
            break
    segmenter = choose_segmenter(texts[:SEGMENTER_ROWS])
    why = "is segmented by spaces" if segmenter == "space" else "is not segmented"
    return segmenter, [f"Segmenter: {segmenter} (train.txt {why}; --segmenter chooses another)"]


def fit_to_vocabulary(config, vocabulary):
    """The Config without n-grams of words if the vocabulary does not mark them."""
    return config if vocabulary.marks_words or not config.words else dataclasses.replace(config, word_n_grams=0)


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
    report_long_rows(config, counts, needed, positions)
    return config


def report_long_rows(config, counts, needed, positions):
    """Reports how many training rows are longer than `pad_size`, and what is read of them.

    counts: of the rows of each length; needed, positions: the `pad_size` that keeps nearly all whole, and the largest.
    """
    truncation, total = config.truncation, int(counts.sum())
    first, last = truncation.reach
    cut = int(counts[truncation.limit + 1 :].sum())
    if not cut:
        return
    advice = f"; --pad_size {needed} keeps {config.whole * 100:.0f} % whole" if needed > config.pad_size else ""
    if advice and positions and needed > positions:
        advice += f", but this encoder reads at most {positions}; --long windows reads all in parts"
    unread = int(counts[first + 1 :].sum())
    what = {
        HEAD: f"cut{advice}",
        HEAD_TAIL: f"cut to the first {first} and the last {last}{advice}",
        WINDOWS: "read in windows" + (f", {unread} of them up to token {first} alone" if unread else ""),
    }
    share = f"{cut} of {total} training rows ({cut / total:.1%})"
    say(f"{share} are longer than {truncation.limit} tokens and are {what[truncation.mode]}")


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
    vocabulary, _ = _read_train(dataset, classes_of(dataset), args.word, args.segmenter, args.max_vocab)
    name = args.name or Path(args.vectors).name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".txt")
    vectors.extract(Path(args.vectors), vocabulary, dataset / "data" / f"embedding_{name}.npz")


if __name__ == "__main__":
    run_script(main)
