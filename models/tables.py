"""Tables of n-grams' vectors. An n-gram is a number modulo the rows of a table, of which a batch uses a thousandth."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

KEY_BITS = 40  # of an n-gram's key; two of a million n-grams have the same one with probability 0.4
FACTORS = (1, 14918087, 18408749, 22801763, 27644437)  # of a token and of those before it, in an n-gram's number


class Table(nn.Embedding):
    """Vectors of hashed n-grams. They start at zero, so that an n-gram that training has not seen adds nothing.

    On a CPU the gradient is sparse, since a batch uses a thousandth of the table. On a GPU, which would have to wait
    for the rows to be counted, it is dense.
    """

    def __init__(self, buckets, width):
        super().__init__(buckets + 1, width, padding_idx=buckets, sparse=True)
        nn.init.zeros_(self.weight)

    def forward(self, n_grams, padding):
        """The vectors of n-grams, whose numbers are taken modulo the buckets, (B, T) -> (B, T, E).

        padding: (B, T), true at padding, whose vectors are zeros.
        """
        ids = self.ids(n_grams, padding)
        return F.embedding(ids, self.weight, self.padding_idx, sparse=ids.device.type == "cpu")

    def ids(self, n_grams, padding):
        """The table's rows of n-grams, (B, T)."""
        return (n_grams % self.padding_idx).masked_fill(padding, self.padding_idx)


class Bags(Table):
    """A table whose vectors are summed over a row's n-grams, (B, T) -> (B, E)."""

    def forward(self, n_grams, padding):
        ids = self.ids(n_grams, padding)
        if ids.device.type == "cpu":
            return SumOfRows.apply(self.weight, ids, self.padding_idx)
        return F.embedding_bag(ids, self.weight, mode="sum", padding_idx=self.padding_idx)


class SumOfRows(torch.autograd.Function):
    """Sums of a table's rows. The gradient has each row once, and is computed without a vector for each token."""

    @staticmethod
    def forward(ctx, table, ids, padding):
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding = table.shape, padding
        return F.embedding_bag(ids, table, mode="sum")

    @staticmethod
    def backward(ctx, grad):
        (ids,) = ctx.saved_tensors
        rows, index = distinct(ids.flatten().numpy(), ctx.shape[0])
        order = np.argsort(index.astype(np.min_scalar_type(len(rows))), kind="stable")  # 16 bits: a radix sort
        starts = np.concatenate(([0], np.cumsum(np.bincount(index))[:-1]))
        bags = torch.from_numpy(np.arange(len(ids)).repeat(ids.shape[1])[order])
        values = F.embedding_bag(bags, grad, torch.from_numpy(starts), mode="sum")
        values[torch.from_numpy(rows == ctx.padding)] = 0
        return (
            torch.sparse_coo_tensor(torch.from_numpy(rows)[None], values, ctx.shape, check_invariants=False),
            None,
            None,
        )


def distinct(ids, size):
    """The distinct ones among ids below `size`, (U,), and each id's index among them.

    (Sorting, as `unique` does, takes ten times as long.)
    """
    order = np.arange(len(ids), dtype=np.int32)
    last = np.empty(size, np.int32)
    last[ids] = order
    chosen = last[ids]
    own = chosen == order
    return ids[own], (np.cumsum(own) - 1)[chosen]


def n_grams(tokens, n):
    """A number for the n tokens that end with each token, (B, T). Before a row's first token there is -1."""
    numbers = tokens
    for i in range(1, n):
        numbers = numbers + F.pad(tokens, (i, 0), value=-1)[:, :-i] * FACTORS[i]
    return numbers


def keys_of(tokens, longest):
    """The keys of the n-grams that end at each token, n = 1 … N, (B, T) -> (B, T, N): hashes, below 2**40."""
    keys = torch.stack([n_grams(tokens, n) * 8 + n for n in range(1, longest + 1)], dim=2)
    keys = (keys ^ (keys >> 29)) * -0x61C8864680B583EB  # products wrap around
    keys = (keys ^ (keys >> 32)) * -0x3B314601E57A13AD
    return (keys >> (64 - KEY_BITS)) & ((1 << KEY_BITS) - 1)
