"""Serves models over HTTP: an interface for programs and a page for people.

    python serve.py --model TextCNN --port 8000              # http://127.0.0.1:8000 ; default: the newest checkpoint
    python serve.py --checkpoint D/saved_dict/SVM.ckpt       # a file, or a directory that export.py wrote
    python serve.py --models news=A.ckpt hotels=hotels_onnx  # several; requests name one, or get the first
    python serve.py --host 0.0.0.0 --workers 4               # other machines may send requests; four processes
    SERVE_API_KEY=secret python serve.py                     # requests need the header `Authorization: Bearer secret`

    curl -d '{"text": "国足热身赛2比1取胜"}' http://127.0.0.1:8000/predict

SIGTERM and Ctrl-C end it when the requests at hand are answered; SIGHUP and POST /reload load files that have changed.
"""

from cli.start import run_script

import os
import signal
from pathlib import Path

from cli.console import Parser, UserError, number, say
from cli.device_flags import add_device_flags
from cli.files import shown
from cli.installation import REQUIREMENTS, problem
from models import MODELS
from serving.loading import named_paths
from serving.log import FORMATS
from serving.sockets import bind, is_loopback

KEY = "SERVE_API_KEY"  # an environment variable


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("--model", choices=MODELS, help="model (the one with the newest checkpoint)")
    parser.add_argument("--dataset", help="directory that training wrote to (THUCNews, or sample if that is missing)")
    parser.add_argument("--checkpoint", help="checkpoint file or exported directory, instead of --model and --dataset")
    parser.add_argument("--models", nargs="+", metavar="NAME=PATH", help="several of these; the first is the default")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all of this machine's")
    parser.add_argument("--port", type=number(int, 0, 65535), default=8000, help="port; 0 is any that is free")
    parser.add_argument("--workers", type=number(int, 1, 256), default=1, help="number of processes")
    parser.add_argument("--max_bytes", type=number(int, 1), default=4_000_000, help="bytes of a request's body")
    parser.add_argument("--max_texts", type=number(int, 1), default=10_000, help="texts of a request")
    parser.add_argument("--max_characters", type=number(int, 1), default=20_000, help="characters of a text")
    parser.add_argument("--max_connections", type=number(int, 1), default=5000, help="connections of a process")
    parser.add_argument(
        "--max_queue", type=number(int, 1), default=4_000_000, help="characters that may wait to be predicted"
    )
    parser.add_argument("--batch_ms", type=number(float, 0), default=2.0, help="ms to wait for others of a batch")
    parser.add_argument("--batch_characters", type=number(int, 1), default=65_536, help="characters of a batch")
    parser.add_argument("--timeout", type=number(float, 0, open_low=True), default=30.0, help="seconds for an answer")
    parser.add_argument(
        "--client_timeout",
        type=number(float, 0, open_low=True),
        default=30.0,
        help="seconds in which a client sends a request, and reads the answer",
    )
    parser.add_argument("--access_log", choices=FORMATS, default="line", help="format of the log of requests")
    parser.add_argument("--log_texts", action="store_true", help="write the texts into the log of requests")
    add_device_flags(parser)
    args = parser.parse_args()
    if (args.models is not None) + (args.checkpoint is not None) + bool(args.model or args.dataset) > 1:
        parser.error("expected one of --models, --checkpoint, and --model with --dataset")
    if args.workers > 1 and os.name == "nt":
        parser.error("--workers needs Linux or macOS")
    args.key = os.environ.get(KEY)
    return args


def paths_of(args):
    """The paths of the models by name."""
    if args.models:
        return named_paths(args.models)
    if not args.checkpoint:
        from engine.predictor import find_checkpoint  # loads torch, which an exported directory does not need

    path = Path(args.checkpoint or find_checkpoint([args.model] if args.model else MODELS, args.dataset))
    return {path.name.removesuffix(".ckpt"): path}


def describe(address, paths, key):
    """Says what is served at an address, and what it means if other machines reach that. key: None for none."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    say(f"Serving {', '.join(f'{name} ({shown(path)})' for name, path in paths.items())} at http://{host}:{address[1]}")
    if not is_loopback(address):
        who = f"each program with the key in {KEY}" if key else f"anybody, since {KEY} is not set"
        say(f"Other machines reach this address: {who} may send requests. Texts and the key are not encrypted.")


def main():
    args = parse_args()
    if missing := problem(REQUIREMENTS.with_name("requirements-serve.txt")):
        raise UserError(missing)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the models are loaded
    socket = bind(args.host, args.port, shared=args.workers > 1)
    paths = paths_of(args)
    describe(socket.getsockname(), paths, args.key)
    if args.workers > 1:
        from serving.workers import supervise

        supervise(socket, paths, args)
    else:
        from serving.server import serve

        serve(socket, paths, args)


if __name__ == "__main__":
    run_script(main)
