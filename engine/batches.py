"""Rows of token ids cut into batches, on the device that computes on them."""

import itertools
import warnings
from typing import NamedTuple

import numpy as np
import torch

from cli.console import RANK, RANKS

BATCH_TOKENS = 8192  # tokens of a batch in evaluation and prediction
RESIDENT = 3  # a split is kept on a GPU if this many times its size is free there


class Batch(NamedTuple):
    """Rows that are computed together: B rows, T tokens (the longest row's)."""

    tokens: torch.Tensor  # (B, T) int64, padded at the right
    lengths: torch.Tensor  # (B,) int64
    labels: torch.Tensor  # (B,) int64, -1 for a row without one
    positions: torch.Tensor | None = None  # (M,) of flattened tokens, if these have the labels and not the rows
    evidence: torch.Tensor | None = None  # (B, T, N * C), what `models.evidence` adds
    targets: torch.Tensor | None = None  # (B, C), the probabilities that teachers give; zeros for a row without any

    @property
    def mask(self):
        """(B, T) bool, true at the rows' own tokens."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


class Plan:
    """An epoch's batches, arrays of row ids: a sequence that needs no memory for each batch."""

    def __init__(self, order, batch_size, sequence):
        self.order, self.batch_size, self.sequence = order, batch_size, sequence

    def __len__(self):
        return len(self.sequence)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Plan(self.order, self.batch_size, self.sequence[index])
        start = int(self.sequence[index]) * self.batch_size
        return self.order[start : start + self.batch_size]


class Batches:
    """Cuts a split's rows into batches of rows of similar length, each padded to its own longest row.

    rows: encoded, uncut, any integer ids; labels: (N,) or None; limit: tokens of a row that are read; targets: (N, C)
    or None, as in a Batch. They are copied to a GPU if they are small beside its free memory.
    """

    resident = True  # whether rows may be kept on the GPU

    def __init__(self, rows, labels, vocabulary, limit, device="cpu", targets=None):
        self.pad, self.end, self.limit, self.device = vocabulary.pad, vocabulary.end, limit, torch.device(device)
        dtype = np.uint8 if limit < 1 << 8 else np.int16 if limit < 1 << 15 else np.int32
        parts = [np.minimum(lengths, limit).astype(dtype) for lengths in rows.length_blocks()]
        self.lengths = np.concatenate(parts) if parts else np.zeros(0, dtype)  # (N,) on the host
        ids = rows.ids.view(np.int16) if rows.ids.dtype == np.uint16 else rows.ids  # torch cannot gather unsigned ids
        self.wraps = ids is not rows.ids and len(vocabulary) > 1 << 15
        labels = np.zeros(len(self.lengths), np.uint8) if labels is None else labels
        arrays = [ids, rows.offsets, self.lengths, labels] + ([] if targets is None else [targets])
        home = self.device if self.resident and fits(self.device, arrays) else torch.device("cpu")
        self.ids, self.offsets, self.sizes, self.labels, *rest = (_tensor(array).to(home) for array in arrays)
        self.targets = rest[0] if rest else None
        self.columns = torch.arange(int(self.lengths.max(initial=0)), device=home)

    def shuffled(self, batch_size, seed, epoch):
        """One epoch's batches for training, as arrays of row ids: the same for the same seed and epoch.

        Rows are shuffled, then sorted by length within pools of 64 batches, then the batches are shuffled.
        """
        rng = np.random.default_rng((seed, epoch))
        order = np.arange(len(self.lengths), dtype=np.int32 if len(self.lengths) < 1 << 31 else np.int64)
        rng.shuffle(order)
        for start in range(0, len(order), 64 * batch_size):
            pool = order[start : start + 64 * batch_size]
            pool[:] = pool[np.argsort(self.lengths[pool], kind="stable")]
        return Plan(order, batch_size, rng.permutation(-(-len(order) // batch_size)))

    def by_length(self, row_ids=None):
        """Batches for evaluation and prediction, as arrays of row ids, the longest first; without empty rows.

        row_ids: the rows to take, by default all.
        """
        row_ids = np.arange(len(self.lengths)) if row_ids is None else row_ids
        lengths = self.lengths[row_ids]
        order = row_ids[np.argsort(self.limit - lengths, kind="stable")[: np.count_nonzero(lengths)]]
        start = 0
        while start < len(order):
            end = start + max(1, BATCH_TOKENS // int(self.lengths[order[start]]))
            yield order[start:end]
            start = end

    def cut(self, row_ids):
        """The batch of these rows."""
        rows, _, tokens, lengths = self.grid(row_ids)
        batch = self.batch(tokens, lengths, self.labels.index_select(0, rows).long())
        if self.targets is None:
            return batch
        targets = self.targets.index_select(0, rows).to(self.device, non_blocking=True)
        return batch._replace(targets=targets.float())

    def grid(self, row_ids):
        """The row ids, (B,), their positions in `ids` and their tokens, (B, T) each, and their lengths, (B,).

        All are on the device of `ids`. Nothing waits for it, since the host knows the longest length.
        """
        width = int(self.lengths[row_ids].max())
        rows = torch.from_numpy(row_ids)
        if self.ids.device != rows.device:
            rows = rows.to(self.ids.device, non_blocking=True)
        starts, lengths = self.offsets.index_select(0, rows), self.sizes.index_select(0, rows).long()
        columns = self.columns[:width]
        positions = (starts.unsqueeze(1) + columns).clamp_(max=len(self.ids) - 1)
        tokens = self.ids.index_select(0, positions.view(-1)).view(positions.shape).long()
        if self.wraps:
            tokens &= 0xFFFF
        tokens.masked_fill_(columns >= lengths.unsqueeze(1), self.pad)
        if self.end is not None and width == self.limit:
            whole = self.offsets.index_select(0, rows + 1) - starts
            tokens[:, -1].masked_fill_(whole > self.limit, self.end)
        return rows, positions, tokens, lengths

    def batch(self, *parts):
        """A Batch on the device."""
        if self.device != parts[0].device:
            parts = (part.to(self.device, non_blocking=True) for part in parts)
        return Batch(*parts)

    def parts(self, row_ids, count):
        """This rank's share of a training batch, cut into `count` parts, or fewer if it has fewer rows.

        A rank without rows computes one without a label, since all ranks take part in each step.
        """
        mine = row_ids[RANK::RANKS]
        if len(mine):
            return [self.cut(part) for part in np.array_split(mine, min(count, len(mine)))]
        batch = self.cut(row_ids[:1])
        empty = {name: getattr(batch, name) for name in ("labels", "positions", "targets")}
        return [batch._replace(**{name: part if part is None else part[:0] for name, part in empty.items()})]


def _tensor(array):
    """A tensor of the same memory, which is not written to."""
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
    """Yields (row ids, Batch, logits) of all rows, in evaluation mode and without gradients.

    Each of several ranks computes its share of the batches.
    """
    model.eval()
    for row_ids in itertools.islice(batches.by_length(), rank, None, ranks):
        batch = batches.cut(row_ids)
        yield row_ids, batch, model(batch)
