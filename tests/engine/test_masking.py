import numpy as np
import pytest
import torch

from conftest import pieces, sample_rows
from engine.masking import NGRAM, TOKEN, MaskedBatches
from models.mlm import MASKINGS, Config
from text.corpus import RowSpans
from text.rows import Rows, marked, spans_of
from text.wordpiece_files import read_wordpieces


@pytest.fixture(scope="session")
def vocabulary(encoder):
    return read_wordpieces(encoder, len(pieces()))


def batches_of(rows, vocabulary, seed=1, **settings):
    count = len(rows.offsets) - 1
    config = Config(**{"pad_size": 64} | settings)
    return MaskedBatches(RowSpans(rows, np.array([0]), np.array([count])), vocabulary, config, seed, "cpu")


def masked(vocabulary, masking=TOKEN, seed=1, count=400, **settings):
    """Batches of the sample's headlines."""
    texts = [text for text, _ in sample_rows("train", set(range(10)), count)]
    rows, _ = vocabulary.encode_split(spans_of(texts), 64, masking != TOKEN)
    return batches_of(rows, vocabulary, seed, masking=masking, **settings)


def rows_of_words(sizes, count, vocabulary):
    """Equal rows of words of so many pieces each, with marks."""
    ends = np.concatenate([[1], *([0] * (size - 1) + [1] for size in sizes), [1]])
    ids = np.concatenate(([vocabulary.cls], np.arange(10, 10 + sum(sizes)), [vocabulary.sep]))
    offsets = np.arange(count + 1) * len(ids)
    return Rows(marked(np.tile(ids, count), np.tile(ends, count)), offsets)


def mask_of(batches, count):
    """Which tokens of the first rows are masked, (B, T) bool."""
    positions, _, ends, lengths = batches.read(np.arange(count))
    return batches.choose(positions, ends, lengths)


@pytest.mark.parametrize("masking", MASKINGS)
def test_what_is_masked(vocabulary, masking):
    batches, row_ids = masked(vocabulary, masking), np.arange(400)
    _, original, ends, lengths = batches.read(row_ids)
    batch = batches.cut(row_ids)
    chosen = np.zeros(original.size, bool)
    chosen[batch.positions] = True
    assert np.array_equal(original.flatten()[batch.positions], batch.labels)
    assert np.array_equal(batch.tokens.numpy().flatten()[~chosen], original.flatten()[~chosen])
    special = (original == vocabulary.cls) | (original == vocabulary.sep) | (original == vocabulary.pad)
    chosen = chosen.reshape(original.shape)
    assert not (chosen & special).any()
    assert (chosen.sum(axis=1) > 0).all()
    assert len(batch.labels) / (lengths - 2).sum() == pytest.approx(0.15, abs=0.01)
    now = batch.tokens.flatten()[batch.positions]
    assert (now == vocabulary.mask).float().mean().item() == pytest.approx(0.8, abs=0.04)
    assert (now == batch.labels).float().mean().item() == pytest.approx(0.1, abs=0.03)
    inside = ~ends[:, 1:-2] & ~special[:, 1:-2] & ~special[:, 2:-1]  # the next piece is of the same word
    halves = inside & (chosen[:, 1:-2] != chosen[:, 2:-1])
    assert halves.any() == (masking == TOKEN)


@pytest.mark.parametrize("masking", MASKINGS)
def test_masks_change_with_the_epoch_and_the_seed_alone(vocabulary, masking):
    batches, row_ids = masked(vocabulary, masking, mask_share=0.3), np.arange(50)
    validation = batches.cut(row_ids)
    assert torch.equal(batches.cut(row_ids).tokens, validation.tokens)
    seen = [validation.tokens]
    for epoch in range(3):
        batches.shuffled(32, 1, epoch)
        seen.append(batches.cut(row_ids).tokens)
        alone = batches.cut(row_ids[7:8])
        assert torch.equal(alone.tokens[0, : alone.lengths[0]], seen[-1][7, : alone.lengths[0]])
    seen.append(masked(vocabulary, masking, seed=2, mask_share=0.3).cut(row_ids).tokens)
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("share", [0.15, 0.25])
@pytest.mark.parametrize("sizes", [[1] * 8, [2] * 7, [1, 2, 1, 3, 1, 1, 4, 1, 2, 2, 1, 1]])
def test_every_token_is_masked_equally_often(vocabulary, masking, share, sizes):
    """Within six standard deviations of the mean of 10,000 short rows."""
    count = 10_000
    batches = batches_of(rows_of_words(sizes, count, vocabulary), vocabulary, masking=masking, mask_share=share)
    mask, deviation = mask_of(batches, count)[:, 1:-1], (share * (1 - share) / count) ** 0.5
    if masking != TOKEN:  # which masks a token in a row that would have none
        assert mask.mean() == pytest.approx(share, abs=0.005)
    assert mask.mean(axis=0) == pytest.approx(np.full(sum(sizes), mask.mean()), abs=6 * deviation)
    ends = np.cumsum(sizes) - 1  # of words
    if masking != TOKEN:
        words = mask[:, ends].sum(axis=1)
        assert set(words) <= {int(share * len(sizes)), int(share * len(sizes)) + 1}


@pytest.mark.parametrize("masking", ["word", NGRAM])
def test_a_row_without_words_has_no_masked_token(vocabulary, masking):
    rows = Rows(marked(np.array([vocabulary.cls, vocabulary.sep]), np.array([1, 1])), np.array([0, 2]))
    assert not mask_of(batches_of(rows, vocabulary, masking=masking), 1).any()


def test_n_grams_have_one_to_four_words(vocabulary):
    """A row of which an n-gram is masked shows the probabilities of its length, if the n-gram fits."""
    words, count = 60, 4000
    rows = rows_of_words([1] * words, count, vocabulary)
    batches = batches_of(rows, vocabulary, masking=NGRAM, mask_share=4 / words)
    positions, _, ends, lengths = batches.read(np.arange(count))
    firsts = batches.n_grams(positions[:, 1:-1])
    gaps = np.concatenate([np.diff(np.unique(row)) for row in firsts])
    shares = np.bincount(gaps, minlength=5)[1:] / len(gaps)
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.01)
    mask = batches.choose(positions, ends, lengths)
    assert (mask.sum(axis=1) == 4).all()
    runs = (np.diff(mask.astype(int), axis=1) == 1).sum(axis=1)  # n-grams of 4 words are seldom cut: runs of 1 to 4
    assert 0.08 < (runs == 1).mean() < 0.35
    words_alone = mask_of(batches_of(rows, vocabulary, masking="word", mask_share=4 / words), count)
    assert ((np.diff(words_alone.astype(int), axis=1) == 1).sum(axis=1) == 1).mean() < 0.01
