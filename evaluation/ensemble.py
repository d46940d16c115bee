"""Combines checkpoints into an ensemble: the weighted mean of their probabilities, chosen on the validation split.

    python -m evaluation.ensemble --members A.ckpt B.ckpt C.ckpt --dataset D --checkpoint D/saved_dict/ensemble.ckpt

Members may be networks, linear models and encoders, with different vocabularies. The choice is greedy, with
replacement: Caruana et al. 2004, https://doi.org/10.1145/1015330.1015432. Writes the checkpoint, which `predict.py`
takes, and `metrics.json` and `predictions.tsv` of the test split. With any number of labels a row the choice is made by
the macro F1, and each label has a temperature and a threshold for the mean of its probabilities.
"""

from cli.start import run_script

import time
from pathlib import Path

import numpy as np
import torch

from cli.console import Parser, UserError, echo, listing, say
from cli.device_flags import add_device_flags
from cli.files import digest_of, peak_memory
from cli.installation import versions
from engine import checkpoint
from engine.calibration import calibrate_mean
from engine.device import pick_device, precision
from engine.label_calibration import best_thresholds
from engine.losses import tally_class
from engine.predictor import Predict
from text.kind import check_kind
from text.labelled import read_classes, read_split

FIRST = 5  # members to start from, at most
STEPS = 50  # additions that are tried
LEAST = 1e-12  # probability of a label, so that its logarithm is finite


def select(probabilities, labels):
    """The weight of each member in the mean of probabilities with the best `score`, (M,); their sum is 1.

    Starts from the best few members, as many as are best together, and adds the member with which the score is the
    best, again and again. The best of all these means is taken.
    probabilities: (M, N, C); labels: (N,), or (N, C) of 0 and 1.
    """

    def score_of(state):
        """A state is the counts of the members, and the sums of their probabilities."""
        counts, total = state
        return score(total / int(counts.sum()), labels)  # stays float32

    def add(state, member):
        counts, total = state
        return counts + (np.arange(len(probabilities)) == member), total + probabilities[member]

    empty = np.zeros(len(probabilities), np.int64), np.zeros_like(probabilities[0])
    members = range(len(probabilities))
    order = sorted(members, key=lambda member: score_of(add(empty, member)), reverse=True)
    state = best = add(empty, order[0])
    for member in order[1:FIRST]:
        state = add(state, member)
        best = max(best, state, key=score_of)
    state = best
    for _ in range(STEPS):
        state = max((add(state, member) for member in members), key=score_of)
        best = max(best, state, key=score_of)
    return best[0] / best[0].sum()


def score(mean, labels):
    """By what a mean of probabilities, (N, C), is chosen: the accuracy, and of equal ones the log likelihood.

    With labels of shape (N, C), the macro F1 at the best threshold of each label takes the place of the accuracy.
    """
    if labels.ndim == 1:
        accuracy = (mean.argmax(axis=1) == labels).mean()
        return accuracy, np.log(np.maximum(mean[np.arange(len(labels)), labels], LEAST)).mean()
    _, f1 = best_thresholds(torch.from_numpy(mean), torch.from_numpy(labels).long())
    return f1.mean().item(), np.log(np.maximum(np.where(labels, mean, 1 - mean), LEAST)).mean()


def probabilities_of(files, texts, classes, data, device, amp):
    """What each checkpoint predicts for the texts, (M, N, C) float32, and its Hierarchy of the classes.

    data: the directory of the dataset's files. Raises UserError with the checkpoints that have other classes, or that
    predict another number of labels.
    """
    found, hierarchies, others, names = [], [], [], data / "class.txt"
    for file in files:
        predictor = Predict(checkpoint=file, device=device, amp=amp)
        if predictor.saved.name == checkpoint.ENSEMBLE:
            raise UserError(f"{file} is an ensemble already; expected the checkpoint of a single model")
        check_kind(file, predictor.saved.multi_label, data)
        if predictor.classes != classes:
            others.append(f"{file} ({listing(predictor.classes, 3)})")
        elif not others:
            found.append(predictor.predict_proba(texts))
            hierarchies.append(predictor.hierarchy)
    if others:
        raise UserError(f"members with other classes than {names} ({listing(classes, 3)}): {'; '.join(others)}")
    return np.stack(found), hierarchies


def choose(args, classes):
    """Chooses the members on the validation split and writes the checkpoint; returns what metrics.json has of it."""
    files, (texts, labels) = list(dict.fromkeys(args.members)), read_split(args.dataset, "dev")
    start = time.monotonic()
    where = (args.dataset / "data", args.device, args.amp)
    probabilities, hierarchies = probabilities_of(files, texts, classes, *where)
    weights = select(probabilities, labels)
    seconds = time.monotonic() - start
    shares = {file: float(weight) for file, weight in zip(files, weights, strict=True) if weight}
    mean, tally = np.tensordot(weights.astype(np.float32), probabilities, 1), tally_class(labels.ndim == 2)
    best = float(score(mean, labels)[0])
    metrics = {f"dev_{tally.measure}": best}
    hierarchy = min((hierarchies[i] for i in np.flatnonzero(weights)), key=lambda own: own.num_levels)  # flat if one is
    calibration = calibrate_mean(mean, labels, hierarchy)
    checkpoint.save_ensemble(args.checkpoint, shares, shares.values(), classes, metrics, calibration)
    for file, share in shares.items():
        echo(f"{share:.2f}  {file}")
    echo(f"Val {tally.shown}: {best:>6.2%}")
    fingerprint = {"members": {str(file): digest_of(file)[:16] for file in files}}
    return metrics | {"fingerprint": fingerprint, "shares": shares, "train_seconds": seconds}


def main():
    parser = Parser(__doc__)
    parser.add_argument("--members", nargs="+", required=True, metavar="CHECKPOINT", help="checkpoints to choose from")
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--output", type=Path, help="directory for the report (log/ensemble in the dataset's)")
    add_device_flags(parser)
    args = parser.parse_args()
    device, output = pick_device(args.device), args.output or args.dataset / "log" / "ensemble"
    classes = read_classes(args.dataset / "data" / "class.txt")
    metrics = {"model": checkpoint.ENSEMBLE, "device": str(device), "classes": classes} | choose(args, classes)
    metrics["fingerprint"]["amp"] = precision(args.amp, device)

    from evaluation import multi_label, report, single_label  # scikit-learn and matplotlib, which take memory

    texts, labels = read_split(args.dataset, "test")
    predictor = Predict(checkpoint=args.checkpoint, device=args.device, amp=args.amp)
    calibration, probabilities = predictor.saved.calibration, predictor.predict_proba(texts)
    found = (multi_label if labels.ndim == 2 else single_label).Found(labels, predictor.hierarchy, calibration)
    row_ids = np.flatnonzero(probabilities.any(axis=1))
    found.add(row_ids, calibration.logits(probabilities[row_ids]))
    results, text = found.results
    echo(found.headline(results.get("accuracy")))
    echo(text)
    metrics |= {"test": results, "calibration": found.reliability(), "train_rows": len(labels)}
    metrics |= {"versions": versions(*checkpoint.PACKAGES), "peak_memory_mb": peak_memory()}
    found.write(output, texts)
    report.write_metrics(output, metrics)
    say(f"Ensemble: {args.checkpoint}; metrics and predictions: {output}")


if __name__ == "__main__":
    run_script(main)
