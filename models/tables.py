"""Tables of n-grams' vectors. An n-gram is a number modulo the rows of a table, of which a batch uses a thousandth."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

KEY_BITS = 40  # of an n-gram's key; two of a million n-grams have the same one with probability 0.4
FACTOR, INVERSE = 0x5851F42D4C957F2D, pow(0x5851F42D4C957F2D, -1, 1 << 64) - (1 << 64)  # of tokens in a word
WORDS = 2  # in the longest n-grams of words
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
        bags = torch.arange(len(ids)).repeat_interleave(ids.shape[1])
        values = sums_by_group(grad, bags, index, len(rows))
        values[torch.from_numpy(rows == ctx.padding)] = 0
        return (
            torch.sparse_coo_tensor(torch.from_numpy(rows)[None], values, ctx.shape, check_invariants=False),
            None,
            None,
        )


def sums_by_group(table, ids, groups, count, factors=None):
    """The sum of the rows of a table, (N, E), with the ids of each group, (count, E), each times its factor.

    ids, factors: (M,) tensors. groups: (M,), the group of each id, an array of numbers below `count`.
    """
    order = torch.from_numpy(np.argsort(groups.astype(np.min_scalar_type(count)), kind="stable"))  # 16 bits: radix sort
    sizes = np.bincount(groups, minlength=count)
    starts = torch.from_numpy(np.cumsum(sizes) - sizes)
    factors = None if factors is None else factors.index_select(0, order)
    return F.embedding_bag(ids.index_select(0, order), table, starts, mode="sum", per_sample_weights=factors)


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


def n_grams(tokens, n, joints=None):
    """A number for the n tokens that end with each token, (B, T). Before a row's first token there is -1.

    joints: as in a Batch; the token at a joint is like a row's first one.
    """
    numbers, columns = tokens, torch.arange(tokens.shape[1], device=tokens.device)
    for i in range(1, n):
        before = F.pad(tokens, (i, 0), value=-1)[:, :-i]
        if joints is not None:
            before = before.masked_fill((columns >= joints[:, None]) & (columns - i < joints[:, None]), -1)
        numbers = numbers + before * FACTORS[i]
    return numbers


def keys_of(tokens, longest, joints=None, word_ends=None, words=0):
    """The keys of the n-grams that end at each token, n = 1 … N, (B, T) -> (B, T, N): hashes, below 2**40.

    words: the length of the longest n-grams of words, up to `WORDS`, whose keys are added, (B, T, N + words). They are
    -1 where no word ends. joints, word_ends: as in a Batch.
    """
    keys = mixed(torch.stack([n_grams(tokens, n, joints) * 8 + n for n in range(1, longest + 1)], dim=2))
    return torch.cat((keys, keys_of_words(tokens, words, joints, word_ends)), dim=2) if words else keys


def keys_of_words(tokens, longest, joints, word_ends):
    """The keys of the n-grams of words that end at each token, n = 1 … `longest`, (B, T, n); -1 where no word ends.

    A word is a polynomial of its tokens, the difference of two sums over the row. Its factor, an odd number, has an
    inverse, since products wrap around at 2**64. Before a row's first word, and before that at a joint, there is -1.
    """
    if word_ends is None:  # words are not marked
        return tokens.new_full((*tokens.shape, longest), -1)
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    ends = word_ends if joints is None else word_ends | (columns == joints[:, None] - 1)
    powers, inverses = (torch.full_like(columns, factor).cumprod(0) for factor in (FACTOR, INVERSE))
    count = ends.long().cumsum(dim=1)  # of words so far
    starts = torch.zeros_like(F.pad(tokens, (0, 1)))  # of each word, by its number: (B, T + 1)
    starts.scatter_(1, count * ends, (columns + 1) * ends)
    starts = starts.gather(1, count - ends.long())  # (B, T), of the word that a token is in
    sums = F.pad(((tokens + 1) * powers).cumsum(dim=1), (1, 0))  # (B, T + 1)
    own = mixed((sums[:, 1:] - sums.gather(1, starts)) * inverses[starts])
    before = F.pad(own, (1, 0), value=-1).gather(1, starts)
    if joints is not None:
        before = before.masked_fill(starts == joints[:, None], -1)
    numbers = [own, own + before * FACTORS[1]][:longest]
    keys = mixed(torch.stack([number * 8 + n for n, number in enumerate(numbers, len(FACTORS) + 1)], dim=2))
    return keys.masked_fill(~word_ends[..., None], -1)


def mixed(keys):
    """Hashes below 2**40 of int64 numbers."""
    keys = (keys ^ (keys >> 29)) * -0x61C8864680B583EB  # products wrap around
    keys = (keys ^ (keys >> 32)) * -0x3B314601E57A13AD
    return (keys >> (64 - KEY_BITS)) & ((1 << KEY_BITS) - 1)
