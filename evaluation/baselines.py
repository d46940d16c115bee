"""Baselines to compare with: a linear SVM, and fastText's own program. Trained, tested and timed.

    python -m evaluation.baselines --baseline svm --dataset D          # TF-IDF of characters, bigrams (scikit-learn)
    python -m evaluation.baselines --baseline fasttext-2 --dataset D   # bigrams too: pip install fasttext==0.9.3
    python -m evaluation.baselines --baseline fasttext-3 --dataset D   # trigrams too, and more epochs

Writes the model, `metrics.json` and `predictions.tsv`. Training time is that from texts in memory to a trained model,
features included. The same seed gives the same SVM, but the same fastText only with a single thread
(OMP_NUM_THREADS=1): several threads write to the same weights without synchronisation.
"""

from cli.start import run_script

import importlib.util
import os
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np

from cli.console import Parser, UserError, echo, number, say
from cli.files import peak_memory, replacing
from cli.installation import versions
from evaluation.timing import measure  # no torch in this process, so that its memory is the baseline's own
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
        self.model.fit(self.features.fit_transform(texts), labels)

    def predict(self, texts):
        """The class's index of each text, (N,)."""
        return self.model.predict(self.features.transform(texts))

    def count_parameters(self):
        return self.model.coef_.size + self.model.intercept_.size

    def save(self, path):
        with replacing(path) as file:
            pickle.dump((self.features, self.model), file)


class FastText:
    """The program of Joulin et al. 2017, with characters as words."""

    def __init__(self, seed, epoch, **parameters):
        from fasttext import train_supervised

        self.train, self.epochs = train_supervised, epoch
        self.options = parameters | {"epoch": epoch, "seed": seed, "thread": threads(), "verbose": 0}

    def fit(self, texts, labels):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "train.txt"
            with open(path, "w", encoding="utf-8", newline="\n", errors="replace") as file:
                rows = zip(labels, self._spaced(texts), strict=True)
                file.writelines(f"__label__{label} {text}\n" for label, text in rows)
            self.model = self.train(str(path), **self.options)

    def predict(self, texts):
        """The class's index of each text, (N,)."""
        labels, _ = self.model.predict(self._spaced(texts))  # with a text that is not in a list numpy 2 fails
        return np.array([int(label[0].removeprefix("__label__")) for label in labels])

    def _spaced(self, texts):
        return [" ".join(text.replace(" ", "▁")) for text in texts]

    def count_parameters(self):
        return self.model.get_input_matrix().size + self.model.get_output_matrix().size

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.model.save_model(str(path))


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


def main():
    args = parse_args()
    name = args.baseline
    family = next(family for family, rows in BASELINES.items() if name in rows)
    if why := missing(family):
        raise UserError(f"{name}: {why}")
    output = args.output or args.dataset / "log" / name
    parameters = PARAMETERS[name]
    classes = read_classes(args.dataset / "data" / "class.txt")
    texts, labels = read_split(args.dataset, "train")
    test_texts, test_labels = read_split(args.dataset, "test")
    if family == "svm" and len(np.unique(labels)) < 2:
        raise UserError(f"{args.dataset / 'data' / 'train.txt'} has rows of one class, an SVM needs two or more")
    baseline = {"svm": SVM, "fasttext": FastText}[family](args.seed, **parameters)
    start = time.perf_counter()
    baseline.fit(texts, labels)
    seconds = time.perf_counter() - start
    predicted = baseline.predict(test_texts)
    peak = peak_memory()

    from evaluation import report  # only now, since it takes memory

    results, text = report.test_results(test_labels, predicted, classes)
    echo(f"Test Acc: {results['accuracy']:>6.2%}")
    echo(text)
    path = output / f"{name}.{'pkl' if family == 'svm' else 'bin'}"
    baseline.save(path)
    speed = measure(baseline.predict, lambda text: baseline.predict([text]), test_texts)
    speed |= {
        "parameters": baseline.count_parameters(),
        "bytes": path.stat().st_size,
        "device": f"cpu ({threads()} threads)",
    }
    metrics = {"model": name, "device": "cpu", "fingerprint": parameters | {"seed": args.seed}, "classes": classes}
    metrics |= {"versions": versions("numpy", PACKAGES[family][1]), "test": results, "speed": speed}
    metrics |= {"train_seconds": seconds, "train_rows": baseline.epochs * len(texts), "peak_memory_mb": peak}
    report.write_predictions(output, test_texts, test_labels, predicted, classes)
    report.write_metrics(output, metrics)
    say(f"Model: {path}; metrics and predictions: {output}")


if __name__ == "__main__":
    run_script(main)
