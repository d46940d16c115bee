"""TextRNN_Att: Attention-Based Bidirectional Long Short-Term Memory Networks for Relation Classification,
Zhou et al. 2016, https://aclanthology.org/P16-2034

Departures: n-gram evidence, and dropout on the embeddings (see `base.Embedding`); the directions are concatenated, not
added; the LSTM has two layers; a hidden layer follows the attention.
"""

from dataclasses import dataclass

import torch
from torch import nn

from models import base, layers


@dataclass
class Config(base.EmbeddingConfig):
    dropout: float = 0.5
    embed_dropout: float = 0.3
    hidden_size: int = base.flag(128, "LSTM units in each direction", search=(64, 128, 256, 512), low=1)
    num_layers: int = base.flag(2, "LSTM layers", search=base.Range(1, 3), low=1)
    hidden_size2: int = base.flag(64, "units of the layer after the attention", search=(32, 64, 128, 256), low=1)


class Model(nn.Module):
    def __init__(self, config, spec):
        super().__init__()
        self.embedding = base.Embedding(config, spec)
        self.lstm = layers.BiLSTM(config.embed, config.hidden_size, config.num_layers, config.dropout)
        self.dropout = layers.Dropout(config.dropout)
        self.score = nn.Linear(2 * config.hidden_size, 1, bias=False)
        self.hidden = nn.Linear(2 * config.hidden_size, config.hidden_size2)
        self.classifier = nn.Linear(config.hidden_size2, spec.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        states = self.lstm(self.embedding(batch), batch.lengths)  # (B, T, 2H)
        scores = self.score(torch.tanh(states)).masked_fill(~batch.mask[:, :, None], float("-inf"))
        summary = (scores.softmax(dim=1) * states).sum(dim=1)  # (B, 2H)
        return self.classifier(torch.relu(self.hidden(self.dropout(torch.relu(summary)))))
