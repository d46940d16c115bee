"""What the networks share: the fields of every `Config`, their flags, and the embedding layer.

Shapes in all models: B rows, T tokens, E width of an embedding, H hidden units, C classes.
"""

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, get_type_hints

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from cli.console import MOST, UserError, in_range, number, range_text
from models.layers import Dropout
from models.tables import FACTORS, WORDS, Table, n_grams
from text.truncation import HEAD, MODES, Truncation

STEPS, SMALLEST = 48, 16  # of an epoch of few rows, and the rows of its batches at least


class Range(NamedTuple):
    """The values of a numeric field among which `tune.py` searches: both ends included, in steps or on a log scale."""

    low: float
    high: float
    step: float | None = None  # 1 for integers
    log: bool = False


def flag(default, help, search=None, choices=None, **bounds):
    """A field of a `Config`: its default, its line in `--help`, and the bounds that `console.in_range` takes.

    search: what `tune.py` tries, a `Range` or a tuple of values; None if the field is not searched. choices: the values
    of a field that is text.
    """
    metadata = {"help": help, "search": search, "choices": choices, "bounds": bounds}
    return dataclasses.field(default=default, metadata=metadata)


class DataSpec(NamedTuple):
    """What the data decides of a model, besides its `Config`."""

    num_classes: int
    num_tokens: int
    encoder: dict | None = None  # the content of the encoder's config.json


@dataclass
class TextConfig:
    """The hyper-parameters of all models. Raises UserError if a value is out of its bounds."""

    pad_size: int = flag(
        0, "tokens of a row that are read; 0: as many as keep nearly all rows whole", low=0, high=1_000_000
    )

    batch_size = 1  # only models that are trained in steps have this field,
    # only networks and classifiers on an encoder have these: an annotation would hide theirs
    evidence, words, n_grams_per_token, long = 0, 0, 0, HEAD
    framed: ClassVar[bool] = False  # whether a row has [CLS] and [SEP]
    takes_vectors: ClassVar[bool] = False  # whether the embedding can start from pre-trained vectors
    attention: ClassVar[bool] = False  # whether each token is compared with all others
    whole: ClassVar[float] = 0.99  # share of the rows that `pad_size` 0 keeps whole,
    affordable: ClassVar[int] = 256  # up to this many tokens

    def __post_init__(self):
        for name, field in describe(type(self)).items():
            value, convert, bounds = getattr(self, name), field["convert"], field["bounds"]
            if field["choices"]:
                if value not in field["choices"]:
                    raise UserError(f"--{name} {value!r} is unknown, expected one of {', '.join(field['choices'])}")
                continue
            values = value if isinstance(value, (tuple, list)) else [value]
            if not all(type(v) in (int, convert) for v in values) or field["many"] != isinstance(value, (tuple, list)):
                raise UserError(f"--{name} {value!r} is of the wrong type, expected {convert.__name__}")
            if not values or not all(in_range(v, **bounds) for v in values):
                raise UserError(f"--{name} {value} is out of range, {range_text(**bounds)}")
            if isinstance(value, list):  # from a checkpoint
                setattr(self, name, tuple(value))

    @property
    def truncation(self):
        """What is read of a row that is longer than `pad_size`."""
        return Truncation(self.pad_size, self.long, self.framed)


@dataclass
class TrainingConfig(TextConfig):
    """The hyper-parameters of all models that are trained in steps."""

    num_epochs: int = flag(5, "passes over the training data", search=Range(2, 10), low=1)
    batch_size: int = flag(
        0, "rows of a training step; 0: up to 128, as training rows allow", search=(0, 32, 64, 128, 256, 512), low=0
    )
    learning_rate: float = flag(1e-3, "learning rate of Adam", search=Range(2e-4, 1e-2, log=True), low=0, open_low=True)
    require_improvement: int = flag(
        1000, "stop after this many steps, and three validations, without a better validation accuracy", low=1
    )
    dropout: float = flag(0.5, "dropout before the classifier", search=Range(0.0, 0.8, step=0.1), low=0, high=0.95)

    largest: ClassVar[int] = 128  # that `batch_size` 0 becomes

    @classmethod
    def batch_size_for(cls, rows):
        """What `batch_size` 0 becomes for this many training rows: an epoch of few rows has about `STEPS` steps."""
        return min(max(1 << round(math.log2(max(1, rows / STEPS))), SMALLEST), cls.largest)


@dataclass
class Config(TrainingConfig):
    """The hyper-parameters of all networks. A network's own `Config` lists those that are its own or differ."""

    long: str = flag(HEAD, "what is read of a row that is longer than --pad_size", choices=MODES)
    evidence: int = flag(
        4,
        "length of the longest n-grams whose counts in each class are used; 0: none, and none of words",
        search=Range(0, len(FACTORS)),
        low=0,
        high=len(FACTORS),
    )
    word_n_grams: int = flag(
        2,
        "length of the longest n-grams of words that are counted too, if tokens are characters; 0: none",
        search=Range(0, WORDS),
        low=0,
        high=WORDS,
    )
    min_rows: int = flag(1, "training rows that an n-gram must be in to be counted", low=1)
    smoothing: float = flag(
        0.0,
        "what is added to each count of an n-gram; 0: chosen on the training rows",
        search=(0.0, 0.03, 0.1, 0.3, 1.0),
        low=0,
    )

    start: ClassVar[float] = 0.1  # factor of a classifier's random weights, so that the evidence decides at first
    # the values with which a network is that of its paper
    paper: ClassVar[dict] = {"evidence": 0, "word_n_grams": 0, "num_epochs": 20}

    @property
    def words(self):
        """The words in the longest n-grams of words that are counted."""
        return self.word_n_grams if self.evidence else 0

    @property
    def n_grams_per_token(self):
        """How many n-grams, of tokens and of words, end at each token at most."""
        return self.evidence + self.words


@dataclass
class EmbeddingConfig(Config):
    """The hyper-parameters of the networks that have an `Embedding`."""

    embed: int = flag(
        300,
        "width of an embedding; that of the pre-trained vectors, if there are any",
        search=(16, 32, 64, 128, 300),
        low=1,
    )
    dropout: float = 0.2
    embed_dropout: float = flag(0.1, "dropout on the embeddings", search=Range(0.0, 0.7, step=0.1), low=0, high=0.95)
    bigram_vocab: int = flag(
        0,
        "buckets for the vectors of adjacent token pairs; 0 disables them",
        search=(0, 10007, 50021, 200003),
        low=0,
    )

    takes_vectors: ClassVar[bool] = True
    paper: ClassVar[dict] = Config.paper | {"bigram_vocab": 0, "embed_dropout": 0.0, "dropout": 0.5}


def describe(config_class):
    """Each field's default, help, search, choices, bounds, its type `convert`, and whether it is a tuple of `many`.

    A field to which a subclass gives a new default keeps the others.
    """
    types, fields = get_type_hints(config_class), {}
    for field in dataclasses.fields(config_class):
        owners = (c.__dataclass_fields__[field.name].metadata for c in config_class.__mro__[:-1])
        metadata = next(found for found in owners if found)
        many = types[field.name] not in (int, float, str)  # tuple[int, ...]
        convert = int if many else types[field.name]
        bounds = ({"high": MOST} if convert is int else {}) | metadata["bounds"]
        fields[field.name] = {"default": field.default, "bounds": bounds}
        fields[field.name] |= {name: metadata[name] for name in ("help", "search", "choices")}
        fields[field.name] |= {"convert": convert, "many": many}
    return fields


def add_config_flags(parser, config_class):
    """Adds every field of a `Config` as a flag."""
    group = parser.add_argument_group(f"hyper-parameters of {config_class.__module__.split('.')[-1]}")
    for name, field in describe(config_class).items():
        options = {"default": field["default"], "help": field["help"], "nargs": "+" if field["many"] else None}
        values = (
            {"choices": field["choices"]} if field["choices"] else {"type": number(field["convert"], **field["bounds"])}
        )
        group.add_argument(f"--{name}", **values, **options)


def config_of(args, config_class):
    """The `Config` with the values of these flags."""
    return config_class(**{name: getattr(args, name) for name in describe(config_class)})


class Embedder(nn.Module):
    """A layer from a Batch, (B, T), to vectors, (B, T, width), zeros at padding. It initialises its own weights."""

    width: int


class Embedding(Embedder):
    """The vector of a token is its own plus a linear map of the n-gram evidence at it (see `evidence`).

    The papers have neither evidence nor dropout on embeddings. The vectors of bigrams, which are added if there are
    buckets for them, bring two points without evidence and none with it. Bigrams are hashed. Their vectors start at
    zero, so that a bigram that training has not seen adds nothing, and have sparse gradients: a step updates those of
    its batch.
    """

    def __init__(self, config, spec):
        super().__init__()
        self.width = config.embed
        self.tokens = nn.Embedding(spec.num_tokens, config.embed, padding_idx=spec.num_tokens - 1)
        nn.init.normal_(self.tokens.weight, std=0.5)  # with torch's 1 a few thousand rows change too little
        self.tokens.weight.data[self.tokens.padding_idx] = 0
        self.bigrams = Table(config.bigram_vocab, config.embed) if config.bigram_vocab else None
        inputs = config.n_grams_per_token * spec.num_classes
        self.evidence = nn.Linear(inputs, config.embed, bias=False) if inputs else None
        self.dropout = Dropout(config.embed_dropout)

    def forward(self, batch):
        x = self.tokens(batch.tokens)
        if self.bigrams:
            x = x + self.bigrams(n_grams(batch.tokens, 2, batch.joints), ~batch.mask)
        if self.evidence:
            x = x + self.evidence(batch.evidence)
        return self.dropout(x)

    @torch.no_grad()
    def load(self, vectors):
        """Sets the tokens' vectors, (N, E)."""
        self.tokens.weight.copy_(torch.from_numpy(vectors))
        self.tokens.weight[self.tokens.padding_idx] = 0


def init_weights(module):
    """Sets Xavier-normal weights and zero biases, except in embedders and tables, which initialise their own."""
    for parameter in module.parameters(recurse=False):
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
        else:
            nn.init.zeros_(parameter)
    for child in module.children():
        if not isinstance(child, (Embedder, Table)):
            init_weights(child)


@contextlib.contextmanager
def at_most(count, path):
    """Lets models be built that have at most this many weights. Raises UserError at the first weight beyond.

    path: the file that describes the model. It may ask for a million layers; this ends before they take memory.
    """
    found = 0

    def add(module, name, parameter):
        nonlocal found
        found += parameter.numel() if parameter is not None else 0
        if found > count:
            raise UserError(f"{path} describes a larger model than its weights are for, {count:,} at most")

    hook = register_module_parameter_registration_hook(add)
    try:
        yield
    finally:
        hook.remove()
