"""DPCNN: Deep Pyramid Convolutional Neural Networks for Text Categorization, Johnson & Zhang 2017,
https://aclanthology.org/P17-1052

Departures: n-gram evidence, and dropout on the embeddings (see `base.Embedding`); one pair of convolutions is shared by
all blocks (the paper has a pair a block); dropout before the classifier. The number of blocks follows `pad_size`: as
many as reduce a row of that length to one token.
"""

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from models import base, layers
from models.convolution import Convolution


@dataclass
class Config(base.EmbeddingConfig):
    num_filters: int = base.flag(250, "filters of each convolution", search=(64, 128, 250, 400), low=1)


class Model(nn.Module):
    def __init__(self, config, spec, embedding=None):
        super().__init__()
        self.num_blocks = (config.pad_size - 1).bit_length()
        self.embedding = embedding or base.Embedding(config, spec)
        self.region = Convolution(self.embedding.width, config.num_filters, 3, before=1)
        self.convs = nn.ModuleList(Convolution(config.num_filters, config.num_filters, 3, before=1) for _ in range(2))
        self.dropout = layers.Dropout(config.dropout)
        self.classifier = nn.Linear(config.num_filters, spec.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        mask = batch.mask  # (B, T), halved with each pooling
        x = self.region(self.embedding(batch))  # (B, T, filters)
        x = x + self.convolve(x, mask)
        for _ in range(self.num_blocks):
            x, mask = halve(x, mask)
            x = x + self.convolve(x, mask)
        return self.classifier(self.dropout(x[:, 0]))

    def convolve(self, x, mask):
        hidden = layers.additive_mask(mask, x.dtype)
        for conv in self.convs:
            x = conv(F.relu(x + hidden))
        return x


def halve(x, mask):
    """Max-pooling over three tokens at every second one: T becomes ceil(T / 2), in the values and in their mask."""
    x = F.pad(x + layers.additive_mask(mask, x.dtype), (0, 0, 0, 2), value=float("-inf")).transpose(1, 2)
    # torch.compile would compile max_pool1d again for each T; on a CPU max_pool2d takes twice as long in training
    on_cpu = x.device.type == "cpu"
    pooled = F.max_pool1d(x, 3, 2) if on_cpu else F.max_pool2d(x[:, :, None], (1, 3), (1, 2))[:, :, 0]
    return pooled.transpose(1, 2), mask[:, ::2]
