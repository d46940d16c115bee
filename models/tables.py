"""Tables of n-grams' vectors: n-grams are numbers modulo the rows of a table, of which a batch touches a thousandth."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

FACTORS = (1, 14918087, 18408749, 22801763, 27644437)  # of a token and of those before it, in an n-gram's number


class Table(nn.Embedding):
    """Vectors of hashed n-grams, which start at zero: one that training has not seen says nothing.

    A batch touches a thousandth of such a table. On a CPU its gradient is sparse; on a GPU, which would have to wait
    for the rows to be counted, it is dense.
    """

    def __init__(self, buckets, width):
        super().__init__(buckets + 1, width, padding_idx=buckets, sparse=True)
        nn.init.zeros_(self.weight)

    def forward(self, n_grams, beyond):
        """The vectors of n-grams, whose numbers count modulo the buckets, (B, T) -> (B, T, E).

        beyond: (B, T), true at padding, whose vectors are zeros.
        """
        ids = self.ids(n_grams, beyond)
        return functional.embedding(ids, self.weight, self.padding_idx, sparse=ids.device.type == "cpu")

    def ids(self, n_grams, beyond):
        """The table's rows of n-grams, (B, T)."""
        return (n_grams % self.padding_idx).masked_fill(beyond, self.padding_idx)


class Bags(Table):
    """A table whose vectors are summed over a row's n-grams, (B, T) -> (B, E)."""

    def forward(self, n_grams, beyond):
        ids = self.ids(n_grams, beyond)
        if ids.device.type == "cpu":
            return SumOfRows.apply(self.weight, ids, self.padding_idx)
        return functional.embedding_bag(ids, self.weight, mode="sum", padding_idx=self.padding_idx)


class SumOfRows(torch.autograd.Function):
    """Sums of a table's rows, whose gradient has each row once and never was a vector for each token."""

    @staticmethod
    def forward(ctx, table, ids, padding):
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding = table.shape, padding
        return functional.embedding_bag(ids, table, mode="sum")

    @staticmethod
    def backward(ctx, grad):
        (ids,) = ctx.saved_tensors
        rows, places = distinct(ids.flatten().numpy(), ctx.shape[0])
        order = np.argsort(places.astype(np.min_scalar_type(len(rows))), kind="stable")  # of 16 bits a radix sort
        starts = np.concatenate(([0], np.cumsum(np.bincount(places))[:-1]))
        bags = torch.from_numpy(np.arange(len(ids)).repeat(ids.shape[1])[order])
        values = functional.embedding_bag(bags, grad, torch.from_numpy(starts), mode="sum")
        values[torch.from_numpy(rows == ctx.padding)] = 0
        where = torch.from_numpy(rows)[None]
        return torch.sparse_coo_tensor(where, values, ctx.shape, check_invariants=False), None, None


def distinct(ids, size):
    """The distinct ones among ids below `size`, (U,), and each id's place among them.

    (Sorting, as `unique` does, takes ten times as long.)
    """
    order = np.arange(len(ids), dtype=np.int32)
    last = np.empty(size, np.int32)
    last[ids] = order
    chosen = last[ids]
    own = chosen == order
    return ids[own], (np.cumsum(own) - 1)[chosen]


def n_grams(tokens, n):
    """A number for the n tokens that end with each one, (B, T); before the first token of a row stands -1."""
    numbers = tokens
    for i in range(1, n):
        numbers = numbers + functional.pad(tokens, (i, 0), value=-1)[:, :-i] * FACTORS[i]
    return numbers
