import hashlib

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import batches_of
from engine.batches import BATCH_TOKENS, fits
from text.truncation import MODES


def counting(lengths, labels=None, **settings):
    """Batches of rows of these lengths whose tokens count through."""
    return batches_of(np.arange(sum(lengths), dtype=np.int32), lengths, labels, pad=9999, **settings)


def test_empty_rows_are_in_no_batch_of_a_prediction():
    assert [rows.tolist() for rows in counting([0, 3, 0, 1]).by_length()] == [[1, 3]]
    assert list(counting([0, 0]).by_length()) == []


def test_a_batch_is_padded_to_its_own_longest_row():
    batch = counting([3, 1, 2], labels=np.array([4, 5, 6])).cut(np.array([2, 1]))
    assert batch.tokens.tolist() == [[4, 5], [3, 9999]]
    assert batch.lengths.tolist() == [2, 1]
    assert batch.labels.tolist() == [6, 5]
    assert batch.mask.tolist() == [[True, True], [True, False]]


def test_evaluation_batches_are_bounded_in_tokens():
    lengths = np.random.default_rng(0).integers(1, 513, 500)
    for rows in counting(lengths).by_length():
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= BATCH_TOKENS


def test_a_prediction_has_each_row_once_and_the_same_batches_in_each_version():
    batches = counting(np.random.default_rng(5).integers(1, 40, 20_000), limit=32)
    rows = np.concatenate(list(batches.by_length()))
    assert np.array_equal(np.sort(rows), np.arange(20_000))
    assert hashlib.sha256(rows.astype("<i8")).hexdigest()[:8] == "195f5e97"


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
@pytest.mark.parametrize("limit", [3, 300, 40_000])
def test_rows_are_cut(kind, limit):
    lengths = [2, 50_000, 3, 0, 5]
    ids = (np.arange(50_010) + 15_000).astype(kind)
    batch = batches_of(ids, lengths, pad=7, limit=limit).cut(np.arange(5))
    starts = np.cumsum([0, *lengths])
    expected = [ids[start : start + min(limit, length)] for start, length in zip(starts, lengths, strict=False)]
    assert batch.tokens.shape == (5, limit)
    for tokens, row in zip(batch.tokens, expected, strict=True):
        assert tokens.tolist() == [*row.tolist(), *[7] * (limit - len(row))]
    assert batch.lengths.tolist() == [len(row) for row in expected]


def test_only_rows_that_are_cut_get_another_end():
    batches = counting([2, 4, 5, 0, 9], end=77, limit=4)
    assert batches.cut(np.arange(5)).tokens[:, 3].tolist() == [9999, 5, 77, 9999, 77]
    assert batches.cut(np.array([0])).tokens.tolist() == [[0, 1]]


def test_head_and_tail():
    batch = counting([3, 12, 8, 9], limit=8, long="head_tail").cut(np.arange(4))
    assert batch.tokens[0].tolist() == [0, 1, 2, *[9999] * 5]
    assert batch.tokens[1].tolist() == [3, 4, 9, 10, 11, 12, 13, 14]
    assert batch.tokens[2].tolist() == [*range(15, 23)]
    assert batch.tokens[3].tolist() == [23, 24, *range(26, 32)]
    assert batch.lengths.tolist() == [3, 8, 8, 8]
    assert batch.joints.tolist() == [0, 2, 0, 2]


def test_windows_of_rows():
    batches = counting([3, 8, 9, 0, 21], np.array([4, 5, 6, 7, 8]), limit=8, long="windows")
    batch = batches.whole(np.array([4, 0, 2]))
    starts = [20, 26, 32, 33, 0, 11, 12]
    expected = [[*range(start, start + 8)] for start in starts]
    expected[4][3:] = [9999] * 5
    assert batch.tokens.tolist() == expected
    assert batch.lengths.tolist() == [8, 8, 8, 8, 3, 8, 8]
    assert (batch.windows.tolist(), batch.labels.tolist()) == ([4, 1, 2], [8, 4, 6])
    assert batch.mean(batch.tokens[:, :1]).tolist() == [[27.75], [0.0], [11.5]]
    assert batch.by_window(batch.labels).tolist() == [8, 8, 8, 8, 4, 6, 6]
    assert batches.whole(np.array([1, 0])).windows is None


@pytest.mark.parametrize("long", MODES)
def test_long_rows_keep_their_first_and_last_mark(long):
    ids = np.array([70, 1, 2, 3, 77, 70, 1, 2, 3, 4, 5, 6, 7, 8, 9, 77], np.int32)
    tokens = batches_of(ids, [5, 11], pad=9999, end=77, limit=6, long=long).whole(np.arange(2)).tokens.tolist()
    found = {
        "head": [[70, 1, 2, 3, 4, 77]],
        "head_tail": [[70, 6, 7, 8, 9, 77]],
        "windows": [[70, 1, 2, 3, 4, 77], [70, 5, 6, 7, 8, 77], [70, 6, 7, 8, 9, 77]],
    }
    assert tokens == [[70, 1, 2, 3, 77, 9999], *found[long]]


def test_training_draws_a_window_of_each_row_for_each_epoch():
    lengths, rows = np.random.default_rng(0).integers(16, 60, 300), np.arange(300)
    batches, later, head = (counting(lengths, limit=16, long=long) for long in ("windows", "windows", "head"))
    epochs = []
    for epoch in range(30):
        plans = batches.shuffled(32, 1, epoch), head.shuffled(32, 1, epoch)
        assert np.array_equal(*(np.concatenate(list(plan)) for plan in plans))
        epochs.append(batches.cut(rows).tokens)
    later.shuffled(32, 1, 29)  # as a training that is resumed
    assert torch.equal(later.cut(rows[7:9]).tokens, epochs[-1][7:9])
    whole = batches.whole(rows)
    for row, windows in enumerate(whole.tokens.split(whole.windows.tolist())):
        assert {tuple(tokens[row].tolist()) for tokens in epochs} == {tuple(window.tolist()) for window in windows}


def test_evaluation_batches_of_windows_are_bounded_in_tokens():
    batches = counting(np.random.default_rng(0).integers(1, 4000, 100), limit=300, long="windows")
    sizes = [batches.whole(rows).tokens.numel() for rows in batches.by_length()]
    assert max(sizes) <= BATCH_TOKENS
    assert batches.windows.max() == 16


def test_rows_without_a_token_make_a_batch():
    batch = batches_of(np.zeros(0, np.uint16), [0, 0], limit=3).cut(np.array([0, 1]))
    assert batch.tokens.shape == (2, 0)


class NothingWaits(TorchDispatchMode):
    """Refuses what would wait for a GPU: values that the host asks for, shapes that depend on them."""

    seen = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item", "equal"), name
        assert name != "index" or not any(part.dtype == torch.bool for part in args[1] if part is not None)
        NothingWaits.seen += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("long", MODES)
def test_cutting_waits_for_nothing(long):
    batches = counting(np.random.default_rng(0).integers(1, 60, 500), np.arange(500), end=5, limit=32, long=long)
    with NothingWaits():
        for rows in batches.shuffled(64, 1, 0):
            batches.parts(rows, 2)
            batch = batches.whole(rows)
            batch.mean(batch.tokens)
    assert NothingWaits.seen > 50
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NothingWaits():
        batches.lengths.max() + batches.sizes.max().item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
def test_on_a_gpu_rows_lie_there_and_batches_are_the_same():
    lengths, labels = np.random.default_rng(0).integers(1, 60, 500), np.arange(500)
    host, gpu = (counting(lengths, labels, end=5, limit=32, device=device) for device in ("cpu", "cuda"))
    assert gpu.ids.is_cuda and gpu.labels.is_cuda
    torch.cuda.set_sync_debug_mode("error")
    try:
        cut = [gpu.cut(rows) for rows in host.shuffled(64, 1, 0)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for rows, batch in zip(host.shuffled(64, 1, 0), cut, strict=True):
        expected = host.cut(rows)
        assert torch.equal(batch.tokens.cpu(), expected.tokens)
        assert torch.equal(batch.labels.cpu(), expected.labels)


def test_rows_that_do_not_fit_a_gpu_stay_with_the_host(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 40))
    arrays = [np.zeros(1000, np.uint8)]
    free = 2000
    assert not fits(torch.device("cuda"), arrays)
    free = 4000
    assert fits(torch.device("cuda"), arrays)
    assert not fits(torch.device("cpu"), arrays)
