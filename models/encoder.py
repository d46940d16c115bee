"""What the models on a pre-trained encoder share: the fields of every `Config`, and the encoder itself.

The encoders are those of `transformers`; `encoder_files` reads and checks their files.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from transformers import AttentionInterface, AutoConfig, AutoModel

from cli.console import UserError, reason, say
from models import base, encoder_files, layers

BASE_RATE, BASE_WIDTH = 5e-5, 768  # learning rate of fine-tuning, and the width of the encoder that it suits
SHORTEST = 3  # tokens of a row: [CLS], a word piece, [SEP]


@dataclass
class TrainingConfig(base.TrainingConfig):
    """The hyper-parameters of an encoder's training."""

    num_epochs: int = base.flag(3, "passes over the training data", search=base.Range(1, 5), low=1)
    batch_size: int = base.flag(
        0, "rows of a training step; 0: up to 128, as training rows allow", search=(0, 16, 32, 64, 128), low=0
    )
    pad_size: int = base.flag(
        0,
        "tokens of a row that are read, including [CLS] and [SEP]; 0: as many as keep nearly all rows whole",
        low=0,
        high=1_000_000,
    )
    learning_rate: float = base.flag(
        5e-5, "learning rate of AdamW", search=base.Range(1e-5, 5e-4, log=True), low=0, open_low=True
    )
    dropout: float = base.flag(
        0.1,
        "dropout in the encoder and before the classifier",
        search=base.Range(0.0, 0.3, step=0.05),
        low=0,
        high=0.95,
    )
    weight_decay: float = base.flag(0.01, "weight decay of AdamW, except for biases and LayerNorm", low=0)
    warmup: float = base.flag(0.05, "share of the steps in which the learning rate rises", low=0, high=1)
    max_norm: float = base.flag(1.0, "norm to which gradients are clipped", low=0, open_low=True)

    framed: ClassVar[bool] = True
    attention: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if 0 < self.pad_size < SHORTEST:
            raise UserError(f"--pad_size {self.pad_size} is out of range, expected at least {SHORTEST}, or 0")


@dataclass
class Config(TrainingConfig, base.Config):
    """The hyper-parameters of all models on an encoder."""

    learning_rate: float = base.flag(
        0.0,
        "learning rate of AdamW; 0: 5e-5 for an encoder that is 768 wide, more for a narrower one",
        search=(0.0, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4),
        low=0,
    )

    word_n_grams: ClassVar[int] = 0  # tokens are no characters
    directory: ClassVar[str] = "bert_pretrain"  # the default directory of the encoder's files


def fit_to_encoder(config, encoder_config):
    """The Config with the learning rate for an encoder of this width if its own is 0, which is reported.

    It is inversely proportional to the width, and that of Devlin et al. 2019, https://aclanthology.org/N19-1423, for
    their base size.
    """
    if config.learning_rate:
        return config
    rate = float(f"{BASE_RATE * BASE_WIDTH / encoder_config['hidden_size']:.2g}")
    say(f"Learning rate: {rate:g} (--learning_rate)")
    return dataclasses.replace(config, learning_rate=rate)


class Encoder(base.Embedder):
    """A pre-trained encoder, used as a network's embedding: a Batch's states, (B, T) -> (B, T, E), zeros at padding.

    encoder_config: what `encoder_files.read_config` returned. pooler: whether `pooled` is used. The weights are random
    until `load`.
    """

    def __init__(self, config, encoder_config, pooler=False):
        super().__init__()
        self.width = encoder_config["hidden_size"]
        own = {} if encoder_config["model_type"] == "electra" else {"add_pooling_layer": pooler}
        self.body = build(AutoModel, config, encoder_config, **own)
        self.pooler = None
        if pooler and not own:  # ELECTRA comes without one
            self.pooler = nn.Sequential(nn.Linear(self.width, self.width), nn.Tanh())

    def forward(self, batch):
        return run(self.body, batch).last_hidden_state.masked_fill(~batch.mask[:, :, None], 0)

    def keep_first(self):
        """Lets the encoder compute no more than `pooled` and `all_layers` need of its last layer."""
        narrow(self.body, lambda states: states[:, :1])

    def pooled(self, batch):
        """The [CLS] state after the pooler, (B, E)."""
        out = run(self.body, batch)
        return self.pooler(out.last_hidden_state[:, 0]) if self.pooler else out.pooler_output

    def all_layers(self, batch):
        """The [CLS] states of the embedding layer and of each layer above, (B, L + 1, E)."""
        states = run(self.body, batch, output_hidden_states=True).hidden_states
        return torch.stack([layer[:, 0] for layer in states], dim=1)

    def layers(self):
        """The encoder's parameters from the bottom up, a list a layer, the embedding's first."""
        body = self.body
        bottom = [body.embeddings, getattr(body, "embeddings_project", None)]
        bottom.append(getattr(body.encoder, "embedding_hidden_mapping_in", None))
        above = body.encoder.albert_layer_groups if hasattr(body.encoder, "albert_layer_groups") else body.encoder.layer
        modules = [nn.ModuleList(module for module in bottom if module), *above]
        return [list(module.parameters()) for module in modules]

    def load(self, directory):
        """Loads the weights in an encoder's directory. Raises UserError if others than the pooler's are missing."""
        if encoder_files.load_weights(self.body, directory, optional="pooler."):
            say(f"{directory} has no pooler (the encoder was trained on masked words alone): it starts random")
        elif self.pooler:
            say("ELECTRA has no pooler: it starts random")


def build(auto_class, config, encoder_config, **options):
    """The model of an automatic class of `transformers` for a model's `Config`, with random weights.

    Raises UserError if the library refuses the encoder's config.json, or if `pad_size` exceeds its positions.
    """
    dropout = {"hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout}
    try:
        library_config = AutoConfig.for_model(**encoder_config | dropout)
        body = auto_class.from_config(library_config, dtype=torch.float32, attn_implementation="toolkit", **options)
    except UserError:
        raise
    except Exception as error:  # the library raises exceptions of all types
        raise UserError(f"transformers refuses the encoder's config.json: {' '.join(reason(error).split())}") from error
    positions = library_config.max_position_embeddings
    if config.pad_size > positions:
        raise UserError(f"--pad_size {config.pad_size} is more than the {positions} positions that the encoder has")
    cheapen_dropout(body)
    return body


def run(body, batch, **options):
    """The output of an encoder of `transformers` for a Batch."""
    tokens = batch.tokens
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    # positions and segments are given, since the encoder's own buffers are in no checkpoint
    ids = {"position_ids": positions, "token_type_ids": torch.zeros_like(tokens)}
    mask = batch.mask[:, None, None]  # with four axes the library uses it as it is; otherwise it waits for the GPU
    return body(tokens, attention_mask=mask, return_dict=True, **ids, **options)


def narrow(body, select):
    """Lets the last layer of an encoder compute, after its attention, the states of some tokens alone.

    select: (B, T, E) -> (…, E), of the tokens whose states are used. (Three quarters of a layer's products follow its
    attention.) Returns whether that is possible: layers that share their weights (ALBERT) compute all.
    """
    if not hasattr(body.encoder, "layer"):
        return False
    body.encoder.layer[-1].attention.output.register_forward_pre_hook(lambda _, states: tuple(map(select, states)))
    return True


def attend(module, query, key, value, attention_mask, dropout=0.0, **_):
    """`layers.attention` with the signature that `transformers` calls."""
    states = layers.attention(query, key, value, attention_mask, dropout if module.training else 0.0)
    return states.transpose(1, 2).contiguous(), None


AttentionInterface.register("toolkit", attend)


def cheapen_dropout(module):
    """Replaces torch's Dropout by `layers.Dropout`."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, layers.Dropout(child.p))
        else:
            cheapen_dropout(child)
