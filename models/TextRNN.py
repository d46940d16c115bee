"""TextRNN: Recurrent Neural Network for Text Classification with Multi-Task Learning, Liu et al. 2016,
https://arxiv.org/abs/1605.05101

Departures: n-gram evidence, and dropout on the embeddings (see `base.Embedding`); one task; the LSTM runs in both
directions and has two layers; each direction's last state is classified.
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


class Model(nn.Module):
    def __init__(self, config, spec, embedding=None, hidden_size=None):
        super().__init__()
        hidden = hidden_size or config.hidden_size
        self.embedding = embedding or base.Embedding(config, spec)
        self.lstm = layers.BiLSTM(self.embedding.width, hidden, config.num_layers, config.dropout)
        self.dropout = layers.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * hidden, spec.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        ahead, back = self.lstm(self.embedding(batch), batch.lengths).chunk(2, dim=2)  # (B, T, H) each
        last = (batch.lengths - 1)[:, None, None].expand(-1, 1, ahead.shape[2])
        return self.classifier(self.dropout(torch.cat((ahead.gather(1, last)[:, 0], back[:, 0]), dim=1)))
