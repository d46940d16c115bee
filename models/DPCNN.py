"""DPCNN: Deep Pyramid Convolutional Neural Networks for Text Categorization, Johnson & Zhang 2017,
https://aclanthology.org/P17-1052

Departures: bigrams, and dropout on the embeddings (see `base.Embedding`); one pair of convolutions is shared by all
blocks (the paper has a pair a block); dropout before the classifier. The number of blocks follows `pad_size`: as many
as bring a row of that length down to one token.
"""

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from models import base


@dataclass
class Config(base.EmbeddingConfig):
    num_filters: int = base.flag(250, "filters of each convolution", low=1)


class Model(nn.Module):
    def __init__(self, config, embedding=None):
        super().__init__()
        self.num_blocks = (config.pad_size - 1).bit_length()
        self.embedding = embedding or base.Embedding(config)
        self.region = nn.Conv1d(config.embed, config.num_filters, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv1d(config.num_filters, config.num_filters, 3, padding=1) for _ in range(2))
        self.dropout = base.Dropout(config.dropout)
        self.classifier = nn.Linear(config.num_filters, config.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        beyond = ~batch.mask[:, None]  # (B, 1, T), halved with each pooling
        x = self.region(self.embedding(batch).transpose(1, 2))  # (B, filters, T)
        x = x + self.convolve(x, beyond)
        for _ in range(self.num_blocks):
            x, beyond = halve(x, beyond)
            x = x + self.convolve(x, beyond)
        return self.classifier(self.dropout(x[:, :, 0]))

    def convolve(self, x, beyond):
        for conv in self.convs:
            x = conv(F.relu(x).masked_fill(beyond, 0))
        return x


def halve(x, beyond):
    """Max-pooling over three tokens at every second one: T becomes ceil(T / 2), in the values and in their mask."""
    x = F.pad(x.masked_fill(beyond, float("-inf")), (0, 2), value=float("-inf"))
    return F.max_pool1d(x, 3, 2), beyond[:, :, ::2]
