"""What one would take in place of a network: a linear SVM, and fastText's own program. Trained, tested and timed.

    python -m evaluation.baselines --peer svm --dataset D          # TF-IDF of characters, bigrams (scikit-learn)
    python -m evaluation.baselines --peer fasttext-2 --dataset D   # bigrams too: pip install fasttext==0.9.3
    python -m evaluation.baselines --peer fasttext-3 --dataset D   # trigrams too, and more epochs

Writes the model, `metrics.json` and `predictions.tsv` (the test rows in their file's order). Training time is that
from texts in memory to a trained model, features included. The same seed gives the same SVM, but the same fastText
only with a single thread (OMP_NUM_THREADS=1): several write to the same weights without waiting for each other.
"""

import importlib.metadata
import importlib.util
import os
import pickle
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from cli.console import Parser, UserError, echo, number, one_line, run_script, say
from cli.files import peak_memory, replacing
from evaluation.timing import measure
from text.labelled import read_classes, read_split

PEERS = {"svm": ("svm",), "fasttext": ("fasttext-2", "fasttext-3")}  # each one's rows in a leaderboard
SETTINGS = {
    "svm": {"ngram_range": (1, 2), "sublinear_tf": True, "C": 0.5},
    "fasttext-2": {"wordNgrams": 2, "epoch": 10, "lr": 0.5, "dim": 100, "bucket": 200_000},
    "fasttext-3": {"wordNgrams": 3, "epoch": 25, "lr": 0.3, "dim": 100, "bucket": 500_000},
}
PACKAGES = {"svm": ("sklearn", "scikit-learn"), "fasttext": ("fasttext", "fasttext")}  # to import, to install


class SVM:
    """TF-IDF of characters and bigrams, and a linear support vector machine on them."""

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

    def parameters(self):
        return self.model.coef_.size + self.model.intercept_.size

    def save(self, path):
        with replacing(path) as file:
            pickle.dump((self.features, self.model), file)


class FastText:
    """The program of Joulin et al. 2017, given characters for words."""

    def __init__(self, seed, **settings):
        from fasttext import train_supervised

        self.train = train_supervised
        self.settings, self.epochs = settings | {"seed": seed, "thread": threads(), "verbose": 0}, settings["epoch"]

    def fit(self, texts, labels):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "train.txt"
            with open(path, "w", encoding="utf-8", newline="\n", errors="replace") as file:
                rows = zip(labels, self._spaced(texts), strict=True)
                file.writelines(f"__label__{label} {text}\n" for label, text in rows)
            self.model = self.train(str(path), **self.settings)

    def predict(self, texts):
        """The class's index of each text, (N,)."""
        labels, _ = self.model.predict(self._spaced(texts))  # of one text, not in a list, numpy 2 breaks it
        return np.array([int(label[0].removeprefix("__label__")) for label in labels])

    def _spaced(self, texts):
        return [" ".join(text.replace(" ", "▁")) for text in texts]

    def parameters(self):
        return self.model.get_input_matrix().size + self.model.get_output_matrix().size

    def save(self, path):
        self.model.save_model(str(path))


def missing(peer):
    """Why a peer in PEERS cannot run here, or None."""
    module, package = PACKAGES[peer]
    if importlib.util.find_spec(module) is None:
        return f"the package {package} is not installed (pip install {package})"
    return None


def cores():
    """As many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads():
    """As many as torch would take."""
    return int(os.environ.get("OMP_NUM_THREADS") or cores())


def write_predictions(path, texts, labels, predicted, classes):
    with replacing(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        file.write("text\tlabel\tpredicted\n")
        for text, label, index in zip(texts, labels, predicted, strict=True):
            file.write(f"{one_line(text)}\t{classes[label]}\t{classes[index]}\n")


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("--peer", choices=SETTINGS, required=True, help="what is trained")
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--seed", type=number(int, 0, 2**31 - 1), default=1, help="of the order of rows and of weights")
    parser.add_argument("--output", type=Path, help="directory to write to (log/PEER in the dataset's)")
    return parser.parse_args()


def main():
    args = parse_args()
    family = next(name for name, rows in PEERS.items() if args.peer in rows)
    if reason := missing(family):
        raise UserError(f"{args.peer}: {reason}")
    output = args.output or args.dataset / "log" / args.peer
    settings = SETTINGS[args.peer]
    classes = read_classes(args.dataset / "data" / "class.txt")
    texts, labels = read_split(args.dataset, "train")
    test_texts, test_labels = read_split(args.dataset, "test")
    peer = {"svm": SVM, "fasttext": FastText}[family](args.seed, **settings)
    start = time.perf_counter()
    peer.fit(texts, labels)
    seconds = time.perf_counter() - start
    predicted = peer.predict(test_texts)
    peak = peak_memory()

    from evaluation import report  # only now, for its memory

    text, data, _ = report.test_report(test_labels, predicted, classes)
    accuracy = float((predicted == test_labels).mean())
    echo(f"Test Acc: {accuracy:>6.2%}")
    echo(text)
    suffix = {"svm": "pkl", "fasttext": "bin"}[family]
    path = output / f"{args.peer}.{suffix}"
    output.mkdir(parents=True, exist_ok=True)
    peer.save(path)
    speed = measure(peer.predict, lambda text: peer.predict([text]), test_texts)
    speed |= {"parameters": peer.parameters(), "bytes": path.stat().st_size, "device": f"cpu ({threads()} threads)"}
    metrics = {"model": args.peer, "device": "cpu", "settings": settings | {"seed": args.seed}, "classes": classes}
    metrics["versions"] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        PACKAGES[family][1]: importlib.metadata.version(PACKAGES[family][1]),
    }
    metrics["test"] = {"accuracy": accuracy, "macro_f1": data["macro avg"]["f1-score"], "report": data}
    metrics |= {"train_seconds": seconds, "train_rows": peer.epochs * len(texts), "peak_memory_mb": peak}
    metrics["speed"] = speed
    write_predictions(output / "predictions.tsv", test_texts, test_labels, predicted, classes)
    report.write_metrics(output, metrics)
    say(f"Model: {path}; figures and predictions: {output}")


if __name__ == "__main__":
    run_script(main)
