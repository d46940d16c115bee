"""Training on: a training that starts from a trained model of the same kind, on new data and with new classes.

Vocabulary and architecture are those of the checkpoint. New tokens and classes get rows of their own; classes are
matched by name. The n-grams of new rows are added to the counts of the checkpoint, whose keys depend on token ids: an
extended vocabulary keeps them.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cli.console import UserError, listing, say
from cli.files import digest_of
from engine import checkpoint
from engine.counting import add_rows
from engine.replay import add_replay, check_replay_flags
from engine.runs import Output
from engine.transfer import copy_weights, counted
from models import LINEAR, trainer
from models.counts import Counter, Counts
from models.evidence import Evidence
from text.kind import check_kind

OF_TRAINING = ("num_epochs", "batch_size", "learning_rate", "require_improvement", "dropout", "embed_dropout")
OF_TRAINING += ("weight_decay", "warmup", "max_norm")  # the fields of a `Config` that are not those of the checkpoint


def add_init_flag(parser):
    parser.add_argument("--init", metavar="CKPT", help="checkpoint to start from; decides the model and its sizes")


def check_init_flags(args, unused):
    """Raises UserError if flags contradict `--init`, or if one is given without another that it needs.

    unused: flags that have no use with `--init`, and their defaults.
    """
    check_replay_flags(args)
    if args.warm_start:
        args.warm_start.check(args, unused)


def start_on(args, dataset):
    """The dataset, with the rows of `--replay`, and the fingerprint of `--init` and `--replay`; reports what is new."""
    if not args.warm_start:
        return dataset, {}
    check_kind(f"--init {args.init}", args.warm_start.saved.multi_label, args.dataset / "data")
    args.warm_start.describe(dataset)
    dataset, fingerprint = add_replay(args, dataset) if args.replay else (dataset, {})
    return dataset, fingerprint | {"init": args.warm_start.digest}


def read_start(parser, arguments, names):
    """The WarmStart of `--init`, None without it. Its model becomes the parser's default of `--model`.

    names: the models of the script. Raises UserError if the checkpoint is of another model.
    """
    path = parser.parse_known_args(arguments)[0].init
    if path is None:
        return None
    saved = checkpoint.load(path)
    if saved.name == checkpoint.ENSEMBLE:
        raise UserError(f"--init {path} is an ensemble: use the checkpoint of one of its members")
    if saved.name in LINEAR:
        raise UserError(f"--init {path} is a {saved.name}, which trains in seconds: train it again on all the rows")
    if saved.name not in names:
        raise UserError(f"--init {path} is a checkpoint of {saved.name}: use python {trainer([saved.name])}")
    parser.set_defaults(model=saved.name)
    model = parser.parse_known_args(arguments)[0].model
    if model != saved.name:
        raise UserError(f"--init {path} is a checkpoint of {saved.name}, not of {model}: leave --model out")
    return WarmStart(path, digest_of(path)[:16], saved._replace(model=None))


class WarmStart(NamedTuple):
    """The checkpoint that a training starts from."""

    path: str
    digest: str
    saved: checkpoint.Classifier  # without its model, which `continued` loads

    @property
    def flags(self):
        """The flags that the checkpoint decides, as a dict."""
        fields = dataclasses.asdict(self.saved.config)
        flags = {name: value for name, value in fields.items() if name not in OF_TRAINING}
        segmenter = getattr(self.saved.vocabulary, "segmenter", None)  # word pieces have none
        if segmenter:
            flags |= {"word": segmenter != "char", "segmenter": "auto" if segmenter == "char" else segmenter}
        return flags

    def check(self, args, unused):
        """Raises UserError if a flag contradicts the checkpoint, or if the training writes its file.

        `--pad_size` and `--long` may differ. unused: as in `check_init_flags`.
        """
        for name, value in self.flags.items():
            given = getattr(args, name)
            given = tuple(given) if isinstance(given, list) else given
            if given != value and name not in ("pad_size", "long"):
                raise UserError(f"--{name} {given} does not fit {self.path}, which has {value}: leave --{name} out")
        for name, default in unused.items():
            if getattr(args, name) != default:
                raise UserError(f"--{name} has no use with --init, which decides the weights: leave --{name} out")
        if Path(self.path).resolve() == Output(args.output or args.dataset, args.model).checkpoint.resolve():
            raise UserError(f"--init {self.path} is the file that this training writes; use --output DIR")

    def describe(self, dataset):
        """Prints what is new in a dataset, and the classes that the training loses."""
        before, now = self.saved.classes, dataset.classes
        new, lost = [name for name in now if name not in before], [name for name in before if name not in now]
        tokens = len(dataset.vocabulary) - len(self.saved.vocabulary)
        added = f"{len(new)} new classes" + (f" ({listing(new)})" if new else "")
        say(f"Training on {self.path}: {len(before) - len(lost)} of its classes, {added}, {tokens} new tokens")
        if lost:
            say(
                f"Warning: class.txt does not have {len(lost)} classes of {self.path} ({listing(lost)}): the new model "
                "will not know them. To keep them, add their names to class.txt"
            )

    def continued(self, model, config, dataset, batches):
        """A model of this `Config`, as trained so far, with the n-grams of the training split's Batches added.

        model: a new one, for the dataset's classes and tokens.
        """
        old, model = checkpoint.load(self.path, batches.device).model, model.to(batches.device)
        index = np.array([dataset.classes.index(c) if c in dataset.classes else -1 for c in self.saved.classes])
        if not config.n_grams_per_token:  # there may be too many classes for it
            copy_weights(model, old.model if isinstance(old, Evidence) else old, index)
            return model
        with torch.no_grad():
            model.classifier.weight.mul_(config.start)
        copy_weights(model, old.model, index)
        new = Evidence(model, config, self._counts(old, config, dataset, batches, index)).to(batches.device)
        with torch.no_grad():
            new.roots.copy_(old.roots)
            new.bias[index[index >= 0]] = old.bias[index >= 0]
        return new

    def _counts(self, old, config, dataset, batches, index):
        """The checkpoint's Counts and those of the rows that it has not counted."""
        before = dataset.batches("train", self.saved.config, batches.device)  # what it has read of each row
        known = counted(old, before, index, len(dataset.classes))
        if known.any():
            say(f"{known.sum()} of {len(known)} training rows are in the n-gram counts of {self.path} already")
        counter = Counter(len(dataset.classes), dataset.multi_label)
        counter.add_counts(Counts.unpacked(old.content), index)
        add_rows(counter, batches, np.flatnonzero(~known), config.evidence, config.words)
        return counter.finish(config.min_rows)
