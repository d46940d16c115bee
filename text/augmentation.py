"""Augmentation: a share of the training rows is changed by random perturbations when a dataset is read.

All that is made of the rows, the vocabulary, marks of words and counts of n-grams, is made of the changed ones.
"""

import random

from text.perturbations import FORMAT, OF_TRAINING, PERTURBATIONS, STRENGTHS
from text.rows import hashes_of, spans_of, texts_of


def key_of(share):
    """All that decides the changes of a share of a split's texts, as data; nothing if none is changed."""
    return {"augment": [share, FORMAT]} if share else {}


class Augmentation:
    """Changes about this share of the texts that it is called with, each by one of the perturbations `OF_TRAINING`.

    Which texts and how depends on each text alone, so that it is the same for all seeds of a training and on all
    machines, and a larger share changes the same texts and more.
    """

    def __init__(self, share):
        self.share, self.changed, self.rows = share, 0, 0

    def __call__(self, texts):
        """A `Rows` of code points with some of these texts changed."""
        if not self.share:
            return texts
        lines = texts_of(texts)
        hashes = hashes_of(lines)
        for i in (hashes <= self.share * 2.0**64).nonzero()[0]:
            before = lines[i]
            lines[i] = changed(before, random.Random(f"augment {hashes[i]}"))
            self.changed += lines[i] != before
        self.rows += len(lines)
        return spans_of(lines)

    @property
    def notes(self):
        """Messages for the user: how many texts were changed."""
        count = f"{self.changed} of {self.rows} training rows are changed"
        return [f"--augment {self.share}: {count}"] if self.share else []


def changed(text, rng):
    """A text after the first of the perturbations, in random order, that changes it."""
    strength = rng.choice(STRENGTHS)
    for name in rng.sample(OF_TRAINING, len(OF_TRAINING)):
        found = PERTURBATIONS[name].apply(text, strength, rng).strip()
        if found not in ("", text):
            return found
    return text
