import numpy as np
import pytest

from cli.console import UserError
from conftest import inside, sample_rows, write_dataset
from text import cache, digests
from text.digests import BLOCK, Digests, confirm, is_damaged
from utils import read_dataset


@pytest.mark.parametrize("count", [0, 1, 1000, BLOCK // 8, BLOCK // 8 + 1, BLOCK // 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_digest_a_block_however_it_is_appended(tmp_path, count, dtype):
    array = np.random.default_rng(1).integers(0, 100, count).astype(dtype)
    whole, parts = Digests(), Digests()
    whole.append(array)
    for part in np.array_split(array, 7):
        parts.append(part)
    assert whole.values == parts.values
    assert len(whole.values) == -(-array.nbytes // BLOCK)
    (tmp_path / "file").write_bytes(b"header" + array.tobytes())
    assert not is_damaged([(tmp_path / "file", 6, whole.values)])


@pytest.mark.parametrize("place", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_each_bit_counts(tmp_path, place):
    content = bytearray(np.random.default_rng(1).bytes(2 * BLOCK + 6))
    digests = Digests()
    digests.append(np.frombuffer(bytes(content), np.uint8))
    content[place] ^= 16
    (tmp_path / "file").write_bytes(content)
    assert is_damaged([(tmp_path / "file", 0, digests.values)])


@pytest.mark.parametrize("damage", ["zeros", "shorter"])
def test_lost_data_are_noticed(tmp_path, damage):
    content = np.random.default_rng(1).bytes(3 * BLOCK)
    digests = Digests()
    digests.append(np.frombuffer(content, np.uint8))
    lost = content[:BLOCK] + bytes(BLOCK) + content[2 * BLOCK :] if damage == "zeros" else content[:-1]
    (tmp_path / "file").write_bytes(lost)
    assert is_damaged([(tmp_path / "file", 0, digests.values)])


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A dataset whose entries are as large as those that are compared in the background."""
    monkeypatch.setattr(cache, "SMALL", 0)
    rows = [sample_rows(split, {0, 1}, 20) for split in ("train", "dev", "test")]
    directory = write_dataset(tmp_path / "d", ["甲", "乙"], *rows)
    read_dataset(directory)
    confirm()
    return directory


def flip(directory, name="rows.ids.npy"):
    """Flips a bit in the entry of the training split, the lowest one of its last id; returns the entry."""
    (entry,) = (directory / "cache").glob("train-*")
    content = bytearray((entry / name).read_bytes())
    content[-2] ^= 1
    (entry / name).write_bytes(content)
    return entry


def test_large_entries_are_compared_in_the_background(directory):
    read_dataset(directory)
    assert len(digests._running) == 3
    confirm()
    confirm()
    entry = flip(directory)
    read_dataset(directory)
    with pytest.raises(UserError) as error:
        confirm()
    assert str(error.value).startswith(f"{entry}: the encoded train.txt is damaged on the disk, and nothing that was")
    assert not entry.exists()
    read_dataset(directory)
    confirm()


@pytest.mark.parametrize("flags", [(), ("--model", "SVM")])
def test_a_training_on_a_damaged_entry_ends_with_a_line_and_keeps_nothing(directory, tmp_path, flags):
    flags = ("--dataset", directory, "--word_n_grams", 0, "--device", "cpu", *flags)
    flip(directory)
    done = inside("run.py", *flags, "--output", tmp_path / "first", check=False)
    assert done.returncode == 2
    assert "the encoded train.txt is damaged on the disk" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("first/saved_dict/*.ckpt"))
    inside("run.py", *flags, "--output", tmp_path / "second")
    assert len(list(tmp_path.glob("second/saved_dict/*.ckpt"))) == 1


def test_an_entry_that_is_removed_meanwhile_is_not_damaged(directory, tmp_path):
    digests.verify_later(tmp_path, "train.txt", [(tmp_path / "rows.ids.npy", 0, [1])])
    confirm()
