"""Pre-trained vectors: taken from a text file into a dataset's `embedding_<name>.npz`, and read from there.

Such a file holds `embeddings`, (N, E) float32, and `tokens`, (N,), what each row stands for. Files of the earlier
toolkit have no tokens: their rows follow the `vocab.pkl` beside them.
"""

import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np

from cli.console import UserError, say
from cli.files import replacing
from text.files import lines_of

HOW_TO_MAKE = "make one with: python utils.py --dataset {} --vectors FILE"


def find(dataset, choice):
    """The .npz file that `--embedding` means, or None for random vectors.

    choice: `random`, `pre_trained`, a file, or None: the dataset's vectors where it has some.
    """
    if choice == "random":
        return None
    if choice not in (None, "pre_trained"):
        if not Path(choice).is_file():
            raise UserError(f"--embedding {choice}: no such file; expected random, pre_trained or a .npz file")
        return Path(choice)
    data = Path(dataset) / "data"
    files = sorted(data.glob("embedding_*.npz"))
    if data / "embedding_SougouNews.npz" in files:
        return data / "embedding_SougouNews.npz"
    if len(files) > 1:
        raise UserError(
            f"{data} has several files of vectors ({', '.join(file.name for file in files)}): "
            f"say which with --embedding {files[0]}, or --embedding random"
        )
    if not files and choice == "pre_trained":
        raise UserError(f"{data} has no embedding_*.npz: {HOW_TO_MAKE.format(dataset)}, or use --embedding random")
    return files[0] if files else None


def load(path, vocabulary, seed):
    """The vocabulary's vectors, (N, E) float32: a token's own where the file has it, else random of the same spread."""
    try:
        with np.load(path, allow_pickle=False) as file:
            embeddings = np.asarray(file["embeddings"], np.float32)
            tokens = file["tokens"].tolist() if "tokens" in file else _pickled_tokens(path, len(embeddings))
    except (OSError, KeyError, ValueError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no .npz file with `embeddings`, an array of numbers ({error})") from error
    if embeddings.ndim != 2 or len(tokens) != len(embeddings) or not embeddings.size:
        raise UserError(f"{path}: {len(tokens)} tokens but embeddings of shape {embeddings.shape}; make the file anew")
    if not np.isfinite(embeddings).all():
        raise UserError(f"{path}: some of the numbers are not finite; make the file anew")
    rows = {token: row for row, token in enumerate(tokens)}
    found = [(i, rows[token]) for i, token in enumerate(vocabulary.tokens[: vocabulary.unk]) if token in rows]
    width = embeddings.shape[1]
    say(f"Vectors: {path.name}, {width} wide, for {len(found)} of {vocabulary.unk} tokens; the rest start random")
    vectors = np.random.default_rng(seed).normal(0, embeddings.std(), (len(vocabulary), width))
    if found:
        ids, places = np.array(found).T
        vectors[ids] = embeddings[places]
    return vectors.astype(np.float32)


def _pickled_tokens(path, count):
    """The tokens of a .npz file without any, from the `vocab.pkl` beside it: a dict from token to row."""
    beside = path.with_name("vocab.pkl")
    try:
        with open(beside, "rb") as file:
            ids = _PlainUnpickler(file).load()
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not say which token a row stands for, and there is no vocab.pkl beside it that would: "
            + HOW_TO_MAKE.format("D")
        ) from error
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise UserError(f"{beside} is no plain pickled dict from token to index ({error})") from error
    good = isinstance(ids, dict) and all(isinstance(k, str) and isinstance(v, int) for k, v in ids.items())
    if not good or sorted(ids.values()) != list(range(count)):
        size = len(ids) if hasattr(ids, "__len__") else "no"
        raise UserError(f"{beside} has {size} entries, {path.name} has {count} rows: they do not belong together")
    return sorted(ids, key=ids.get)


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles dicts, text and numbers; whatever would import or call something is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid):
        raise pickle.UnpicklingError("it asks for an object outside")


def extract(source, vocabulary, target):
    """Takes the vocabulary's rows out of a text file of vectors (word2vec format) into `target`, a .npz file.

    source: plain, .gz or .bz2; a token and its numbers a line, separated by spaces, with or without a header line.
    """
    wanted = {token.encode(): token for token in vocabulary.tokens[: vocabulary.unk]}
    tokens, rows, width, malformed = [], [], None, []
    for line_number, line in enumerate(lines_of(source), 1):
        name, _, values = line.rstrip().partition(b" ")
        if line_number == 1:
            fields = values.split()
            if len(fields) == 1 and name.isdigit() and fields[0].isdigit():  # a header: number of rows, width
                width = int(fields[0])
                continue
        if name in wanted:
            try:
                row = np.array(values.split(), np.float32)
            except ValueError:
                row = np.empty(0)
            width = width or len(row)
            if len(row) != width or not width or not np.isfinite(row).all():
                malformed.append(line_number)
                continue
            tokens.append(wanted.pop(name))
            rows.append(row)
    if malformed:
        say(f"{source}: {len(malformed)} lines left out that are not {width} numbers, the first at line {malformed[0]}")
    if not rows:
        raise UserError(f"{source}: none of the {vocabulary.unk} tokens found; expected a token and numbers a line")
    with replacing(target) as file:
        np.savez_compressed(file, embeddings=np.stack(rows), tokens=np.array(tokens))
    say(f"{target}: {len(rows)} of {vocabulary.unk} tokens found, {width} wide; the rest start random")
