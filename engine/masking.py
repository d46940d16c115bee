"""Batches of masked tokens, for pre-training an encoder.

What is masked together, in the three ways of `--masking`:

- `token`: each token by itself, as in BERT, Devlin et al. 2018, https://arxiv.org/abs/1810.04805. Departure: each token
  is drawn independently, so that their number varies from row to row.
- `word`: all pieces of a word, as in Chinese BERT-wwm, Cui et al. 2019, https://arxiv.org/abs/1906.08101. Departure:
  words are those of jieba, not of LTP.
- `ngram`: one to four consecutive words, as in MacBERT, Cui et al. 2020, https://arxiv.org/abs/2004.13922. Departures:
  masked tokens become [MASK], not similar words, which need a table of word vectors; there is no second task (the order
  of sentences), since a text is a line.

With `word` and `ngram` each row has its share of masked words, rounded up or down at random, at least one. In a
headline these are only two: an n-gram that does not fit becomes shorter. So that all words are masked equally often,
the n-grams of a row start at a random word, and one that reaches the end of the row continues at its beginning.
"""

import numpy as np
import torch

from engine.batches import Batches
from models.mlm import NGRAM, TOKEN
from text.truncation import Truncation

FORMAT = 2  # of the masks: it is raised when the same seed gives others
MASKED, SWAPPED = 0.8, 0.9  # of the chosen tokens 80 % are masked, 10 % swapped, and 10 % stay
LONGER = (0.4, 0.7, 0.9)  # the probabilities of an n-gram of at most 1, 2 and 3 words
CHOICE, FATE, SWAP, ROUNDING, LENGTH, TURN = range(6)  # purposes of random numbers


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
        counts = starts.sum(axis=1, keepdims=True)  # of words
        # the place of each token's word, counted from a random word of the row: all words have the same probability
        turn = (self.draw(positions[:, :1], TURN) * counts).astype(np.int64)
        places = (starts.cumsum(axis=1) - 1 - turn) % np.maximum(counts, 1)
        words = np.zeros((len(counts), counts.max(initial=1)), np.int64)  # by place, the position of the first token
        words[starts.nonzero()[0], places[starts]] = positions[starts]
        drawn = self.draw(words, CHOICE)
        if self.config.masking == NGRAM:
            drawn = np.take_along_axis(drawn, self.n_grams(words), axis=1)
        drawn[np.arange(words.shape[1]) >= counts] = 2.0
        ranks = drawn.argsort(axis=1, kind="stable").argsort(axis=1)  # of the words, n-gram by n-gram, in random order
        budget = np.maximum(share * counts + self.draw(positions[:, :1], ROUNDING), 1)
        return solid & (np.take_along_axis(ranks, places, axis=1) + 1 <= budget)

    def n_grams(self, words):
        """The place at which each word's n-gram starts, (B, W): a row is n-grams one after the other."""
        lengths = 1 + np.searchsorted(LONGER, self.draw(words, LENGTH), side="right")
        firsts, left = np.zeros_like(words), np.zeros(len(words), np.int64)  # words that the n-gram still takes
        for place in range(words.shape[1]):
            begins = left == 0
            firsts[:, place] = np.where(begins, place, firsts[:, place - 1])
            left = np.where(begins, lengths[:, place], left) - 1
        return firsts

    def draw(self, positions, purpose):
        """A random number in [0, 1) for each position: SplitMix64, Steele et al. 2014."""
        stream = np.random.SeedSequence((self.seed, self.epoch + 1, purpose)).generate_state(1, np.uint64)
        z = positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + stream
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
