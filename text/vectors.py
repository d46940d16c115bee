"""Pre-trained vectors: extracted from a text file into a dataset's `embedding_<name>.npz`, and read from there.

Such a file holds `embeddings`, (N, E) float32, and `tokens`, (N,), the token of each row. Files of the earlier toolkit
have no tokens: their rows follow the `vocab.pkl` beside them.
"""

import io
import pickle
import pickletools
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from cli.console import UserError, reason, say
from cli.files import replacing
from text.files import lines_of

HOW_TO_MAKE = "make one with: python utils.py --dataset {} --vectors FILE"
LARGEST = 1 << 31  # bytes of an array that is read
WIDEST = 10_000  # numbers of a vector


def find(dataset, choice):
    """The .npz file that `--embedding` means, or None for random vectors.

    choice: `random`, `pre_trained`, a file, or None: the dataset's vectors if it has any.
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
            f"choose with --embedding {files[0]}, or --embedding random"
        )
    if not files and choice == "pre_trained":
        raise UserError(f"{data} has no embedding_*.npz: {HOW_TO_MAKE.format(dataset)}, or use --embedding random")
    return files[0] if files else None


def load(path, vocabulary, seed):
    """The vocabulary's vectors, (N, E) float32: from the file if it has the token, otherwise random of the same spread.

    Raises UserError if the file is not what the module's docstring describes.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            embeddings = np.asarray(file["embeddings"], np.float32)
            tokens = file.get("tokens")
            names = None if tokens is None else tokens.tolist()  # invalid code points raise here
    except (Exception, MemoryError) as error:  # a damaged file can make zipfile and NumPy raise anything
        raise UserError(f"{path} is no .npz file with `embeddings`, an array of numbers ({reason(error)})") from error
    if embeddings.ndim != 2 or not embeddings.size or (tokens is not None and tokens.shape != embeddings.shape[:1]):
        shape = "none" if tokens is None else tokens.shape
        raise UserError(
            f"{path}: `embeddings` of shape {embeddings.shape}, `tokens` of shape {shape}; expected (N, E) and (N,)"
        )
    spread = embeddings.std()
    if not np.isfinite(embeddings).all() or not np.isfinite(spread):
        raise UserError(f"{path}: some of the numbers are not finite or too large; make the file again")
    if embeddings.shape[1] > WIDEST:
        raise UserError(f"{path}: {embeddings.shape[1]} numbers a token, expected at most {WIDEST}")
    rows = {token: row for row, token in enumerate(names or _pickled_tokens(path, len(embeddings)))}
    found = [(i, rows[token]) for i, token in enumerate(vocabulary.tokens[: vocabulary.unk]) if token in rows]
    width = embeddings.shape[1]
    say(f"Vectors: {path.name}, {width} wide, for {len(found)} of {vocabulary.unk} tokens; the others start random")
    vectors = np.random.default_rng(seed).normal(0, spread, (len(vocabulary), width))
    if found:
        ids, positions = np.array(found).T
        vectors[ids] = embeddings[positions]
    return vectors.astype(np.float32)


def _check_sizes(path):
    """Raises ValueError if an array is larger than its file says, or than `LARGEST`, before memory is taken for it."""
    with ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                shape, _, dtype = read_header(file)
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if size > min(LARGEST, member.file_size):
                    raise ValueError(f"an array of {size} bytes in {member.file_size}, at most {LARGEST}")


def _pickled_tokens(path, count):
    """The tokens of a .npz file without any, from the `vocab.pkl` beside it: a dict from token to row."""
    beside = path.with_name("vocab.pkl")
    try:
        content = beside.read_bytes()
        for _, argument, _ in pickletools.genops(content):
            if isinstance(argument, int) and argument > max(count, len(content)):  # an index that the unpickler trusts
                raise ValueError(f"a number out of range, {argument}")
        ids = _PlainUnpickler(io.BytesIO(content)).load()
    except FileNotFoundError as error:
        raise UserError(
            f"{path} has no `tokens`, and there is no vocab.pkl beside it that says which token a row stands for: "
            + HOW_TO_MAKE.format("D")
        ) from error
    except (Exception, MemoryError) as error:  # a damaged pickle can raise anything
        raise UserError(f"{beside} is no plain pickled dict from token to index ({reason(error)})") from error
    good = isinstance(ids, dict) and all(isinstance(k, str) and isinstance(v, int) for k, v in ids.items())
    if not good or sorted(ids.values()) != list(range(count)):
        size = len(ids) if hasattr(ids, "__len__") else "no"
        raise UserError(f"{beside} has {size} entries, {path.name} has {count} rows: they do not belong together")
    return sorted(ids, key=ids.get)


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles dicts, text and numbers. Refuses whatever would import or call something."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid):
        raise pickle.UnpicklingError("it asks for an object outside")


def extract(source, vocabulary, target):
    """Extracts the vocabulary's rows from a text file of vectors (word2vec format) into `target`, a .npz file.

    source: plain, .gz or .bz2; a token and its numbers a line, separated by spaces, with or without a header line.
    """
    wanted = {token.encode(errors="surrogatepass"): token for token in vocabulary.tokens[: vocabulary.unk]}
    tokens, rows, width, malformed = [], [], None, []
    for line_number, line in enumerate(lines_of(source), 1):
        name, _, values = line.rstrip().partition(b" ")
        if line_number == 1 and name.isdigit() and values.isdigit() and len(values) < 10:  # a header: rows, width
            width = int(values)
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
        say(f"{source}: {len(malformed)} lines skipped that are not {width} numbers, the first is line {malformed[0]}")
    if not rows:
        raise UserError(f"{source}: none of the {vocabulary.unk} tokens found; expected a token and numbers a line")
    with replacing(target) as file:
        np.savez_compressed(file, embeddings=np.stack(rows), tokens=np.array(tokens))
    say(f"{target}: {len(rows)} of {vocabulary.unk} tokens found, {width} wide; the others start random")
