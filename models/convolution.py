"""Convolutions over tokens, with zeros beyond both ends, and the maximum over a row's tokens of what they compute.

Legend: B rows, T tokens, E features of a token.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from models.layers import additive_mask, max_over_tokens, to_autocast_dtype
from models.tables import sums_by_group


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
        if x.device.type == "cpu" and torch.is_grad_enabled():
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
    remove it. So the backward pass adds up vectors, in a third of the time of torch's matrix products for rows of 20
    tokens.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mask, before, after):
        inputs = windows(x, before, after)
        values = F.linear(inputs, weight, bias)
        values, places = (values + additive_mask(mask, values.dtype)).max(dim=1)
        ctx.save_for_backward(inputs, weight, places)
        ctx.around = before, after
        return values

    @staticmethod
    def backward(ctx, grad):
        inputs, weight, places = ctx.saved_tensors
        before, after = ctx.around
        B, T = inputs.shape[:2]
        size = before + 1 + after
        chosen = grad.flatten().nonzero()[:, 0]  # index_select takes half the time of an index of two dimensions
        rows, filters = chosen // len(weight), chosen % len(weight)
        tokens = rows * T + places.flatten().index_select(0, chosen)  # of the windows, among those of all rows
        values = grad.flatten().index_select(0, chosen)
        of_weight = sums_by_group(inputs.flatten(0, 1), tokens, filters.numpy(), len(weight), values)
        of_windows = sums_by_group(weight.to(inputs.dtype), filters, tokens.numpy(), B * T, values).view(B, T, size, -1)
        of_x = of_windows.new_zeros(B, before + T + after, of_windows.shape[3])
        for i in range(size):
            of_x[:, i : i + T] += of_windows[:, :, i]
        of_bias = grad.sum(dim=0).to(weight.dtype)
        return of_x[:, before : before + T], of_weight.to(weight.dtype), of_bias, None, None, None
