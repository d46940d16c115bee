"""bert_RNN: TextRNN (Liu et al. 2016) on the states of a pre-trained encoder, [CLS] and [SEP] among them."""

from dataclasses import dataclass

from models import TextRNN, base, encoder


@dataclass
class Config(encoder.Config):
    rnn_hidden: int = base.flag(0, "units of the LSTM in each direction; 0 is the encoder's width, 768 at base", low=0)
    num_layers: int = base.flag(2, "layers of the LSTM", low=1)

    @property
    def hidden_size(self):
        return self.rnn_hidden or self.embed


class Model(TextRNN.Model):
    def __init__(self, config):
        super().__init__(config, encoder.Encoder(config))
