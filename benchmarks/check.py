"""Measures what the check of a dataset finds, on a copy of the dataset with known defects.

    python -m benchmarks.check --dataset D --output DIR

In the copy, DIR/planted, 2 % of the training labels are changed; 200 test rows are added to train.txt as they are, and
200 with two characters changed. Prints how many of them the check finds, how many other rows it reports, what cleanlab
finds with the same probabilities (if installed), and the test accuracy of the linear models SVM and NBSVM before and
after `--fix`. If rows may have several labels, 2 % of the training rows have another set of labels, and the micro F1
takes the place of the accuracy.
"""

from cli.start import run_script

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from checking.check import check
from checking.cleaned import target_of
from checking.label_suspects import label_out_of_fold, label_suspects
from checking.splits import read_splits
from checking.suspects import features, out_of_fold, suspects
from cli.console import Parser, UserError, echo, reason
from cli.files import ROOT
from text.duplicates import near_duplicates
from text.kind import MULTI_LABEL, kind_file
from text.labelled import SPLITS
from text.rows import texts_of

CHANGED = 0.02  # share of the training labels
COPIES = 200  # test rows that are copied as they are, and as many with changed characters
FILTERS = ("confident_learning", "prune_by_noise_rate", "prune_by_class")  # of cleanlab
RANKS = (100, 200, 300, 400, 500, 900)


def plant(splits, directory, seed=1):
    """Writes the copy; returns what each row of its train.txt is: "", "label", "copy" or "changed copy"."""
    rng = np.random.default_rng(seed)
    texts, labels = texts_of(splits.texts), splits.labels
    rows = [np.flatnonzero(splits.split == number) for number in range(len(SPLITS))]
    characters = sorted(set("".join(texts[:5000])) - set(" \u3000"))
    wrong = set(rng.permutation(rows[0])[: int(CHANGED * len(rows[0]))].tolist())
    shift = rng.integers(1, len(splits.classes), len(labels))
    train = []
    for row in rows[0].tolist():
        label = (labels[row] + shift[row]) % len(splits.classes) if row in wrong else labels[row]
        train.append((texts[row], label, "label" if row in wrong else ""))
    long = [row for row in rows[2].tolist() if len(texts[row]) > 1]
    for number, row in enumerate(rng.permutation(long)[: 2 * COPIES].tolist()):
        text = list(texts[row])
        for place in rng.permutation(len(text))[:2] if number >= COPIES else ():
            text[place] = rng.choice([character for character in characters if character != text[place]])
        train.append(("".join(text), labels[row], "copy" if number < COPIES else "changed copy"))
    train = [train[i] for i in rng.permutation(len(train))]
    data = directory / "data"
    data.mkdir(parents=True)
    (data / "class.txt").write_text("".join(f"{name}\n" for name in splits.names), encoding="utf-8")
    if splits.members is not None:
        kind_file(data).write_text(json.dumps(MULTI_LABEL), encoding="utf-8")
    others = [[(texts[row], labels[row]) for row in part] for part in rows[1:]]
    for name, part in zip(SPLITS, ([row[:2] for row in train], *others), strict=True):
        content = "".join(f"{text}\t{splits.classes[label]}\n" for text, label in part)
        (data / f"{name}.txt").write_text(content, encoding="utf-8", newline="")
    return np.array([what for _, _, what in train])


def removed_from_train(fixed):
    """The lines of train.txt, from 0, that --fix removed because a split that is evaluated has them too."""
    lines = (fixed / "changes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    changes = [line.split("\t") for line in lines]
    return np.array(
        [int(line) - 1 for name, line, why, _ in changes if name == "train.txt" and "has it too" in why], int
    )


def report_copies(planted, removed):
    for what in ("copy", "changed copy"):
        found = np.isin(np.flatnonzero(planted == what), removed)
        echo(f"{what}: {found.sum()} of {len(found)} found, recall {found.mean():.3f}")
    others = int((~np.isin(planted[removed], ("copy", "changed copy"))).sum())
    echo(f"other rows of train.txt that are removed, since dev.txt or test.txt has them: {others}")


def report_labels(planted, splits):
    """Recall and precision of the suspects among the training rows, and those of cleanlab."""
    matrix, groups = features(splits.texts, len(splits.names)), near_duplicates(splits.texts).groups
    if splits.members is None:
        labels, package = splits.labels, "cleanlab.filter"
        probabilities = out_of_fold(matrix, labels, groups, len(splits.classes))
        found = suspects(labels, probabilities)
    else:
        has = splits.members.astype(bool)[splits.labels]
        labels, package = [np.flatnonzero(row).tolist() for row in has], "cleanlab.multilabel_classification.filter"
        probabilities = label_out_of_fold(matrix, has, groups)
        found = label_suspects(has, probabilities)
    report("check", found.rows, planted)
    if importlib.util.find_spec("cleanlab"):
        find_label_issues = importlib.import_module(package).find_label_issues
        for name in FILTERS:
            options = {"filter_by": name, "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
            report(f"cleanlab {name}", find_label_issues(labels, probabilities, **options), planted)


def report(name, rows, planted):
    hits = planted[rows[rows < len(planted)]] == "label"  # rows of train are the first ones
    total = int((planted == "label").sum())
    ranks = ", ".join(f"{hits[:rank].mean():.3f} of the first {rank}" for rank in RANKS if rank <= len(hits))
    echo(
        f"{name}: {len(hits)} rows of train.txt, {hits.sum()} of {total} changed labels, "
        f"recall {hits.sum() / total:.3f}, precision {hits.mean():.3f} ({ranks})"
    )


def accuracy(dataset, model, output):
    """The test accuracy of a model, in percent."""
    command = [sys.executable, ROOT / "run.py", "--model", model, "--dataset", dataset, "--output", output]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    found = re.search(r"Test (?:Acc|Micro F1): *([\d.]+)%", done.stdout)
    if not found:
        raise UserError(f"{model} on {dataset}: no accuracy; {reason(RuntimeError(done.stderr))}")
    return found[1]


def main():
    parser = Parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--output", type=Path, required=True, help="new directory to write to")
    args = parser.parse_args()
    if args.output.exists():
        raise UserError(f"--output {args.output} exists already; expected a new directory")
    directory = args.output / "planted"
    planted = plant(read_splits(args.dataset), directory)
    report_labels(planted, read_splits(directory))
    versions, target = {"dataset": args.dataset, "planted": directory}, target_of(directory)
    for name, fix in (("fix", True), ("fix_suspects", "suspects")):
        check(directory, fix=fix)
        versions[name] = target.rename(args.output / name)
    report_copies(planted, removed_from_train(versions["fix"]))
    for name, dataset in versions.items():
        found = ", ".join(f"{model} {accuracy(dataset, model, args.output / 'models')} %" for model in ("SVM", "NBSVM"))
        echo(f"{name}: test accuracy {found}")


if __name__ == "__main__":
    run_script(main)
