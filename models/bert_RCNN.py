"""bert_RCNN: TextRCNN (Lai et al. 2015) on the states of a pre-trained encoder, including [CLS] and [SEP]."""

from dataclasses import dataclass

from models import TextRCNN, base, encoder


@dataclass
class Config(encoder.Config):
    rnn_hidden: int = base.flag(256, "LSTM units in each direction", search=(64, 128, 256, 512), low=1)
    num_layers: int = base.flag(2, "LSTM layers", search=base.Range(1, 2), low=1)


class Model(TextRCNN.Model):
    def __init__(self, config, spec):
        super().__init__(config, spec, encoder.Encoder(config, spec.encoder), config.rnn_hidden)
