"""Convolutions over tokens, with zeros beyond both ends, and the maximum over a row's tokens of what they compute.

Legend: B rows, T tokens, E features of a token.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from models.layers import additive_mask, max_over_tokens, to_autocast_dtype


class Convolution(nn.Linear):
    """A convolution over tokens, (B, T, E) -> (B, T, filters).

    before: how many of its `size` tokens precede the token of the output. (It is a single matrix product, which takes
    two thirds of the time of torch's convolution on a CPU.)
    """

    def __init__(self, width, filters, size, before=0):
        super().__init__(size * width, filters)
        self.before, self.after = before, size - 1 - before

    def forward(self, x):
        return convolution(to_autocast_dtype(x), self.weight, self.bias, self.before, self.after)

    def largest(self, x, mask):
        """The largest value of each filter over a row's own tokens, (B, T, E) -> (B, filters); mask: (B, T)."""
        if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return Largest.apply(to_autocast_dtype(x), self.weight, self.bias, mask, self.before, self.after)
        return max_over_tokens(self(x), mask)


def convolution(x, weight, bias, before, after):
    """What `Convolution` computes; a `TorchFunctionMode` may compute it instead."""
    if has_torch_function_unary(x):
        return handle_torch_function(convolution, (x,), x, weight, bias, before, after)
    return F.linear(windows(x, before, after), weight, bias)


def windows(x, before, after):
    """Each token beside those around it, (B, T, E) -> (B, T, (before + 1 + after) * E)."""
    T = x.shape[1]
    x = F.pad(x, (0, 0, before, after))
    return torch.cat([x[:, i : i + T] for i in range(before + after + 1)], dim=2)


class Largest(torch.autograd.Function):
    """`Convolution.largest` on a CPU.

    Of a row's T windows only the largest one of each filter has a gradient, which is 0 if ReLU or dropout follow and
    remove it. So the backward pass adds up vectors, one for each gradient and token of its window, in a tenth of the
    time of the two matrix products that torch computes.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mask, before, after):
        found = convolution(x, weight, bias, before, after)
        found, places = (found + additive_mask(mask, found.dtype)).max(dim=1)
        ctx.save_for_backward(x, weight, places)
        ctx.around = before, after
        return found

    @staticmethod
    def backward(ctx, grad):
        x, weight, places = ctx.saved_tensors
        B, T, E = x.shape
        before, after = ctx.around
        size, filters = before + 1 + after, len(weight)
        by_filter = grad.t().flatten()
        found = by_filter.nonzero()[:, 0]  # index_select takes half the time of an index of two dimensions
        of, rows, values = found // B, found % B, by_filter.index_select(0, found)  # filter, row and value of gradients
        places = places.t().flatten().index_select(0, found)

        padded = F.pad(x, (0, 0, before, after))
        tokens = rows * padded.shape[1] + places  # the first one of each window
        steps = torch.arange(size)[:, None]
        bags = (bags_of(of, filters) + len(of) * steps).flatten()
        sums = sum_of(padded.view(-1, E), (tokens + steps).flatten(), bags, values.repeat(size))  # (size * filters, E)
        of_weight = sums.view(size, filters, E).transpose(0, 1).reshape(weight.shape)

        windows_of = rows * T + places
        order = torch.from_numpy(np.argsort(windows_of.numpy().astype(np.min_scalar_type(B * T)), kind="stable"))
        of, values = of.index_select(0, order), values.index_select(0, order)
        sums = sum_of(weight.to(x.dtype), of, bags_of(windows_of, B * T), values).view(B, T, size, E)
        of_x = torch.zeros_like(padded)
        for i in range(size):
            of_x[:, i : i + T] += sums[:, :, i]
        return of_x[:, before : before + T], of_weight.to(weight.dtype), grad.sum(dim=0).to(weight.dtype), *[None] * 3


def bags_of(ids, count):
    """Where each id begins in a sorted array of these ids, (count,)."""
    counts = torch.bincount(ids, minlength=count)
    return counts.cumsum(dim=0) - counts


def sum_of(table, ids, bags, factors):
    """The sums of the rows of a table with these ids, each times its factor, one for each of the bags of ids."""
    return F.embedding_bag(ids, table, bags, mode="sum", per_sample_weights=factors)
