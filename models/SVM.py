"""SVM: a linear support vector machine on TF-IDF of characters, bigrams and words, Joachims 1998,
https://link.springer.com/chapter/10.1007/BFb0026683

The weight of an n-gram that a row has k times is (1 + log k) · (log((1 + R) / (1 + r)) + 1), with R training rows, r of
which have it; a row's weights have the Euclidean norm 1. That is scikit-learn's `TfidfVectorizer(sublinear_tf=True)`.

Departures: the n-grams are of the toolkit's tokens, and include the one that a row begins with as such.
"""

from dataclasses import dataclass

import numpy as np
import torch

from models import linear


@dataclass
class Config(linear.Config):
    C: float = 0.5


class Model(linear.Linear):
    def build(self, keys):
        super().build(keys)
        self.register_buffer("idf", torch.zeros(len(keys) + 1))

    def prepare(self, counts, found, rows):
        idf = np.log((1 + rows) / (1 + found)) + 1
        self.idf[:-1] = torch.from_numpy(idf)
        self.table.weight.data[:-1] = 1

    def values(self, ids, repeats):
        values = (1 + repeats.log()) * self.idf[ids]
        norms = (values.square() / repeats).sum(dim=1, keepdim=True).sqrt()
        return values / repeats / norms.clamp(min=1e-6)  # of a row of unknown n-grams alone all are 0
