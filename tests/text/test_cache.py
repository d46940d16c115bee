import errno
import os
import shutil

import numpy as np
import pytest

from cli.console import UserError
from cli.files import digest_of
from conftest import sample_rows, write_dataset
from text import cache, labelled, one_builder
from text.cache import KEPT, Spool, cached
from text.labelled import LabelledFile
from text.rows import concatenate, spans_of, texts_of
from utils import read_dataset


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "d" / "data").mkdir(parents=True)
    path = tmp_path / "d" / "data" / "train.txt"
    path.write_bytes(b"content")
    return path


class Filling:
    """Fills an entry with numbers, and counts how often it was asked to."""

    def __init__(self, path, count=5):
        self.path, self.count, self.calls = path, count, 0

    def __call__(self, draft):
        self.calls += 1
        numbers = draft.column("numbers", np.uint16)
        for i in range(self.count):
            numbers.append([i])
        draft.column("nothing", np.int32)
        return {"digest": digest_of(self.path), "notes": ["{path}: a note"], "more": "甲"}


def entries(path):
    return sorted(entry.name for entry in (path.parent.parent / "cache").iterdir())


def test_an_entry_is_made_once_and_told_each_time(path, capsys):
    filling = Filling(path)
    for _ in range(3):
        entry = cached(path, {"word": False}, filling)
        assert entry.arrays["numbers"].tolist() == [0, 1, 2, 3, 4]
        assert isinstance(entry.arrays["numbers"].base, np.memmap)
        assert entry.arrays["nothing"].shape == (0,)
        assert entry.meta == {"digest": digest_of(path), "notes": ["{path}: a note"], "more": "甲"}
        assert capsys.readouterr().err == f"{path}: a note\n"
    assert filling.calls == 1
    assert len(entries(path)) == 1


def test_other_content_or_settings_are_another_entry(path, monkeypatch):
    filling = Filling(path)
    cached(path, {"word": False}, filling)
    cached(path, {"word": True}, filling)
    assert filling.calls == 2
    path.write_bytes(b"CONTENT")
    cached(path, {"word": False}, filling)
    assert filling.calls == 3
    path.write_bytes(b"content")
    cached(path, {"word": False}, filling)
    assert filling.calls == 3
    monkeypatch.setattr(cache, "FORMAT", -1)
    cached(path, {"word": False}, filling)
    assert filling.calls == 4


def test_an_entry_of_a_file_elsewhere_is_in_the_datasets_cache(path, tmp_path):
    elsewhere = tmp_path / "texts" / "news[1].txt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"a text")
    filling = Filling(elsewhere)
    for _ in range(2):
        cached(elsewhere, {}, filling, path.parent.parent, "teachers")
    assert filling.calls == 1
    assert [name.startswith("teachers-") for name in entries(path)] == [True]


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["numbers.npy", "nothing.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["shorter", "longer", "absent", "a bit", "a bit of the header", "zeros"])
def test_a_damaged_entry_is_made_anew(path, name, damage):
    filling = Filling(path)
    cached(path, {}, filling)
    file = path.parent.parent / "cache" / entries(path)[0] / name
    content = file.read_bytes()
    file.unlink()
    damaged = {"shorter": content[:-1], "longer": content + b"x", "zeros": bytes(len(content))}
    damaged |= {"a bit": flipped(content, len(content) - 3), "a bit of the header": flipped(content, 23)}
    if name == "nothing.npy" and damage == "a bit":
        damaged["a bit"] = flipped(content, 61)  # it has a header alone
    if damage != "absent":
        file.write_bytes(damaged[damage])
    assert cached(path, {}, filling).arrays["numbers"].tolist() == [0, 1, 2, 3, 4]
    assert cached(path, {}, filling).arrays["nothing"].tolist() == []
    assert filling.calls == 2
    assert len(entries(path)) == 1


def test_of_two_that_make_an_entry_the_slower_one_uses_the_other(path, monkeypatch):
    monkeypatch.setattr(one_builder, "PATIENCE", 0)  # seconds that the second one waits for the first
    winner, loser = Filling(path), Filling(path, count=7)

    def fill(draft):
        cached(path, {}, winner)
        return loser(draft)

    assert len(cached(path, {}, fill).arrays["numbers"]) == 5
    assert (winner.calls, loser.calls) == (1, 1)
    assert len(entries(path)) == 1


def test_what_fails_leaves_nothing(path):
    def fill(draft):
        Filling(path)(draft)
        raise UserError("a bad row")

    with pytest.raises(UserError, match="a bad row"):
        cached(path, {}, fill)
    assert entries(path) == []


def test_a_full_disk_is_told(path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.Column, "append", full)
    with pytest.raises(UserError) as error:
        cached(path, {}, Filling(path))
    assert "cache: the encoded train.txt cannot be written there (No space left on device); free" in str(error.value)
    assert "\n" not in str(error.value)
    assert entries(path) == []


def test_where_the_dataset_cannot_be_written_it_is_the_users_directory(path, home):
    (path.parent.parent / "cache").touch()  # no directory can be made there, not even by root
    filling = Filling(path)
    for _ in range(2):
        assert len(cached(path, {}, filling).arrays["numbers"]) == 5
    assert filling.calls == 1
    assert len(list(home.glob(f"{cache.NAME}/d-*/train-*/meta.json"))) == 1


def test_where_nothing_can_be_written_it_is_told(path, home, monkeypatch, tmp_path):
    (path.parent.parent / "cache").touch()
    home.touch()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(home))
    with pytest.raises(UserError, match=r"the encoded dataset can be written neither to .*cache nor to "):
        cached(path, {}, Filling(path))


def test_old_entries_go(path):
    folder = path.parent.parent / "cache"
    filling = Filling(path)
    for age in range(KEPT):
        cached(path, {"seed": age}, filling)
        for entry in folder.iterdir():  # all of them an hour older
            os.utime(entry, (entry.stat().st_atime - 3600, entry.stat().st_mtime - 3600))
    (folder / "dev-1").mkdir()
    (folder / "train-000000000001.tmp").mkdir()
    (folder / "train-000000000002.tmp").mkdir()
    (folder / "train-mine1").mkdir()
    (folder / "train-mine.tmp").mkdir()
    for mine in ("train-mine1", "train-mine.tmp"):
        os.utime(folder / mine, (0, 0))
    os.utime(folder / "train-000000000001.tmp", (0, 10))
    first = cached(path, {"seed": 0}, filling)  # is of use again
    cached(path, {"seed": KEPT}, filling)
    assert filling.calls == KEPT + 1
    assert len(entries(path)) == KEPT + 4
    assert {"dev-1", "train-000000000002.tmp", "train-mine1", "train-mine.tmp"} < set(entries(path))
    cached(path, {"seed": 0}, filling)
    assert filling.calls == KEPT + 1
    cached(path, {"seed": 1}, filling)
    assert filling.calls == KEPT + 2
    assert first.arrays["numbers"].tolist() == [0, 1, 2, 3, 4]


def test_a_spool_gives_back_what_was_written(tmp_path):
    draft = cache.Draft(tmp_path)
    spool = Spool(draft, "texts")
    blocks = [["爱好", "", "A"], [], ["", "😀"], [70_000 * "长"]]
    for texts in blocks:
        spool.append(spans_of(texts))
    assert [texts_of(rows) for rows in spool] == blocks
    assert list(tmp_path.iterdir()) == []


def contents(dataset):
    splits = (dataset.train, dataset.dev, dataset.test)
    arrays = [array for split in splits for array in (*split.rows, split.labels, *(split.texts or ()))]
    return [array.tolist() for array in arrays], [split.digest for split in splits], dataset.vocabulary.content


@pytest.mark.parametrize("settings", [{}, {"word": True}, {"word": True, "segmenter": "jieba"}, {"max_vocab": 50}])
def test_a_dataset_is_the_same_from_the_cache_and_whatever_the_blocks(tmp_path, monkeypatch, capsys, settings):
    rows = [sample_rows("train", range(9), 120), sample_rows("dev", range(9), 20), sample_rows("test", range(9), 20)]
    texts = ["".join(f"{text}\t{label}\n\n" for text, label in split) for split in rows]
    directory = write_dataset(tmp_path / "d", list("甲乙丙丁戊己庚辛壬癸"), *texts)
    first = contents(read_dataset(directory, **settings))
    told = capsys.readouterr().err
    assert "train.txt: 120 blank lines skipped" in told
    assert "train.txt has no row of 1 classes: 癸" in told
    assert ("Segmenter: jieba" in told) == (settings == {"word": True})
    with monkeypatch.context() as patch:
        patch.setattr(LabelledFile, "__iter__", None)  # nothing is read
        assert contents(read_dataset(directory, **settings)) == first
    assert capsys.readouterr().err == told
    monkeypatch.setattr(labelled, "BLOCK", 100)
    monkeypatch.setattr(cache, "FORMAT", -1)
    assert contents(read_dataset(directory, **settings)) == first
    assert capsys.readouterr().err == told


def change(directory, name, old, new):
    path = directory / "data" / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("settings", [{"max_vocab": 2}, {"word": True}, {"word": True, "segmenter": "jieba"}, {}])
@pytest.mark.parametrize(("name", "old", "new"), [("class.txt", "甲\n乙", "乙\n甲"), ("train.txt", "新", "旧")])
def test_a_cache_of_other_settings_or_files_changes_nothing(tmp_path, settings, name, old, new):
    rows = [("新闻 新年", "甲"), ("好 年年", "乙")]
    used, fresh = (write_dataset(tmp_path / kind, ["甲", "乙"], rows, dev=rows[::-1]) for kind in ("used", "fresh"))
    before = contents(read_dataset(used))
    assert (contents(read_dataset(used, **settings)) == before) == (not settings)
    for directory in (used, fresh):
        change(directory, name, old, new)
    after = contents(read_dataset(used, **settings))
    assert after == contents(read_dataset(fresh, **settings))
    assert after != before


def test_a_dataset_is_encoded_as_its_texts_are(tiny):
    dataset = read_dataset(tiny)
    assert dataset.train.rows.ids.dtype == np.uint16 and dataset.train.labels.dtype == np.uint8
    assert isinstance(dataset.train.rows.ids.base, np.memmap)
    for name in ("train", "dev", "test"):
        blocks = list(LabelledFile(tiny / "data" / f"{name}.txt", dataset.classes))
        texts, split = concatenate([block for block, _ in blocks]), getattr(dataset, name)
        expected = dataset.vocabulary.encode(texts)
        assert np.array_equal(split.rows.ids, expected.ids) and np.array_equal(split.rows.offsets, expected.offsets)
        assert np.array_equal(split.labels, np.concatenate([labels for _, labels in blocks]))
        assert split.digest == digest_of(tiny / "data" / f"{name}.txt")[:16]
    assert texts_of(dataset.test.texts) == texts_of(texts)


def test_a_cache_that_is_deleted_meanwhile_is_built_again(path):
    filling = Filling(path)

    def fill(draft):
        if filling.calls == 0:
            shutil.rmtree(path.parent.parent / "cache")
        return filling(draft)

    assert cached(path, {}, fill).arrays["numbers"].tolist() == [0, 1, 2, 3, 4]
    assert len(entries(path)) == 1
