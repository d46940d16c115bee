import hashlib
import itertools
import os
import re
import sys
import time

import pytest

import download
from cli.console import UserError
from conftest import SHARED, here
from loopback import GOOD, Answer, drip, flood, raw, to

BODY = bytes(range(256)) * 1000
FILES = {"class.txt": b"a\nb\n", "train.txt": BODY, "vocab.pkl": b"\x80"}
REAL_IDS = download.DATASET
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nX-Error-Message: "
OTHER = BODY[::-1]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No proxies except those of the tests, short pauses, and the table of the files that are served here."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(download, "DATASET", {name: blob_id(content) for name, content in FILES.items()})


def blob_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def thucnews(monkeypatch, directory, url):
    here(monkeypatch, download.main, "thucnews", "--output", directory, "--url", url)


def files_in(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def ranges_of(server, name="train.txt"):
    return [wanted for asked, wanted in server.requests if asked == name]


def test_all_files_are_downloaded_once(serve, tmp_path, monkeypatch, capsys):
    server = serve(FILES)
    thucnews(monkeypatch, tmp_path, server.url)
    assert files_in(tmp_path / "data") == FILES
    assert f"is complete: python run.py --model TextCNN --dataset {tmp_path}\n" in capsys.readouterr().err
    assert server.requests == [(name, None) for name in FILES]
    thucnews(monkeypatch, tmp_path, server.url)
    assert "vocab.pkl: already there and verified" in capsys.readouterr().err
    assert len(server.requests) == len(FILES)


def test_the_default_directory_is_that_of_the_scripts(serve, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "ROOT", tmp_path)
    here(monkeypatch, download.main, "THUCNews", "--url", serve(FILES).url + "/")
    assert files_in(tmp_path / "THUCNews" / "data") == FILES
    assert "is complete: python run.py --model TextCNN\n" in capsys.readouterr().err


BREAKS = {  # the answers, and the starts of the requested ranges
    "breaks off twice": ([Answer(cut=1000), Answer(cut=70_000), GOOD], [None, 1000, 71_000]),
    "breaks off often": ([Answer(cut=70_000)] * 4, [None, 70_000, 140_000, 210_000]),
    "breaks off before the first byte": ([Answer(cut=0), GOOD], [None, None]),
    "stalls": ([Answer(cut=1000, stall=True), GOOD], [None, 1000]),
    "supports no ranges": ([Answer(cut=1000), Answer(ranges=False)], [None, 1000]),
    "sends another range": ([Answer(cut=1000), Answer(content_range="bytes 5-9/10"), GOOD], [None, 1000, None]),
    "is overloaded": ([Answer(status=503), Answer(status=429), GOOD], [None] * 3),
    "announces too much": ([Answer(announced=1000)], [None]),
}


@pytest.mark.parametrize("answers, starts", BREAKS.values(), ids=BREAKS)
def test_a_broken_transfer_is_resumed(serve, tmp_path, monkeypatch, answers, starts):
    if any(answer.stall for answer in answers):  # a short timeout elsewhere would fail on a busy machine
        monkeypatch.setattr(download, "TIMEOUT", 3)
    server = serve(FILES, {"train.txt": answers})
    thucnews(monkeypatch, tmp_path, server.url)
    assert ranges_of(server) == [start and f"bytes={start}-" for start in starts]
    assert files_in(tmp_path / "data") == FILES


def test_the_next_run_resumes(serve, tmp_path, monkeypatch):
    bad = serve(FILES, {"train.txt": [Answer(cut=1000), Answer(cut=0)]})
    with pytest.raises(UserError, match=r"train\.txt: the connection was closed too early\. By hand: put class\.txt, "):
        thucnews(monkeypatch, tmp_path, bad.url)
    assert ranges_of(bad) == [None, "bytes=1000-", "bytes=1000-"]
    assert files_in(tmp_path / "data") == {"class.txt": FILES["class.txt"], "train.txt.part": BODY[:1000]}
    good = serve(FILES)
    thucnews(monkeypatch, tmp_path, good.url)
    assert good.requests == [("train.txt", "bytes=1000-"), ("vocab.pkl", None)]
    assert files_in(tmp_path / "data") == FILES


LEFT = [(BODY, []), (b"stale", ["bytes=5-", None]), (BODY + b"too long", ["bytes=256008-", None])]


@pytest.mark.parametrize("part, asked", LEFT, ids=["whole", "stale", "too long"])
def test_what_an_earlier_run_left(serve, tmp_path, monkeypatch, part, asked):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt.part").write_bytes(part)
    server = serve(FILES)
    thucnews(monkeypatch, tmp_path, server.url)
    assert ranges_of(server) == asked
    assert files_in(tmp_path / "data") == FILES


def test_a_terminal_shows_a_bar(serve, tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt.part").write_bytes(BODY[: len(BODY) // 2])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    thucnews(monkeypatch, tmp_path, serve(FILES).url)
    assert "train.txt:  50%" in capsys.readouterr().err


FAILURES = {  # an answer that is repeated, the message, and the number of requests
    "not found": (Answer(status=404), "the server answers 404 Not Found. By hand: put class.txt, ", 1),
    "message of the hub": (raw(REFUSED + b"Log in\r\n\r\n"), "the server answers 403 Log in. By hand: ", 1),
    "message of two lines": (raw(REFUSED + b"a\r\n b\r\n\r\n"), "the server answers 403 a. By hand: ", 1),
    "server error": (Answer(status=500), "the server answers 500 Internal Server Error. By hand: ", 3),
    "few bytes": (Answer(cut=9), "the connection was closed too early. By hand: ", 3),
    "redirect to no address": (to("http://[::1"), "not a valid address (Invalid IPv6 URL). By hand: ", 1),
    "redirect to a long label": (to(f"http://{'a' * 300}.invalid"), "not a valid address (", 1),
    "redirect to a named port": (to("http://host:port"), "not a valid address (nonnumeric port: 'port'). By hand: ", 1),
    "redirect to a file": (to("file:///etc/passwd"), "the server answers 302 Found - Redirection to url 'file:/", 1),
    "redirect to FTP": (to("ftp://127.0.0.1/"), "the server answers 302 Found. By hand: ", 1),
    "redirect to itself": (to("train.txt"), "the server answers 302 The HTTP server returned a redirect error", 5),
    "no HTTP": (raw(b"\0\xff garbage\r\n\r\n"), "no valid answer (", 3),
    "no answer": (raw(b""), "no valid answer (Remote end closed connection without response). By hand: ", 3),
    "endless header": (flood(OK), "no valid answer (got more than 65536 bytes when reading header line). By hand: ", 3),
    "endless headers": (flood(OK, b"a: b\r\n"), "no valid answer (got more than 100 headers). By hand: ", 3),
    "no size of a chunk": (raw(CHUNKED + b"zz\r\n"), "IncompleteRead(0 bytes read). By hand: ", 3),
    "range": (raw(b"HTTP/1.1 206 OK\r\n\r\nx"), "the server sends another range than the requested one. ", 3),
    "other bytes": (Answer(content=OTHER), f"the content's id is {blob_id(OTHER)}, expected {blob_id(BODY)};", 1),
    "too short": (Answer(announced=-1000), f"the content's id is {blob_id(BODY[:-1000])}, expected", 1),
}


@pytest.mark.parametrize("answer, message, requests", FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_line(serve, tmp_path, monkeypatch, answer, message, requests):
    server = serve(FILES, {"train.txt": [answer]})
    with pytest.raises(UserError, match=re.escape(f"{server.url}/train.txt: {message}")) as error:
        thucnews(monkeypatch, tmp_path, server.url)
    assert len(str(error.value).splitlines()) == 1
    assert len(ranges_of(server)) == requests
    assert files_in(tmp_path / "data").keys() <= {"class.txt", "train.txt.part"}


NOWHERE = {"http://127.0.0.1:1": "no connection (Connection refused)", "http://[": "not a valid address ("}


@pytest.mark.parametrize("url, message", NOWHERE.items(), ids=NOWHERE)
def test_an_address_without_a_server_is_reported_at_once(tmp_path, monkeypatch, capsys, url, message):
    with pytest.raises(UserError) as error:
        thucnews(monkeypatch, tmp_path, url)
    assert str(error.value).startswith(f"{url}/class.txt: {message}")
    assert f"By hand: put {', '.join(FILES)} from {download.DATASET_PAGE} into {tmp_path / 'data'}" in str(error.value)
    assert capsys.readouterr().err == ""


def test_an_existing_file_with_other_content_is_kept(serve, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").write_bytes(b"mine")
    server = serve(FILES)
    with pytest.raises(UserError, match=r"data has train\.txt with other content: move that away, then try again"):
        thucnews(monkeypatch, tmp_path, server.url)
    assert files_in(tmp_path / "data") == {"train.txt": b"mine"}
    assert not server.requests


def test_a_directory_that_cannot_be_written(serve, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*cannot be used: Not a directory"):
        thucnews(monkeypatch, tmp_path / "file", serve(FILES).url)


def test_a_full_disk_is_not_an_error_of_the_network(serve, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    server = serve(FILES)
    with pytest.raises(UserError, match="data cannot be used: No space left on device"):
        thucnews(monkeypatch, tmp_path, server.url)
    assert len(server.requests) == 1


def test_the_proxy_of_the_environment(serve, tmp_path, monkeypatch):
    proxy = serve(FILES)
    monkeypatch.setenv("http_proxy", proxy.url)
    thucnews(monkeypatch, tmp_path, "http://dataset.invalid/data")
    assert proxy.paths == [f"http://dataset.invalid/data/{name}" for name in FILES]
    assert files_in(tmp_path / "data") == FILES
    server = serve(FILES)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thucnews(monkeypatch, tmp_path / "direct", server.url)
    assert len(proxy.paths) == len(server.paths) == len(FILES)


def test_a_missing_proxy_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://name:secret@127.0.0.1:1")
    with pytest.raises(UserError, match=r"no connection through the proxy 127.0.0.1:1 \(Conn"):
        thucnews(monkeypatch, tmp_path, "http://dataset.invalid")


@pytest.mark.parametrize(
    "args, message",
    [
        (["brt"], "brt: expected thucnews, bert, ernie or a hub name such as hfl/chinese-macbert-base"),
        (["owner/.."], "owner/..: expected thucnews"),
        (["作者/模型"], "作者/模型: expected thucnews"),
        (["/etc/passwd"], "/etc/passwd: expected thucnews"),
        (["thucnews", "--url", "data.org"], "--url data.org: expected an address that starts with http"),
    ],
)
def test_invalid_arguments(monkeypatch, capsys, args, message):
    with pytest.raises(SystemExit) as exit:
        here(monkeypatch, download.main, *args)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_ids_are_those_of_git(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert download.content_id(tmp_path / "hello", "0" * 40) == "ce013625030ba8dba906f756967f9e9ca394464a"
    sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert download.content_id(tmp_path / "hello", "0" * 64) == sha256


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real files")
def test_the_real_files_have_the_ids_of_the_table():
    for name in ("class.txt", "dev.txt", "vocab.pkl", "embedding_Tencent.npz"):
        assert download.content_id(SHARED / "data" / name, "") == REAL_IDS[name]


ENDLESS = {
    "without a length": flood(OK + b"\r\n"),
    "with a huge length": flood(OK + b"Content-Length: 1" + b"0" * 400 + b"\r\n\r\n"),
    "in chunks": flood(CHUNKED, b"2710\r\n" + b"x" * 10_000 + b"\r\n"),
    "in a negative chunk": flood(CHUNKED + b"-5\r\n"),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_endless_content_is_cut_off(serve, tmp_path, monkeypatch, answer):
    monkeypatch.setattr(download, "DATASET_LIMIT", len(BODY) + 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # the bar of a huge length must not fail
    server = serve(FILES, {"train.txt": [answer]})
    with pytest.raises(UserError, match=r"train\.txt: the server sends more than 256001 bytes\. By hand"):
        thucnews(monkeypatch, tmp_path, server.url)
    assert len(ranges_of(server)) == 1
    assert (tmp_path / "data" / "train.txt.part").stat().st_size <= len(BODY) + 1
    thucnews(monkeypatch, tmp_path, serve(FILES).url)
    assert files_in(tmp_path / "data") == FILES


SLOW = {
    "interim answers": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "header": drip(OK),
    "content": drip(OK + b"\r\n"),
    "content after a fast start": drip(OK + b"\r\n" + BODY[:1000]),
    "size of a chunk": drip(CHUNKED + b"1;"),
    "trailer": drip(CHUNKED + b"0\r\n", b"a: b\r\n"),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_slow_content_is_given_up(serve, tmp_path, monkeypatch, answer):
    monkeypatch.setattr(download, "WINDOW", 0.2)
    server = serve(FILES, {"train.txt": [answer]})
    with pytest.raises(UserError, match=r"train\.txt: .*fewer than 1000 bytes per second arrived.*By hand"):
        thucnews(monkeypatch, tmp_path, server.url)
    assert len(ranges_of(server)) == 3


def test_a_transfer_may_take_longer_than_the_window(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "WINDOW", 1)
    pieces = [BODY[start : start + 20_000] for start in range(0, len(BODY), 20_000)]
    answer = Answer(raw=lambda: itertools.chain([OK + b"\r\n"], (time.sleep(0.1) or piece for piece in pieces)))
    thucnews(monkeypatch, tmp_path, serve(FILES, {"train.txt": [answer]}).url)
    assert files_in(tmp_path / "data") == FILES
