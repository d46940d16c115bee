import codecs
import gzip

import pytest

from cli.console import UserError
from text import files
from text.encodings import UNDECODED, decoded_lines, find_encoding, name_of

SIMPLIFIED = "房间很干净，服务也不错，下次来还会住这里。\n早餐太差，电话打了几次都没有人接\n"
TRADITIONAL = "房間很乾淨，服務也不錯，下次來還會住這裡。\n早餐太差，電話打了幾次都沒有人接\n"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (SIMPLIFIED.encode(), "UTF-8"),
        (SIMPLIFIED.encode("utf-8-sig"), "UTF-8 with a byte-order mark"),
        (SIMPLIFIED.encode("utf-16"), "UTF-16"),
        (codecs.BOM_UTF16_BE + SIMPLIFIED.encode("utf-16-be"), "UTF-16"),
        (SIMPLIFIED.encode("utf-16-le"), "UTF-16-LE"),
        (SIMPLIFIED.encode("utf-16-be"), "UTF-16-BE"),
        ("房间,1\n".encode("utf-16-le"), "UTF-16-LE"),
        ("label,text\npos,good\n".encode("utf-16-be"), "UTF-16-BE"),
        (SIMPLIFIED.encode() + b"\0\n", "UTF-8"),
        (b"plain\0text\n", "UTF-8"),
        (SIMPLIFIED.encode("gb18030") + b"\0\n", "GB18030"),
        (SIMPLIFIED.encode("utf-32"), "UTF-32"),
        (SIMPLIFIED.encode("gb18030"), "GB18030"),
        (TRADITIONAL.encode("gb18030"), "GB18030"),
        (TRADITIONAL.encode("big5"), "Big5"),
        ("房間\n".encode("big5"), "Big5"),
        (b"id,text\n" * 200_000 + SIMPLIFIED.encode("gb18030"), "GB18030"),
        (SIMPLIFIED.encode() * 100 + b"\xff\n", "UTF-8"),
        (b"plain\n", "UTF-8"),
        (b"", "UTF-8"),
    ],
)
def test_the_encoding_is_found(tmp_path, content, name):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert name_of(find_encoding(path)) == name
    lines = "".join(decoded_lines(path, find_encoding(path), show=False))
    assert lines in content.decode(find_encoding(path), "replace").replace("\ufffd", "\udcff")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "gb18030", "big5hkscs"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 7, 1 << 19])
def test_lines_keep_their_ends(tmp_path, monkeypatch, encoding, end, block):
    monkeypatch.setattr(files, "BLOCK", block)
    lines = [f"上海{end}", end, f"第一上上{end}", "末行"]
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write("".join(lines).encode(encoding))
    assert list(decoded_lines(tmp_path / "a.txt.gz", encoding, show=False)) == lines


def test_another_encoding_is_refused(tmp_path):
    for content in ("café à la crème, déjà vu\n".encode("latin-1"), bytes(range(256)) * 20):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.csv: the encoding is not UTF-8, UTF-16, GB18030 or Big5; save it"):
            find_encoding(tmp_path / "a.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5hkscs"])
def test_undecoded_bytes_are_found(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("上海\n".encode(encoding) + b"a\xff,b\n" + "北京\n".encode(encoding))
    lines = list(decoded_lines(tmp_path / "a.txt", encoding, show=False))
    assert [bool(UNDECODED.search(line)) for line in lines] == [False, True, False]


@pytest.mark.parametrize("encoding", ["utf-16-le", "UTF-16LE"])
def test_half_a_pair_in_utf16_is_kept_whatever_its_name(tmp_path, encoding):
    text = "一条\ud83d新闻\n"
    (tmp_path / "a.txt").write_bytes(text.encode("utf-16-le", "surrogatepass"))
    assert list(decoded_lines(tmp_path / "a.txt", encoding, show=False)) == [text]


def test_a_cut_character_of_utf16_is_told(tmp_path):
    (tmp_path / "a.txt").write_bytes("上海".encode("utf-16") + b"x")
    with pytest.raises(UserError, match=r"a\.txt: not UTF-16 \(.*\); save it as UTF-8"):
        list(decoded_lines(tmp_path / "a.txt", "utf-16", show=False))
