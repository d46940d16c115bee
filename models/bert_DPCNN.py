"""bert_DPCNN: DPCNN (Johnson & Zhang 2017) on the states of a pre-trained encoder, including [CLS] and [SEP]."""

from dataclasses import dataclass

from models import DPCNN, base, encoder


@dataclass
class Config(encoder.Config):
    num_filters: int = base.flag(250, "filters of each convolution", search=(64, 128, 250, 400), low=1)


class Model(DPCNN.Model):
    def __init__(self, config, spec):
        super().__init__(config, spec, encoder.Encoder(config, spec.encoder))
