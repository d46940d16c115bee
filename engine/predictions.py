"""Predictions as lines of text."""

import json

import numpy as np

from cli.console import one_line

STEPS = 10_000  # probabilities have four decimal places


class Lines:
    """Formats texts and their predictions as lines of `tsv` or `jsonl`.

    classes: their names; top_k: how many of the most probable ones a line has, None for the first alone.
    """

    def __init__(self, format, classes, top_k):
        self.format, self.top_k, self.count = format, top_k, top_k or 1
        encode = json.JSONEncoder(ensure_ascii=False).encode
        if format == "jsonl":
            self.text, label, digits = encode, encode, ""
            self.line = '{"text": %s, "label": %s, "probability": %s'
            self.empty = '{"text": %s, "label": null, "probability": 0.0'
            if top_k:
                self.line += f', "top_k": [{", ".join(["[%s, %s]"] * top_k)}]'
                self.empty += ', "top_k": []'
            self.line, self.empty = self.line + "}\n", self.empty + "}\n"
        else:
            self.text, label, digits = one_line, str, ".4f"
            self.line = "%s" + "\t%s\t%s" * self.count + "\n"
            self.empty = "%s" + "\t\t0.0000" * self.count + "\n"
        self.labels = np.array([label(name) for name in classes], object)
        self.probabilities = np.array([f"{i / STEPS:{digits}}" for i in range(STEPS + 1)], object)

    @property
    def header(self):
        """The line before those of the texts."""
        if self.format == "jsonl":
            return ""
        suffixes = ["", *(f"_{k}" for k in range(2, self.count + 1))]
        columns = [f"{name}{suffix}" for suffix in suffixes for name in ("label", "probability")]
        return "\t".join(["text", *columns]) + "\n"

    def __call__(self, texts, probabilities):
        """The lines of these texts as one string. probabilities: (N, C), all 0 for an empty text."""
        texts = [self.text(text) for text in texts]
        ids = most_probable(probabilities, self.count)
        # a float32 times ten thousand is exact in float64, so that this rounds like a format of four places
        steps = np.rint(np.take_along_axis(probabilities, ids, axis=1).astype(np.float64) * STEPS).astype(np.int64)
        pairs = [c for k in range(self.count) for c in (self.labels[ids[:, k]], self.probabilities[steps[:, k]])]
        if self.format == "jsonl" and self.top_k:
            pairs = pairs[:2] + pairs
        lines = [self.line % fields for fields in zip(texts, *(column.tolist() for column in pairs), strict=True)]
        for i in np.flatnonzero(~probabilities.any(axis=1)):
            lines[i] = self.empty % texts[i]
        return "".join(lines)


def most_probable(probabilities, count):
    """The ids of each row's `count` most probable classes, (N, C) -> (N, count); among equals the lowest id first."""
    if count == 1:
        return probabilities.argmax(axis=1)[:, None]
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
