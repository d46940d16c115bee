"""Batches of masked words, for pre-training an encoder."""

import numpy as np
import torch

from engine.batches import Batches
from text.truncation import Truncation

MASKED, SWAPPED = 0.8, 0.9  # of the chosen words 80 % are masked, 10 % swapped, and 10 % stay


class MaskedBatches(Batches):
    """Batches in which some words are masked, different ones in each epoch. The labels are the words.

    What is masked depends on the seed, the epoch and the word's position in the corpus, not on the batch, so that a
    resumed run and several ranks mask the same words.
    """

    resident = False  # words are masked on the host

    def __init__(self, rows, vocabulary, share, seed, device):
        super().__init__(rows, None, vocabulary, Truncation(int(rows.lengths.max())), device)
        self.vocabulary, self.share, self.seed, self.epoch = vocabulary, share, seed, -1  # the epoch of validation

    def shuffled(self, batch_size, seed, epoch):
        self.epoch = epoch
        return super().shuffled(batch_size, seed, epoch)

    def cut(self, row_ids):
        _, positions, tokens, lengths = (part.numpy() for part in self.grid(row_ids))
        columns = np.arange(tokens.shape[1])
        solid = (columns > 0) & (columns < lengths[:, None] - 1)  # not [CLS], [SEP] and padding
        drawn = np.where(solid, self.draw(positions, 0), 2.0)
        mask = solid & ((drawn < self.share) | (drawn == drawn.min(axis=1, keepdims=True)))  # at least one a row
        labels = tokens[mask]
        fate, swap = self.draw(positions[mask], 1), self.draw(positions[mask], 2)
        swapped = np.where(fate < SWAPPED, (swap * len(self.vocabulary)).astype(np.int64), labels)
        tokens[mask] = np.where(fate < MASKED, self.vocabulary.mask, swapped)
        return self.batch(*map(torch.from_numpy, (tokens, lengths, labels, np.flatnonzero(mask))))

    def draw(self, positions, purpose):
        """A random number in [0, 1) for each position: SplitMix64, Steele et al. 2014."""
        stream = np.random.SeedSequence((self.seed, self.epoch + 1, purpose)).generate_state(1, np.uint64)
        z = positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + stream
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
