"""NBSVM: Baselines and Bigrams, Wang & Manning 2012, https://aclanthology.org/P12-2018

A linear support vector machine on the presence of n-grams, each times its log-count ratio: for the n-gram f and a
class, log((p_f / |p|) / (q_f / |q|)), where p_f = smoothing + the rows of the class that have f, q_f the same for all
others.

Departures: each class has a machine against all others, where the paper has two classes; trigrams are used too; the
weights are those of the machine alone, not interpolated with their mean.
"""

from dataclasses import dataclass

import numpy as np
import torch

from models import base, linear


@dataclass
class Config(linear.Config):
    n_grams: int = 3
    word_n_grams: int = 0
    C: float = 0.1
    smoothing: float = base.flag(1.0, "what is added to each count of an n-gram", low=0, open_low=True)


class Model(linear.Linear):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.smoothing = config.smoothing

    def prepare(self, counts, found, rows):
        for c in range(counts.shape[1]):  # one at a time, which takes less memory
            p = counts[:, c] + self.smoothing
            q = found - counts[:, c] + self.smoothing
            self.table.weight.data[:-1, c] = torch.from_numpy(np.log(p / p.sum()) - np.log(q / q.sum()))

    def values(self, ids, repeats):
        return 1 / repeats
