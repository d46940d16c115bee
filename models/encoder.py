"""What the models on a pre-trained encoder share: the fields of every `Config`, and the encoder itself.

The encoders are those of `transformers`; this file finds and checks the files that people have of them.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from transformers import AttentionInterface, AutoConfig, AutoModel

from cli.console import UserError, say
from models import base, layers
from models.encoder_files import load_weights


@dataclass
class Config(base.Config):
    """The hyper-parameters that all models on an encoder have."""

    num_epochs: int = 3
    pad_size: int = base.flag(32, "tokens at which a row is cut, [CLS] and [SEP] among them", low=3)
    learning_rate: float = 5e-5
    dropout: float = base.flag(
        0.1, "share of the features that a step drops, in the encoder and before the classifier", low=0, high=0.95
    )
    weight_decay: float = base.flag(0.01, "of AdamW, except for biases and LayerNorm", low=0)
    warmup: float = base.flag(0.05, "share of the steps in which the learning rate rises", low=0, high=1)
    max_norm: float = base.flag(1.0, "norm at which gradients are clipped", low=0, open_low=True)

    directory: ClassVar[str] = "bert_pretrain"  # where the encoder's files lie by default

    @property
    def embed(self):
        """The width of the encoder's states."""
        return self.encoder["hidden_size"]


class Encoder(nn.Module):
    """A pre-trained encoder in place of `base.Embedding`: a Batch's states, (B, T) -> (B, T, E), zeros at padding.

    config: a model's `Config` whose `encoder` is what `read_settings` returned. pooler: whether `pooled` is wanted.
    The weights are random until `load`.
    """

    def __init__(self, config, pooler=False):
        super().__init__()
        own = {} if config.encoder["model_type"] == "electra" else {"add_pooling_layer": pooler}
        self.body = build(AutoModel, config, **own)
        self.pooler = None
        if pooler and not own:  # ELECTRA comes without one
            self.pooler = nn.Sequential(nn.Linear(config.embed, config.embed), nn.Tanh())

    def forward(self, batch):
        return run(self.body, batch).last_hidden_state.masked_fill(~batch.mask[:, :, None], 0)

    def pooled(self, batch):
        """The [CLS] state after the pooler, (B, E)."""
        out = run(self.body, batch)
        return self.pooler(out.last_hidden_state[:, 0]) if self.pooler else out.pooler_output

    def all_layers(self, batch):
        """The [CLS] states of the embedding layer and of each layer above, (B, L + 1, E)."""
        layers = run(self.body, batch, output_hidden_states=True).hidden_states
        return torch.stack([states[:, 0] for states in layers], dim=1)

    def layers(self):
        """The encoder's parameters from the bottom up, a list a layer, the embedding's first."""
        body = self.body
        bottom = [body.embeddings, getattr(body, "embeddings_project", None)]
        bottom.append(getattr(body.encoder, "embedding_hidden_mapping_in", None))
        above = body.encoder.albert_layer_groups if hasattr(body.encoder, "albert_layer_groups") else body.encoder.layer
        modules = [nn.ModuleList(module for module in bottom if module), *above]
        return [list(module.parameters()) for module in modules]

    def load(self, directory):
        """Takes the weights in an encoder's directory. Raises UserError where others than the pooler's are missing."""
        if load_weights(self.body, directory, optional="pooler."):
            say(f"{directory} has no pooler (the encoder was trained on masked words alone): it starts random")
        elif self.pooler:
            say("ELECTRA has no pooler: it starts random")


def build(kind, config, **options):
    """The model of an automatic class of `transformers` for a model's `Config`, with random weights.

    Raises UserError where the library refuses the encoder's settings, or `pad_size` is beyond its positions.
    """
    dropout = {"hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout}
    try:
        settings = AutoConfig.for_model(**config.encoder | dropout)
        body = kind.from_config(settings, dtype=torch.float32, attn_implementation="toolkit", **options)
    except Exception as error:  # the library raises whatever it likes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the encoder's config.json does not do: {reason}") from error
    places = settings.max_position_embeddings
    if config.pad_size > places:
        raise UserError(f"--pad_size {config.pad_size} is more than the {places} positions that the encoder has")
    cheapen_dropout(body)
    return body


def run(body, batch, **options):
    """What an encoder of `transformers` makes of a Batch."""
    tokens = batch.tokens
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    # places and segments are given, since the encoder's own are in no checkpoint
    ids = {"position_ids": places, "token_type_ids": torch.zeros_like(tokens)}
    mask = batch.mask[:, None, None]  # of four axes the library takes it as it is; else it waits for the GPU to look
    return body(tokens, attention_mask=mask, return_dict=True, **ids, **options)


def attend(module, query, key, value, attention_mask, dropout=0.0, **_):
    """`layers.attention` in the form in which `transformers` calls it."""
    states = layers.attention(query, key, value, attention_mask, dropout if module.training else 0.0)
    return states.transpose(1, 2).contiguous(), None


AttentionInterface.register("toolkit", attend)


def cheapen_dropout(module):
    """Puts `layers.Dropout` in the place of torch's."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, layers.Dropout(child.p))
        else:
            cheapen_dropout(child)
