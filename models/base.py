"""What the networks share: the fields of every `Config`, their flags, and the embedding layer.

Shapes in all models: B rows, T tokens, E width of an embedding, H hidden units, C classes.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, get_type_hints

import torch
from torch import nn

from cli.console import UserError, in_range, number, range_text
from models.layers import Dropout
from models.tables import Table, n_grams


def flag(default, help, **bounds):
    """A field of a `Config`: its default, its line in `--help`, and the bounds that `console.in_range` takes."""
    return dataclasses.field(default=default, metadata={"help": help, "bounds": bounds})


@dataclass
class Config:
    """The hyper-parameters that all networks have. A network's own `Config` lists what is its own or differs.

    Raises UserError where a value is out of its bounds.
    """

    num_epochs: int = flag(20, "passes over the training data", low=1)
    batch_size: int = flag(128, "rows a training step", low=1)
    pad_size: int = flag(32, "tokens at which a row is cut", low=1)
    learning_rate: float = flag(1e-3, "of Adam", low=0, open_low=True)
    require_improvement: int = flag(1000, "stop after so many steps without a better validation loss", low=1)
    dropout: float = flag(
        0.5, "share of the features before the classifier that a training step drops", low=0, high=0.95
    )

    num_classes: ClassVar[int] = 0  # what the data decides: see `fit`
    num_tokens: ClassVar[int] = 0
    encoder: ClassVar[dict | None] = None
    takes_vectors: ClassVar[bool] = False

    def __post_init__(self):
        for name, bounds in ((name, described["bounds"]) for name, described in describe(type(self)).items()):
            value = getattr(self, name)
            values = value if isinstance(value, (tuple, list)) else [value]
            if not values or not all(in_range(v, **bounds) for v in values):
                raise UserError(f"--{name} {value} is out of range, {range_text(**bounds)}")
            if isinstance(value, list):  # from a checkpoint
                setattr(self, name, tuple(value))

    def fit(self, num_classes, num_tokens, encoder=None):
        """Takes over what the data, or an encoder's directory, decides; returns the config itself."""
        self.num_classes, self.num_tokens, self.encoder = num_classes, num_tokens, encoder
        return self


@dataclass
class EmbeddingConfig(Config):
    """What the networks on `Embedding` have besides."""

    embed: int = flag(300, "width of an embedding; with pre-trained vectors, theirs", low=1)
    embed_dropout: float = flag(0.3, "share of the embeddings' features that a training step drops", low=0, high=0.95)
    bigram_vocab: int = flag(50021, "buckets for the vectors of pairs of adjacent tokens; 0 is none", low=0)

    takes_vectors: ClassVar[bool] = True


def describe(config_class):
    """Each field's type, default, help and bounds; a field that a subclass gives a new default keeps the others."""
    types, fields = get_type_hints(config_class), {}
    for field in dataclasses.fields(config_class):
        owners = (c.__dataclass_fields__[field.name].metadata for c in config_class.__mro__[:-1])
        metadata = next(found for found in owners if found)
        fields[field.name] = {"type": types[field.name], "default": field.default, **metadata}
    return fields


def add_config_flags(parser, config_class):
    """Every field of a `Config` as a flag."""
    group = parser.add_argument_group(f"hyper-parameters of {config_class.__module__.split('.')[-1]}")
    for name, field in describe(config_class).items():
        many = field["type"] not in (int, float)  # tuple[int, ...]
        kind = number(int if many else field["type"], **field["bounds"])
        group.add_argument(
            f"--{name}", type=kind, nargs="+" if many else None, default=field["default"], help=field["help"]
        )


def config_of(args, config_class):
    """The `Config` that these flags make."""
    return config_class(**{name: getattr(args, name) for name in describe(config_class)})


class Embedding(nn.Module):
    """A token's vector is its own plus that of the bigram which it ends, (B, T) -> (B, T, E); zeros at padding.

    The papers have no bigrams. They are here because single Chinese characters say little: with them TextCNN and
    TextRNN gain two points on 45,000 headlines, and are there in half the epochs. Bigrams are hashed; their vectors
    start at zero, so that one which training has not seen says nothing, and get sparse gradients: a step touches
    those of its batch. The papers' networks do not drop features of the embeddings either; without it these learn
    their rows by heart.
    """

    def __init__(self, config):
        super().__init__()
        self.tokens = nn.Embedding(config.num_tokens, config.embed, padding_idx=config.num_tokens - 1)
        nn.init.normal_(self.tokens.weight, std=0.5)  # torch's 1 drowns what a few thousand rows teach
        self.tokens.weight.data[self.tokens.padding_idx] = 0
        self.bigrams = Table(config.bigram_vocab, config.embed) if config.bigram_vocab else None
        self.dropout = Dropout(config.embed_dropout)

    def forward(self, batch):
        x = self.tokens(batch.tokens)
        if self.bigrams:
            x = x + self.bigrams(n_grams(batch.tokens, 2), ~batch.mask)
        return self.dropout(x)

    @torch.no_grad()
    def load(self, vectors):
        """Starts the tokens from these vectors, (N, E)."""
        self.tokens.weight.copy_(torch.from_numpy(vectors))
        self.tokens.weight[self.tokens.padding_idx] = 0


def init_weights(model):
    """Xavier-normal weights and zero biases, but for the embedding (an encoder may stand there) and tables."""
    for name, parameter in model.named_parameters():
        if name.startswith(("embedding.", "tables.")):
            continue
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
        else:
            nn.init.zeros_(parameter)
