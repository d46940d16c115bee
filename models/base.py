"""What the networks share: the fields of every `Config`, the embedding layer, the LSTM that padding does not change.

Shapes in all models: B rows, T tokens, E width of an embedding, H hidden units, C classes.
"""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import ClassVar, get_type_hints

import torch
from torch import nn
from torch.nn import functional

from cli.console import UserError, in_range, number, range_text
from models.tables import Table, n_grams

PLAIN_ATTENTION = 256  # tokens up to which the plain product is the faster one on a CPU


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


class Dropout(nn.Dropout):
    """Dropout whose mask is cheap on a CPU: eight bytes of random numbers at a draw, a byte a feature.

    (torch's own draw takes longer than the matrix product beside it.) The share is rounded to a 256th.
    """

    def forward(self, x):
        return drop(x, self.p) if self.training and self.p else x


def drop(x, share):
    """What `Dropout` does to these features in training."""
    if x.device.type != "cpu":
        return functional.dropout(x, share)
    drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    threshold = max(1, round(share * 256))
    kept = torch.ge(drawn.view(torch.uint8)[: x.numel()].view(x.shape), threshold, out=torch.empty_like(x))
    return x * kept.mul_(256 / (256 - threshold))


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


class BiLSTM(nn.Module):
    """A bidirectional LSTM for rows of different lengths, (B, T, E) -> (B, T, 2H).

    The backward direction reads each row reversed within its own length, so that it begins at the row's last token and
    not in the padding; outputs at padding are meaningless, mask them. (torch's packed sequences do the same at a third
    of the speed on a CPU.)
    """

    def __init__(self, width, hidden, num_layers=1, dropout=0.0):
        super().__init__()
        widths = [width] + [2 * hidden] * (num_layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        self.backwards = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        self.dropout = Dropout(dropout)

    def forward(self, x, lengths):
        x = as_computed(x)
        steps = torch.arange(x.shape[1], device=x.device)
        mirrored = lengths[:, None] - 1 - steps
        mirror = torch.where(mirrored >= 0, mirrored, steps)  # (B, T), its own inverse
        places = (mirror + x.shape[1] * torch.arange(len(x), device=x.device)[:, None]).flatten()
        for i, (ahead, back) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            if i:
                x = self.dropout(x)
            x = torch.cat((ahead(x)[0], Mirror.apply(back(Mirror.apply(x, places))[0], places)), dim=2)
        return x


class Mirror(torch.autograd.Function):
    """(B, T, H) with the rows and tokens, counted through, in the order of `places`, which is its own inverse.

    (So its gradient is read in that order too, where torch, which does not know that, would add it up.)
    """

    @staticmethod
    def forward(ctx, x, places):
        ctx.save_for_backward(places)
        return x.flatten(0, 1).index_select(0, places).view(x.shape)

    @staticmethod
    def backward(ctx, grad):
        (places,) = ctx.saved_tensors
        return grad.flatten(0, 1).index_select(0, places).view(grad.shape), None


class Convolution(nn.Linear):
    """A convolution over tokens, (B, T, E) -> (B, T, filters); beyond both ends there are zeros.

    before: how many of the `size` tokens that it spans lie before the one in whose place it writes. (It is one product
    of matrices, which on a CPU takes two thirds of the time that torch's own convolution takes.)
    """

    def __init__(self, width, filters, size, before=0):
        super().__init__(size * width, filters)
        self.before, self.after = before, size - 1 - before

    def forward(self, x):
        T = x.shape[1]
        x = functional.pad(as_computed(x), (0, 0, self.before, self.after))
        return super().forward(torch.cat([x[:, i : i + T] for i in range(self.before + self.after + 1)], dim=2))


def as_computed(x):
    """The features in the precision that products are computed in: what is copied first is then half as large."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind))
    return x


def penalty(mask, dtype):
    """What hides the padding from a maximum or a ReLU when it is added, (B, T) -> (B, T, 1)."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, float("-inf"))[:, :, None]


def max_over_tokens(x, mask):
    """The largest value of each feature over a row's own tokens, (B, T, H) -> (B, H)."""
    return (x + penalty(mask, x.dtype)).max(dim=1).values


def attention(query, key, value, mask, dropout=0.0):
    """Scaled dot-product attention, (B, heads, T, D) three times -> the same; a mask is true at keys that are seen.

    On a CPU and for short rows the plain product: torch's own takes five times as long there, most of it backwards.
    """
    if query.device.type != "cpu" or key.shape[2] > PLAIN_ATTENTION:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=3)
    return (drop(weights, dropout) if dropout else weights) @ value


@torch.no_grad()
def infer(model, batches, rank=0, ranks=1):
    """Yields (row numbers, Batch, logits) until all rows were seen, in evaluation mode and without gradients.

    Of several ranks each sees every so-many-th batch.
    """
    model.eval()
    for numbers in itertools.islice(batches.by_length(), rank, None, ranks):
        batch = batches.cut(numbers)
        yield numbers, batch, model(batch)


def init_weights(model):
    """Xavier-normal weights and zero biases, but for the embedding (an encoder may stand there) and tables."""
    for name, parameter in model.named_parameters():
        if name.startswith(("embedding.", "tables.")):
            continue
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
        else:
            nn.init.zeros_(parameter)
