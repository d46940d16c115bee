"""An encoder's tokenizer: texts become rows of word pieces, [CLS] before and [SEP] after each."""

import hashlib
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from cli.console import UserError, say
from text.files import decode
from text.rows import Rows, blocks, concatenate, gather, spans_of, texts_of

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHUNK = 1 << 15  # texts that are tokenised at a time
SURROGATES = range(0xD800, 0xE000)
UNKNOWN = 0.2  # the share of unknown characters from which a vocabulary is another language's
MISFIT = 0.01  # the share of an embedding's rows without a piece, or of pieces that two files number differently


class WordPieces:
    """A vocabulary of word pieces, with the methods of `vocabulary.Vocabulary`.

    tokenizer: the content of a tokenizer.json.
    """

    package = "tokenizers"  # the package that decides a text's tokens too

    def __init__(self, tokenizer):
        try:
            self.tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:  # the library raises nothing more special
            raise UserError(f"no tokenizer ({error}); expected the content of a tokenizer.json") from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # a "[SEP]" in a text is text
        ids = [self.tokenizer.token_to_id(token) for token in SPECIAL]
        missing = [token for token, i in zip(SPECIAL, ids, strict=True) if i is None]
        if missing:
            raise UserError(f"the tokenizer has no {', '.join(missing)}; expected a vocabulary of BERT's kind")
        self.pad, self.unk, self.cls, self.sep, self.mask = ids
        self.end = self.sep  # a row that is cut ends with it too

    def __len__(self):
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def content(self):
        """What a checkpoint keeps: the arguments that make the same vocabulary."""
        return {"tokenizer": self.tokenizer.to_str()}

    @property
    def digest(self):
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()[:16]

    def encode(self, spans):
        """Texts, a `Rows` of code points, as a `Rows` of ids; an empty text stays empty."""
        halves = (spans.ids >= SURROGATES.start) & (spans.ids < SURROGATES.stop)  # of a pair, no text to the library
        texts = texts_of(Rows(np.where(halves, ord("?"), spans.ids), spans.offsets) if halves.any() else spans)
        parts = [self._encode(texts[start : start + CHUNK]) for start in range(0, max(1, len(texts)), CHUNK)]
        return concatenate(parts)

    def _encode(self, texts):
        pieces = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        flat = np.fromiter(itertools.chain.from_iterable(pieces), np.int32, lengths.sum())
        return self._frame(flat, lengths, np.fromiter(map(bool, texts), bool, len(texts)))

    def _frame(self, flat, lengths, framed):
        """Rows of these lengths, [CLS] before and [SEP] after those that `framed` says."""
        offsets = np.concatenate(([0], np.cumsum(lengths + 2 * framed)))
        ids = np.empty(offsets[-1], np.int32)
        inner = np.ones(len(ids), bool)
        first, last = offsets[:-1][framed], offsets[1:][framed] - 1
        inner[first] = inner[last] = False
        ids[first], ids[last], ids[inner] = self.cls, self.sep, flat
        return Rows(ids, offsets)

    def encode_texts(self, texts):
        """A list of texts as a `Rows` of ids."""
        return self.encode(spans_of(texts))

    def split(self, rows, limit):
        """The same texts, a long one as several rows of at most `limit` ids, each with [CLS] and [SEP] of its own."""
        rest, most = np.maximum(rows.lengths - 2, 0), limit - 2
        counts = -(-rest // most)  # of rows a text becomes; none, where it has no pieces
        number = np.repeat(np.arange(len(rest)), counts)
        start = (np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)) * most
        lengths = np.minimum(most, rest[number] - start)
        flat = gather(rows.ids, rows.offsets[number] + 1 + start, lengths).ids
        return self._frame(flat, lengths, np.ones(len(number), bool))

    def unknown(self, rows):
        """The share of the texts' pieces that are unknown."""
        unknown = sum(np.count_nonzero(ids == self.unk) for ids in blocks(rows.ids))
        framed = sum(np.count_nonzero(lengths) for lengths in rows.length_blocks())
        return unknown / max(1, len(rows.ids) - 2 * framed)

    def pieces(self):
        """Each id's piece, as a vocab.txt lists them; an id that has none gets a name of its own."""
        names = {i: token for token, i in self.tokenizer.get_vocab().items()}
        return [names.get(i, f"[unused id {i}]") for i in range(len(self))]


def read_wordpieces(directory, rows):
    """The tokenizer in an encoder's directory, whose embedding has so many rows: tokenizer.json, else vocab.txt.

    Raises UserError where there is neither, or one that does not belong to the encoder.
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
        raise UserError(f"{full}: {error}") from error
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
    """The error that says which file an encoder's directory lacks, what it has, and the command that fetches it."""
    directory = Path(directory)
    if not directory.is_dir():
        what = f"{directory}: no such directory; expected an encoder's, with config.json, weights and vocab.txt"
    else:
        present = ", ".join(sorted(entry.name for entry in directory.iterdir())) or "nothing"
        what = f"{directory} has no {name}; in it there is: {present}"
    owners = {
        "bert_": "bert",
        "ERNIE_": "ernie",
        "chinese-": f"hfl/{directory.name}",
        "ernie-": f"nghuyong/{directory.name}",
    }
    fetched = next((owner for start, owner in owners.items() if directory.name.startswith(start)), "bert")
    return UserError(f"{what}. To fetch it: python download.py {fetched} --output {directory}")


def check_size(path, entries, rows):
    """Raises UserError where a vocabulary has more entries than the embedding has rows, or far fewer."""
    if entries > rows or entries < (1 - MISFIT) * rows:
        raise UserError(
            f"{path} does not belong to the encoder beside it: it has {entries} entries, the encoder's embedding "
            f"{rows} rows; put there the vocabulary that came with the encoder"
        )


def read_vocab_file(path):
    """The tokenizer of a vocab.txt, a piece a line."""
    return _from_pieces(path, _read_names(Path(path)), {})


def build_wordpieces(texts, size):
    """The tokenizer of at most `size` pieces for an iterable of texts: its characters, then its most frequent words.

    (The library's own trainer numbers the pieces differently in each process.)
    """
    rules = BertWordPieceTokenizer()
    words, pieces = Counter(), Counter()
    for text in texts:
        found = rules.pre_tokenizer.pre_tokenize_str(rules.normalizer.normalize_str(text))
        words.update(word for word, _ in found)
    for word, count in words.items():
        pieces.update({word[0]: count})
        for character in word[1:]:
            pieces.update({f"##{character}": count})
    order = sorted(pieces, key=lambda piece: (-pieces[piece], piece))
    whole = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    names = [*SPECIAL, *order, *(word for word in whole if words[word] > 1)][:size]
    return _from_pieces("the corpus", names, {})


def write_wordpieces(directory, vocabulary):
    """Writes the files in which `transformers` and `read_wordpieces` find the tokenizer."""
    directory = Path(directory)
    vocabulary.tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary.pieces()), encoding="utf-8")
    rules = json.loads(vocabulary.tokenizer.to_str())["normalizer"] or {}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": rules.get("lowercase", True)}
    settings |= {"strip_accents": rules.get("strip_accents")}
    settings |= {"tokenize_chinese_chars": rules.get("handle_chinese_chars", True)}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def check_unknown(vocabulary, rows, advice):
    """Raises UserError where the texts are of another language than the vocabulary."""
    share = vocabulary.unknown(rows)
    if share > UNKNOWN:
        what = f"{share:.0%} of the training text's characters are unknown to the vocabulary"
        raise UserError(f"{what}, expected {UNKNOWN:.0%} at the most; {advice}")


def _read_names(path):
    try:
        return decode(path, path.read_bytes(), 0).rstrip("\r\n").replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _from_names(path, names, settings):
    try:
        found = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{settings} cannot be read: {error}") from error
    options = {"strip_accents": found.get("strip_accents"), "lowercase": found.get("do_lower_case") is not False}
    options |= {"handle_chinese_chars": found.get("tokenize_chinese_chars") is not False}
    return _from_pieces(path, names, options)


def _from_pieces(path, names, options):
    ids = {name: i for i, name in enumerate(names)}  # of two equal entries the later one counts, as everywhere
    missing = [token for token in SPECIAL if token not in ids]
    if missing:
        raise UserError(f"{path} has no {', '.join(missing)}; expected a vocabulary of BERT's kind, a piece a line")
    return WordPieces(BertWordPieceTokenizer(ids, **options).to_str())


def _lowercased(path, vocabulary):
    """Reads texts in lower case where the vocabulary has no capitals, whatever its settings say.

    bert-base-chinese comes with such settings; `transformers` follows them, and takes words with a capital as unknown.
    """
    content = json.loads(vocabulary.tokenizer.to_str())
    rules = content["normalizer"] or {}
    capitals = any(re.match("(##)?[A-Z]", piece) for piece in vocabulary.tokenizer.get_vocab())
    if rules.get("lowercase") is not False or capitals:
        return vocabulary
    say(f"{path}: the vocabulary has no capitals, so texts are read in lower case")
    rules["lowercase"] = True
    return WordPieces(json.dumps(content))
