"""FastText: Bag of Tricks for Efficient Text Classification, Joulin et al. 2017, https://arxiv.org/abs/1607.01759

Departures: n-gram evidence (see `evidence`); characters, bigrams and trigrams have a table each and are averaged
separately; a hidden layer with ReLU and dropout precedes the classifier; Adam and, for the tables,
`optimizers.RowAdagrad`. Vectors are 80 wide, not 300, so that the checkpoint has 82 MB instead of 600. They start near
zero, as in fastText.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from models import base, layers
from models.tables import FACTORS, Bags, n_grams


@dataclass
class Config(base.Config):
    num_epochs: int = 2
    batch_size: int = base.flag(
        0, "rows of a training step; 0: up to 512, as training rows allow", search=(0, 64, 128, 256, 512), low=0
    )
    learning_rate: float = 4e-3
    embed: int = base.flag(80, "width of an embedding", search=(16, 32, 80, 160), low=1)
    n_gram_vocab: int = base.flag(
        250499, "buckets for bigrams, and for each longer n-gram", search=(10007, 50021, 250499), low=1
    )
    n_grams: int = base.flag(
        3, "length of the longest n-grams", search=base.Range(1, len(FACTORS)), low=1, high=len(FACTORS)
    )
    hidden_size: int = base.flag(
        256, "units of the hidden layer; 0: no hidden layer", search=(0, 64, 128, 256, 512), low=0
    )

    whole: ClassVar[float] = 1.0  # a bag of n-grams has no reason to cut
    affordable: ClassVar[int] = 4096
    largest: ClassVar[int] = 512
    start: ClassVar[float] = 1.0  # its vectors start near zero, so that the evidence decides at first anyway
    paper: ClassVar[dict] = base.Config.paper | {"hidden_size": 0, "dropout": 0.0}


class Model(nn.Module):
    def __init__(self, config, spec):
        super().__init__()
        sizes = [spec.num_tokens - 1] + [config.n_gram_vocab] * (config.n_grams - 1)
        self.tables = nn.ModuleList(Bags(size, config.embed) for size in sizes)
        self.dropout = layers.Dropout(config.dropout)
        width, hidden = config.n_grams * config.embed, config.hidden_size
        self.hidden = nn.Linear(width, hidden) if hidden else None
        self.classifier = nn.Linear(hidden or width, spec.num_classes)
        base.init_weights(self)
        nn.init.normal_(self.tables[0].weight[:-1], std=0.01)  # larger ones would make the mean of rare words noise

    def forward(self, batch):
        padding = ~batch.mask
        sums = [table(n_grams(batch.tokens, n, batch.joints), padding) for n, table in enumerate(self.tables, 1)]
        means = torch.cat(sums, dim=1) / batch.lengths[:, None]  # (B, n_grams * E)
        x = self.dropout(means)
        return self.classifier(torch.relu(self.hidden(x)) if self.hidden else x)
