"""Layers in the form in which they are exported: they compute the same in evaluation, on rows of any length.

`torch.onnx` cannot convert autograd functions, and torch's tables would store rows that training never changed.
"""

import torch
from torch import nn
from torch.nn import functional as F

from models.layers import BiLSTM
from models.tables import Bags, Table


class Rows(nn.Module):
    """A `Table` that stores all rows of zeros, such as those of n-grams that training has not seen, as one.

    A bit for each bucket says whether it has a row of its own. A row's index is the number of such buckets up to its
    own: those before its byte, and those within it.
    """

    def __init__(self, table):
        super().__init__()
        weight, places = table.weight.detach().cpu(), 2 ** torch.arange(8)
        used = weight.any(dim=1)
        self.buckets = table.padding_idx
        self.stored = nn.Parameter(torch.cat((torch.zeros_like(weight[:1]), weight[used])))
        used = F.pad(used, (0, -len(used) % 8)).unflatten(0, (-1, 8))  # (bytes, 8)
        self.register_buffer("bits", (used * places).sum(dim=1).to(torch.uint8))
        self.register_buffer("before", (used.sum(dim=1).cumsum(0) - used.sum(dim=1)).int())
        used = torch.arange(256)[:, None] // places % 2  # the bits of each possible byte
        self.register_buffer("within", (used.cumsum(dim=1) * used).flatten().to(torch.uint8))  # (2048,)

    def forward(self, n_grams, padding):
        ids = (n_grams % self.buckets).masked_fill(padding, self.buckets)
        byte, bit = ids.flatten() // 8, ids.flatten() % 8
        within = self.within.index_select(0, self.bits.index_select(0, byte).long() * 8 + bit).long()
        rows = (self.before.index_select(0, byte) + within) * (within > 0)  # 0 if it has no row of its own
        return F.embedding(rows.view(ids.shape), self.stored)


class SummedRows(Rows):
    """`Bags` in the form of `Rows`."""

    def forward(self, n_grams, padding):
        return super().forward(n_grams, padding).sum(dim=1)


class LSTM(nn.Module):
    """A `BiLSTM` as operators of ONNX, which read the backward direction within each row's own length."""

    def __init__(self, lstm):
        super().__init__()
        self.hidden = lstm.forwards[0].hidden_size
        pairs = list(zip(lstm.forwards, lstm.backwards, strict=True))
        for name in ("weight_ih", "weight_hh"):
            weights = [torch.stack([in_order(getattr(each, f"{name}_l0")) for each in pair]) for pair in pairs]
            setattr(self, name, nn.ParameterList(weights))  # (2, 4H, E) each
        biases = [
            torch.stack([torch.cat((in_order(each.bias_ih_l0), in_order(each.bias_hh_l0))) for each in pair])
            for pair in pairs
        ]
        self.bias = nn.ParameterList(biases)  # (2, 8H) each

    def forward(self, x, lengths):
        x, lengths = x.transpose(0, 1), lengths.int()  # (T, B, E)
        for weights in zip(self.weight_ih, self.weight_hh, self.bias, strict=True):
            x = Operator.apply(x, *weights, lengths, self.hidden).transpose(1, 2).flatten(2)  # (T, B, 2H)
        return x.transpose(0, 1)


class Operator(torch.autograd.Function):
    """The LSTM of ONNX in both directions, (T, B, E) -> (T, 2, B, H). torch computes zeros of this shape."""

    @staticmethod
    def forward(ctx, x, weight_ih, weight_hh, bias, lengths, hidden):
        return x.new_zeros(x.shape[0], 2, x.shape[1], hidden)

    @staticmethod
    def symbolic(graph, x, weight_ih, weight_hh, bias, lengths, hidden):
        inputs, options = (x, weight_ih, weight_hh, bias, lengths), {"direction_s": "bidirectional"}
        return graph.op("LSTM", *inputs, hidden_size_i=hidden, **options)


def in_order(weight):
    """The weights of an LSTM's gates, (4H, …), in the order of ONNX: input, output, forget, cell."""
    i, f, g, o = weight.detach().chunk(4)
    return torch.cat((i, o, f, g))


REPLACED = {Table: Rows, Bags: SummedRows, BiLSTM: LSTM}


def replaced(module):
    """The module, with each child that has a form here replaced by it."""
    for name, child in module.named_children():
        if type(child) in REPLACED:
            setattr(module, name, REPLACED[type(child)](child))
        else:
            replaced(child)
    return module
