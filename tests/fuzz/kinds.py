"""Each kind of file: what makes an input, and what reads it."""

import functools
import random

from tests.fuzz import inputs_arrays, inputs_book, inputs_dataset, inputs_encoder, inputs_saved, inputs_text, targets
from tests.fuzz.base import write_base  # noqa: F401 (the worker calls it)
from tests.fuzz.mutations import OWNED

_text = functools.partial(inputs_text.text_file, change=inputs_text.text_lines)
_several = functools.partial(inputs_dataset.dataset, source="several")
_vectors = functools.partial(inputs_text.text_file, change=inputs_text.vector_lines)

KINDS = {
    **{
        name: (functools.partial(inputs_dataset.dataset, name=name), targets.train_network)
        for name in ("class.txt", "train.txt", "dev.txt", "test.txt")
    },
    "labels.txt": (functools.partial(_several, name="train.txt"), targets.train_network),
    "dataset.json": (functools.partial(_several, name="dataset.json"), targets.train_network),
    "check": (inputs_dataset.checked, targets.check_dataset),
    "embedding.npz": (inputs_arrays.npz, targets.load_vectors),
    "vocab.pkl": (inputs_arrays.pickled, targets.load_vectors),
    "vectors.txt": (functools.partial(_vectors, name="vectors.txt"), targets.extract_vectors),
    "model.ckpt": (inputs_saved.checkpoint, targets.predict_with),
    "model.resume": (inputs_saved.state, targets.resume_training),
    **{
        name: (functools.partial(inputs_encoder.encoder, name=name), targets.fine_tune)
        for name in inputs_encoder.CHANGES
    },
    "input.txt": (functools.partial(_text, name="input.txt"), targets.predict_texts),
    "input.csv": (functools.partial(inputs_text.table, name="input.csv"), targets.predict_texts),
    "input.tsv": (functools.partial(inputs_text.table, name="input.tsv"), targets.predict_texts),
    "input.jsonl": (functools.partial(inputs_text.json_lines, name="input.jsonl"), targets.predict_texts),
    "labelled.csv": (functools.partial(inputs_text.table, name="labelled.csv"), targets.prepare_rows),
    "labelled.tsv": (functools.partial(inputs_text.table, name="labelled.tsv"), targets.prepare_rows),
    "labelled.jsonl": (functools.partial(inputs_text.json_lines, name="labelled.jsonl"), targets.prepare_rows),
    "labelled.json": (functools.partial(inputs_text.json_array, name="labelled.json"), targets.prepare_rows),
    "labelled.txt": (functools.partial(_text, name="labelled.txt"), targets.prepare_rows),
    "labelled.xlsx": (functools.partial(inputs_book.workbook, name="labelled.xlsx"), targets.prepare_rows),
    "corpus.txt": (functools.partial(_text, name="corpus.txt"), targets.pretrain),
}


class CodeExecution(Exception):
    """A file has run code of its own."""


class SilentChange(Exception):
    """A damaged file was accepted and gives another result than the file before the damage."""


def make_input(kind, seed, number, base, directory):
    """Writes an input into an empty directory; the same kind, seed and number give the same input."""
    return KINDS[kind][0](random.Random(f"{seed}/{kind}/{number}"), base, directory)


def run_target(kind, directory, base, case):
    """Gives an input to the project. Raises CodeExecution, SilentChange, or whatever the project raises."""
    target = KINDS[kind][1]
    try:
        found = target(directory, base, case.options)
    finally:
        if any(directory.rglob(OWNED)):
            raise CodeExecution
    if case.damaged and not targets.is_same(target, base, case.options, found):
        raise SilentChange
