"""FastText: Bag of Tricks for Efficient Text Classification, Joulin et al. 2017, https://arxiv.org/abs/1607.01759

Departures: characters, bigrams and trigrams have a table each and are averaged apart; a hidden layer with ReLU and
dropout precedes the classifier; Adam. The tables' gradients are sparse: a step touches the rows of its batch alone.
Vectors are 80 wide, not 300, which takes the checkpoint from 600 MB to 82. They start near zero, as in fastText.
"""

from dataclasses import dataclass

import torch
from torch import nn

from models import base


@dataclass
class Config(base.Config):
    embed: int = base.flag(80, "width of an embedding", low=1)
    n_gram_vocab: int = base.flag(250499, "buckets for bigrams, and as many for trigrams", low=1)
    hidden_size: int = base.flag(256, "units of the hidden layer", low=1)


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.buckets = config.n_gram_vocab
        sizes = (config.num_tokens - 1, self.buckets, self.buckets)
        self.bags = nn.ModuleList(
            nn.EmbeddingBag(size + 1, config.embed, mode="mean", sparse=True, padding_idx=size) for size in sizes
        )
        self.dropout = base.Dropout(config.dropout)
        self.hidden = nn.Linear(3 * config.embed, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_classes)
        base.init_weights(self)
        nn.init.normal_(self.bags[0].weight, std=0.01)  # a mean over rare words must not be one over noise
        for bag in self.bags[1:]:
            nn.init.zeros_(bag.weight)  # an n-gram that training has not seen says nothing

    def forward(self, batch):
        grams = n_grams(batch.tokens, self.buckets)
        means = [bag(ids.masked_fill(~batch.mask, bag.padding_idx)) for bag, ids in zip(self.bags, grams, strict=True)]
        return self.classifier(torch.relu(self.hidden(self.dropout(torch.cat(means, dim=1)))))


def n_grams(tokens, buckets):
    """Each token, and the buckets of the bigram and of the trigram that end with it, (B, T) each."""
    before = nn.functional.pad(tokens, (2, 0), value=-1)[:, :-2]
    bigrams = base.bigrams(tokens)
    return tokens, bigrams % buckets, (before * 18408749 + bigrams) % buckets
