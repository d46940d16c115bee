"""Encoders from a hub, on loopback."""

import hashlib
import json
import os
import subprocess

import pytest

import download
from cli.console import UserError
from conftest import command, here
from loopback import GOOD, Answer, drip, flood, to
from test_download import BODY, OK, OTHER, blob_id, files_in, ranges_of, surroundings  # noqa: F401 (a fixture)

REPOSITORY = "owner/encoder"
TAKEN = {"config.json": b"{}", "vocab.txt": b"[PAD]\n", "tokenizer_config.json": b"{ }", "model.safetensors": BODY}
ENCODER = TAKEN | dict.fromkeys(("pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "README.md"), b"another")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
INVALID = [("size", None), ("size", "5"), ("size", -5), ("size", True), ("blobId", None), ("blobId", "a\nb")]
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
HOSTILE = {  # the file, or `encoder` for the listing; the answer, and the message
    "other bytes": ("model.safetensors", Answer(content=OTHER), f"expected {hashlib.sha256(BODY).hexdigest()};"),
    "endless weights": ("model.safetensors", flood(OK + b"\r\n"), "the server sends more than 256000 bytes"),
    "endless listing": ("encoder", flood(OK + b"\r\n"), "the server sends more than 10000 bytes"),
}


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


@pytest.mark.parametrize("key, value", INVALID)
def test_a_hub_without_ids_or_sizes(hub, key, value):
    listing = listing_of(ENCODER)
    listing["siblings"][0][key] = value
    hub({}, {"encoder": [Answer(content=json.dumps(listing).encode())]})
    with pytest.raises(UserError, match="does not list the ids and sizes to verify files by: use another mirror"):
        download.hub_files(REPOSITORY)


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


@pytest.mark.parametrize("name, answer, message", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_hub(hub, tmp_path, monkeypatch, name, answer, message):
    monkeypatch.setattr(download, "LISTING_LIMIT", 10_000)
    hub(ENCODER, {name: [answer]})
    with pytest.raises(UserError, match=rf"{name}: .*{message}"):
        here(monkeypatch, download.main, REPOSITORY, "--output", tmp_path)
    assert not (tmp_path / name).exists()
    assert all(part.stat().st_size <= len(ENCODER[part.stem]) for part in tmp_path.glob("*.part"))
