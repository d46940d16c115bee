"""FastText: Bag of Tricks for Efficient Text Classification, Joulin et al. 2017, https://arxiv.org/abs/1607.01759

Departures: characters, bigrams and trigrams have a table each and are averaged separately; a hidden layer with ReLU and
dropout precedes the classifier; Adam and, for the tables, `optimizers.RowAdagrad`. Vectors are 80 wide, not 300, so
that the checkpoint has 82 MB instead of 600. They start near zero, as in fastText.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from models import base, layers
from models.tables import FACTORS, Bags, n_grams


@dataclass
class Config(base.Config):
    batch_size: int = 512
    learning_rate: float = 2e-3
    require_improvement: int = 400
    embed: int = base.flag(80, "width of an embedding", search=(16, 32, 80, 160), low=1)
    n_gram_vocab: int = base.flag(
        250499, "buckets for bigrams, and for each longer n-gram", search=(10007, 50021, 250499), low=1
    )
    n_grams: int = base.flag(
        3, "length of the longest n-grams", search=base.Range(1, len(FACTORS)), low=1, high=len(FACTORS)
    )
    hidden_size: int = base.flag(256, "units of the hidden layer", search=(64, 128, 256, 512), low=1)

    whole: ClassVar[float] = 1.0  # a bag of n-grams has no reason to cut
    affordable: ClassVar[int] = 4096


class Model(nn.Module):
    def __init__(self, config, spec):
        super().__init__()
        sizes = [spec.num_tokens - 1] + [config.n_gram_vocab] * (config.n_grams - 1)
        self.tables = nn.ModuleList(Bags(size, config.embed) for size in sizes)
        self.dropout = layers.Dropout(config.dropout)
        self.hidden = nn.Linear(config.n_grams * config.embed, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, spec.num_classes)
        base.init_weights(self)
        nn.init.normal_(self.tables[0].weight[:-1], std=0.01)  # larger ones would make the mean of rare words noise

    def forward(self, batch):
        padding = ~batch.mask
        sums = [table(n_grams(batch.tokens, n), padding) for n, table in enumerate(self.tables, 1)]
        means = torch.cat(sums, dim=1) / batch.lengths[:, None]  # (B, n_grams * E)
        return self.classifier(torch.relu(self.hidden(self.dropout(means))))
