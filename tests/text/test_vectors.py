import bz2
import contextlib
import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest

from cli.console import UserError
from text import vectors
from text.vocabulary import Vocabulary

LINES = "好 1 0 0\n学 0 1 0\n鑫 0 0 1\n习 1 2 3\n"


def extract(tmp_path, content, vocabulary=None, name="v.txt"):
    opener = {".gz": gzip.open, ".bz2": bz2.open}.get(name[name.rfind(".") :], open)
    with opener(tmp_path / name, "wb") as file:
        file.write(content.encode())
    vectors.extract(tmp_path / name, vocabulary or Vocabulary(["好", "学", "习", "天"]), tmp_path / "embedding_x.npz")
    with np.load(tmp_path / "embedding_x.npz") as file:
        return dict(zip(file["tokens"].tolist(), file["embeddings"].tolist(), strict=True))


@pytest.mark.parametrize("name", ["v.txt", "v.gz", "v.bz2"])
@pytest.mark.parametrize("header", ["", "4 3\n"])
def test_the_vocabularys_rows_are_taken(tmp_path, capsys, name, header):
    found = extract(tmp_path, header + LINES, name=name)
    assert found == {"好": [1, 0, 0], "学": [0, 1, 0], "习": [1, 2, 3]}
    assert "3 of 4 tokens found, 3 wide; the others start random" in capsys.readouterr().err


def test_a_line_that_is_not_numbers_is_told(tmp_path, capsys):
    assert extract(tmp_path, LINES + "天 1 2\n") == {"好": [1, 0, 0], "学": [0, 1, 0], "习": [1, 2, 3]}
    assert "1 lines skipped that are not 3 numbers, the first is line 5" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "甲 1 2\n", "\x00\x01"])
def test_a_file_without_the_tokens(tmp_path, content):
    with pytest.raises(UserError, match="none of the 4 tokens found"):
        extract(tmp_path, content)
    assert not (tmp_path / "embedding_x.npz").exists()


def test_a_missing_or_damaged_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        vectors.extract(tmp_path / "none.txt", Vocabulary(["好"]), tmp_path / "x.npz")
    whole = gzip.compress(LINES.encode() * 1000)
    for content in (b"no gzip", whole[:-20], whole[:40] + b"\xff" * 40 + whole[80:]):
        (tmp_path / "bad.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"bad.gz cannot be read"):
            vectors.extract(tmp_path / "bad.gz", Vocabulary(["好"]), tmp_path / "x.npz")


def test_an_odd_first_line_does_not_decide_the_width(tmp_path):
    assert extract(tmp_path, "New York 1 2 3\n" + LINES)["好"] == [1, 0, 0]


def test_a_file_of_another_kind(tmp_path):
    np.save(tmp_path / "e.npy", np.ones((2, 2)))
    (tmp_path / "e.npz").write_bytes(b"PK no zip")
    for name in ("e.npy", "e.npz"):
        with pytest.raises(UserError, match=r"is no \.npz file with `embeddings`"):
            vectors.load(tmp_path / name, Vocabulary(["好"]), seed=1)


def test_rows_are_matched_by_token_not_by_place(tmp_path):
    np.savez(tmp_path / "e.npz", embeddings=np.array([[1.0, 1], [2, 2]]), tokens=np.array(["学", "好"]))
    loaded = vectors.load(tmp_path / "e.npz", Vocabulary(["好", "新", "学"]), seed=1)
    assert loaded.shape == (5, 2)
    assert loaded[0].tolist() == [2, 2]
    assert loaded[2].tolist() == [1, 1]
    assert loaded[1].any()
    assert np.array_equal(loaded, vectors.load(tmp_path / "e.npz", Vocabulary(["好", "新", "学"]), seed=1))


def test_older_files_are_matched_through_the_pickled_vocabulary(tmp_path):
    np.savez(tmp_path / "e.npz", embeddings=np.array([[1.0], [2], [3], [4]]))
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps({"学": 0, "好": 1, "<UNK>": 2, "<PAD>": 3}))
    assert vectors.load(tmp_path / "e.npz", Vocabulary(["好", "学"]), seed=1)[:2].tolist() == [[2], [1]]
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps({"学": 0, "好": 1}))
    with pytest.raises(UserError, match=r"has 2 entries, e.npz has 4 rows: they do not belong together"):
        vectors.load(tmp_path / "e.npz", Vocabulary(["好", "学"]), seed=1)
    (tmp_path / "vocab.pkl").unlink()
    with pytest.raises(UserError, match="that says which token a row stands for"):
        vectors.load(tmp_path / "e.npz", Vocabulary(["好", "学"]), seed=1)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_hostile_pickle_runs_nothing(tmp_path):
    np.savez(tmp_path / "e.npz", embeddings=np.ones((1, 2)))
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps({"好": Hostile(tmp_path / "owned")}))
    with pytest.raises(UserError, match="no plain pickled dict"):
        vectors.load(tmp_path / "e.npz", Vocabulary(["好"]), seed=1)
    assert not (tmp_path / "owned").exists()
    np.savez(tmp_path / "e.npz", embeddings=np.array([Hostile(tmp_path / "owned")]))
    with pytest.raises(UserError, match=r"is no \.npz file"):
        vectors.load(tmp_path / "e.npz", Vocabulary(["好"]), seed=1)
    assert not (tmp_path / "owned").exists()


def test_which_file_is_meant(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    assert vectors.find(tmp_path, None) is None
    assert vectors.find(tmp_path, "random") is None
    with pytest.raises(UserError, match=r"has no embedding_\*.npz: make one with: python utils.py"):
        vectors.find(tmp_path, "pre_trained")
    (data / "embedding_B.npz").touch()
    assert vectors.find(tmp_path, None) == vectors.find(tmp_path, "pre_trained") == data / "embedding_B.npz"
    (data / "embedding_A.npz").touch()
    with pytest.raises(UserError, match=r"several files of vectors \(embedding_A.npz, embedding_B.npz\): choose with"):
        vectors.find(tmp_path, "pre_trained")
    (data / "embedding_SougouNews.npz").touch()
    assert vectors.find(tmp_path, "pre_trained") == data / "embedding_SougouNews.npz"
    assert vectors.find(tmp_path, str(data / "embedding_A.npz")) == data / "embedding_A.npz"
    with pytest.raises(UserError, match="no such file; expected random, pre_trained or"):
        vectors.find(tmp_path, "Sougou")


def npz(path, header=None, **arrays):
    """A .npz file; `header` replaces the first array's."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.save(file, array)
            content = file.getvalue()
            if header is not None:
                content = content[:8] + len(header).to_bytes(2, "little") + header + content[128:]
                header = None
            archive.writestr(f"{name}.npy", content)


ONES = np.ones((2, 3), np.float32)
HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 300), }\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"embeddings": ONES, "header": HUGE}, "is no .npz file with `embeddings`.*an array of 12000"),
        ({"embeddings": ONES, "header": b"((((" + b" " * 100}, "is no .npz file with `embeddings`"),
        ({"embeddings": ONES, "tokens": np.array([["甲", "乙"]])}, r"`tokens` of shape \(1, 2\); expected"),
        ({"embeddings": ONES, "tokens": np.array("甲")}, r"`tokens` of shape \(\); expected"),
        ({"embeddings": np.float32(1), "tokens": np.array(["甲"])}, r"`embeddings` of shape \(\)"),
        ({"embeddings": ONES * np.inf, "tokens": np.array(["甲", "乙"])}, "are not finite or too large"),
    ],
)
def test_damaged_arrays_are_a_line(tmp_path, content, message):
    npz(tmp_path / "e.npz", **content)
    with pytest.raises(UserError, match=message):
        vectors.load(tmp_path / "e.npz", Vocabulary(["甲"]), 1)


def test_any_flipped_byte_of_the_arrays_is_a_line_or_harmless(tmp_path):
    np.savez_compressed(tmp_path / "e.npz", embeddings=ONES, tokens=np.array(["甲", "乙"]))
    whole = (tmp_path / "e.npz").read_bytes()
    for i in range(0, len(whole), 3):
        (tmp_path / "e.npz").write_bytes(whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :])
        with contextlib.suppress(UserError):
            vectors.load(tmp_path / "e.npz", Vocabulary(["甲"]), 1)


def test_a_pickle_that_asks_for_gigabytes_is_a_line(tmp_path):
    np.savez(tmp_path / "e.npz", embeddings=ONES)
    (tmp_path / "vocab.pkl").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")  # a dict, stored at index 2**31 - 1
    with pytest.raises(UserError, match=r"vocab.pkl is no plain pickled dict .*a number out of range, 2147483647"):
        vectors.load(tmp_path / "e.npz", Vocabulary(["甲"]), 1)


def test_a_header_of_many_digits_is_no_header(tmp_path):
    assert extract(tmp_path, f"4 {'9' * 5000}\n" + LINES)["好"] == [1, 0, 0]
