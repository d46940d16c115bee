"""Replay: a training on new data repeats training rows of an earlier dataset, so that old classes are not forgotten."""

from pathlib import Path

import numpy as np

from cli.console import UserError, listing, number
from text.cache import cached
from text.kind import is_multi_label
from text.labelled import LabelledFile, hashes_of_dataset, read_classes
from text.rows import gather, hashes_of, texts_of


def add_replay_flags(parser):
    parser.add_argument("--replay", type=Path, metavar="DATASET", help="with --init: add its training rows to the own")
    parser.add_argument(
        "--replay_share", type=number(float, 0, 1, open_low=True), default=1.0, help="share of its rows that are added"
    )


def check_replay_flags(args):
    """Raises UserError if a flag is given without those that it needs."""
    if args.replay and not args.init:
        raise UserError(f"--replay {args.replay} is for training on: add --init CKPT, a checkpoint to start from")
    if args.replay_share != 1 and not args.replay:
        raise UserError(f"--replay_share {args.replay_share} is for --replay: add the earlier dataset")
    if args.replay and getattr(args, "teacher", None):
        raise UserError("--replay and --teacher cannot be combined: replayed rows have labels alone")


def add_replay(args, dataset):
    """The dataset with training rows of that of `--replay`, and the fingerprint of these rows.

    Texts that the dataset has itself, in any split, are left out. Raises UserError if its class.txt lacks classes of
    theirs, if rows have one label in one of the two and several in the other, or if no row remains.
    """
    path, train = args.replay / "data" / "train.txt", dataset.train
    classes = read_classes(args.replay / "data" / "class.txt")
    lacking = [name for name in classes if name not in dataset.classes]
    if lacking:
        raise UserError(
            f"--replay {args.replay} has {len(lacking)} classes that {args.dataset / 'data' / 'class.txt'} does not "
            f"have: {listing(lacking)}; add them there"
        )
    if is_multi_label(path.parent) != dataset.multi_label:
        several, single = (args.dataset, args.replay) if dataset.multi_label else (args.replay, args.dataset)
        raise UserError(
            f"--replay {args.replay}: rows of {several} have any number of labels, those of {single} one; expected two "
            "datasets of the same kind"
        )
    splits = {name: getattr(dataset, name).digest for name in ("train", "dev", "test")}
    key = {"splits": splits, "vocabulary": dataset.vocabulary.digest, "classes": [classes, dataset.classes]}
    key |= {"share": args.replay_share, "seed": args.seed} | ({"multi_label": True} if dataset.multi_label else {})

    def fill(draft):
        ids, offsets = draft.column("rows.ids", dataset.vocabulary.dtype), draft.offsets("rows.offsets")
        labels = draft.column("labels", train.labels.dtype)
        ids.append(train.rows.ids)
        offsets.append(train.rows.offsets)
        labels.append(train.labels.ravel())
        replay = ReplayFile(path, classes, args, dataset)
        for rows, row_labels in replay:
            ids.append(rows.ids)
            offsets.append(rows.offsets)
            labels.append(row_labels.ravel())
        return {"digest": replay.file.digest.hexdigest(), "notes": replay.notes}

    entry = cached(path, key, fill, args.dataset, "replay")
    labels = entry.arrays["labels"].reshape(-1, *train.labels.shape[1:])
    dataset = dataset._replace(train=train._replace(rows=entry.rows("rows"), labels=labels))
    return dataset, {"replay": entry.meta["digest"][:16], "replay_classes": classes, "replay_share": args.replay_share}


class ReplayFile:
    """The train.txt of another dataset. Iterating yields blocks of rows and labels for the dataset.

    At the end `notes` has a message that counts them. Raises UserError then if there are none.
    """

    def __init__(self, path, classes, args, dataset):
        self.path, self.args, self.dataset, self.notes = path, args, dataset, []
        self.file = LabelledFile(path, classes, multi_label=dataset.multi_label)
        self.index = np.array([dataset.classes.index(c) for c in classes])

    def __iter__(self):
        rng = np.random.default_rng(self.args.seed)
        own = hashes_of_dataset(self.args.dataset, self.dataset.classes)
        total = known = used = 0
        for texts, labels in self.file:
            new = ~np.isin(hashes_of(texts_of(texts)), own)
            kept = new & (rng.random(len(labels)) < self.args.replay_share)
            total, known, used = total + len(labels), known + int((~new).sum()), used + int(kept.sum())
            if kept.any():
                spans = gather(texts.ids, texts.offsets[:-1][kept], texts.lengths[kept])
                yield self.dataset.vocabulary.encode(spans), self._labels(labels[kept])
        left_out = f"{known} whose text is in {self.args.dataset} are left out"
        if not used:
            raise UserError(f"--replay: {self.path} has no row to add, of {total} rows {left_out}")
        self.notes += self.file.notes
        self.notes.append(f"{{path}}: {used} of {total} rows replayed; {left_out}")

    def _labels(self, labels):
        """Labels of the file, (n,) or (n, C), as those of the dataset."""
        if labels.ndim == 1:
            return self.index[labels]
        own = np.zeros((len(labels), len(self.dataset.classes)), labels.dtype)
        own[:, self.index] = labels
        return own
