"""Teachers that have not seen the rows that they predict: each part of train.txt is left out of one training.

A training is a process of its own, like those of a comparison, so that any kind of model can be a teacher. What it
predicts is kept beside the checkpoints, in `saved_dict/folds/<model>-<digest>/<part>.npy`; an interrupted run continues
with the parts that are missing.
"""

import dataclasses
import hashlib
import json
import shutil
from typing import NamedTuple

import numpy as np

from cli.console import RANKS, UserError, say
from cli.files import replacing
from engine import checkpoint
from engine.distillation import mean_of
from engine.predictions import label_ids
from engine.predictor import Predict
from evaluation.ensemble import score
from evaluation.job import call
from models import ENCODERS
from text import vectors
from text.kind import kind_file
from text.labelled import split_file
from text.rows import hashes_of, texts_of


class HeldOut(NamedTuple):
    """The training rows' probabilities by teachers that have not seen them."""

    part_of: np.ndarray  # (N,), the part that each row is in
    teachers: list  # of each the list, a pair for each member of weight and list of arrays: a part's, (rows, C) each
    digest: str  # of all that decides them

    def blocks(self, size):
        """Those of `size` rows after the other, (size, C) each."""
        done = [0] * (int(self.part_of.max()) + 1)  # rows of each part
        for start in range(0, len(self.part_of), size):
            parts = self.part_of[start : start + size]
            order = np.argsort(parts, kind="stable")
            ends = [first + count for first, count in zip(done, np.bincount(parts, minlength=len(done)), strict=True)]
            spans = list(enumerate(zip(done, ends, strict=True)))
            found = [np.concatenate([_weighted(members, *span) for span in spans]) for members in self.teachers]
            yield mean_of(found)[np.argsort(order)]
            done = ends


def _weighted(members, part, span):
    """The weighted mean of what the members of a teacher give to a span of a part's rows, (rows, C)."""
    return sum(weight * arrays[part][slice(*span)].astype(np.float32) for weight, arrays in members)


def predict_held_out(args, dataset, teachers):
    """The HeldOut of train.txt, of which the trainings that are missing are run.

    Raises UserError if `--folds` does not suit the rows or a teacher, or if a training fails.
    """
    texts, labels = [], []
    for block, block_labels in split_file(args.dataset, "train", dataset.classes):
        texts.append(hashes_of(texts_of(block)))
        labels.append(block_labels)
    part_of = parts_of(np.concatenate(texts), strata_of(np.concatenate(labels)), args.folds, args.seed)
    encoders = [t.predict.path for t in teachers if any(m.name in ENCODERS for _, m in members_of(t.predict.saved))]
    if encoders:
        raise UserError(
            f"--folds trains networks alone, and {encoders[0]} has an encoder, whose files a checkpoint does not name; "
            "use it with --unlabelled FILE and without --folds"
        )
    found, keys = [], []
    for teacher in teachers:
        found.append([])
        for weight, member in members_of(teacher.predict.saved):
            plan = _plan(args, dataset, member)
            while _digest(plan) in keys:  # the same model twice is trained with two seeds
                plan["seed"] += 1
            keys.append(_digest(plan))
            folds = Folds(args, dataset, member.name, plan, part_of)
            found[-1].append((weight, [folds.read_or_train(part) for part in range(args.folds)]))
    return HeldOut(part_of, found, _digest(keys))


def members_of(saved):
    """The models whose weighted mean a checkpoint predicts, as pairs of a weight and a Classifier."""
    return list(zip(saved.shares, saved.members, strict=True))


def strata_of(labels):
    """The class of each row, (N,): that of the rarest label if a row has any number of them, (N, C); C without any."""
    if labels.ndim == 1:
        return labels
    order = np.argsort(labels.sum(axis=0, dtype=np.int64), kind="stable")  # the rarest first
    return np.where(labels.any(axis=1), order[labels[:, order].argmax(axis=1)], len(order))


def parts_of(texts, labels, count, seed):
    """The part of each row, (N,): equal texts are in the same part, and each class is spread over all parts.

    texts: their hashes, (N,); labels: (N,). Raises UserError if there are more parts than texts.
    """
    _, first, group = np.unique(texts, return_index=True, return_inverse=True)
    if count > len(first):
        raise UserError(f"--folds {count}, but train.txt has {len(first)} different texts; use at most that many")
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    part_of = np.zeros(len(first), np.min_scalar_type(count))
    part_of[order] = np.arange(len(order)) % count
    return part_of[group]


def _digest(plan):
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:16]


def _plan(args, dataset, member):
    """All that decides the trainings of a model on the parts, as data."""
    config, vocabulary = dataclasses.asdict(member.config), member.vocabulary
    plan = {"model": member.name, "config": config, "seed": args.seed, "folds": [args.folds, args.seed]}
    plan |= {"segmenter": vocabulary.segmenter, "max_vocab": max(1, len(vocabulary) - 2), "amp": args.amp}
    takes_vectors = getattr(type(member.config), "takes_vectors", False)
    path = vectors.find(args.dataset, args.embedding) if takes_vectors else None
    plan |= {"embedding": str(path or "random") if takes_vectors else None, "classes": dataset.classes}
    plan |= {"multi_label": True} if dataset.multi_label else {}
    return plan | {f"{name}.txt": getattr(dataset, name).digest for name in ("train", "dev")}


def fields_of(labels, classes):
    """Rows' labels, (N,) or (N, C), as the fields of a labelled file."""
    if labels.ndim == 1:
        return [classes[label] for label in labels.tolist()]
    return [",".join(classes[i] for i in ids) for ids in label_ids(labels, labels > 0)]


class Folds:
    """The trainings of one model, each with a part left out, and what they predict for it."""

    def __init__(self, args, dataset, name, plan, part_of):
        self.args, self.classes, self.name, self.plan, self.part_of = args, dataset.classes, name, plan, part_of
        self.directory = (args.output or args.dataset) / "saved_dict" / "folds" / f"{name}-{_digest(plan)}"

    def read_or_train(self, part):
        """The probabilities of a part's rows, (rows, C) float16, mapped from a file."""
        path, fold = self.directory / f"{part}.npy", f"{self.name}, fold {part + 1} of {self.args.folds}"
        if not path.exists():
            if RANKS > 1:
                raise UserError("--folds trains in one process: run the same command without torchrun until it trains")
            log = self.directory / f"{part}.log"
            say(f"{fold}: its output is in {log}")
            directory = self.write_dataset(part)
            call(self.command(directory), log, fold)
            self.predict(directory, path)
            shutil.rmtree(directory)
        return np.load(path, mmap_mode="r")

    def write_dataset(self, part):
        """Writes the dataset without a part, which is its test.txt; returns its directory."""
        directory, source = self.directory / f"{part}", self.args.dataset / "data"
        data = directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        for name in ("class.txt", "dev.txt", *([kind_file(source).name] if kind_file(source).exists() else [])):
            shutil.copyfile(source / name, data / name)
        start = 0
        with open(data / "train.txt", "wb") as train, open(data / "test.txt", "wb") as test:
            for block, labels in split_file(self.args.dataset, "train", self.classes):
                parts, fields = self.part_of[start : start + len(labels)], fields_of(labels, self.classes)
                for text, field, own in zip(texts_of(block), fields, (parts == part).tolist(), strict=True):
                    (test if own else train).write(f"{text}\t{field}\n".encode())
                start += len(labels)
        return directory

    def command(self, directory):
        plan, args = self.plan, self.args
        flags = {"model": self.name, "dataset": directory, "seed": plan["seed"], "max_vocab": plan["max_vocab"]}
        flags |= {"device": args.device, "amp": args.amp} | plan["config"]
        if plan["embedding"]:
            flags["embedding"] = plan["embedding"]
        if plan["segmenter"] != "char":
            flags |= {"word": True, "segmenter": plan["segmenter"]}
        values = {name: value if isinstance(value, (tuple, list)) else [value] for name, value in flags.items()}
        return ["run.py", *(str(part) for name, value in values.items() for part in (f"--{name}", *value)), "--resume"]

    def predict(self, directory, path):
        """Writes what the model trained there predicts for the part that it has not seen."""
        file = checkpoint.path_of(directory, self.name)
        trained = Predict(checkpoint=file, device=self.args.device, amp=self.args.amp)
        blocks = split_file(directory, "test", self.classes)
        pairs = [(trained.predict_proba(texts_of(texts)), labels) for texts, labels in blocks]
        probabilities, labels = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        title = "macro F1, with the best thresholds," if labels.ndim == 2 else "accuracy"
        say(f"On the part: {title} {score(probabilities, labels)[0]:.2%}")
        with replacing(path) as file:
            np.save(file, probabilities.astype(np.float16))
