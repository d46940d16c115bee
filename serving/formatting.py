"""Predictions as JSON, formatted in bulk."""

import json

import numpy as np

from engine.predictions import STEPS, UNSURE, label_ids, most_probable, steps_of

ENCODE = json.JSONEncoder(ensure_ascii=False).encode
PROBABILITIES = np.array([f"{i / STEPS}" for i in range(STEPS + 1)], object)  # with four decimal places
PAIR = '{"label": %s, "probability": %s}'


class Formatter:
    """Formats the predictions of a predictor as JSON objects, as the interface of the server defines them."""

    def __init__(self, predictor):
        self.predictor = predictor
        self.labels = np.array([ENCODE(name) for name in [*predictor.hierarchy.names, UNSURE]], object)

    def __call__(self, probabilities, top_k=None, min_confidence=0.0, weights=None):
        """The objects of rows, a list of str.

        probabilities: (N, C), all 0 for an empty text. weights: for each row those of its characters, (T,), or None.
        """
        rows = (self._of_labels if self.predictor.multi_label else self._of_label)(probabilities, min_confidence)
        parts = [rows]
        if top_k:
            parts.append([f'"top_k": [{row}]' for row in self._top(probabilities, top_k)])
        if weights is not None:
            parts.append([f'"weights": {[round(float(weight), 4) for weight in own]}' for own in weights])
        return ["{" + ", ".join(row) + "}" for row in zip(*parts, strict=True)]

    def _of_label(self, probabilities, min_confidence):
        """Label and probability of rows."""
        if min_confidence:
            ids, values = self.predictor.hierarchy.answer(probabilities, min_confidence)
        else:
            ids, values = probabilities.argmax(axis=1), probabilities.max(axis=1)
        labels = np.where(probabilities.any(axis=1), self.labels[ids], "null").tolist()
        pairs = zip(labels, shown(values).tolist(), strict=True)
        return [f'"label": {label}, "probability": {probability}' for label, probability in pairs]

    def _of_labels(self, probabilities, min_confidence):
        """The predicted labels of rows, `UNSURE` in the place of a label that is less probable."""
        texts, is_sure = shown(probabilities), probabilities >= np.float32(min_confidence)
        found = label_ids(probabilities, self.predictor.predicted(probabilities))
        rows = zip(found, texts, is_sure, strict=True)
        return [
            f'"labels": [{", ".join(PAIR % (self.labels[i if sure[i] else -1], own[i]) for i in ids)}]'
            for ids, own, sure in rows
        ]

    def _top(self, probabilities, top_k):
        """The most probable classes of rows; of an empty text none."""
        ids = most_probable(probabilities, min(top_k, probabilities.shape[1]))
        values = shown(np.take_along_axis(probabilities, ids, axis=1)).tolist()
        labels = self.labels[ids].tolist()
        rows = [", ".join(map(PAIR.__mod__, zip(*row, strict=True))) for row in zip(labels, values, strict=True)]
        for i in np.flatnonzero(~probabilities.any(axis=1)):
            rows[i] = ""
        return rows


def shown(probabilities):
    """The texts of probabilities, an array of the same shape."""
    return PROBABILITIES[steps_of(probabilities)]
