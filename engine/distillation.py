"""Distillation: a training on the probabilities that other models, its teachers, give, beside the labels.

Training rows have the probabilities of teachers that were not trained on them (`evaluation.folds`). Unlabelled texts
are more rows, with those of the teachers themselves. After Hinton et al. 2015, https://arxiv.org/abs/1503.02531.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.console import UserError, listing, number
from cli.files import digest_of
from cli.installation import version_of
from engine.batches import Batches
from engine.losses import NO_LABEL
from engine.predictor import Predict
from engine.runs import Output
from models import LINEAR
from text.cache import cached
from text.inputs import read_texts
from text.kind import check_kind
from text.labelled import hashes_of_dataset
from text.rows import Rows, gather, hashes_of

TEMPERATURE, SHARE = 1.0, 0.5  # defaults of the flags
BLOCK = 1 << 14  # rows that are handled together
LEAST = float(np.finfo(np.float16).smallest_subnormal)  # the least number above 0 in half precision


def add_distillation_flags(parser):
    group = parser.add_argument_group("distillation")
    group.add_argument("--teacher", nargs="+", metavar="CKPT", help="checkpoints to learn from beside the labels")
    group.add_argument("--unlabelled", metavar="FILE", help="file of texts to add as rows, a text a line")
    group.add_argument("--folds", type=number(int, 2), help="train teachers on K-1 of K parts, to predict the last one")
    positive = number(float, 0, open_low=True)
    group.add_argument("--temperature", type=positive, help=f"temperature of the probabilities ({TEMPERATURE})")
    group.add_argument(
        "--teacher_share", type=number(float, 0, 1), help=f"share of the teachers' loss, the rest is labels' ({SHARE})"
    )


def check_distillation_flags(args):
    """Raises UserError if a flag is given without those that it needs."""
    names = ("unlabelled", "folds", "temperature", "teacher_share")
    given = [name for name in names if getattr(args, name) is not None]
    if given and not args.teacher:
        raise UserError(f"--{given[0]} is for distillation: add --teacher CKPT, the checkpoints to learn from")
    if args.teacher and args.model in LINEAR:
        raise UserError(f"--teacher is for networks: {args.model} learns from labels alone")
    if args.teacher and not args.unlabelled and not args.folds:
        raise UserError(
            "--teacher needs texts that the teachers have not seen: add --folds 5 (trains such teachers for the rows "
            "of train.txt), --unlabelled FILE (more texts, one a line), or both"
        )
    if args.unlabelled and not Path(args.unlabelled).is_file():
        raise UserError(f"--unlabelled {args.unlabelled}: no such file; expected texts, one a line")


class Teacher(NamedTuple):
    """A model to learn from."""

    predict: Predict
    order: list  # the teacher's index of each of the dataset's classes

    def probabilities(self, texts):
        """Its probabilities of the dataset's classes, (N, C); all 0 for a text without tokens."""
        return self.predict.predict_proba(texts)[:, self.order]


def load_teachers(args, classes):
    """The Teacher of each checkpoint.

    Raises UserError if one has other classes, predicts another number of labels, or is the file that this run writes.
    """
    output = Output(args.output or args.dataset, args.model).checkpoint.resolve()
    teachers = []
    for path in args.teacher:
        if Path(path).resolve() == output:
            raise UserError(f"--teacher {path} is the file that this training writes; use --output DIR")
        predict = Predict(checkpoint=path, device=args.device, amp=args.amp)
        check_kind(f"--teacher {path}", predict.saved.multi_label, args.dataset / "data")
        if sorted(predict.classes) != sorted(classes):
            raise UserError(
                f"--teacher {path} has other classes: {len(predict.classes)} ({listing(predict.classes, 5)}); "
                f"expected the {len(classes)} of the dataset ({listing(classes, 5)})"
            )
        teachers.append(Teacher(predict, [predict.classes.index(name) for name in classes]))
    return teachers


class Targets(NamedTuple):
    """The rows of train.txt and of the unlabelled file, with teachers' probabilities, mapped from files."""

    rows: Rows
    labels: np.ndarray  # (N,), or (N, C) of 0 and 1; `NO_LABEL` for unlabelled rows
    probabilities: np.ndarray  # (N, C) float16, zeros for rows without any
    fingerprint: dict

    def apply(self, run, vocabulary):
        """The Run with these rows in training."""
        train = Batches(
            self.rows, self.labels, vocabulary, run.config.truncation, run.compute.device, self.probabilities
        )
        own = {name: self.fingerprint[name] for name in ("temperature", "teacher_share")}
        fingerprint = run.fingerprint | self.fingerprint
        return dataclasses.replace(run, train=train, loss=run.loss._replace(**own), fingerprint=fingerprint)


def read_targets(args, dataset, teachers, held_out=None):
    """The Targets of a run with these teachers, from the cache if they are there.

    held_out: the `evaluation.folds.HeldOut` of the training rows, None if they have labels alone.
    Raises UserError if the unlabelled file has no text to use.
    """
    vocabulary, classes, train = dataset.vocabulary, dataset.classes, dataset.train
    path = Path(args.unlabelled) if args.unlabelled else args.dataset / "data" / "train.txt"
    digests = [digest_of(teacher.predict.path)[:16] for teacher in teachers]
    splits = {name: getattr(dataset, name).digest for name in ("train", "dev", "test")}
    fingerprint = {"teachers": digests, "folds": held_out.digest if held_out else None}
    key = fingerprint | {"splits": splits, "unlabelled": args.unlabelled is not None, "classes": classes}
    key |= {"vocabulary": vocabulary.digest, "version": vocabulary.package and version_of(vocabulary.package)}
    key |= {"amp": teachers[0].predict.amp} | ({"multi_label": True} if dataset.multi_label else {})

    def fill(draft):
        ids, offsets = draft.column("rows.ids", vocabulary.dtype), draft.offsets("rows.offsets")
        labels = draft.column("labels", np.int8 if dataset.multi_label else np.int32)
        targets = draft.column("targets", np.float16)
        texts = UnlabelledFile(args.unlabelled, args.dataset, dataset, teachers)
        for rows, row_labels, probabilities in itertools.chain(labelled_blocks(train, classes, held_out), texts):
            ids.append(rows.ids)
            offsets.append(rows.offsets)
            labels.append(row_labels.ravel())
            targets.append(probabilities.ravel())
        return {"digest": digest_of(path), "notes": texts.notes}

    entry = cached(path, key, fill, args.dataset, "teachers")
    rows, labels = entry.rows("rows"), entry.arrays["labels"].reshape(-1, *train.labels.shape[1:])
    probabilities = entry.arrays["targets"].reshape(-1, len(classes))
    fingerprint |= {"unlabelled": args.unlabelled and digest_of(path)[:16]}
    fingerprint |= {"temperature": TEMPERATURE if args.temperature is None else args.temperature}
    fingerprint |= {"teacher_share": SHARE if args.teacher_share is None else args.teacher_share}
    return Targets(rows, labels, probabilities, fingerprint)


def labelled_blocks(train, classes, held_out):
    """Yields the training rows, a block at a time, with their labels and probabilities, (n, C).

    The probabilities are zeros without a `HeldOut`.
    """
    blocks = held_out.blocks(BLOCK) if held_out else None
    for start in range(0, len(train.labels), BLOCK):
        labels = train.labels[start : start + BLOCK]
        offsets = train.rows.offsets[start : start + len(labels) + 1]
        rows = Rows(train.rows.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
        yield rows, labels, next(blocks) if blocks else np.zeros((len(labels), len(classes)))


class UnlabelledFile:
    """A file of texts, one a line. Iterating yields blocks like those of `labelled_blocks`.

    Blank lines, and texts of the dataset, which the teachers may have seen or which test the model, are left out. At
    the end `notes` has a message that counts them. Raises UserError then if no text remains.
    """

    def __init__(self, path, directory, dataset, teachers):
        self.path, self.directory, self.dataset, self.teachers, self.notes = path, directory, dataset, teachers, []

    def __iter__(self):
        if not self.path:
            return
        lines = known = used = 0
        own = hashes_of_dataset(self.directory, self.dataset.classes)
        for block in read_texts(self.path, None, True):
            lines += len(block)
            texts = [text for line in block if (text := line.strip())]
            new = ~np.isin(hashes_of(texts), own)
            known += len(texts) - int(new.sum())
            texts = [text for text, is_new in zip(texts, new, strict=True) if is_new]
            probabilities = mean_of([teacher.probabilities(texts) for teacher in self.teachers])
            rows = self.dataset.vocabulary.encode_texts(texts)
            kept = (rows.lengths > 0) & probabilities.any(axis=1)  # a tokenizer may find nothing in a text
            used += int(kept.sum())
            labels = np.full((int(kept.sum()), *self.dataset.train.labels.shape[1:]), NO_LABEL)
            yield gather(rows.ids, rows.offsets[:-1][kept], rows.lengths[kept]), labels, probabilities[kept]
        left_out = f"{known} lines that are in the dataset and {lines - known - used} blank ones"
        if not used:
            raise UserError(f"{self.path} has no text to learn from, but {left_out}; expected texts, one a line")
        self.notes.append(f"{{path}}: {used} texts" + (f"; {left_out} are left out" if used < lines else ""))


def mean_of(probabilities):
    """The mean of several teachers' probabilities, (N, C) each, without those of a row that are all 0.

    A mean is above 0 in half precision too, since a row that is all 0 has no teachers.
    """
    count = sum(part.any(axis=1, keepdims=True).astype(np.float32) for part in probabilities)
    return np.where(count > 0, np.maximum(sum(probabilities) / np.maximum(count, 1), LEAST), 0)
