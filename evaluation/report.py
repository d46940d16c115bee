"""The files of a test, in `log/<model>/<time>/`: `metrics.json`, `predictions.tsv`, and two pictures."""

import importlib.util
import json
import logging
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from sklearn.metrics import classification_report, confusion_matrix

from cli.console import one_line
from cli.files import replacing

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# font families with Chinese: those of Windows, macOS and Linux distributions
CHINESE_FONTS = (
    *("Microsoft YaHei", "SimHei", "PingFang SC", "Heiti SC", "Hiragino Sans GB"),
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
)


def test_results(labels, predicted, classes):
    """The metrics of a test, as data, and scikit-learn's report, as text. Classes without rows count as zero."""
    options = {"labels": range(len(classes)), "target_names": classes, "zero_division": 0}
    text = classification_report(labels, predicted, digits=4, **options)
    report = classification_report(labels, predicted, output_dict=True, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn warns of a single class
        matrix = confusion_matrix(labels, predicted, labels=range(len(classes)))
    results = {"accuracy": float((predicted == labels).mean()), "macro_f1": report["macro avg"]["f1-score"]}
    return results | {"report": report, "confusion_matrix": matrix.tolist()}, text


def write_metrics(directory, metrics):
    with replacing(Path(directory) / "metrics.json", "w", encoding="utf-8") as file:
        json.dump(metrics, file, ensure_ascii=False, indent=2)


def write_predictions(directory, texts, labels, predicted, classes, probabilities=None):
    """`predictions.tsv`: wrong rows first, those with the highest probability before the others."""
    scores = np.zeros(len(labels)) if probabilities is None else probabilities
    path = Path(directory) / "predictions.tsv"
    with replacing(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        file.write("text\tlabel\tpredicted" + ("" if probabilities is None else "\tprobability") + "\n")
        for i in np.lexsort((-scores, predicted == labels)):
            fields = [one_line(texts[i]), classes[labels[i]], classes[predicted[i]]]
            file.write("\t".join(fields if probabilities is None else [*fields, f"{scores[i]:.4f}"]) + "\n")


def read_predictions(path):
    """The text, label and predicted class of each row of a `predictions.tsv`; with several labels a row, lists of them,
    joined by commas."""
    with open(path, encoding="utf-8", newline="") as file:
        return [line.rstrip("\n").split("\t")[:3] for line in file][1:]


def draw_confusion_matrix(directory, matrix, classes):
    """`confusion_matrix.png`: rows are true classes, columns predicted ones; the shade is the share of the row."""
    side = float(np.clip(2.5 + 0.55 * len(classes), 4, 40))
    figure, axes = figure_and_axes((side, side))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted class", ylabel="true class", title="Confusion matrix")
    if len(classes) <= 50:
        for (row, column), count in np.ndenumerate(matrix):
            dark = shares[row, column] > 0.5
            axes.text(column, row, count, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    save_figure(figure, Path(directory) / "confusion_matrix.png")


def draw_losses(directory, history, best_step):
    """`loss.png`: training and validation loss at each validation, with that of the best step marked."""
    figure, axes = figure_and_axes((7, 4.5))
    steps = [point["step"] for point in history]
    dev_loss = [point["dev_loss"] for point in history]
    axes.plot(steps, [point["train_loss"] for point in history], "o-", markersize=3, label="training")
    axes.plot(steps, dev_loss, "o-", markersize=3, label="validation")
    label = f"best {'accuracy' if 'dev_accuracy' in history[0] else 'macro F1'}: step {best_step}"
    axes.plot(best_step, dev_loss[steps.index(best_step)], "*", markersize=12, label=label)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.legend()
    save_figure(figure, Path(directory) / "loss.png")


def figure_and_axes(size, *grid, **options):
    """A figure with a Chinese font: the system's, or that of the package zhplot if the system has none.

    grid, options: of `pyplot.subplots`.
    """
    # it warns of each family that is not installed
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    family = next((name for name in CHINESE_FONTS if name in installed), None)
    if family is None:
        package = Path(importlib.util.find_spec("zhplot").origin).parent  # importing it changes matplotlib globally
        path = package / "fonts" / "NotoSansSC-Regular.ttf"
        font_manager.fontManager.addfont(path)
        family = font_manager.FontProperties(fname=path).get_name()
    plt.rcParams["font.family"] = [family, "DejaVu Sans"]
    plt.rcParams["axes.unicode_minus"] = False
    return plt.subplots(*grid, figsize=size, layout="constrained", **options)


def save_figure(figure, path):
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
