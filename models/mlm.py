"""An encoder with the head that predicts masked words, for `pretrain_mlm.py`."""

from dataclasses import dataclass

from torch import nn
from transformers import AutoModelForMaskedLM

from models import base, encoder

MASKINGS = TOKEN, WORD, NGRAM = ("token", "word", "ngram")  # see `engine.masking`


@dataclass
class Config(encoder.TrainingConfig):
    num_epochs: int = 10
    batch_size: int = base.flag(128, "rows of a training step", low=1)
    learning_rate: float = 5e-4
    require_improvement: int = 10000
    pad_size: int = base.flag(
        32, "tokens of a row, including [CLS] and [SEP]; longer texts are split", low=3, high=1_000_000
    )
    dropout: float = base.flag(0.1, "dropout in the encoder", low=0, high=0.95)
    mask_share: float = base.flag(0.15, "share of the tokens, or of the words, to mask", low=0, high=0.9, open_low=True)
    masking: str = base.flag(WORD, "what is masked together: one token, a word, or 1 to 4 words", choices=MASKINGS)


class Model(nn.Module):
    """An encoder with the head that predicts words: a Batch with positions -> logits, (M, tokens)."""

    def __init__(self, config, spec):
        super().__init__()
        self.filler = encoder.build(AutoModelForMaskedLM, config, spec.encoder)
        self.positions = None  # of the masked tokens, (M,): the last layer and the head compute those alone
        self.is_narrow = encoder.narrow(self.filler.base_model, self.select)

    def select(self, states):
        """The states of the masked tokens, (B, T, E) -> (M, E)."""
        return states.flatten(0, 1)[self.positions]

    def forward(self, batch):
        self.positions = batch.positions
        states = encoder.run(self.filler.base_model, batch).last_hidden_state
        chosen = states if self.is_narrow else self.select(states)
        if hasattr(self.filler, "generator_predictions"):  # ELECTRA
            return self.filler.generator_lm_head(self.filler.generator_predictions(chosen))
        return (self.filler.predictions if hasattr(self.filler, "predictions") else self.filler.cls)(chosen)
