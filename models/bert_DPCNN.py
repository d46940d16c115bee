"""bert_DPCNN: DPCNN (Johnson & Zhang 2017) on the states of a pre-trained encoder, [CLS] and [SEP] among them."""

from dataclasses import dataclass

from models import DPCNN, base, encoder


@dataclass
class Config(encoder.Config):
    num_filters: int = base.flag(250, "filters of each convolution", low=1)


class Model(DPCNN.Model):
    def __init__(self, config):
        super().__init__(config, encoder.Encoder(config))
