"""The files of an encoder's tokenizer: tokenizer.json, or vocab.txt with tokenizer_config.json beside it."""

import json
import re
from pathlib import Path

from tokenizers.implementations import BertWordPieceTokenizer

from cli.console import UserError, reason, say
from text.files import decode, read_json
from text.wordpieces import SPECIAL, WordPieces

UNKNOWN = 0.2  # a vocabulary with a larger share of unknown characters is of another language
MISFIT = 0.01  # largest share of embedding rows without a piece, or of pieces with different ids in two files


def read_wordpieces(directory, rows):
    """The tokenizer in an encoder's directory, from tokenizer.json, otherwise from vocab.txt.

    rows: of the encoder's embedding. Raises UserError if there is no tokenizer or it does not belong to the encoder.
    """
    plain, full = Path(directory) / "vocab.txt", Path(directory) / "tokenizer.json"
    if not plain.exists() and not full.exists():
        raise absent(directory, "vocab.txt (or tokenizer.json)")
    names = _read_names(plain) if plain.exists() else None
    if names is not None:
        check_size(plain, len(names), rows)
    if not full.exists():
        return _lowercased(plain, _from_names(plain, names, plain.with_name("tokenizer_config.json")))
    try:
        vocabulary = _lowercased(full, WordPieces(full.read_text(encoding="utf-8")))
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{full}: {reason(error)}") from error
    check_size(full, len(vocabulary), rows)
    if names is not None:
        ids = vocabulary.tokenizer.get_vocab()
        differ = sum(ids.get(name) != i for i, name in enumerate(names))
        if differ > MISFIT * len(names):
            raise UserError(
                f"{plain} and {full.name} beside it differ in {differ} of {len(names)} entries; "
                "remove the one that is not the encoder's"
            )
    return vocabulary


def absent(directory, name):
    """The error that names the file that an encoder's directory lacks, and the command that fetches it."""
    directory = Path(directory)
    if not directory.is_dir():
        what = f"{directory}: no such directory; expected one with an encoder's config.json, weights and vocab.txt"
    else:
        present = ", ".join(sorted(entry.name for entry in directory.iterdir())) or "nothing"
        what = f"{directory} has no {name}; it contains: {present}"
    owners = {
        "bert_": "bert",
        "ERNIE_": "ernie",
        "chinese-": f"hfl/{directory.name}",
        "ernie-": f"nghuyong/{directory.name}",
    }
    fetched = next((owner for start, owner in owners.items() if directory.name.startswith(start)), "bert")
    return UserError(f"{what}. To fetch it: python download.py {fetched} --output {directory}")


def check_size(path, entries, rows):
    """Raises UserError if a vocabulary has more entries than the embedding has rows, or far fewer."""
    if entries > rows or entries < (1 - MISFIT) * rows:
        raise UserError(
            f"{path} does not belong to the encoder beside it: it has {entries} entries, the encoder's embedding has "
            f"{rows} rows; replace it with the vocabulary that came with the encoder"
        )


def read_vocab_file(path):
    """The tokenizer of a vocab.txt, which has one piece a line."""
    return from_pieces(path, _read_names(Path(path)), {})


def write_wordpieces(directory, vocabulary):
    """Writes the files from which `transformers` and `read_wordpieces` read the tokenizer."""
    directory = Path(directory)
    vocabulary.tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary.pieces()), encoding="utf-8")
    rules = json.loads(vocabulary.tokenizer.to_str())["normalizer"] or {}
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": rules.get("lowercase", True)}
    config |= {"strip_accents": rules.get("strip_accents")}
    config |= {"tokenize_chinese_chars": rules.get("handle_chinese_chars", True)}
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def check_unknown(share, advice):
    """Raises UserError if the texts are of another language than the vocabulary, by the share of unknown pieces."""
    if share > UNKNOWN:
        what = f"{share:.0%} of the training text's characters are unknown to the vocabulary"
        raise UserError(f"{what}, expected at most {UNKNOWN:.0%}; {advice}")


def _read_names(path):
    try:
        return decode(path, path.read_bytes(), 0).rstrip("\r\n").replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _from_names(path, names, config_path):
    config = read_json(config_path) if config_path.exists() else {}
    flags = ("strip_accents", "do_lower_case", "tokenize_chinese_chars")
    if not isinstance(config, dict) or not all(
        config.get(flag) is None or type(config[flag]) is bool for flag in flags
    ):
        raise UserError(f"{config_path}: expected an object in which {', '.join(flags)} are true, false or null")
    options = {"strip_accents": config.get("strip_accents"), "lowercase": config.get("do_lower_case") is not False}
    options |= {"handle_chinese_chars": config.get("tokenize_chinese_chars") is not False}
    return from_pieces(path, names, options)


def from_pieces(path, names, options):
    """The tokenizer of a list of pieces from `path`. options: of a `BertWordPieceTokenizer`."""
    ids = {name: i for i, name in enumerate(names)}  # of two equal entries the later one counts, as in transformers
    missing = [token for token in SPECIAL if token not in ids]
    if missing:
        raise UserError(f"{path} has no {', '.join(missing)}; expected a vocabulary of BERT's kind, a piece a line")
    return WordPieces(BertWordPieceTokenizer(ids, **options).to_str())


def _lowercased(path, vocabulary):
    """A tokenizer that reads texts in lower case if the vocabulary has no capitals, whatever its files say.

    The files of bert-base-chinese say otherwise; `transformers` follows them and makes words with a capital unknown.
    """
    content = json.loads(vocabulary.tokenizer.to_str())
    rules = content["normalizer"] or {}
    capitals = any(re.match("(##)?[A-Z]", piece) for piece in vocabulary.tokenizer.get_vocab())
    if rules.get("lowercase") is not False or capitals:
        return vocabulary
    say(f"{path}: the vocabulary has no capitals, so texts are read in lower case")
    rules["lowercase"] = True
    return WordPieces(json.dumps(content))
