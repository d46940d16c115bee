"""bert_CNN: TextCNN (Kim 2014) on the states of a pre-trained encoder, including [CLS] and [SEP]."""

from dataclasses import dataclass

from models import TextCNN, base, encoder


@dataclass
class Config(encoder.Config):
    filter_sizes: tuple[int, ...] = base.flag(
        (2, 3, 4), "tokens that a convolution spans", search=((1, 2, 3), (2, 3, 4), (2, 3, 4, 5), (3, 4, 5)), low=1
    )
    num_filters: int = base.flag(256, "filters of each size", search=(64, 128, 256, 512), low=1)


class Model(TextCNN.Model):
    def __init__(self, config, spec):
        super().__init__(config, spec, encoder.Encoder(config, spec.encoder))
