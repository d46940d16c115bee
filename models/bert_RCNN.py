"""bert_RCNN: TextRCNN (Lai et al. 2015) on the states of a pre-trained encoder, [CLS] and [SEP] among them."""

from dataclasses import dataclass

from models import TextRCNN, base, encoder


@dataclass
class Config(encoder.Config):
    rnn_hidden: int = base.flag(256, "units of the LSTM in each direction", low=1)
    num_layers: int = base.flag(2, "layers of the LSTM", low=1)

    @property
    def hidden_size(self):
        return self.rnn_hidden


class Model(TextRCNN.Model):
    def __init__(self, config):
        super().__init__(config, encoder.Encoder(config))
