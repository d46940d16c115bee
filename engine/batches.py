"""Rows of token ids cut into batches, on the device that computes on them."""

import itertools
import warnings
from typing import NamedTuple

import numpy as np
import torch

from cli.console import RANK, RANKS
from engine.plan import Plan
from text.rows import offsets_of
from text.truncation import HEAD, HEAD_TAIL, WINDOWS

BATCH_TOKENS = 8192  # tokens of a batch in evaluation and prediction
PART_TOKENS = 1 << 16  # tokens of a part of a training batch, padding included
RESIDENT = 3  # a split is kept on a GPU if this many times its size is free there


class Batch(NamedTuple):
    """Rows that are computed together: B rows, T tokens (the longest row's).

    If rows have several windows, tokens and lengths are those of the windows, a row's after each other.
    """

    tokens: torch.Tensor  # (B, T) int64, padded at the right
    lengths: torch.Tensor  # (B,) int64
    labels: torch.Tensor  # (B,) int64, -1 for a row without one; or (B, C) of 0 and 1 for any number of labels a row
    positions: torch.Tensor | None = None  # (M,) of flattened tokens, if these have the labels and not the rows
    evidence: torch.Tensor | None = None  # (B, T, N * C), what `models.evidence` adds
    targets: torch.Tensor | None = None  # (B, C), the probabilities that teachers give; zeros for a row without any
    joints: torch.Tensor | None = None  # (B,), the column at which a row's tail begins; 0 for a row without a gap
    windows: torch.Tensor | None = None  # (B,) int64, how many each row has, if not one
    word_ends: torch.Tensor | None = None  # (B, T) bool, whether a word ends at a token, if the vocabulary marks words

    @property
    def mask(self):
        """(B, T) bool, true at the rows' own tokens."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]

    def mean(self, values):
        """The mean over each row's windows, (W, H) -> (B, H); the values themselves if each row has one."""
        if self.windows is None:
            return values
        sums = torch.zeros(len(self.windows), values.shape[1], device=values.device)
        sums.index_add_(0, self.by_window(torch.arange(len(sums), device=values.device)), values.float())
        return sums / self.windows[:, None]

    def by_window(self, values):
        """The values of the rows, repeated for each window, (B, …) -> (W, …)."""
        if self.windows is None:
            return values
        return values.repeat_interleave(self.windows, dim=0, output_size=len(self.tokens))


class Batches:
    """Cuts a split's rows into batches of rows of similar length, each padded to its own longest row.

    rows: encoded, uncut, any integer ids; labels: (N,), (N, C) of 0 and 1, or None; truncation: what is read of a long
    row, a `Truncation`; targets: (N, C) or None, as in a Batch. They are copied to a GPU if they are small beside its
    free memory.
    """

    resident = True  # whether rows may be kept on the GPU

    def __init__(self, rows, labels, vocabulary, truncation, device="cpu", targets=None):
        self.marks_words, self.end = vocabulary.marks_words, vocabulary.end
        self.pad = vocabulary.pad << self.marks_words
        self.truncation, limit, self.device = truncation, truncation.limit, torch.device(device)
        dtype = np.uint8 if limit < 1 << 8 else np.int16 if limit < 1 << 15 else np.int32
        parts = [np.minimum(lengths, limit).astype(dtype) for lengths in rows.length_blocks()]
        self.lengths = np.concatenate(parts) if parts else np.zeros(0, dtype)  # (N,) on the host, of a row or window
        self.windows, self.costs = None, self.lengths  # (N,): how many each row has, and the tokens of all of them
        if truncation.mode == WINDOWS and parts:
            self.windows = np.concatenate([truncation.windows(lengths) for lengths in rows.length_blocks()])
            self.costs = self.lengths * self.windows.astype(np.int32)
            self.draw_windows(0, 0)
        ids = rows.ids.view(np.int16) if rows.ids.dtype == np.uint16 else rows.ids  # torch cannot gather unsigned ids
        self.wraps = ids is not rows.ids and len(vocabulary) << self.marks_words > 1 << 15
        labels = np.zeros(len(self.lengths), np.uint8) if labels is None else labels
        arrays = [ids, rows.offsets, self.lengths, labels] + ([] if targets is None else [targets])
        home = self.device if self.resident and fits(self.device, arrays) else torch.device("cpu")
        self.ids, self.offsets, self.sizes, self.labels, *rest = (_tensor(array).to(home) for array in arrays)
        self.targets = rest[0] if rest else None
        self.columns = torch.arange(int(self.lengths.max(initial=0)), device=home)

    def shuffled(self, batch_size, seed, epoch):
        """One epoch's batches for training, a `Plan`. The window of each row is drawn, which `cut` takes."""
        self.draw_windows(seed, epoch)
        return Plan(self.lengths, batch_size, seed, epoch)

    def draw_windows(self, seed, epoch):
        """Draws the window of each row that training reads, the same for the same seed and epoch."""
        if self.windows is not None:
            self.drawn = np.random.default_rng((seed, epoch, 1)).integers(self.windows, dtype=np.uint8)

    def by_length(self, row_ids=None):
        """Batches for evaluation and prediction, as arrays of row ids, the longest first; without empty rows.

        row_ids: the rows to take, by default all.
        """
        row_ids = np.arange(len(self.lengths)) if row_ids is None else row_ids
        costs = self.costs[row_ids]
        order = row_ids[np.argsort(costs.max(initial=0) - costs, kind="stable")[: np.count_nonzero(costs)]]
        start = 0
        while start < len(order):
            end = start + max(1, BATCH_TOKENS // int(self.costs[order[start]]))
            yield order[start:end]
            start = end

    def cut(self, row_ids):
        """The batch of these rows for training: of several windows that which is drawn."""
        drawn = None if self.windows is None else self.drawn[row_ids]
        rows, _, tokens, lengths = self.grid(row_ids, drawn)
        batch = self.batch(tokens, lengths, self.labels.index_select(0, rows).long())
        if self.truncation.mode == HEAD_TAIL:
            joints = self.truncation.head * (self.rest(rows) > 0)
            batch = batch._replace(joints=joints.to(self.device, non_blocking=True))
        if self.targets is None:
            return batch
        targets = self.targets.index_select(0, rows).to(self.device, non_blocking=True)
        return batch._replace(targets=targets.float())

    def whole(self, row_ids):
        """The batch of these rows for evaluation and prediction: with all their windows."""
        counts = None if self.windows is None else self.windows[row_ids].astype(np.int64)
        if counts is None or counts.max(initial=1) == 1:
            return self.cut(row_ids)
        offsets = offsets_of(counts)
        index = np.arange(offsets[-1]) - offsets[:-1].repeat(counts)
        _, _, tokens, lengths = self.grid(row_ids.repeat(counts), index)
        labels = self.labels.index_select(0, self.home(row_ids)).long()
        windows = torch.from_numpy(counts).to(self.device, non_blocking=True)
        return self.batch(tokens, lengths, labels)._replace(windows=windows)

    def rest(self, rows):
        """The tokens of rows beyond the limit, (B,)."""
        lengths = self.offsets.index_select(0, rows + 1) - self.offsets.index_select(0, rows)
        return (lengths - self.truncation.limit).clamp_(min=0)

    def home(self, indices):
        """An array of indices as a tensor on the device of `ids`."""
        indices = torch.from_numpy(indices)
        return indices if self.ids.device == indices.device else indices.to(self.ids.device, non_blocking=True)

    def grid(self, row_ids, chosen=None):
        """The row ids, (B,), their positions in `ids` and the ids there, (B, T) each, and their lengths, (B,).

        All are on the device of `ids`. Nothing waits for it, since the host knows the longest length. chosen: (B,), the
        index of the window that is read of each row.
        """
        width = int(self.lengths[row_ids].max())
        rows = self.home(row_ids)
        starts, lengths = self.offsets.index_select(0, rows), self.sizes.index_select(0, rows).long()
        columns, truncation = self.columns[:width], self.truncation
        positions = starts.unsqueeze(1) + columns
        is_cut = width == truncation.limit and (self.end is not None or truncation.mode != HEAD)
        rest = self.rest(rows) if is_cut else None
        if is_cut and truncation.mode == HEAD_TAIL:
            positions += rest.unsqueeze(1) * (columns >= truncation.head)
        if is_cut and chosen is not None:
            positions += torch.minimum(self.home(chosen).long() * truncation.stride, rest).unsqueeze(1)
            if self.end is not None:
                positions[:, 0] = starts  # [CLS]
        positions.clamp_(max=len(self.ids) - 1)
        tokens = self.ids.index_select(0, positions.view(-1)).view(positions.shape).long()
        if self.wraps:
            tokens &= 0xFFFF
        tokens.masked_fill_(columns >= lengths.unsqueeze(1), self.pad)
        if is_cut and self.end is not None:
            tokens[:, -1].masked_fill_(rest > 0, self.end)
        return rows, positions, tokens, lengths

    def batch(self, *parts):
        """A Batch on the device, of ids and the other parts."""
        if self.device != parts[0].device:
            parts = (part.to(self.device, non_blocking=True) for part in parts)
        batch = Batch(*parts)
        return batch._replace(tokens=batch.tokens >> 1, word_ends=batch.tokens & 1 > 0) if self.marks_words else batch

    def parts(self, row_ids, count):
        """This rank's share of a training batch, cut into `count` parts, or fewer if it has fewer rows.

        They are more if a part would have more than `PART_TOKENS` tokens and has several rows. A rank without rows
        computes one without a label, since all ranks take part in each step.
        """
        mine = row_ids[RANK::RANKS]
        if len(mine):
            longest = int(self.lengths[mine].max())
            count = max(count, -(-len(mine) // max(1, PART_TOKENS // max(1, longest))))
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
def infer(model, batches, rank=0, ranks=1, row_ids=None):
    """Yields (row ids, Batch, logits) of all rows, in evaluation mode and without gradients.

    A row's logits are the mean over its windows. Each of several ranks computes its share of the batches. row_ids: the
    rows to take, by default all.
    """
    model.eval()
    for batch_ids in itertools.islice(batches.by_length(row_ids), rank, None, ranks):
        batch = batches.whole(batch_ids)
        yield batch_ids, batch, batch.mean(model(batch))
