"""Measures the test accuracy after labelling rows that are picked, and after labelling rows drawn at random.

    python -m benchmarks.label_next --dataset D

A linear SVM (scikit-learn) on TF-IDF of characters and bigrams is trained. Without a model 50 to 500 training rows are
picked, with ten seeds; with one, as many rows as it was trained on, with three seeds.
"""

from cli.start import run_script

from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from checking.label_next import pick
from cli.console import Parser, echo
from text.labelled import read_split
from text.rows import spans_of

COUNTS, SEEDS = (50, 100, 200, 500), 10  # rows that are picked without a model
TRAINED, MODEL_SEEDS = (500, 2000), 3  # rows that a model was trained on


class Data:
    """The training rows of a dataset, of which some are labelled, and its test rows."""

    def __init__(self, dataset):
        texts, self.labels = read_split(dataset, "train")
        self.texts = np.array(texts, object)
        self.test_texts, self.test_labels = read_split(dataset, "test")

    def fit(self, rows):
        """The test accuracy, in percent, of a model that is trained on these rows; its features, and the model."""
        features = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)
        model = LinearSVC(C=0.5).fit(features.fit_transform(self.texts[rows]), self.labels[rows])
        right = model.predict(features.transform(self.test_texts)) == self.test_labels
        return 100 * right.mean(), features, model

    def picked(self, rows, count, margins=None, seed=1):
        return rows[pick(spans_of(self.texts[rows].tolist()), count, margins, seed)]


def without_model(data, count):
    orders = [np.random.default_rng(seed).permutation(len(data.texts)) for seed in range(SEEDS)]
    drawn = [data.fit(order[:count])[0] for order in orders]
    rows = np.arange(len(data.texts))
    picked = [data.fit(data.picked(rows, count, seed=seed))[0] for seed in range(SEEDS)]
    report(f"{count} rows", drawn, picked)


def with_model(data, count):
    drawn, picked = [], []
    for seed in range(MODEL_SEEDS):
        order = np.random.default_rng(seed).permutation(len(data.texts))
        labelled, rest = order[:count], order[count:]
        _, features, model = data.fit(labelled)
        values = np.sort(model.decision_function(features.transform(data.texts[rest])), axis=1)
        drawn.append(data.fit(order[: 2 * count])[0])
        more = data.picked(rest, count, values[:, -1] - values[:, -2], seed)
        picked.append(data.fit(np.concatenate((labelled, more)))[0])
    report(f"{count} rows, and {count} more", drawn, picked)


def report(what, drawn, picked):
    means = [f"{np.mean(values):.1f} ± {np.std(values):.1f}" for values in (drawn, picked)]
    echo(f"{what}: drawn at random {means[0]} %, picked {means[1]} %")


def main():
    parser = Parser(__doc__)
    parser.add_argument(
        "--dataset", type=Path, required=True, help="directory of the dataset, of three classes or more"
    )
    data = Data(parser.parse_args().dataset)
    for count in COUNTS:
        without_model(data, count)
    for count in TRAINED:
        with_model(data, count)


if __name__ == "__main__":
    run_script(main)
