"""Layers that padding does not change: dropout, convolution, LSTM, attention, maximum over tokens."""

import torch
from torch import nn
from torch.nn import functional

PLAIN_ATTENTION = 256  # tokens up to which the plain product is the faster one on a CPU


class Dropout(nn.Dropout):
    """Dropout whose mask is cheap on a CPU: eight bytes of random numbers at a draw, a byte a feature.

    (torch's own draw takes longer than the matrix product beside it.) The share is rounded to a 256th.
    """

    def forward(self, x):
        return drop(x, self.p) if self.training and self.p else x


def drop(x, share):
    """What `Dropout` does to these features in training."""
    if x.device.type != "cpu":
        return functional.dropout(x, share)
    drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    threshold = max(1, round(share * 256))
    kept = torch.ge(drawn.view(torch.uint8)[: x.numel()].view(x.shape), threshold, out=torch.empty_like(x))
    return x * kept.mul_(256 / (256 - threshold))


class BiLSTM(nn.Module):
    """A bidirectional LSTM for rows of different lengths, (B, T, E) -> (B, T, 2H).

    The backward direction reads each row reversed within its own length, so that it begins at the row's last token and
    not in the padding; outputs at padding are meaningless, mask them. (torch's packed sequences do the same at a third
    of the speed on a CPU.)
    """

    def __init__(self, width, hidden, num_layers=1, dropout=0.0):
        super().__init__()
        widths = [width] + [2 * hidden] * (num_layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        self.backwards = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        self.dropout = Dropout(dropout)

    def forward(self, x, lengths):
        x = as_computed(x)
        steps = torch.arange(x.shape[1], device=x.device)
        mirrored = lengths[:, None] - 1 - steps
        mirror = torch.where(mirrored >= 0, mirrored, steps)  # (B, T), its own inverse
        places = (mirror + x.shape[1] * torch.arange(len(x), device=x.device)[:, None]).flatten()
        for i, (ahead, back) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            if i:
                x = self.dropout(x)
            x = torch.cat((ahead(x)[0], Mirror.apply(back(Mirror.apply(x, places))[0], places)), dim=2)
        return x


class Mirror(torch.autograd.Function):
    """(B, T, H) with the rows and tokens, counted through, in the order of `places`, which is its own inverse.

    (So its gradient is read in that order too, where torch, which does not know that, would add it up.)
    """

    @staticmethod
    def forward(ctx, x, places):
        ctx.save_for_backward(places)
        return x.flatten(0, 1).index_select(0, places).view(x.shape)

    @staticmethod
    def backward(ctx, grad):
        (places,) = ctx.saved_tensors
        return grad.flatten(0, 1).index_select(0, places).view(grad.shape), None


class Convolution(nn.Linear):
    """A convolution over tokens, (B, T, E) -> (B, T, filters); beyond both ends there are zeros.

    before: how many of the `size` tokens that it spans lie before the one in whose place it writes. (It is one product
    of matrices, which on a CPU takes two thirds of the time that torch's own convolution takes.)
    """

    def __init__(self, width, filters, size, before=0):
        super().__init__(size * width, filters)
        self.before, self.after = before, size - 1 - before

    def forward(self, x):
        T = x.shape[1]
        x = functional.pad(as_computed(x), (0, 0, self.before, self.after))
        return super().forward(torch.cat([x[:, i : i + T] for i in range(self.before + self.after + 1)], dim=2))


def as_computed(x):
    """The features in the precision that products are computed in: what is copied first is then half as large."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind))
    return x


def penalty(mask, dtype):
    """What hides the padding from a maximum or a ReLU when it is added, (B, T) -> (B, T, 1)."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, float("-inf"))[:, :, None]


def max_over_tokens(x, mask):
    """The largest value of each feature over a row's own tokens, (B, T, H) -> (B, H)."""
    return (x + penalty(mask, x.dtype)).max(dim=1).values


def attention(query, key, value, mask, dropout=0.0):
    """Scaled dot-product attention, (B, heads, T, D) three times -> the same; a mask is true at keys that are seen.

    On a CPU and for short rows the plain product: torch's own takes five times as long there, most of it backwards.
    """
    if query.device.type != "cpu" or key.shape[2] > PLAIN_ATTENTION:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=3)
    return (drop(weights, dropout) if dropout else weights) @ value
