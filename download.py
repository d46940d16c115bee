"""Gets the dataset's files and the encoders, each file verified, into the place where the scripts look.

    python download.py thucnews                          # the headlines, into THUCNews/data
    python download.py bert                              # google-bert/bert-base-chinese, into bert_pretrain
    python download.py ernie                             # nghuyong/ernie-1.0-base-zh, into ERNIE_pretrain
    python download.py hfl/chinese-macbert-base          # an encoder by its hub name, into chinese-macbert-base

A transfer that broke goes on where it stopped, in the same run and in the next one. A proxy is taken from the
environment (http_proxy, https_proxy, no_proxy), and a mirror of the hub: HF_ENDPOINT=https://hf-mirror.com
"""

import functools
import hashlib
import os
import re
import time
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener, getproxies, proxy_bypass

from cli.console import Parser, UserError, bar, one_line, run_script, say
from cli.files import ROOT, move

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
ENCODERS = {  # hub name, directory, the model that looks there
    "bert": ("google-bert/bert-base-chinese", "bert_pretrain", "bert"),
    "ernie": ("nghuyong/ernie-1.0-base-zh", "ERNIE_pretrain", "ERNIE"),
}
MIRROR = "HF_ENDPOINT=https://hf-mirror.com"
ENCODER_FILES = "config.json, vocab.txt (or tokenizer.json) and model.safetensors (or pytorch_model.bin)"
TEXTS = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
WEIGHTS = (  # the first form that a repository has is fetched, and no other
    r"model\.safetensors",
    r"model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)",
    r"pytorch_model\.bin",
    r"pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)",
)
AGENT = {"User-Agent": "Chinese-Text-Classification download.py"}  # some content networks turn urllib's own away
TIMEOUT = 30  # seconds without a byte
PAUSES = (1, 2, 4)  # seconds before a broken transfer is taken up again; new bytes start them over
BLOCK = 1 << 16


class File(NamedTuple):
    """A file to fetch."""

    name: str
    url: str
    id: str  # of its content: a SHA-256 or a git blob's


class Unreachable(Exception):
    """What the network does not give, at least now."""


class Broken(Exception):
    """A transfer that stopped and may be taken up again."""


class Unconnected(Broken):
    """One that did not start."""


def content_id(path, like):
    """A file's SHA-256 where `like` is one, else its git blob id, which is over the length and the content."""
    with open(path, "rb") as file:
        if len(like) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        start = b"blob %d\0" % os.fstat(file.fileno()).st_size
        return hashlib.file_digest(file, lambda: hashlib.sha1(start, usedforsecurity=False)).hexdigest()


def install(files, directory):
    """Fetches the files that are not there. One that is there with other content is the user's own: UserError."""
    there = [file for file in files if (directory / file.name).exists()]
    other = [file.name for file in there if content_id(directory / file.name, file.id) != file.id]
    if other:
        raise UserError(f"{directory} has {', '.join(other)} with other content: move that away, then try again")
    if there:
        say(f"{directory} has already: {', '.join(file.name for file in there)}")
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file not in there:
            fetch(file, directory / file.name)
            say(f"{file.name}: fetched and verified")


def fetch(file, target):
    """Fetches a file into a .part beside its target and moves it into place once it is verified.

    Raises UserError where its content is not the expected one, Unreachable where it cannot be had.
    """
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
            if size > furthest:
                furthest, tries = size, 0
            offline = isinstance(error, Unconnected) and size == earlier  # no pause would help
            if offline or tries == len(PAUSES):
                raise Unreachable(f"{file.url}: {error}") from error
            say(f"{file.name}: {error}, at {size} bytes; once more in {PAUSES[tries]} s")
            time.sleep(PAUSES[tries])
            tries += 1
    if found == file.id:
        return move(part, target)
    part.unlink()
    if not earlier:
        raise UserError(f"{file.url}: the content's id is {found}, expected {file.id}; it is not installed")
    say(f"{part}, of an earlier run, does not fit: {file.name} is fetched from its start")
    return fetch(file, target)


def receive(file, part):
    """Appends to `part` what it lacks. Raises Broken where that stops before the announced end."""
    start = part.stat().st_size
    with connect(file.url, start) as response:
        if response.status == 416:  # nothing lies beyond what is there
            return
        if response.status != 206:
            start = 0  # the server begins anew
        elif not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            os.truncate(part, 0)
            raise Broken("another range came than was asked for")
        total = None if response.length is None else start + response.length
        progress = bar(total=total, initial=start, unit="B", unit_scale=True, desc=file.name)
        with progress, open(part, "r+b") as output:
            output.truncate(start)
            output.seek(start)
            for block in blocks(response):
                output.write(block)
                progress.update(len(block))
            output.flush()
            os.fsync(output.fileno())  # a power cut after the move must not leave an empty file


def blocks(response):
    """A response's content. Raises Broken for errors of the network, so that they differ from those of the disk."""
    left = response.length  # None where the server does not tell
    try:
        while left != 0 and (block := response.read1(BLOCK if left is None else min(left, BLOCK))):
            yield block
            left = None if left is None else left - len(block)
    except (OSError, HTTPException) as error:
        raise Broken(reason(error)) from error
    if left:
        raise Broken("the connection broke off")


def connect(url, start):
    """A response of status 200, 206 or 416. Raises Broken where one more try may help, else Unreachable."""
    try:
        wanted = {"Range": f"bytes={start}-"} if start else {}
        return build_opener().open(Request(url, headers=AGENT | wanted), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and start:
            return error
        said = error.headers["X-Error-Message"] or error.reason  # the hub's own header says more
        answer = f"the server answers {error.code} {said}"
        if error.code in (408, 429) or error.code >= 500:
            raise Broken(answer) from error
        raise Unreachable(f"{url}: {answer}") from error
    except URLError as error:
        host, proxy = urlsplit(url).hostname, getproxies().get(urlsplit(url).scheme)
        through = f" through the proxy {proxy.rpartition('@')[2]}" if proxy and not proxy_bypass(host) else ""
        raise Unconnected(f"no connection{through} ({reason(error)})") from error
    except (OSError, HTTPException) as error:
        raise Broken(reason(error)) from error


def reason(error):
    """A network error in a few words."""
    inner = getattr(error, "reason", error)
    return one_line(getattr(inner, "strerror", None) or str(inner) or type(inner).__name__)


def dataset_files(url):
    return [File(name, f"{url.rstrip('/')}/{name}", blob) for name, blob in DATASET.items()]


def hub_files(repository):
    """The files of an encoder that the scripts read, with the ids that the hub tells.

    The hub's library only lists them: its own transfers start anew in the next run, compare no more than the size,
    and overwrite what is there.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at the import
    from huggingface_hub import HfApi, constants, errors, hf_hub_url, utils  # the dataset does without them

    utils.logging.set_verbosity_error()
    try:
        info = HfApi().model_info(repository, files_metadata=True, timeout=TIMEOUT, token=False)
        ids = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings}
    except Exception as error:  # the library's, its HTTP client's, or what an answer that is no hub's leads to
        response = getattr(error, "response", None)
        unknown = isinstance(error, errors.RepositoryNotFoundError) or getattr(response, "status_code", 0) == 404
        why = "no such repository, or a private one" if unknown else f"no connection, or no hub there ({reason(error)})"
        raise Unreachable(f"{constants.ENDPOINT}/{repository}: {why}") from error
    forms = ([name for name in ids if re.fullmatch(form, name)] for form in WEIGHTS)
    weights = next(filter(None, forms), [])
    if not weights or "config.json" not in ids or not {"vocab.txt", "tokenizer.json"} & ids.keys():
        raise UserError(f"{repository} is no encoder: expected {ENCODER_FILES}; it has {', '.join(ids)}")
    names = [name for name in TEXTS if name in ids] + weights
    if not all(ids[name] for name in names):
        raise UserError(f"{constants.ENDPOINT} does not tell the ids to verify files by: name another mirror")
    return [File(name, hf_hub_url(repository, name, revision=info.sha), ids[name]) for name in names]


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("what", help="thucnews, bert, ernie, or an encoder's hub name, owner/name")
    parser.add_argument("--output", type=Path, help="directory of the dataset or the encoder (the usual one)")
    parser.add_argument("--url", default=DATASET_URL, help="of the dataset's files, where a mirror has them")
    args = parser.parse_args()
    if args.what.lower() in {"thucnews", *ENCODERS}:
        args.what = args.what.lower()
    elif not re.fullmatch(r"(?a:\w[\w.-]*/\w[\w.-]*)", args.what):
        parser.error(f"{args.what}: expected thucnews, bert, ernie or a hub name such as hfl/chinese-macbert-base")
    if not args.url.startswith(("http://", "https://")):
        parser.error(f"--url {args.url}: expected an address that starts with http:// or https://")
    return args


def main():
    args = parse_args()
    if args.what == "thucnews":
        dataset = args.output or ROOT / "THUCNews"
        listing, directory = functools.partial(dataset_files, args.url), dataset / "data"
        what, mirror = f"{', '.join(DATASET)} from {DATASET_PAGE}", "--url ADDRESS"
        command = "run.py --model TextCNN" + (f" --dataset {dataset}" if args.output else "")
    else:
        repository, usual, model = ENCODERS.get(args.what, (args.what, None, "bert"))
        directory = args.output or ROOT / (usual or repository.rpartition("/")[2])
        listing = functools.partial(hub_files, repository)
        what, mirror = f"{ENCODER_FILES} from https://huggingface.co/{repository}", MIRROR
        command = f"pretrain_run.py --model {model}" + (f" --bert_path {directory}" if args.output or not usual else "")
    try:
        install(listing(), directory)
    except Unreachable as error:
        raise UserError(f"{error}. By hand: put {what} into {directory}. A mirror: {mirror}") from error
    except OSError as error:
        raise UserError(f"{error.filename or directory} cannot be used: {error.strerror or error}") from error
    say(f"{directory} is complete: python {command}")


if __name__ == "__main__":
    run_script(main)
