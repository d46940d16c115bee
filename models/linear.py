"""What the linear models share: n-grams of a row's tokens as features, and a weight of each of them for each class.

The models are support vector machines, trained by scikit-learn (`engine.fitting`). A class has one against all others;
its decision values are the logits, times a scale with which softmax gives usable probabilities. Each n-gram of the
training split has a weight. If there are too many, those that only one row has are dropped, and then the rarest.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from models import base
from models.counts import MOST_COUNTS, Counts, keys_as_bytes, keys_from_bytes
from models.evidence import NGrams
from models.tables import FACTORS, WORDS, Table, keys_of


@dataclass
class Config(base.TextConfig):
    """The hyper-parameters of all linear models."""

    n_grams: int = base.flag(2, "length of the longest n-grams", low=1, high=len(FACTORS))
    word_n_grams: int = base.flag(
        1, "length of the longest n-grams of words, if tokens are characters; 0: none", low=0, high=WORDS
    )
    C: float = base.flag(1.0, "inverse of the strength of regularization", low=0, open_low=True)

    whole: ClassVar[float] = 1.0  # a bag of n-grams has no reason to cut
    affordable: ClassVar[int] = 4096

    @property
    def words(self):
        return self.word_n_grams


class Linear(nn.Module):
    """A linear classifier of a row's n-grams. `build` or `load_content` makes its tables."""

    def __init__(self, config, spec):
        super().__init__()
        self.longest, self.words, self.num_classes = config.n_grams, config.words, spec.num_classes
        self.bias = nn.Parameter(torch.zeros(spec.num_classes))

    def build(self, keys):
        """Makes the dictionary of these n-grams, (F,) sorted keys, and their weights."""
        self.find = NGrams(keys)
        self.table = Table(len(keys), self.num_classes)  # (F + 1, C), zeros for all other n-grams
        self.content = {"keys": torch.from_numpy(keys_as_bytes(keys))}

    def load_content(self, content):
        """Makes the tables of a model with this `content`. Raises an exception if it is of another form."""
        self.build(keys_from_bytes(content["keys"].cpu().numpy()))

    def prepare(self, counts, found, rows):
        """Sets what the features need, and the factor of each n-gram for each class as the weights.

        counts: (F, C), the training rows of each class that have each n-gram; found: (F,), all rows that have it; rows:
        the number of all.
        """
        raise NotImplementedError

    def values(self, ids, repeats):
        """The values of n-grams, (B, M). Those that a row has several times share one: `repeats` is how often."""
        raise NotImplementedError

    def features(self, batch):
        """The n-grams of each row, as sorted indices, F for unknown ones, and their values, (B, T * N) each."""
        found = self.find(keys_of(batch.tokens, self.longest, batch.joints, batch.word_ends, self.words))
        found.masked_fill_(~batch.mask[:, :, None], 0)
        ids = (found.flatten(1) - 1) % self.table.num_embeddings
        ids = ids.sort(dim=1).values
        repeats = torch.searchsorted(ids, ids, right=True) - torch.searchsorted(ids, ids)
        return ids, self.values(ids, repeats.float())

    def forward(self, batch):
        ids, values = self.features(batch)
        weights, unknown = self.table.weight, self.table.padding_idx
        return F.embedding_bag(ids, weights, mode="sum", per_sample_weights=values, padding_idx=unknown) + self.bias


def n_grams_of(counts: Counts):
    """The sorted keys of the n-grams to use, (F,), and of their rows those of each class, (F, C), and all, (F,)."""
    keys, table = counts.keys, counts.counts
    if (len(keys) + len(counts.single_keys)) * len(counts.rows) <= MOST_COUNTS:
        keys, rows = counts.dictionary()
        table = counts.table()[rows]
    if counts.has_total:
        return keys, table[:, :-1], table[:, -1].astype(np.int64)
    return keys, table, table.sum(axis=1)
