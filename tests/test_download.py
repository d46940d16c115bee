import contextlib
import hashlib
import http.server
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

import download
from cli.console import UserError
from conftest import SHARED, command, here

BODY = bytes(range(256)) * 1000
FILES = {"class.txt": b"a\nb\n", "train.txt": BODY, "vocab.pkl": b"\x80"}
REAL_IDS = download.DATASET
REPOSITORY = "owner/encoder"
TAKEN = {"config.json": b"{}", "vocab.txt": b"[PAD]\n", "tokenizer_config.json": b"{ }", "model.safetensors": BODY}
ENCODER = TAKEN | dict.fromkeys(("pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "README.md"), b"another")


class Answer(NamedTuple):
    """How the server answers a request for a file. The defaults are those of a good server."""

    status: int = 200
    cut: int | None = None  # the connection is closed after this number of bytes
    stall: bool = False  # the connection stays open instead
    announced: int = 0  # bytes that Content-Length has too many
    ranges: bool = True  # whether the server supports Range
    content_range: str | None = None  # replaces the true one
    content: bytes | None = None  # replaces the file
    raw: Callable | None = None  # returns the pieces of an answer that replaces all this


GOOD = Answer()
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nX-Error-Message: "
OTHER = BODY[::-1]


def raw(content):
    return Answer(raw=lambda: [content])


def to(location):
    return raw(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())


def flood(head, piece=b"x" * 10_000):
    """An answer without an end, or almost: 100 MB are enough to fail."""
    return Answer(raw=lambda: itertools.chain([head], itertools.repeat(piece, 10_000)))


def drip(head, piece=b"x"):
    """An answer without an end that sends a piece every 10 ms."""
    return Answer(raw=lambda: itertools.chain([head], iter(lambda: time.sleep(0.01) or piece, None)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, name = self.server, urlsplit(self.path).path.rpartition("/")[2]
        server.requests.append((name, self.headers["Range"]))
        server.paths.append(self.path)
        plan = server.plans.get(name, [GOOD])
        answer = plan.pop(0) if len(plan) > 1 else plan[0]  # the last one is repeated
        if answer.raw:
            self.close_connection = True
            with contextlib.suppress(ConnectionError):
                for piece in answer.raw():
                    self.wfile.write(piece)
            return
        content = server.files.get(name) if answer.content is None else answer.content
        if answer.status != 200 or content is None:
            return self.reply(answer.status if answer.status != 200 else 404, b"sorry")
        start, headers = 0, {}
        if self.headers["Range"] and answer.ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = answer.content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
        rest = content[start:]
        headers["Content-Length"] = len(rest) + answer.announced
        return self.reply(206 if start else 200, rest[: answer.cut], headers, answer.stall)

    def reply(self, status, content, headers=None, stall=False):
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # the other side may have closed it
            self.send_response(status)
            for name, value in ({"Connection": "close", "Content-Length": len(content)} | (headers or {})).items():
                if value is not None:
                    self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
            if stall:
                self.server.stopping.wait(10)


@pytest.fixture
def serve():
    """Starts servers on loopback. `plans` are the answers to the requests for a file, one after the other."""
    servers = []

    def start(files, plans=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.files, server.plans = files, {name: list(answers) for name, answers in (plans or {}).items()}
        server.requests, server.paths, server.stopping = [], [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stopping.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No proxies except those of the tests, short pauses, and the table of the files that are served here."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
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


def listing_of(files):
    """The answer of a hub: large files have a SHA-256, small ones a git blob id."""
    entries = [{"rfilename": name, "size": len(content), "blobId": blob_id(content)} for name, content in files.items()]
    for entry, content in zip(entries, files.values(), strict=True):
        if len(content) > 1000:
            entry["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
    return {"id": REPOSITORY, "sha": "c0ffee" * 6 + "c0ff", "siblings": entries}


@pytest.fixture
def hub(serve, monkeypatch):
    """Starts a hub on loopback that this process uses."""

    def start(files, plans=None, repository=REPOSITORY):
        listing = Answer(content=json.dumps(listing_of(files)).encode())
        server = serve(files, {repository.rpartition("/")[2]: [listing]} | (plans or {}))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        return server

    return start


def test_an_encoder_from_a_hub_that_breaks_off(hub, tmp_path, monkeypatch, capsys):
    server = hub(ENCODER, {"model.safetensors": [Answer(cut=1000), GOOD]})
    here(monkeypatch, download.main, REPOSITORY, "--output", tmp_path)
    assert files_in(tmp_path) == TAKEN
    assert capsys.readouterr().err.splitlines()[3:] == [
        "model.safetensors: the connection was closed too early, at 1000 bytes; retry in 0.01 s",
        "model.safetensors: downloaded and verified",
        f"{tmp_path} is complete: python pretrain_run.py --model bert --bert_path {tmp_path}",
    ]
    assert server.requests[-2:] == [("model.safetensors", None), ("model.safetensors", "bytes=1000-")]
    files = [f"/{REPOSITORY}/resolve/{'c0ffee' * 6}c0ff/{name}" for name in TAKEN]
    assert server.paths == [f"/api/models/{REPOSITORY}?blobs=true", *files, files[-1]]


def test_an_encoder_through_a_proxy(hub, tmp_path, monkeypatch):
    proxy = hub(ENCODER)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid/")
    here(monkeypatch, download.main, REPOSITORY, "--output", tmp_path)
    assert files_in(tmp_path) == TAKEN
    assert all(path.startswith("http://hub.invalid/") for path in proxy.paths)


@pytest.mark.parametrize(
    "name, directory, then",
    [
        ("bert", "bert_pretrain", "--model bert\n"),
        ("ERNIE", "ERNIE_pretrain", "--model ERNIE\n"),
        (REPOSITORY, "encoder", "--model bert --bert_path {}\n"),
    ],
)
def test_the_directories_of_encoders(hub, tmp_path, monkeypatch, capsys, name, directory, then):
    monkeypatch.setattr(download, "ROOT", tmp_path)
    repository = download.ENCODERS.get(name.lower(), [name])[0]
    hub(ENCODER, repository=repository)
    here(monkeypatch, download.main, name)
    assert files_in(tmp_path / directory) == TAKEN
    assert capsys.readouterr().err.endswith("pretrain_run.py " + then.format(tmp_path / directory))


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")


@pytest.mark.parametrize(
    "there, taken",
    [
        (("pytorch_model.bin", "model.safetensors"), ("model.safetensors",)),
        (("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"), ("pytorch_model.bin",)),
        (("pytorch_model.bin", *SHARDS), SHARDS),
        (("model.safetensors", *SHARDS), ("model.safetensors",)),
        (("model-1/../../x-of-2.safetensors", "pytorch_model.bin"), ("pytorch_model.bin",)),
        (("../model.safetensors", "model-00001-of-0000١.safetensors", *SHARDS[:1]), SHARDS[:1]),
    ],
)
def test_one_form_of_the_weights_is_downloaded(hub, there, taken):
    hub(dict.fromkeys(("config.json", "vocab.txt", *there), b"x"))
    assert [file.name for file in download.hub_files(REPOSITORY)] == ["config.json", "vocab.txt", *taken]


@pytest.mark.parametrize("absent", ["config.json", "vocab.txt", "model.safetensors"])
def test_a_repository_that_is_not_an_encoder(hub, absent):
    hub({name: b"x" for name in TAKEN if name != absent})
    with pytest.raises(UserError, match=r"is not an encoder: expected config\.json, vocab\.txt .*; it has .*token"):
        download.hub_files(REPOSITORY)


INVALID = [("size", None), ("size", "5"), ("size", -5), ("size", True), ("blobId", None), ("blobId", "a\nb")]


@pytest.mark.parametrize("key, value", INVALID)
def test_a_hub_without_ids_or_sizes(hub, key, value):
    listing = listing_of(ENCODER)
    listing["siblings"][0][key] = value
    hub({}, {"encoder": [Answer(content=json.dumps(listing).encode())]})
    with pytest.raises(UserError, match="does not list the ids and sizes to verify files by: use another mirror"):
        download.hub_files(REPOSITORY)


UNLISTED = "the files cannot be listed ("
REFUSALS = {
    "unknown": (Answer(status=404), "no such repository, or a private one"),
    "private": (Answer(status=401), "no such repository, or a private one"),
    "down": (Answer(status=502), UNLISTED + "the server answers 502 Bad Gateway)"),
    "not a hub": (Answer(content=b"<html>"), UNLISTED + "Expecting value"),
    "other JSON": (Answer(content=b"{}"), UNLISTED + "'siblings')"),
    "nested too deep": (Answer(content=b"[" * 100_000), UNLISTED + "maximum recursion depth"),
    "numbers as files": (Answer(content=b'{"sha": "a", "siblings": [1]}'), UNLISTED + "'int' object"),
    "no revision": (Answer(content=b'{"siblings": [{"rfilename": "a"}]}'), UNLISTED + "'sha')"),
    "a number as revision": (Answer(content=b'{"sha": 1, "siblings": [{"rfilename": "a"}]}'), UNLISTED),
    "a number as lfs": (Answer(content=b'{"sha": "", "siblings": [{"rfilename": "a", "lfs": 1}]}'), UNLISTED),
}


@pytest.mark.parametrize("answer, message", REFUSALS.values(), ids=REFUSALS)
def test_a_hub_that_refuses(hub, tmp_path, monkeypatch, answer, message):
    server = hub({}, {"encoder": [answer]})
    with pytest.raises(UserError) as error:
        here(monkeypatch, download.main, REPOSITORY, "--output", tmp_path / "encoder")
    line = str(error.value)
    assert line.startswith(f"{server.url}/{REPOSITORY}: {message}")
    files = "config.json, vocab.txt (or tokenizer.json) and model.safetensors (or pytorch_model.bin)"
    place = f"https://huggingface.co/{REPOSITORY} into {tmp_path / 'encoder'}"
    assert line.endswith(f". By hand: put {files} from {place}. A mirror: HF_ENDPOINT=https://hf-mirror.com")
    assert "\n" not in line
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize("hub", ["http://127.0.0.1:1", "http://[", "hf-mirror.com", "data:,x"])
def test_a_hub_that_does_not_exist_is_one_line(tmp_path, hub):
    arguments = command("download.py", "bert", "--output", tmp_path / "encoder")
    done = subprocess.run(arguments, env=os.environ | {"HF_ENDPOINT": hub}, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.startswith(f"download.py: {hub}/google-bert/bert-base-chinese: {UNLISTED}")
    assert len(done.stderr.splitlines()) == 1


def test_a_redirect(hub, serve, tmp_path, monkeypatch):
    store = serve({"blob": BODY}, {"blob": [Answer(cut=1000), GOOD]})
    hub(ENCODER, {"model.safetensors": [drip(*to(f"{store.url}/blob").raw())]})  # its own content is not read
    here(monkeypatch, download.main, REPOSITORY, "--output", tmp_path)
    assert store.requests == [("blob", None), ("blob", "bytes=1000-")]
    assert (tmp_path / "model.safetensors").read_bytes() == BODY


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


HOSTILE = {  # the file, or `encoder` for the listing; the answer, and the message
    "other bytes": ("model.safetensors", Answer(content=OTHER), f"expected {hashlib.sha256(BODY).hexdigest()};"),
    "endless weights": ("model.safetensors", flood(OK + b"\r\n"), "the server sends more than 256000 bytes"),
    "endless listing": ("encoder", flood(OK + b"\r\n"), "the server sends more than 10000 bytes"),
}


@pytest.mark.parametrize("name, answer, message", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_hub(hub, tmp_path, monkeypatch, name, answer, message):
    monkeypatch.setattr(download, "LISTING_LIMIT", 10_000)
    hub(ENCODER, {name: [answer]})
    with pytest.raises(UserError, match=rf"{name}: .*{message}"):
        here(monkeypatch, download.main, REPOSITORY, "--output", tmp_path)
    assert not (tmp_path / name).exists()
    assert all(part.stat().st_size <= len(ENCODER[part.stem]) for part in tmp_path.glob("*.part"))


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
    monkeypatch.setattr(download, "WINDOW", 0.05)
    server = serve(FILES, {"train.txt": [answer]})
    with pytest.raises(UserError, match=r"train\.txt: .*fewer than 1000 bytes per second arrived.*By hand"):
        thucnews(monkeypatch, tmp_path, server.url)
    assert len(ranges_of(server)) == 3


def test_a_transfer_may_take_longer_than_the_window(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "WINDOW", 0.3)
    pieces = [BODY[start : start + 20_000] for start in range(0, len(BODY), 20_000)]
    answer = Answer(raw=lambda: itertools.chain([OK + b"\r\n"], (time.sleep(0.04) or piece for piece in pieces)))
    thucnews(monkeypatch, tmp_path, serve(FILES, {"train.txt": [answer]}).url)
    assert files_in(tmp_path / "data") == FILES
