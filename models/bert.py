"""bert: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, Devlin et al. 2019,
https://aclanthology.org/N19-1423

Departures: no dropout between the pooled [CLS] state and the classifier.
"""

from dataclasses import dataclass

from torch import nn

from models import base, encoder


@dataclass
class Config(encoder.Config):
    pass


class Model(nn.Module):
    def __init__(self, config, spec):
        super().__init__()
        self.embedding = encoder.Encoder(config, spec.encoder, pooler=True)
        self.embedding.keep_first()
        self.classifier = nn.Linear(self.embedding.width, spec.num_classes)
        base.init_weights(self)

    def forward(self, batch):
        return self.classifier(self.embedding.pooled(batch))
