"""The order in which an epoch trains on the rows."""

import numpy as np

CHUNK = 1 << 22  # rows that are ordered together, at least, if there are so many
POOL = 64  # batches within which rows are sorted by length


class Plan:
    """An epoch's batches, arrays of row ids: a sequence that is the same for the same lengths, seed and epoch.

    Many rows are dealt to chunks, of each strip of neighbouring rows one to each chunk at random, so that each chunk is
    a sample of the whole file. A chunk is ordered when its first batch is asked for: its rows are shuffled, then sorted
    by length within pools of batches, then the batches are shuffled.

    lengths: (N,), of the rows; steps: the range of steps that this sequence has, by default all.
    """

    def __init__(self, lengths, batch_size, seed, epoch, steps=None):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, epoch
        self.steps = range(-(-len(lengths) // batch_size)) if steps is None else steps
        self.chunks = max(1, len(lengths) // max(CHUNK, batch_size))
        self.chunk_steps = max(1, len(lengths) // self.chunks // batch_size)  # the last chunk may have more
        self.ready = None  # the number of a chunk, its rows in order, and its batches in order

    def __len__(self):
        return len(self.steps)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Plan(self.lengths, self.batch_size, self.seed, self.epoch, self.steps[index])
        step = self.steps[index]
        chunk = min(step // self.chunk_steps, self.chunks - 1)
        if self.ready is None or self.ready[0] != chunk:
            self.ready = None  # frees the memory before the next one is made
            self.ready = chunk, *self.ordered(chunk)
        _, order, sequence = self.ready
        start = int(sequence[step - chunk * self.chunk_steps]) * self.batch_size
        return order[start : start + self.batch_size].copy()  # a view would keep the chunk in memory

    def ordered(self, chunk):
        """The row ids of a chunk, of which each `batch_size` are a batch, and the order of these batches."""
        rng = np.random.Generator(np.random.PCG64((self.seed, self.epoch)).jumped(chunk))
        order = self.dealt(chunk)
        rng.shuffle(order)
        size = POOL * self.batch_size
        for start in range(0, len(order), size):
            pool = order[start : start + size]
            pool[:] = pool[np.argsort(self.lengths[pool], kind="stable")]
        return order, rng.permutation(-(-len(order) // self.batch_size))

    def dealt(self, chunk):
        """The row ids of a chunk, ascending. The last one also has the rows at the end that make no full strip."""
        count, strips = len(self.lengths), self.chunk_steps * self.batch_size
        dtype = np.int32 if count < 1 << 31 else np.int64
        if self.chunks == 1:
            return np.arange(count, dtype=dtype)
        rng = np.random.default_rng((self.seed, self.epoch, 2))  # (…, 1) draws windows
        places = (rng.integers(self.chunks, size=strips, dtype=dtype) + dtype(chunk)) % self.chunks
        rows = places + np.arange(strips, dtype=dtype) * dtype(self.chunks)
        return rows if chunk < self.chunks - 1 else np.append(rows, np.arange(strips * self.chunks, count, dtype=dtype))
