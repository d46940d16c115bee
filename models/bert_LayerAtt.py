"""bert_LayerAtt: the [CLS] states of all layers of a pre-trained encoder, including its embedding layer, weighted by a
learned softmax (as in ELMo, Peters et al. 2018, https://aclanthology.org/N18-1202), and a classifier averaged over
five dropout masks (Inoue 2019, https://arxiv.org/abs/1905.09788).
"""

from dataclasses import dataclass

import torch
from torch import nn

from models import base, encoder, layers

MASKS = 5


@dataclass
class Config(encoder.Config):
    pass


class Model(nn.Module):
    def __init__(self, config, spec):
        super().__init__()
        self.embedding = encoder.Encoder(config, spec.encoder)
        self.embedding.keep_first()
        self.scores = nn.Parameter(torch.zeros(self.embedding.body.config.num_hidden_layers + 1))
        self.dropout = layers.Dropout(config.dropout)
        self.classifier = nn.Linear(self.embedding.width, spec.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        layers = self.embedding.all_layers(batch)  # (B, L + 1, E)
        summary = torch.einsum("l,ble->be", self.scores.softmax(dim=0), layers)
        masks = MASKS if self.training else 1
        return torch.stack([self.classifier(self.dropout(summary)) for _ in range(masks)]).mean(dim=0)
