"""TextRCNN: Recurrent Convolutional Neural Networks for Text Classification, Lai et al. 2015,
https://ojs.aaai.org/index.php/AAAI/article/view/9513

Departures: bigrams (see `base.Embedding`), and half of the embeddings dropped, since with them an LSTM learns its rows
by heart in two epochs; an LSTM in place of the plain recurrence; no tanh layer between the states and the pooling;
dropout before the classifier.
"""

from dataclasses import dataclass

import torch
from torch import nn

from models import base, layers


@dataclass
class Config(base.EmbeddingConfig):
    num_epochs: int = 10
    embed_dropout: float = 0.5
    hidden_size: int = base.flag(256, "units of the LSTM in each direction", low=1)
    num_layers: int = base.flag(1, "layers of the LSTM", low=1)


class Model(nn.Module):
    def __init__(self, config, embedding=None):
        super().__init__()
        self.embedding = embedding or base.Embedding(config)
        self.lstm = layers.BiLSTM(config.embed, config.hidden_size, config.num_layers, config.dropout)
        self.dropout = layers.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.hidden_size + config.embed, config.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        x = self.embedding(batch)
        pooled = [layers.max_over_tokens(each, batch.mask) for each in (x, self.lstm(x, batch.lengths))]
        return self.classifier(self.dropout(torch.relu(torch.cat(pooled, dim=1))))  # of (B, E + 2H)
