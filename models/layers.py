"""Layers whose results do not depend on padding: dropout, LSTM, maximum over tokens, attention."""

import torch
from torch import nn
from torch.nn import functional as F

PLAIN_ATTENTION = 256  # tokens up to which the plain product is faster on a CPU


class Dropout(nn.Dropout):
    """Dropout whose mask is cheap on a CPU: one draw gives eight bytes of random numbers, one byte a feature.

    (torch's own draw takes longer than the matrix product beside it.) The probability is rounded to a 256th.
    """

    def forward(self, x):
        return drop(x, self.p) if self.training and self.p else x


def drop(x, p):
    """What `Dropout` computes in training."""
    if x.device.type != "cpu":
        return F.dropout(x, p)
    drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    threshold = max(1, round(p * 256))
    kept = torch.ge(drawn.view(torch.uint8)[: x.numel()].view(x.shape), threshold, out=torch.empty_like(x))
    return x * kept.mul_(256 / (256 - threshold))


class BiLSTM(nn.Module):
    """A bidirectional LSTM for rows of different lengths, (B, T, E) -> (B, T, 2H).

    The backward direction reads each row reversed within its own length, so that it begins at the row's last token and
    not in the padding. Outputs at padding are meaningless, mask them. (torch's packed sequences compute the same at a
    third of the speed on a CPU.)
    """

    def __init__(self, width, hidden, num_layers=1, dropout=0.0):
        super().__init__()
        widths = [width] + [2 * hidden] * (num_layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        self.backwards = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        self.dropout = Dropout(dropout)

    def forward(self, x, lengths):
        x = to_autocast_dtype(x)
        steps = torch.arange(x.shape[1], device=x.device)
        reversed_steps = lengths[:, None] - 1 - steps
        mirror = torch.where(reversed_steps >= 0, reversed_steps, steps)  # (B, T), its own inverse
        order = (mirror + x.shape[1] * torch.arange(len(x), device=x.device)[:, None]).flatten()
        for i, (ahead, back) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            if i:
                x = self.dropout(x)
            x = torch.cat((ahead(x)[0], Mirror.apply(back(Mirror.apply(x, order))[0], order)), dim=2)
        return x


class Mirror(torch.autograd.Function):
    """(B, T, H) with all rows' tokens in the order of `order`, (B * T,), which is its own inverse.

    (The gradient is therefore read in the same order; torch, which does not know that, would add it up.)
    """

    @staticmethod
    def forward(ctx, x, order):
        ctx.save_for_backward(order)
        return x.flatten(0, 1).index_select(0, order).view(x.shape)

    @staticmethod
    def backward(ctx, grad):
        (order,) = ctx.saved_tensors
        return grad.flatten(0, 1).index_select(0, order).view(grad.shape), None


def to_autocast_dtype(x):
    """The features in the precision in which autocast computes products, so that copies of them are half as large."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return x.to(torch.get_autocast_dtype(device))
    return x


def additive_mask(mask, dtype):
    """0 at tokens and minus infinity at padding, (B, T) -> (B, T, 1): added before a maximum or a ReLU."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, float("-inf"))[:, :, None]


def max_over_tokens(x, mask):
    """The largest value of each feature over a row's own tokens, (B, T, H) -> (B, H)."""
    return (x + additive_mask(mask, x.dtype)).max(dim=1).values


def attention(query, key, value, mask, dropout=0.0):
    """Scaled dot-product attention, (B, heads, T, D) three times -> the same; the mask is true at visible keys.

    For short rows on a CPU it is the plain product: torch's own takes five times as long, mostly in the backward pass.
    """
    if query.device.type != "cpu" or key.shape[2] > PLAIN_ATTENTION:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=3)
    return (drop(weights, dropout) if dropout else weights) @ value
