"""TextRCNN: Recurrent Convolutional Neural Networks for Text Classification, Lai et al. 2015,
https://ojs.aaai.org/index.php/AAAI/article/view/9513

Departures: n-gram evidence, and dropout on the embeddings (see `base.Embedding`); an LSTM instead of the plain
recurrence; no tanh layer between the states and the pooling; dropout before the classifier.
"""

from dataclasses import dataclass

import torch
from torch import nn

from models import base, layers


@dataclass
class Config(base.EmbeddingConfig):
    dropout: float = 0.3
    embed_dropout: float = 0.3
    hidden_size: int = base.flag(256, "LSTM units in each direction", search=(64, 128, 256, 512), low=1)
    num_layers: int = base.flag(1, "LSTM layers", search=base.Range(1, 2), low=1)


class Model(nn.Module):
    def __init__(self, config, spec, embedding=None, hidden_size=None):
        super().__init__()
        hidden = hidden_size or config.hidden_size
        self.embedding = embedding or base.Embedding(config, spec)
        self.lstm = layers.BiLSTM(self.embedding.width, hidden, config.num_layers, config.dropout)
        self.dropout = layers.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * hidden + self.embedding.width, spec.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        x = self.embedding(batch)
        pooled = [layers.max_over_tokens(each, batch.mask) for each in (x, self.lstm(x, batch.lengths))]
        return self.classifier(self.dropout(torch.relu(torch.cat(pooled, dim=1))))  # of (B, E + 2H)
