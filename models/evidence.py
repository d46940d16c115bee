"""N-gram evidence: what the n-grams of a row say of its classes, by how often training rows of each class have them.

For the n-gram f that ends at a token, n = 1 … N, and each class c, the evidence is the log-count ratio

    log((a + k_fc) / (a + k_f - k_fc)) - log(K_c / (K - K_c))

where k counts training rows: k_fc those of class c that have f, k_f all that have it, K_c those of the class, K all. It
is that of Wang & Manning 2012, https://aclanthology.org/P12-2018, and makes a network wide and deep, after Cheng et al.
2016, https://arxiv.org/abs/1606.07792. Two differences: a count that includes the row that is trained on says its
class, which the network would learn to trust, so in training the row itself is left out (an n-gram of a single row
then says nothing, and is used in prediction alone); and the ratios are not fixed weights, but features, of each token
and of the row.
"""

import functools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from models.counts import own_counts
from models.tables import KEY_BITS, keys_of

LEVELS = 6  # of the number of rows that have an n-gram: 1, 2 to 3, 4 to 7, …, and 32 or more


class NGrams(nn.Module):
    """A dictionary of n-grams: the index of a key among keys that are sorted, (F,), on any device."""

    def __init__(self, keys):
        super().__init__()
        bits = min(KEY_BITS, int(4 * len(keys)).bit_length())  # buckets of the keys that start with the same bits
        self.shift = KEY_BITS - bits
        sizes = np.bincount(keys >> self.shift, minlength=1 << bits)
        self.depth = int(sizes.max())
        starts = np.cumsum(sizes, dtype=np.int32) - sizes.astype(np.int32)
        self.register_buffer("keys", torch.from_numpy(np.append(keys, np.full(self.depth, -2))), persistent=False)
        self.register_buffer("starts", torch.from_numpy(starts), persistent=False)

    def forward(self, keys):
        """1 + the index of each key, and 0 for others, such as -1, of the shape of `keys`, int64."""
        flat = keys.flatten()
        start = self.starts[flat >> self.shift].long()
        index = torch.zeros_like(flat)
        for i in range(self.depth):
            index += (start + (i + 1)) * (self.keys[start + i] == flat)
        return index.view(keys.shape)


class Evidence(nn.Module):
    """A model with n-gram evidence: that of each token, for its `Embedding`, and that of the row, for the logits.

    model: takes a Batch with `evidence` and returns logits, (B, C). counts: the `Counts` of the training split.
    How far an n-gram is to be trusted depends on its length and on how many rows have it: each ratio is multiplied by
    a factor for both, which `engine.counting.calibrate` sets and training changes. It is a square: with few rows, a row
    that is left out makes its own class look rare, and a negative factor would learn that. Overlapping n-grams are not
    independent: the sum over a row is divided by the root of its length.
    """

    def __init__(self, model, config, counts):
        super().__init__()
        self.model, self.content = model, counts.packed()
        self.longest, self.words, self.smoothing = config.evidence, config.words, config.smoothing
        keys, rows = counts.dictionary()
        self.find = NGrams(keys)
        self.register_buffer("rows", torch.from_numpy(np.append(0, rows).astype(np.int32)), persistent=False)
        self.register_buffer("counts", torch.from_numpy(counts.table()), persistent=False)
        self.has_total = counts.has_total
        own = torch.from_numpy(counts.class_rows).float()  # K_c
        prior = ((own + 1) / (counts.total_rows - own + 1)).log()
        self.register_buffer("prior", prior, persistent=False)
        self.roots = nn.Parameter(torch.full((config.n_grams_per_token, LEVELS), 0.3))  # of the factors
        self.bias = nn.Parameter(torch.zeros(len(own)))

    def forward(self, batch):
        if self.training:
            ratios, levels = self.ratios(self.count(batch))
        else:
            rows = self.rows_of(batch)
            ratios, levels = (gather(table, rows) for table in self.ready)
        n = torch.arange(len(self.roots), device=levels.device)
        ratios = ratios * self.roots.square()[n, levels][..., None]  # (B, T, N, C)
        logits = self.model(batch._replace(evidence=ratios.flatten(2)))
        return logits + self.bias + ratios.sum(dim=(1, 2)) / batch.lengths[:, None].sqrt()

    @functools.cached_property
    def ready(self):
        """The ratios and levels of all rows of the table of counts, for prediction."""
        return self.ratios(self.counts.float())

    def keys_of(self, batch):
        """The keys of the n-grams and words that end at each token, (B, T, N)."""
        return keys_of(batch.tokens, self.longest, batch.joints, batch.word_ends, self.words)

    def rows_of(self, batch):
        """The rows in the table of counts of what ends at each token, (B, T, N)."""
        found = self.find(self.keys_of(batch))
        return gather(self.rows, found).masked_fill_(~batch.mask[:, :, None], 0)

    def count(self, batch):
        """The rows of each class that have the n-grams that end at each token, (B, T, N, C) float32.

        With any number of labels a row, the last column has all rows. In training a row that has a label is left out
        itself.
        """
        counts = gather(self.counts, self.rows_of(batch)).float()
        if self.training and len(batch.labels):  # one of several ranks may have a row without a label
            counts -= own_counts(batch.labels, counts.shape[3])[:, None, None].float()
            counts.clamp_(min=0)  # of unknown n-grams, and of rows that were not counted
        return counts

    def ratios(self, counts):
        """The log-count ratios, (…, C), zeros for unknown n-grams, and the n-grams' levels, (…,).

        A level is the logarithm, to base 2, of how many rows have an n-gram.
        """
        a = self.smoothing
        if self.has_total:
            counts, total = counts[..., :-1], counts[..., -1:]
        else:
            total = counts.sum(dim=-1, keepdim=True)
        ratios = (counts + a).div_((total - counts).add_(a)).log_()  # in place: with many classes they take gigabytes
        levels = total[..., 0].clamp(1, 1 << (LEVELS - 1)).log2().long()
        return ratios.sub_(self.prior).mul_(total > 0), levels

    def features(self, counts, lengths):
        """What `forward` adds to the logits, before the factors, (B, C, N * LEVELS)."""
        ratios, levels = self.ratios(counts)
        sums = torch.einsum("btnc,btnl->bcnl", ratios, F.one_hot(levels, LEVELS).float())
        return sums.flatten(2) / lengths[:, None, None].sqrt()


def gather(table, rows):
    """The rows of a table, (B, T, N) indices -> (B, T, N, …)."""
    return table.index_select(0, rows.flatten()).view(*rows.shape, *table.shape[1:])


def with_evidence(model, config, counts):
    """The model, with the evidence of these Counts if its `Config` has any."""
    return Evidence(model, config, counts) if config.n_grams_per_token else model
