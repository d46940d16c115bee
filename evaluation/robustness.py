"""How robust trained models are: their test accuracy after changes of the texts that leave the classes as they are.

    python -m evaluation.robustness --checkpoints A.ckpt B.ckpt --dataset D
    python -m evaluation.robustness --checkpoints A.ckpt B.ckpt --names before after --dataset D --strengths 0.1 0.3

Checkpoints may be of networks, linear models, encoders and ensembles. The changes are those of `text.perturbations`.
Writes `robustness.md`, `.json`, `.tsv` and `.png`, and `robustness_classes.png`, the loss of each class. A checkpoint
that is in the .json already is not measured again. With any number of labels a row, the micro F1 takes the place of
the accuracy, and the F1 of a label that of a class's accuracy.
"""

from cli.start import run_script

import functools
import itertools
from collections import Counter
from pathlib import Path

import numpy as np

from cli.console import Parser, UserError, bar, listing, number, say
from cli.device_flags import add_device_flags
from cli.files import digest_of
from engine.predictor import Predict
from text.files import read_json
from text.kind import check_kind
from text.labelled import read_classes, read_split
from text.perturbations import FORMAT, STRENGTHS, available, perturb
from text.rows import sample_of

ROWS = 5000  # of the test split, at most


class Perturbed:
    """Texts, as they are and after each perturbation of each strength, and their labels, (N,), or (N, C) of 0 and 1."""

    def __init__(self, texts, labels, num_classes, names, strengths):
        self.texts, self.labels, self.num_classes = np.array(texts, object), labels, num_classes
        self.names, self.strengths = names, strengths

    @functools.cached_property
    def versions(self):
        """The texts after each perturbation, (N,), by name and strength."""
        names = itertools.product(self.names, self.strengths)
        return {version: np.array(perturb(self.texts, *version), object) for version in names}

    def results(self, predictor, title):
        """What a model reaches, as data: `clean`, and `perturbed` by name and strength. title: of the bar."""
        clean, perturbed = self._predict(predictor, self.texts), {name: {} for name in self.names}
        for (name, strength), texts in bar(self.versions.items(), desc=title, unit="version"):
            predicted, differs = clean.copy(), texts != self.texts
            if differs.any():
                predicted[differs] = self._predict(predictor, texts[differs])
            result = {"changed": float(differs.mean())} | score(self.labels, predicted, self.num_classes)
            perturbed[name][str(strength)] = result
        return {"clean": score(self.labels, clean, self.num_classes), "perturbed": perturbed}

    def _predict(self, predictor, texts):
        probabilities = predictor.predict_proba(texts)
        return predictor.predicted(probabilities) if self.labels.ndim == 2 else probabilities.argmax(axis=1)


def score(labels, predicted, num_classes):
    """The measures of predicted labels, as data; `by_class` is the share of a class's rows that are right, or its F1.

    It is None for a class without rows. labels, predicted: (N,), or (N, C) of 0 and 1.
    """
    from sklearn.metrics import f1_score  # takes a second to import

    ids = range(num_classes)
    f1 = f1_score(labels, predicted, average=None, labels=ids, zero_division=0)
    if labels.ndim == 2:
        own, by_class = labels.sum(axis=0), f1
        first = {"micro_f1": float(f1_score(labels, predicted, average="micro", zero_division=0))}
    else:
        own = np.bincount(labels, minlength=num_classes)
        by_class = np.bincount(labels[labels == predicted], minlength=num_classes) / np.maximum(own, 1)
        first = {"accuracy": float((labels == predicted).mean())}
    by_class = [float(value) if count else None for value, count in zip(by_class, own, strict=True)]
    return first | {"macro_f1": float(f1.mean()), "by_class": by_class}


def load(path, classes, data, args):
    """The Predict of a checkpoint. Raises UserError if it has other classes than the dataset."""
    predictor = Predict(checkpoint=path, device=args.device, amp=args.amp)
    check_kind(path, predictor.saved.multi_label, data)
    if predictor.classes != classes:
        raise UserError(
            f"{path} has other classes ({listing(predictor.classes, 3)}) than {data / 'class.txt'} "
            f"({listing(classes, 3)}); use a checkpoint that was trained on this dataset"
        )
    return predictor


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("--checkpoints", nargs="+", required=True, metavar="CHECKPOINT", help="models to measure")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="their names (those of the files)")
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset whose test split is used")
    strength = number(float, 0, 1, open_low=True)
    parser.add_argument(
        "--strengths", nargs="+", type=strength, default=STRENGTHS, help="shares of the characters that are changed"
    )
    parser.add_argument("--rows", type=number(int, 1), default=ROWS, help="test rows at most, drawn at random")
    parser.add_argument("--output", type=Path, help="directory to write to (log/robustness in the dataset's)")
    add_device_flags(parser)
    args = parser.parse_args()
    stems = [Path(path).stem for path in args.checkpoints]
    args.names = args.names or (stems if len(set(stems)) == len(stems) else args.checkpoints)
    if len(args.names) != len(args.checkpoints):
        parser.error(f"--names: {len(args.names)} names for {len(args.checkpoints)} checkpoints")
    if twice := [name for name, count in Counter(args.names).items() if count > 1]:
        parser.error(f"--names: {twice[0]} is given twice")
    return args


def measured_before(path, about, digests):
    """The results of checkpoints in the file at `path` by name, if they have these digests and the rest is `about`."""
    found = read_json(path) if path.exists() else {}
    same = all(found.get(key) == value for key, value in about.items())
    models = found["models"] if same else {}
    return {name: model for name, model in models.items() if model["checkpoint"] == digests.get(name)}


def main():
    args = parse_args()
    data, output = args.dataset / "data", args.output or args.dataset / "log" / "robustness"
    classes, (texts, labels) = read_classes(data / "class.txt"), read_split(args.dataset, "test")
    row_ids, strengths = sample_of(np.arange(len(texts)), args.rows), sorted(set(args.strengths))
    about = {"format": FORMAT, "dataset": args.dataset.resolve().name, "digest": digest_of(data / "test.txt")[:16]}
    about |= {"rows": len(row_ids), "classes": classes, "perturbations": available(), "strengths": strengths}
    about |= {"measure": "micro_f1" if labels.ndim == 2 else "accuracy"}
    files = dict(zip(args.names, args.checkpoints, strict=True))
    digests = {name: digest_of(file)[:16] for name, file in files.items()}
    found = about | {"models": measured_before(output / "robustness.json", about, digests)}
    texts = [texts[i] for i in row_ids]
    perturbed = Perturbed(texts, labels[row_ids], len(classes), about["perturbations"], strengths)

    from evaluation import robustness_report  # matplotlib, which takes a second to import

    for name, file in files.items():
        if name in found["models"]:
            say(f"{name} (measured before)")
            continue
        results = perturbed.results(load(file, classes, data, args), name)
        found["models"][name] = {"checkpoint": digests[name]} | results
        robustness_report.write_json(output, found)
    found["models"] = {name: found["models"][name] for name in files}
    robustness_report.write(output, found)
    robustness_report.show(output, found)


if __name__ == "__main__":
    run_script(main)
