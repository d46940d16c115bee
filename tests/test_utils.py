import numpy as np
import pytest

from conftest import write_dataset
from console import UserError
from utils import BATCH_TOKENS, Batches, read_dataset
from vocabulary import Rows


def batches_of(lengths, labels=None):
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return Batches(Rows(np.arange(offsets[-1], dtype=np.int32), offsets), labels, pad=9999)


@pytest.mark.parametrize("count", [1, 5, 127, 128, 129, 1000, 8193])
def test_each_epoch_sees_each_row_once(count):
    batches = batches_of(np.random.default_rng(0).integers(1, 33, count))
    plan = batches.shuffled(128, seed=1, epoch=0)
    assert sorted(np.concatenate(plan)) == list(range(count))
    assert len(plan) == -(-count // 128)
    assert sorted(np.concatenate(list(batches.by_length()))) == list(range(count))


def test_empty_rows_are_in_no_batch_of_a_prediction():
    assert [rows.tolist() for rows in batches_of([0, 3, 0, 1]).by_length()] == [[1, 3]]
    assert list(batches_of([0, 0]).by_length()) == []


def test_epochs_differ_and_repeat():
    batches = batches_of(np.full(300, 5))
    first, again, other = (np.concatenate(batches.shuffled(32, 1, epoch)) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sorted_data_is_shuffled():
    labels = np.repeat(np.arange(10), 100)
    batches = batches_of(np.full(1000, 5), labels)
    assert all(len(set(labels[rows])) > 5 for rows in batches.shuffled(100, 1, 0))


def test_a_batch_is_padded_to_its_own_longest_row():
    batch = batches_of([3, 1, 2], labels=np.array([4, 5, 6])).cut(np.array([2, 1]))
    assert batch.tokens.tolist() == [[4, 5], [3, 9999]]
    assert batch.lengths.tolist() == [2, 1]
    assert batch.labels.tolist() == [6, 5]
    assert batch.mask.tolist() == [[True, True], [True, False]]


def test_evaluation_batches_are_bounded_in_tokens():
    lengths = np.random.default_rng(0).integers(1, 513, 500)
    for rows in batches_of(lengths).by_length():
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= BATCH_TOKENS


def test_the_vocabulary_is_that_of_the_training_data_as_it_is_now(tmp_path):
    directory = write_dataset(tmp_path / "d", ["财经"], [("旧文", 0)])
    assert read_dataset(directory).vocabulary.tokens[:2] == ["文", "旧"]
    (directory / "data" / "train.txt").write_text("新文\t0\n", encoding="utf-8")
    assert set(read_dataset(directory).vocabulary.tokens[:2]) == {"新", "文"}


def test_word_mode(tmp_path, capsys):
    directory = write_dataset(tmp_path / "d", ["体育"], [("中国 女排 夺冠", 0), ("女排 回国", 0)])
    dataset = read_dataset(directory, word=True)
    assert dataset.vocabulary.tokens[0] == "女排"
    assert dataset.vocabulary.segmenter == "space"
    assert "Segmenter: space" in capsys.readouterr().err
    assert read_dataset(directory, word=True, segmenter="jieba").vocabulary.segmenter == "jieba"
    with pytest.raises(UserError, match="add --word True"):
        read_dataset(directory, segmenter="jieba")
