"""Measures the time and the memory that a large corpus takes in `pretrain_mlm.py`, without the encoder (Linux).

    python -m benchmarks.corpus --dataset D --output DIR --megabytes 300 --repeat 35

The corpus is made of the dataset's training texts: the beginning of one and the end of another. It is read, its
vocabulary is built, and it is encoded into DIR/cache. Then its encoded rows are repeated, so that the epoch is that of
a corpus so many times as large, without the time that encoding it takes; 100 batches of 128 rows are cut. Prints the
seconds and the peaks of the process's memory: anonymous, and in pages of files, which the system takes back.
"""

from cli.start import run_script

import contextlib
import shutil
import threading
import time
from pathlib import Path

import numpy as np

from cli.console import Parser, duration, echo, number
from engine.masking import MaskedBatches
from models.mlm import MASKINGS, TOKEN, WORD, Config
from text.cache import Draft
from text.corpus import hold_out, read_corpus
from text.labelled import read_split
from text.rows import Rows, blocks

LINES = 100_000  # that are written together
EVERY = 0.02  # seconds between looks at the memory
BATCHES, VOCAB_SIZE = 100, 21128


class Peak:
    """The largest memory of this process while the context lasts, in MB: anonymous, and in pages of files."""

    def __enter__(self):
        self.anonymous = self.files = 0
        self.over, self.start = threading.Event(), time.monotonic()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.over.wait(EVERY):
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
            anonymous, files = (int(status.split(name)[1].split()[0]) >> 10 for name in ("RssAnon:", "RssFile:"))
            self.anonymous, self.files = max(self.anonymous, anonymous), max(self.files, files)

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.seconds = time.monotonic() - self.start

    def show(self, what):
        memory = f"anonymous {self.anonymous:5,} MB   files {self.files:6,} MB"
        echo(f"{what:40} {duration(self.seconds)}   {memory}")


def write_corpus(dataset, path, size):
    """Writes a corpus of so many bytes of new texts."""
    halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in read_split(dataset, "train")[0]]
    rng = np.random.default_rng(1)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        while file.tell() < size:
            pairs = rng.integers(len(halves), size=(LINES, 2)).tolist()
            file.write("".join(f"{halves[a][0]}{halves[b][1]}\n" for a, b in pairs))


def repeated(corpus, times, directory):
    """The same corpus so many times, in new arrays mapped from files."""
    draft = Draft(directory)
    ids, offsets = draft.column("rows.ids", corpus.rows.ids.dtype), draft.offsets("rows.offsets")
    texts = draft.column("texts", np.int64)
    with contextlib.closing(draft.files):
        for i in range(times):
            for block in blocks(corpus.rows.ids):
                ids.append(block)
            offsets.append(corpus.rows.offsets)
            texts.append(corpus.texts[:-1] + i * corpus.texts[-1])
        texts.append([times * corpus.texts[-1]])
        draft.finish({})
    arrays = [np.load(directory / f"{name}.npy", mmap_mode="r") for name in ("rows.ids", "rows.offsets", "texts")]
    return corpus._replace(rows=Rows(*map(np.asarray, arrays[:2])), texts=np.asarray(arrays[2]))


def cut_batches(corpus, config):
    """Cuts the first batches of an epoch."""
    train, _ = (MaskedBatches(part, corpus.vocabulary, config, 1, "cpu") for part in hold_out(corpus, 1))
    for row_ids in train.shuffled(config.batch_size, 1, 0)[:BATCHES]:
        train.cut(row_ids)


def main():
    parser = Parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--output", type=Path, required=True, help="directory to write the corpus and its cache to")
    parser.add_argument("--megabytes", type=number(int, 1), default=300, help="size of the corpus that is encoded")
    parser.add_argument("--repeat", type=number(int, 1), default=35, help="how often its encoded rows are repeated")
    parser.add_argument("--masking", choices=MASKINGS, default=WORD, help="as in pretrain_mlm.py")
    args = parser.parse_args()
    config = Config(masking=args.masking)
    args.output.mkdir(parents=True, exist_ok=True)
    for left in ("cache", "repeated"):  # of an earlier run
        shutil.rmtree(args.output / left, ignore_errors=True)
    path = args.output / "corpus.txt"
    write_corpus(args.dataset, path, args.megabytes * 10**6)
    with Peak() as peak:
        corpus = read_corpus([path], config.pad_size, args.masking != TOKEN, vocab_size=VOCAB_SIZE)
    peak.show(f"vocabulary and rows of {args.megabytes} MB")
    directory = args.output / "repeated"
    directory.mkdir()
    try:
        corpus = repeated(corpus, args.repeat, directory)
        with Peak() as peak:
            cut_batches(corpus, config)
        peak.show(f"an epoch's order, and {BATCHES} batches of {len(corpus.texts) - 1:,} texts")
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    run_script(main)
