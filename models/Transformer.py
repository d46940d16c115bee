"""Transformer: Attention Is All You Need (its encoder), Vaswani et al. 2017, https://arxiv.org/abs/1706.03762

Departures: n-gram evidence, and dropout on the embeddings (see `base.Embedding`); layers normalise their input, not
their output, which needs no warm-up; the maximum of each feature over the tokens is classified (a classifier on all
positions learns a word separately at each position; the mean gives half a point less); dropout 0.3, not 0.1.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from cli.console import UserError
from models import base, layers


@dataclass
class Config(base.EmbeddingConfig):
    learning_rate: float = 5e-4
    dropout: float = 0.1
    dim_model: int = base.flag(300, "width of the encoder", search=(100, 200, 300, 400), low=1)
    hidden: int = base.flag(1024, "units of the feed-forward layer", search=(256, 512, 1024, 2048), low=1)
    num_head: int = base.flag(5, "attention heads, a divisor of dim_model", search=(2, 4, 5, 10), low=1)
    num_encoder: int = base.flag(2, "encoder layers", search=base.Range(1, 4), low=1)

    attention: ClassVar[bool] = True
    paper: ClassVar[dict] = base.EmbeddingConfig.paper | {"dropout": 0.1}


class Layer(nn.Module):
    """One encoder layer, (B, T, D) -> (B, T, D)."""

    def __init__(self, width, hidden, num_head, dropout):
        super().__init__()
        self.num_head = num_head
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = layers.Dropout(dropout)

    def forward(self, x, mask):
        B, T, D = x.shape
        q, k, v = (
            self.qkv(self.norm1(x)).view(B, T, 3, self.num_head, -1).permute(2, 0, 3, 1, 4)
        )  # (B, heads, T, D/heads)
        seen = layers.attention(q, k, v, mask[:, None, None])
        x = x + self.dropout(self.out(seen.transpose(1, 2).reshape(B, T, D)))
        return x + self.dropout(self.down(F.relu(self.up(self.norm2(x)))))


class Model(nn.Module):
    def __init__(self, config, spec):
        super().__init__()
        if config.dim_model % config.num_head:
            raise UserError(f"--num_head {config.num_head} does not divide --dim_model {config.dim_model}")
        width = config.dim_model
        self.embedding = base.Embedding(config, spec)
        self.project = nn.Linear(config.embed, width) if config.embed != width else nn.Identity()
        self.layers = nn.ModuleList(
            Layer(width, config.hidden, config.num_head, config.dropout) for _ in range(config.num_encoder)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = layers.Dropout(config.dropout)
        self.classifier = nn.Linear(width, spec.num_classes)

    def forward(self, batch):
        x = self.project(self.embedding(batch))  # (B, T, D)
        x = self.dropout(x * math.sqrt(x.shape[2]) + positions(x))
        for layer in self.layers:
            x = layer(x, batch.mask)
        return self.classifier(self.dropout(layers.max_over_tokens(self.norm(x), batch.mask)))


def positions(x):
    """The paper's sines and cosines for T positions, (T, D)."""
    T, D = x.shape[1:]
    rates = torch.exp(torch.arange(0, D, 2, device=x.device) * (-math.log(10000.0) / D))
    angles = torch.arange(T, device=x.device)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :D]
