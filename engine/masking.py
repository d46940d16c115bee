"""Batches of masked tokens, for pre-training an encoder.

What is masked together, in the three ways of `--masking`:

- `token`: each token by itself, as in BERT, Devlin et al. 2018, https://arxiv.org/abs/1810.04805. Departure: each token
  is drawn independently, so that their number varies from row to row.
- `word`: all pieces of a word, as in Chinese BERT-wwm, Cui et al. 2019, https://arxiv.org/abs/1906.08101. Departure:
  words are those of jieba, not of LTP.
- `ngram`: one to four consecutive words, as in MacBERT, Cui et al. 2020, https://arxiv.org/abs/2004.13922. Departures:
  masked tokens become [MASK], not similar words, which need a table of word vectors; there is no second task (the order
  of sentences), since a text is a line.

With `word` and `ngram` each row has its share of masked tokens, rounded up or down at random. In a headline these are
only three: an n-gram that does not fit becomes shorter.
"""

import numpy as np
import torch

from engine.batches import Batches
from models.mlm import NGRAM, TOKEN
from text.truncation import Truncation

MASKED, SWAPPED = 0.8, 0.9  # of the chosen tokens 80 % are masked, 10 % swapped, and 10 % stay
LONGER = (0.4, 0.7, 0.9)  # the probabilities of an n-gram of at most 1, 2 and 3 words
CHOICE, FATE, SWAP, LAST, LENGTH = range(5)  # purposes of random numbers


class MaskedBatches(Batches):
    """Batches in which some tokens are masked, different ones in each epoch. The labels are the tokens.

    rows: `RowSpans` of a corpus; unless `config.masking` is `token` its ids have marks where words end.
    What is masked depends on the seed, the epoch and the token's position in the corpus, not on the batch, so that a
    resumed run and several ranks mask the same tokens.
    """

    resident = False  # tokens are masked on the host

    def __init__(self, rows, vocabulary, config, seed, device):
        super().__init__(rows, None, vocabulary, Truncation(config.pad_size), device)
        self.rows, self.vocabulary, self.config = rows, vocabulary, config
        self.seed, self.epoch = seed, -1  # the epoch of validation

    def shuffled(self, batch_size, seed, epoch):
        self.epoch = epoch
        return super().shuffled(batch_size, seed, epoch)

    def cut(self, row_ids):
        positions, tokens, ends, lengths = self.read(row_ids)
        mask = self.choose(positions, ends, lengths)
        labels = tokens[mask]
        fate, swap = self.draw(positions[mask], FATE), self.draw(positions[mask], SWAP)
        swapped = np.where(fate < SWAPPED, (swap * len(self.vocabulary)).astype(np.int64), labels)
        tokens[mask] = np.where(fate < MASKED, self.vocabulary.mask, swapped)
        return self.batch(*map(torch.from_numpy, (tokens, lengths, labels, np.flatnonzero(mask))))

    def read(self, row_ids):
        """The tokens' positions in the corpus, their ids, and whether words end there, (B, T); the lengths, (B,)."""
        lengths = self.lengths[row_ids].astype(np.int64)
        columns = np.arange(lengths.max())
        inside = columns < lengths[:, None]
        positions = self.rows.offsets[self.rows.row_ids(row_ids)][:, None] + columns * inside
        ids = self.rows.ids[positions].astype(np.int64)
        marks = self.config.masking != TOKEN
        return positions, np.where(inside, ids >> marks, self.pad), ids & marks > 0, lengths

    def choose(self, positions, ends, lengths):
        """Which tokens are masked, at least one in each row, (B, T) bool."""
        share, columns = self.config.mask_share, np.arange(positions.shape[1])
        solid = (columns > 0) & (columns < lengths[:, None] - 1)  # not [CLS], [SEP] and padding
        if self.config.masking == TOKEN:
            drawn = np.where(solid, self.draw(positions, CHOICE), 2.0)
            return solid & ((drawn < share) | (drawn == drawn.min(axis=1, keepdims=True)))
        starts = solid.copy()
        starts[:, 2:] &= ends[:, 1:-1]
        words = _last(starts)
        units = _last(self.n_grams(starts, positions)) if self.config.masking == NGRAM else words
        drawn = np.where(solid, np.take_along_axis(self.draw(positions, CHOICE), units, axis=1), 2.0)
        ranks = drawn.argsort(axis=1, kind="stable").argsort(axis=1)  # of the tokens, unit by unit, in random order
        earlier = np.take_along_axis(ranks, words, axis=1)  # tokens that come before a word
        keys = words + positions.shape[1] * np.arange(len(words))[:, None]
        sizes = np.bincount(keys[solid], minlength=keys.size)[keys]
        luck = np.take_along_axis(self.draw(positions, LAST), words, axis=1)
        return solid & ((earlier == 0) | (earlier + luck * sizes < share * (lengths[:, None] - 2)))

    def n_grams(self, starts, positions):
        """Of the starts of words those at which an n-gram starts, (B, T) bool: a row is n-grams one after the other."""
        lengths = 1 + np.searchsorted(LONGER, self.draw(positions, LENGTH), side="right")
        firsts, left = np.zeros_like(starts), np.zeros(len(starts), np.int64)  # words that the n-gram still takes
        for column in range(starts.shape[1]):
            firsts[:, column] = starts[:, column] & (left == 0)
            left = np.where(firsts[:, column], lengths[:, column], left) - starts[:, column]
        return firsts

    def draw(self, positions, purpose):
        """A random number in [0, 1) for each position: SplitMix64, Steele et al. 2014."""
        stream = np.random.SeedSequence((self.seed, self.epoch + 1, purpose)).generate_state(1, np.uint64)
        z = positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + stream
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def _last(starts):
    """The column of the last start up to each column, (B, T); 0 if there is none."""
    return np.maximum.accumulate(starts * np.arange(starts.shape[1]), axis=1)
