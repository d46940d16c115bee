"""Downloads the dataset or an encoder into the directory where the scripts look for it, and verifies each file.

    python download.py thucnews                          # the headlines, into THUCNews/data
    python download.py bert                              # google-bert/bert-base-chinese, into bert_pretrain
    python download.py ernie                             # nghuyong/ernie-1.0-base-zh, into ERNIE_pretrain
    python download.py hfl/chinese-macbert-base          # an encoder by its hub name, into chinese-macbert-base

A transfer that stops is resumed, in the same run or in the next one. The environment variables http_proxy, https_proxy
and no_proxy set a proxy, HF_ENDPOINT=https://hf-mirror.com a mirror of the hub.
"""

from cli.start import run_script

import hashlib
import json
import os
import re
import time
import urllib.request as web
from collections import namedtuple
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from cli.console import Parser, UserError, bar, listing, reason, say
from cli.files import ROOT, digest_of, move

DATASET_URL = "https://raw.githubusercontent.com/649453932/Chinese-Text-Classification-Pytorch/master/THUCNews/data/"
DATASET_PAGE = "https://github.com/649453932/Chinese-Text-Classification-Pytorch (its THUCNews/data)"
DATASET = {  # the files' git blob ids
    "class.txt": "4c20bac1a8a6be2c207f0e97be4c279651d76d21",
    "train.txt": "ffe8979a12879da0747847aca49e9a6c1d29898f",
    "dev.txt": "cf7f8de6fc3e3c72284ab59e7ed850f49b7185c0",
    "test.txt": "9c216ace7d0cf2c89fec1b4c9d49a92dc1791d0a",
    "vocab.pkl": "30bc6069a5b9311da71ccd4b33ab16d76e953621",
    "embedding_SougouNews.npz": "4c3af0d38207a01e249c019a61ec1618cb60258f",
    "embedding_Tencent.npz": "f02c9f5102854e9bcbc1a60d04e00170cca1208b",
}
# hub name, and the model that looks in <model>_pretrain
ENCODERS = {"bert": ("google-bert/bert-base-chinese", "bert"), "ernie": ("nghuyong/ernie-1.0-base-zh", "ERNIE")}
HUB, MIRROR = "https://huggingface.co", "HF_ENDPOINT=https://hf-mirror.com"
ENCODER_FILES = "config.json, vocab.txt (or tokenizer.json) and model.safetensors (or pytorch_model.bin)"
TEXTS = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
WEIGHTS = (  # only the first form that a repository has is downloaded
    r"model\.safetensors",
    r"model(-[0-9]{5}-of-[0-9]{5}\.safetensors|\.safetensors\.index\.json)",
    r"pytorch_model\.bin",
    r"pytorch_model(-[0-9]{5}-of-[0-9]{5}\.bin|\.bin\.index\.json)",
)
DATASET_LIMIT, LISTING_LIMIT = 1 << 26, 1 << 22  # bytes of a file of the dataset, and of the hub's listing
AGENT = {"User-Agent": "Chinese-Text-Classification download.py"}  # some servers reject urllib's own
TIMEOUT = 30  # seconds without a byte
WINDOW, SLOWEST = 60, 1000  # seconds, and the bytes of content per second that must arrive within them
PAUSES = (1, 2, 4)  # seconds before each retry; `BLOCK` new bytes reset the count
BLOCK = 1 << 16
File = namedtuple("File", "name url id limit")  # id: SHA-256 or git blob id; limit: its size, or an upper bound


class Broken(Exception):
    """A transfer that stopped. A retry may succeed."""


class Unreachable(Broken):
    """A transfer that stopped. A retry would fail too."""


class Response(HTTPResponse):
    """A response that raises TimeoutError if its content arrives too slowly or after endless headers."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.content, self.end = 0, time.monotonic() + WINDOW  # bytes of content in this window
        self.receive, self.fp.raw.readinto = self.fp.raw.readinto, self.receive_in_time

    def receive_in_time(self, buffer):
        if time.monotonic() > self.end:
            if self.content < SLOWEST * WINDOW:
                raise TimeoutError(f"fewer than {SLOWEST} bytes per second arrived")
            self.content, self.end = 0, time.monotonic() + WINDOW
        return self.receive(buffer)


class Handler(web.HTTPHandler, web.HTTPSHandler, web.HTTPRedirectHandler):
    def do_open(self, connection, request, **options):
        return super().do_open(type("Timed", (connection,), {"response_class": Response}), request, **options)

    def redirect_request(self, request, response, code, message, headers, url):
        response.close()  # urllib would read its content, which can be endless
        if url.startswith("http"):  # not ftp
            return super().redirect_request(request, response, code, message, headers, url)


def content_id(path, like):
    """A file's SHA-256 if `like` is one, otherwise its git blob id, a SHA-1 of its length and content."""
    if len(like) == 64:
        return digest_of(path)
    with open(path, "rb") as file:
        start = b"blob %d\0" % os.fstat(file.fileno()).st_size
        return hashlib.file_digest(file, lambda: hashlib.sha1(start, usedforsecurity=False)).hexdigest()


def install(files, directory):
    """Downloads the files that are missing. Raises UserError if one is there with other content."""
    there = [file for file in files if (directory / file.name).exists()]
    other = [file.name for file in there if content_id(directory / file.name, file.id) != file.id]
    if other:
        raise UserError(f"{directory} has {', '.join(other)} with other content: move that away, then try again")
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file not in there:
            fetch(file, directory / file.name)
        say(f"{file.name}: {'already there' if file in there else 'downloaded'} and verified")


def fetch(file, target):
    """Downloads to a .part, verifies it and moves it to `target`. Raises Unreachable; UserError if it differs."""
    part = target.with_name(f"{target.name}.part")
    part.touch()
    earlier = furthest = part.stat().st_size
    whole, tries = False, 0
    while (found := content_id(part, file.id)) != file.id and not whole:  # some servers announce more than there is
        try:
            receive(file, part)
            whole = True
        except Broken as error:
            size = part.stat().st_size
            if size >= furthest + BLOCK:
                furthest, tries = size, 0
            if isinstance(error, Unreachable) or tries == len(PAUSES):
                raise Unreachable(f"{file.url}: {error}") from error
            say(f"{file.name}: {error}, at {size} bytes; retry in {PAUSES[tries]} s")
            time.sleep(PAUSES[tries])
            tries += 1
    if found == file.id:
        return move(part, target)
    part.unlink()
    if not earlier:
        raise UserError(f"{file.url}: the content's id is {found}, expected {file.id}; it is not installed")
    say(f"{part}, from an earlier run, has other content: {file.name} is downloaded from its start")
    return fetch(file, target)


def receive(file, part):
    """Appends the missing bytes to `part`. Raises Broken if the transfer stops before its end."""
    start = part.stat().st_size
    with connect(file.url, start) as response:
        if response.status == 416:  # the file has no bytes after these
            return
        if response.status == 206 and not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            os.truncate(part, 0)
            raise Broken("the server sends another range than the requested one")
        start = start if response.status == 206 else 0  # otherwise the server sends the whole file
        total = None if response.length is None else min(start + response.length, file.limit)
        progress = bar(total=total, initial=start, unit="B", unit_scale=True, desc=file.name)
        os.truncate(part, start)
        with progress, open(part, "ab") as output:
            for block in blocks(response, file.limit, start):
                output.write(block)
                progress.update(len(block))
            output.flush()
            os.fsync(output.fileno())  # a power cut after the move must not leave an empty file


def blocks(response, limit, size=0):
    """Yields the content after the first `size` bytes. Raises Broken for an error of the network, not of the disk."""
    try:
        while block := response.read1(BLOCK):
            response.content += len(block)
            size += len(block)
            if size > limit:
                raise Unreachable(f"the server sends more than {limit} bytes")
            yield block
    except (OSError, HTTPException) as error:
        raise Broken(reason(error)) from error
    if response.length:
        raise Broken("the connection was closed too early")


def connect(url, start=0):
    """Requests the content from byte `start` on. Returns a response of status 2xx or 416. Raises Broken."""
    try:
        host = urlsplit(url).netloc
        request = web.Request(url, headers=AGENT | ({"Range": f"bytes={start}-"} if start else {}))
        return web.build_opener(Handler).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and start:
            return error
        kind = Broken if error.code in (408, 429) or error.code >= 500 else Unreachable
        said = error.headers["X-Error-Message"] or error.reason  # the hub's own header says more
        raise kind(reason(f"the server answers {error.code} {said}")) from error
    except URLError as error:
        kind = Broken if start else Unreachable
        through = "" if request.host == host else f" through the proxy {request.host}"
        raise kind(f"no connection{through} ({reason(error.reason)})") from error
    except (ValueError, OverflowError, InvalidURL) as error:
        raise Unreachable(f"not a valid address ({reason(error)})") from error
    except (OSError, HTTPException) as error:
        raise Broken(f"no valid answer ({reason(error)})") from error


def hub_files(repository):
    """The files of an encoder that the scripts read, with the ids and sizes that the hub lists."""
    hub, files = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/"), {}
    try:
        with connect(f"{hub}/api/models/{repository}?blobs=true") as response:
            answer = json.loads(b"".join(blocks(response, LISTING_LIMIT)))
        for entry in answer["siblings"]:
            name, entry = str(entry["rfilename"]), entry | (entry.get("lfs") or {})
            url = f"{hub}/{repository}/resolve/{quote(answer['sha'], '')}/{name}"
            files[name] = File(name, url, str(entry.get("sha256", entry.get("blobId"))), entry.get("size"))
    except (Broken, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        unknown = getattr(error.__cause__, "code", None) in (401, 404)
        why = "no such repository, or a private one" if unknown else f"the files cannot be listed ({reason(error)})"
        raise Unreachable(f"{hub}/{repository}: {why}") from error
    forms = ([name for name in files if re.fullmatch(form, name)] for form in WEIGHTS)
    weights = next(filter(None, forms), [])
    if not weights or "config.json" not in files or not {"vocab.txt", "tokenizer.json"} & files.keys():
        raise UserError(f"{repository} is not an encoder: expected {ENCODER_FILES}; it has {reason(listing(files))}")
    wanted = [files[name] for name in (*TEXTS, *weights) if name in files]
    if not all(re.fullmatch("([0-9a-f]{40}|[0-9a-f]{64}) [0-9]{1,15}", f"{file.id} {file.limit!r}") for file in wanted):
        raise UserError(f"{hub} does not list the ids and sizes to verify files by: use another mirror")
    return wanted


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("what", help="thucnews, bert, ernie, or an encoder's hub name, OWNER/NAME")
    parser.add_argument("--output", type=Path, help="directory of the dataset or the encoder; None is the usual one")
    parser.add_argument("--url", default=DATASET_URL, help="address of the dataset's files on a mirror")
    args = parser.parse_args()
    if args.what.lower() in {"thucnews", *ENCODERS}:
        args.what = args.what.lower()
    elif not re.fullmatch(r"(?a:\w[\w.-]*/\w[\w.-]*)", args.what):
        parser.error(f"{args.what}: expected thucnews, bert, ernie or a hub name such as hfl/chinese-macbert-base")
    if not re.fullmatch(r"https?://\S+", args.url):
        parser.error(f"--url {args.url}: expected an address that starts with http:// or https://")
    return args


def main():
    args = parse_args()
    if args.what == "thucnews":
        dataset = args.output or ROOT / "THUCNews"
        directory, url = dataset / "data", args.url.rstrip("/")
        files = [File(name, f"{url}/{name}", blob, DATASET_LIMIT) for name, blob in DATASET.items()]
        what, mirror = f"{', '.join(DATASET)} from {DATASET_PAGE}", "--url ADDRESS"
        command = "run.py --model TextCNN" + (f" --dataset {dataset}" if args.output else "")
    else:
        repository, model = ENCODERS.get(args.what, (args.what, "bert"))
        usual = ROOT / f"{model}_pretrain"
        directory = args.output or (usual if args.what in ENCODERS else ROOT / repository.rpartition("/")[2])
        files = None  # the hub lists them
        what, mirror = f"{ENCODER_FILES} from {HUB}/{repository}", MIRROR
        command = f"pretrain_run.py --model {model}" + ("" if directory == usual else f" --bert_path {directory}")
    try:
        install(files or hub_files(repository), directory)
    except Unreachable as error:
        raise UserError(f"{error}. By hand: put {what} into {directory}. A mirror: {mirror}") from error
    except OSError as error:
        raise UserError(f"{error.filename or directory} cannot be used: {error.strerror or error}") from error
    say(f"{directory} is complete: python {command}")


if __name__ == "__main__":
    run_script(main)
