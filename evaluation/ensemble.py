"""Combines checkpoints into an ensemble: the weighted mean of their probabilities, chosen on the validation split.

    python -m evaluation.ensemble --members A.ckpt B.ckpt C.ckpt --dataset D --checkpoint D/saved_dict/ensemble.ckpt

Members may be networks, linear models and encoders, with different vocabularies. The choice is greedy, with
replacement: Caruana et al. 2004, https://doi.org/10.1145/1015330.1015432. Writes the checkpoint, which `predict.py`
takes, and `metrics.json` and `predictions.tsv` of the test split.
"""

from cli.start import run_script

import time
from pathlib import Path

import numpy as np

from cli.console import Parser, UserError, echo, listing, say
from cli.files import digest_of, peak_memory
from cli.installation import versions
from text.labelled import read_classes, read_split

FIRST = 5  # members to start from, at most
STEPS = 50  # additions that are tried


def select(probabilities, labels):
    """The weight of each member in the mean of probabilities that is the most accurate, (M,); their sum is 1.

    Starts from the best few members, as many as are best together, and adds the member with which the accuracy is the
    highest, and of equal ones the log loss the lowest, again and again. The best of all these means is taken.
    probabilities: (M, N, C); labels: (N,).
    """
    of_labels = probabilities[:, np.arange(len(labels)), labels]  # (M, N)

    def score(counts, total, of_label):
        accuracy = (total.argmax(axis=1) == labels).mean()
        return accuracy, np.log(np.maximum(of_label / counts.sum(), 1e-12)).mean()

    def add(state, member):
        """A state is the counts of the members, and the sums of probabilities of all classes and of the labels'."""
        counts, total, of_label = state
        one = np.arange(len(probabilities)) == member
        return counts + one, total + probabilities[member], of_label + of_labels[member]

    empty = np.zeros(len(probabilities), np.int64), np.zeros_like(probabilities[0]), np.zeros_like(of_labels[0])
    members = range(len(probabilities))
    order = sorted(members, key=lambda member: score(*add(empty, member)), reverse=True)
    state = best = add(empty, order[0])
    for member in order[1:FIRST]:
        state = add(state, member)
        best = max(best, state, key=lambda found: score(*found))
    state = best
    for _ in range(STEPS):
        state = max((add(state, member) for member in members), key=lambda found: score(*found))
        best = max(best, state, key=lambda found: score(*found))
    return best[0] / best[0].sum()


def probabilities_of(files, texts, classes, where, device, amp):
    """What each checkpoint predicts for the texts, (M, N, C) float32. where: the file that names the classes.

    Raises UserError with the checkpoints that have other classes.
    """
    from engine.predictor import Predict

    found, others = [], []
    for file in files:
        predictor = Predict(checkpoint=file, device=device, amp=amp)
        if len(predictor.saved.members) > 1:
            raise UserError(f"{file} is an ensemble already; expected the checkpoint of a single model")
        if predictor.classes != classes:
            others.append(f"{file} ({listing(predictor.classes, 3)})")
        elif not others:
            found.append(predictor.predict_proba(texts))
    if others:
        raise UserError(f"members with other classes than {where} ({listing(classes, 3)}): {'; '.join(others)}")
    return np.stack(found)


def main():
    from engine import checkpoint
    from engine.device import add_device_flags, pick_device, precision
    from engine.predictor import Predict

    parser = Parser(__doc__)
    parser.add_argument("--members", nargs="+", required=True, metavar="CHECKPOINT", help="checkpoints to choose from")
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--output", type=Path, help="directory for the report (log/ensemble in the dataset's)")
    add_device_flags(parser)
    args = parser.parse_args()
    files = list(dict.fromkeys(args.members))
    device, output = pick_device(args.device), args.output or args.dataset / "log" / "ensemble"
    names = args.dataset / "data" / "class.txt"
    classes, (texts, labels) = read_classes(names), read_split(args.dataset, "dev")
    start = time.monotonic()
    probabilities = probabilities_of(files, texts, classes, names, args.device, args.amp)
    weights = select(probabilities, labels)
    seconds = time.monotonic() - start
    shares = {file: float(weight) for file, weight in zip(files, weights, strict=True) if weight}
    accuracy = float((np.tensordot(weights, probabilities, 1).argmax(axis=1) == labels).mean())
    checkpoint.save_ensemble(args.checkpoint, shares, shares.values(), classes, {"dev_accuracy": accuracy})
    for file, share in shares.items():
        echo(f"{share:.2f}  {file}")
    echo(f"Val Acc: {accuracy:>6.2%}")

    from evaluation import report  # scikit-learn and matplotlib, which take memory

    texts, labels = read_split(args.dataset, "test")
    predicted = Predict(checkpoint=args.checkpoint, device=args.device, amp=args.amp).predict_proba(texts)
    results, text = report.test_results(labels, predicted.argmax(axis=1), classes)
    echo(f"Test Acc: {results['accuracy']:>6.2%}")
    echo(text)
    digests = {str(file): digest_of(file)[:16] for file in files}
    fingerprint = {"members": digests, "amp": precision(args.amp, device)}
    metrics = {"model": checkpoint.ENSEMBLE, "device": str(device), "fingerprint": fingerprint, "classes": classes}
    metrics |= {"shares": shares, "dev_accuracy": accuracy, "test": results, "train_seconds": seconds}
    metrics |= {"versions": versions(*checkpoint.PACKAGES), "peak_memory_mb": peak_memory(), "train_rows": len(labels)}
    report.write_predictions(output, texts, labels, predicted.argmax(axis=1), classes, predicted.max(axis=1))
    report.write_metrics(output, metrics)
    say(f"Ensemble: {args.checkpoint}; metrics and predictions: {output}")


if __name__ == "__main__":
    run_script(main)
