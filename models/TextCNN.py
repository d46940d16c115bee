"""TextCNN: Convolutional Neural Networks for Sentence Classification, Kim 2014, https://arxiv.org/abs/1408.5882

Departures: n-gram evidence, and dropout on the embeddings (see `base.Embedding`); one channel of embeddings, which is
trained; a convolution begins at each of a row's tokens, even if it extends beyond the last one (a row may be shorter
than a filter).
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from models import base, layers
from models.convolution import Convolution


@dataclass
class Config(base.EmbeddingConfig):
    filter_sizes: tuple[int, ...] = base.flag(
        (2, 3, 4), "tokens that a convolution spans", search=((1, 2, 3), (2, 3, 4), (2, 3, 4, 5), (3, 4, 5)), low=1
    )
    num_filters: int = base.flag(256, "filters of each size", search=(64, 128, 256, 512), low=1)


class Model(nn.Module):
    def __init__(self, config, spec, embedding=None):
        super().__init__()
        self.embedding = embedding or base.Embedding(config, spec)
        self.convs = nn.ModuleList(
            Convolution(self.embedding.width, config.num_filters, size) for size in config.filter_sizes
        )
        self.dropout = layers.Dropout(config.dropout)
        self.classifier = nn.Linear(config.num_filters * len(config.filter_sizes), spec.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        x = self.embedding(batch)  # (B, T, E)
        pooled = [F.relu(conv.largest(x, batch.mask)) for conv in self.convs]  # (B, filters) each
        return self.classifier(self.dropout(torch.cat(pooled, dim=1)))
