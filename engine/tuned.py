"""The flags that `tune.py` found, in `tuned/MODEL.json` beside `saved_dict`, and `--tuned`, which reads them."""

import json
import shlex
import sys
from pathlib import Path

from cli.console import UserError, say
from cli.files import default_dataset, replacing, shown


def path_of(directory, name):
    """The path of a model's file under the directory that training writes to."""
    return Path(directory) / "tuned" / f"{name}.json"


def write(path, content):
    """Writes a file for `--tuned`. content: a dict with the flags as `flags`, a list of command-line arguments."""
    with replacing(path, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=2)


def read(name, directories):
    """A model's flags in the first of these directories that has its file, and that file.

    Raises UserError if none has one, or if it is no file of `tune.py`.
    """
    paths = [path_of(directory, name) for directory in directories]
    path = next((path for path in paths if path.exists()), None)
    command = f"python tune.py --model {name} --dataset {directories[-1]}"
    if path is None:
        raise UserError(f"--tuned: no {shown(paths[-1])}; search for the flags with: {command}")
    try:
        flags = json.loads(path.read_text(encoding="utf-8"))["flags"]
        if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
            raise ValueError("no list of texts")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"--tuned: {shown(path)} is no file of tune.py; write it again with: {command}") from error
    return flags, path


def parse_with_tuned(parser, arguments=None):
    """Parses the arguments; with `--tuned` those of the file come first, so that flags given here win."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parser.parse_args(arguments)
    if not args.tuned:
        return args
    dataset = args.dataset or default_dataset()
    flags, path = read(args.model, [*([args.output] if args.output else []), dataset])
    say(f"Tuned flags, from {shown(path)}: {shlex.join(flags) or 'the defaults'}")
    return parser.parse_args([*flags, *arguments, "--dataset", str(dataset)])
