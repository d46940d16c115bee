"""bert_RNN: TextRNN (Liu et al. 2016) on the states of a pre-trained encoder, including [CLS] and [SEP]."""

from dataclasses import dataclass

from models import TextRNN, base, encoder


@dataclass
class Config(encoder.Config):
    rnn_hidden: int = base.flag(
        0, "LSTM units in each direction; 0 is the encoder's width, 768 at base size", search=(0, 128, 256, 512), low=0
    )
    num_layers: int = base.flag(2, "LSTM layers", search=base.Range(1, 2), low=1)


class Model(TextRNN.Model):
    def __init__(self, config, spec):
        embedding = encoder.Encoder(config, spec.encoder)
        super().__init__(config, spec, embedding, config.rnn_hidden or embedding.width)
