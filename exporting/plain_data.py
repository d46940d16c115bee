"""Parts of a trained model as plain data: its calibration, and its n-gram counts."""

import numpy as np
import torch

from models.counts import Counts
from models.tables import KEY_BITS


def calibration_content(saved):
    """The `temperatures` of a Classifier or an Ensemble, which divide the logits, or the logarithms of the mean.

    There is one. If a row has any number of labels, there is one for each, as are `thresholds` of probabilities.
    """
    found = saved.calibration
    if saved.multi_label:
        return {"temperatures": found.temperatures.tolist(), "thresholds": found.thresholds.tolist()}
    return {"temperatures": [found.temperature], "thresholds": []}


def n_gram_settings(evidence, counts):
    """How the evidence of an `Evidence` is computed from its Counts, as numbers."""
    settings = {"longest": evidence.longest, "words": evidence.words, "smoothing": float(evidence.smoothing)}
    return settings | {"has_total": counts.has_total, "total_rows": counts.total_rows}


def n_gram_tensors(evidence):
    """The tensors of an `Evidence`, and the numbers that describe them, both as dicts.

    keys: (F + 1,) int64, sorted, those of the n-grams and then 2**40, which is none. rows: (F + 1,) int32, the row of
    `counts` that each has. counts: (R, columns) int32, the training rows of each class, and of all if `has_total`; row
    0 is that of unknown n-grams. class_rows: (C,) float32, the training rows of each class.
    """
    counts = Counts.unpacked(evidence.content)
    keys, rows = counts.dictionary()
    tensors = {
        "keys": torch.from_numpy(np.append(keys, 1 << KEY_BITS)),
        "rows": torch.from_numpy(np.append(rows, 0).astype(np.int32)),
        "counts": torch.from_numpy(counts.table().astype(np.int32)),
        "class_rows": torch.from_numpy(counts.class_rows.astype(np.float32)),
    }
    sizes = {"num_keys": len(tensors["keys"]), "num_rows": len(tensors["counts"])}
    return tensors, n_gram_settings(evidence, counts) | sizes
