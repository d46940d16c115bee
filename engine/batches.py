"""Rows of token ids cut into batches, on the device that computes on them."""

import itertools
import warnings
from typing import NamedTuple

import numpy as np
import torch

from cli.console import RANK, RANKS

BATCH_TOKENS = 8192  # of a batch in evaluation and prediction
RESIDENT = 3  # times a split's size must be free on a GPU for it to lie there


class Batch(NamedTuple):
    """Rows that are computed together: B rows, T tokens (the longest row's)."""

    tokens: torch.Tensor  # (B, T) int64, padded at the right
    lengths: torch.Tensor  # (B,) int64
    labels: torch.Tensor  # (B,) int64
    places: torch.Tensor | None = None  # (M,) of the flattened tokens, where those have the labels and not the rows

    @property
    def mask(self):
        """(B, T) bool, true at the rows' own tokens."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


class Plan:
    """An epoch's batches, arrays of row numbers: a sequence that a million batches cost no more than their rows."""

    def __init__(self, order, batch_size, sequence):
        self.order, self.batch_size, self.sequence = order, batch_size, sequence

    def __len__(self):
        return len(self.sequence)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return Plan(self.order, self.batch_size, self.sequence[place])
        start = int(self.sequence[place]) * self.batch_size
        return self.order[start : start + self.batch_size]


class Batches:
    """Cuts a split's rows into batches of rows of like length, each padded to its own longest row.

    rows: encoded, uncut, any integer ids; labels: (N,) or None where there are none; limit: tokens of a row that are
    read. Rows and labels lie on a GPU where its free memory holds them easily, else where they are.
    """

    resident = True  # on the device, if they fit

    def __init__(self, rows, labels, vocabulary, limit, device="cpu"):
        self.pad, self.end, self.limit, self.device = vocabulary.pad, vocabulary.end, limit, torch.device(device)
        kind = np.uint8 if limit < 1 << 8 else np.int16 if limit < 1 << 15 else np.int32
        parts = [np.minimum(lengths, limit).astype(kind) for lengths in rows.length_blocks()]
        self.lengths = np.concatenate(parts) if parts else np.zeros(0, kind)  # (N,) on the host
        ids = rows.ids.view(np.int16) if rows.ids.dtype == np.uint16 else rows.ids  # torch gathers no unsigned ones
        self.wraps = ids is not rows.ids and len(vocabulary) > 1 << 15
        labels = np.zeros(len(self.lengths), np.uint8) if labels is None else labels
        arrays = (ids, rows.offsets, self.lengths, labels)
        home = self.device if self.resident and fits(self.device, arrays) else torch.device("cpu")
        self.ids, self.offsets, self.sizes, self.labels = (_tensor(array).to(home) for array in arrays)
        self.columns = torch.arange(int(self.lengths.max(initial=0)), device=home)

    def shuffled(self, batch_size, seed, epoch):
        """One epoch's batches for training, as arrays of row numbers: the same for the same seed and epoch.

        Rows are shuffled, then sorted by length within pools of 64 batches, then the batches are shuffled.
        """
        rng = np.random.default_rng((seed, epoch))
        order = np.arange(len(self.lengths), dtype=np.int32 if len(self.lengths) < 1 << 31 else np.int64)
        rng.shuffle(order)
        for start in range(0, len(order), 64 * batch_size):
            pool = order[start : start + 64 * batch_size]
            pool[:] = pool[np.argsort(self.lengths[pool], kind="stable")]
        return Plan(order, batch_size, rng.permutation(-(-len(order) // batch_size)))

    def by_length(self):
        """Batches for evaluation and prediction, as arrays of row numbers, the longest first; without empty rows."""
        order = np.argsort(self.limit - self.lengths, kind="stable")[: np.count_nonzero(self.lengths)]
        start = 0
        while start < len(order):
            end = start + max(1, BATCH_TOKENS // int(self.lengths[order[start]]))
            yield order[start:end]
            start = end

    def cut(self, numbers):
        """The batch of these rows."""
        rows, _, tokens, lengths = self.grid(numbers)
        return self.batch(tokens, lengths, self.labels.index_select(0, rows).long())

    def grid(self, numbers):
        """These rows' numbers, their places in `ids` and their tokens, (B, T) each, and their lengths.

        All is where `ids` are, and nothing waits for it: the host knows the longest length.
        """
        width = int(self.lengths[numbers].max())
        rows = torch.from_numpy(numbers)
        if self.ids.device != rows.device:
            rows = rows.to(self.ids.device, non_blocking=True)
        starts, lengths = self.offsets.index_select(0, rows), self.sizes.index_select(0, rows).long()
        columns = self.columns[:width]
        places = (starts.unsqueeze(1) + columns).clamp_(max=len(self.ids) - 1)
        tokens = self.ids.index_select(0, places.view(-1)).view(places.shape).long()
        if self.wraps:
            tokens &= 0xFFFF
        tokens.masked_fill_(columns >= lengths.unsqueeze(1), self.pad)
        if self.end is not None and width == self.limit:
            whole = self.offsets.index_select(0, rows + 1) - starts
            tokens[:, -1].masked_fill_(whole > self.limit, self.end)
        return rows, places, tokens, lengths

    def batch(self, *parts):
        """A Batch on the device."""
        if self.device != parts[0].device:
            parts = (part.to(self.device, non_blocking=True) for part in parts)
        return Batch(*parts)

    def parts(self, numbers, count):
        """This rank's share of a training batch, cut into `count` passes, fewer where it has fewer rows.

        A rank without a row gets one without a label, since all ranks compute each step together.
        """
        mine = numbers[RANK::RANKS]
        if len(mine):
            return [self.cut(part) for part in np.array_split(mine, min(count, len(mine)))]
        batch = self.cut(numbers[:1])
        places = None if batch.places is None else batch.places[:0]
        return [batch._replace(labels=batch.labels[:0], places=places)]


def _tensor(array):
    """The tensor of the same memory, which is only read, be it of a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")
        return torch.from_numpy(array)


def fits(device, arrays):
    """Whether these arrays are small beside a GPU's free memory."""
    if device.type != "cuda":
        return False
    return sum(array.nbytes for array in arrays) * RESIDENT < torch.cuda.mem_get_info(device)[0]


@torch.no_grad()
def infer(model, batches, rank=0, ranks=1):
    """Yields (row numbers, Batch, logits) until all rows were seen, in evaluation mode and without gradients.

    Of several ranks each sees every so-many-th batch.
    """
    model.eval()
    for numbers in itertools.islice(batches.by_length(), rank, None, ranks):
        batch = batches.cut(numbers)
        yield numbers, batch, model(batch)
