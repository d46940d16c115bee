"""The measures of a hierarchy of classes: accuracy at each level, hierarchical precision, recall and F1."""

import numpy as np

from evaluation.report import read_predictions


def measures(labels, predicted, hierarchy):
    """The measures of predicted classes, (N,), for rows with these labels, (N,), as a dict.

    `level_accuracy` has, for each level, the share of rows of which the paths of label and prediction are equal down to
    this level; if a path is shorter, it is the whole path. The last one is the accuracy.

    Hierarchical precision is the number of nodes that the paths of prediction and label have in common, summed over the
    rows, divided by that of the nodes on the paths of the predictions; recall is divided by that of the labels; F1 is
    their harmonic mean: Kiritchenko et al. 2006, https://doi.org/10.1007/11766247_34.
    """
    own, found = hierarchy.paths[labels], hierarchy.paths[predicted]
    common = hierarchy.agreeing(found, labels).sum()
    precision, recall = common / (found >= 0).sum(), common / (own >= 0).sum()
    f1 = 2 * precision * recall / (precision + recall) if common else 0.0
    return {
        "level_accuracy": np.logical_and.accumulate(own == found, axis=1).mean(axis=0).tolist(),
        "hierarchical_precision": float(precision),
        "hierarchical_recall": float(recall),
        "hierarchical_f1": float(f1),
    }


def test_results(labels, predicted, hierarchy):
    """The `measures`, and lines with them; nothing if the classes have a single level."""
    if hierarchy.num_levels == 1:
        return {}, []
    found = measures(labels, predicted, hierarchy)
    levels = [f"level {i}: {accuracy:.4f}" for i, accuracy in enumerate(found["level_accuracy"], 1)]
    names = ("precision", "recall", "f1")
    parts = [f"{name.replace('f1', 'F1')}: {found[f'hierarchical_{name}']:.4f}" for name in names]
    return found, [f"Accuracy at {', '.join(levels)}", f"Hierarchical {', '.join(parts)}"]


def f1_of_file(path, hierarchy):
    """The hierarchical F1 of a `predictions.tsv`."""
    ids = {name: i for i, name in enumerate(hierarchy.classes)}
    rows = [(ids[label], ids[predicted]) for _, label, predicted in read_predictions(path)]
    return measures(*np.array(rows).T, hierarchy)["hierarchical_f1"]
