"""Baselines to compare with: a linear SVM, and fastText's own program. Trained, tested and timed.

    python -m evaluation.baselines --baseline svm --dataset D          # TF-IDF of characters, bigrams (scikit-learn)
    python -m evaluation.baselines --baseline fasttext-2 --dataset D   # bigrams too: pip install fasttext==0.9.3
    python -m evaluation.baselines --baseline fasttext-3 --dataset D   # trigrams too, and more epochs

Writes the model, `metrics.json` and `predictions.tsv`. Training time is that from texts in memory to a trained model,
features included. The same seed gives the same SVM, but the same fastText only with a single thread
(OMP_NUM_THREADS=1): several threads write to the same weights without synchronisation.

With any number of labels a row, each label has a classifier of its own, one against the rest (fastText's loss `ova`),
and a threshold on its score, chosen on the validation split for the highest F1.
"""

from cli.start import run_script

import importlib.util
import os
import pickle
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from cli.console import Parser, UserError, echo, number, say
from cli.files import peak_memory, replacing
from cli.installation import versions
from evaluation.timing import measure  # no torch until the memory is measured, so that it is the baseline's own
from text.kind import is_multi_label
from text.labelled import read_classes, read_split

BASELINES = {"svm": ("svm",), "fasttext": ("fasttext-2", "fasttext-3")}  # the rows of each in a leaderboard
PARAMETERS = {
    "svm": {"ngram_range": (1, 2), "sublinear_tf": True, "C": 0.5},
    "fasttext-2": {"wordNgrams": 2, "epoch": 10, "lr": 0.5, "dim": 100, "bucket": 200_000},
    "fasttext-3": {"wordNgrams": 3, "epoch": 25, "lr": 0.3, "dim": 100, "bucket": 500_000},
}
PACKAGES = {"svm": ("sklearn", "scikit-learn"), "fasttext": ("fasttext", "fasttext")}  # to import, to install


class SVM:
    """A linear support vector machine on TF-IDF of characters and bigrams."""

    epochs = 1

    def __init__(self, seed, ngram_range, sublinear_tf, C):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.svm import LinearSVC

        self.features = TfidfVectorizer(analyzer="char", ngram_range=ngram_range, sublinear_tf=sublinear_tf)
        self.model = LinearSVC(C=C, random_state=seed)

    def fit(self, texts, labels):
        """Trains it. labels: class indices, (N,), or, (N, C) of 0 and 1, any number of labels a row."""
        from sklearn.multiclass import OneVsRestClassifier

        features = self.features.fit_transform(texts)
        if labels.ndim == 2:
            self.model, self.present = OneVsRestClassifier(self.model), labels.any(axis=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a label that all rows have, or none
            self.model.fit(features, labels)

    def predict(self, texts):
        """The class's index of each text, (N,)."""
        return self.model.predict(self.features.transform(texts))

    def scores(self, texts):
        """The score of each label, (N, C), from 0 to 1: the logistic function of its decision value."""
        from scipy.special import expit

        return expit(self.model.decision_function(self.features.transform(texts))) * self.present

    def count_parameters(self):
        models = [model for model in getattr(self.model, "estimators_", [self.model]) if hasattr(model, "coef_")]
        return sum(model.coef_.size + model.intercept_.size for model in models)

    def save(self, path):
        with replacing(path) as file:
            pickle.dump((self.features, self.model), file)


class FastText:
    """The program of Joulin et al. 2017, with characters as words.

    With the loss `ova` it leaves out training rows without a label.
    """

    def __init__(self, seed, epoch, **parameters):
        from fasttext import train_supervised

        self.train, self.epochs = train_supervised, epoch
        self.options = parameters | {"epoch": epoch, "seed": seed, "thread": threads(), "verbose": 0}

    def fit(self, texts, labels):
        """Trains it. labels: class indices, (N,), or, (N, C) of 0 and 1, any number of labels a row."""
        ids = labels[:, None]
        if labels.ndim == 2:
            self.num_classes, ids = labels.shape[1], map(np.flatnonzero, labels)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "train.txt"
            with open(path, "w", encoding="utf-8", newline="\n", errors="replace") as file:
                for own, text in zip(ids, self._spaced(texts), strict=True):
                    file.write(" ".join((*(f"__label__{label}" for label in own), text)) + "\n")
            self.model = self.train(str(path), **self.options)

    def predict(self, texts):
        """The class's index of each text, (N,)."""
        labels, _ = self.model.predict(self._spaced(texts))  # with a text that is not in a list numpy 2 fails
        return np.array([_index(names[0]) for names in labels])

    def scores(self, texts):
        """The probability of each label, (N, C); 0 for one without training rows."""
        found = np.zeros((len(texts), self.num_classes), np.float32)
        for row, names, values in zip(found, *self.model.predict(self._spaced(texts), k=-1), strict=True):
            row[[_index(name) for name in names]] = np.clip(values, 0, 1)  # the program adds 0.00001
        return found

    def _spaced(self, texts):
        return [" ".join(text.replace(" ", "▁")) for text in texts]

    def count_parameters(self):
        return self.model.get_input_matrix().size + self.model.get_output_matrix().size

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.model.save_model(str(path))


def _index(name):
    """The class's index in fastText's name of it."""
    return int(name.removeprefix("__label__"))


def parameters_of(name, multi_label):
    """The parameters of a baseline in a leaderboard's row, for one label a row or any number of them."""
    return PARAMETERS[name] | ({"loss": "ova"} if multi_label and name in BASELINES["fasttext"] else {})


def missing(baseline):
    """Why a baseline in `BASELINES` cannot run, or None."""
    module, package = PACKAGES[baseline]
    if importlib.util.find_spec(module) is None:
        return f"the package {package} is not installed (pip install {package})"
    return None


def cores():
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads():
    """The number of threads that torch would use."""
    return int(os.environ.get("OMP_NUM_THREADS") or cores())


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("--baseline", choices=PARAMETERS, required=True, help="baseline to train")
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--seed", type=number(int, 0), default=1, help="seed of the order of rows and of weights")
    parser.add_argument("--output", type=Path, help="directory to write to (log/BASELINE in the dataset's)")
    return parser.parse_args()


def check_labels(path, labels, family):
    """Raises UserError if a baseline cannot be trained on these labels of the file at `path`."""
    if labels.ndim == 2 and not labels.any():
        raise UserError(f"{path} has no row with a label, a baseline needs one or more")
    if labels.ndim == 1 and family == "svm" and len(np.unique(labels)) < 2:
        raise UserError(f"{path} has rows of one class, an SVM needs two or more")


def test(dataset, baseline, found, texts, labels, classes, output):
    """Prints the report of a test and writes the predictions; returns what metrics.json has of them.

    found: the predicted class of each text, (N,), or the score of each label, (N, C).
    """
    from evaluation import report  # only now, since it takes memory; torch, below, too

    if labels.ndim == 1:
        results, text = report.test_results(labels, found, classes)
        echo(f"Test Acc: {results['accuracy']:>6.2%}")
        echo(text)
        report.write_predictions(output, texts, labels, found, classes)
        return {"test": results}

    from evaluation import multi_label

    thresholds = choose_thresholds(baseline, *read_split(dataset, "dev"))
    predicted = found >= thresholds
    results, text = multi_label.test_results(labels, predicted, found, classes)
    echo(multi_label.headline(results))
    echo(text)
    multi_label.write_predictions(output / "predictions.tsv", texts, labels, predicted, classes)
    return {"test": results, "thresholds": thresholds.tolist()}


def choose_thresholds(baseline, texts, labels):
    """The threshold of each label's score with the highest F1 on the validation split, (C,), as for a checkpoint."""
    import torch

    from engine.label_calibration import USUAL, best_thresholds

    scores = baseline.scores(texts)
    best, _ = best_thresholds(torch.from_numpy(scores), torch.from_numpy(labels).long())
    decidable = labels.any(axis=0) & scores.any(axis=0)  # all scores of a label without training rows are 0
    return np.where(decidable, best.numpy(), USUAL)


def main():
    args = parse_args()
    name = args.baseline
    family = next(family for family, rows in BASELINES.items() if name in rows)
    if why := missing(family):
        raise UserError(f"{name}: {why}")
    output = args.output or args.dataset / "log" / name
    multi_label = is_multi_label(args.dataset / "data")
    parameters = parameters_of(name, multi_label)
    classes = read_classes(args.dataset / "data" / "class.txt")
    texts, labels = read_split(args.dataset, "train")
    check_labels(args.dataset / "data" / "train.txt", labels, family)
    test_texts, test_labels = read_split(args.dataset, "test")
    baseline = {"svm": SVM, "fasttext": FastText}[family](args.seed, **parameters)
    start = time.perf_counter()
    baseline.fit(texts, labels)
    seconds = time.perf_counter() - start
    answer = baseline.scores if multi_label else baseline.predict
    found = answer(test_texts)
    peak = peak_memory()
    path = output / f"{name}.{'pkl' if family == 'svm' else 'bin'}"
    baseline.save(path)
    speed = measure(answer, lambda text: answer([text]), test_texts)
    speed |= {
        "parameters": baseline.count_parameters(),
        "bytes": path.stat().st_size,
        "device": f"cpu ({threads()} threads)",
    }
    metrics = {"model": name, "device": "cpu", "fingerprint": parameters | {"seed": args.seed}, "classes": classes}
    metrics |= {"versions": versions("numpy", PACKAGES[family][1]), "speed": speed, "train_seconds": seconds}
    metrics |= {"train_rows": baseline.epochs * len(texts), "peak_memory_mb": peak}
    metrics |= test(args.dataset, baseline, found, test_texts, test_labels, classes, output)

    from evaluation.report import write_metrics

    write_metrics(output, metrics)
    say(f"Model: {path}; metrics and predictions: {output}")


if __name__ == "__main__":
    run_script(main)
