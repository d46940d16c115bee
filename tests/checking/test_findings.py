import numpy as np

from checking.findings import conflicts, copies
from checking.splits import read_splits
from conftest import write_dataset
from text.duplicates import near_duplicates

TRAIN = [("今天上证指数大涨百点收盘", 0), ("今天上证指数大跌百点收盘", 0), ("无关的一条新闻", 1), ("无关的一条新闻", 1)]
DEV = [("又是另外一条消息", 1), ("无关的一条新闻", 0)]
TEST = [("今天上证指数大涨百点收盘！", 0), ("今天上证指数暴涨百点收盘", 0), ("谁也没有见过的文本", 1)]


def splits_of(tmp_path):
    return read_splits(write_dataset(tmp_path, ["甲", "乙"], TRAIN, DEV, TEST))


def test_copies_are_rows_of_another_split_the_most_similar_first(tmp_path):
    splits = splits_of(tmp_path)
    near = near_duplicates(splits.texts)
    found = copies(splits, near, "test", "train")
    assert [splits.text(row) for row in found.rows] == [text for text, _ in TEST[:2]]
    assert found.sources.tolist() == [0, 0]
    np.testing.assert_allclose(found.similarity, [1, 9 / 13], rtol=1e-6)
    assert [splits.place(row) for row in copies(splits, near, "dev", "train").rows] == ["dev.txt:2"]
    assert not len(copies(splits, near, "test", "dev").rows)


def test_conflicts_are_rows_of_one_text_with_different_labels(tmp_path):
    splits = splits_of(tmp_path)
    assert [[splits.place(row) for row in group] for group in conflicts(splits)] == [
        ["train.txt:3", "train.txt:4", "dev.txt:2"]
    ]
