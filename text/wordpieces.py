"""An encoder's tokenizer: texts become rows of word pieces, with [CLS] before and [SEP] after each row."""

import contextlib
import hashlib
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from cli.console import UserError, reason, say
from text.aliases import Aliases, aliases_of, forms
from text.files import decode, read_json
from text.rows import Rows, blocks, concatenate, gather, ids_dtype, offsets_of, spans_of, texts_of

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SPECIAL_NAME = re.compile(r"\[.+\]")  # of these and of unused ones
CHUNK = 1 << 15  # texts that are tokenised together
SURROGATES = range(0xD800, 0xE000)
UNKNOWN = 0.2  # a vocabulary with a larger share of unknown characters is of another language
LARGEST = 10**7  # size of a vocabulary
MISFIT = 0.01  # largest share of embedding rows without a piece, or of pieces with different ids in two files


class WordPieces:
    """A vocabulary of word pieces, with the methods of `vocabulary.Vocabulary`.

    tokenizer: the content of a tokenizer.json. aliases: as of a `Vocabulary`.
    """

    package = "tokenizers"  # on which a text's tokens depend
    marks_words = False

    def __init__(self, tokenizer, aliases=None):
        self.aliases = None if aliases is None else Aliases(aliases)
        with _reporting("no tokenizer", "expected the content of a tokenizer.json"):
            self.tokenizer = Tokenizer.from_str(tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # a "[SEP]" in a text is text
        ids = [self.tokenizer.token_to_id(token) for token in SPECIAL]
        missing = [token for token, i in zip(SPECIAL, ids, strict=True) if i is None]
        if missing:
            raise UserError(f"the tokenizer has no {', '.join(missing)}; expected a vocabulary of BERT's kind")
        self.pad, self.unk, self.cls, self.sep, self.mask = ids
        self.end = self.sep  # also of a row that is cut
        if len(self) > LARGEST:  # the library takes memory for each id below the largest
            raise UserError(f"the tokenizer has the id {len(self) - 1}, expected at most {LARGEST}")

    def __len__(self):
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def content(self):
        """What a checkpoint keeps: the arguments that make the same vocabulary."""
        content = {"tokenizer": self.tokenizer.to_str()}
        return content | ({"aliases": self.aliases.pairs} if self.aliases else {})

    @property
    def dtype(self):
        """That of encoded ids."""
        return ids_dtype(len(self))

    @property
    def digest(self):
        return hashlib.sha256("".join(self.content.values()).encode()).hexdigest()[:16]

    def with_aliases(self):
        """The same vocabulary with aliases, of the characters that its pieces have, if it has none."""
        if self.aliases:
            return self
        known = set("".join(piece for piece in self.tokenizer.get_vocab() if not SPECIAL_NAME.fullmatch(piece)))
        normalizer = self.tokenizer.normalizer
        characters = sorted(forms(), key=lambda character: forms()[character] != character)  # folded ones first
        read = normalizer.normalize_str if normalizer else str
        characters = [character for character in characters if known.issuperset(read(character).strip())]
        return WordPieces(self.tokenizer.to_str(), aliases_of(characters))

    def encode(self, spans):
        """Texts, a `Rows` of code points, as a `Rows` of ids; an empty text stays empty."""
        spans = self.aliases.read(spans) if self.aliases else spans
        halves = (spans.ids >= SURROGATES.start) & (spans.ids < SURROGATES.stop)  # the library accepts no half pair
        texts = texts_of(Rows(np.where(halves, ord("?"), spans.ids), spans.offsets) if halves.any() else spans)
        parts = [self._encode(texts[start : start + CHUNK]) for start in range(0, max(1, len(texts)), CHUNK)]
        return concatenate(parts)

    def _encode(self, texts):
        with _reporting("the tokenizer cannot encode", "fetch the encoder's files again"):
            pieces = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        flat = np.fromiter(itertools.chain.from_iterable(pieces), np.int32, lengths.sum())
        return self._frame(flat, lengths, np.fromiter(map(bool, texts), bool, len(texts)))

    def _frame(self, flat, lengths, framed):
        """Rows of these lengths, with [CLS] before and [SEP] after those for which `framed` is true."""
        offsets = offsets_of(lengths + 2 * framed)
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
        """The same texts, a long one as several rows of at most `limit` ids, each with its own [CLS] and [SEP]."""
        rest, most = np.maximum(rows.lengths - 2, 0), limit - 2
        counts = -(-rest // most)  # rows that a text becomes; none if it has no pieces
        text_ids = np.repeat(np.arange(len(rest)), counts)
        start = (np.arange(len(text_ids)) - np.repeat(np.cumsum(counts) - counts, counts)) * most
        lengths = np.minimum(most, rest[text_ids] - start)
        flat = gather(rows.ids, rows.offsets[text_ids] + 1 + start, lengths).ids
        return self._frame(flat, lengths, np.ones(len(text_ids), bool))

    def unknown(self, rows):
        """The share of the texts' pieces that are unknown."""
        unknown = sum(np.count_nonzero(ids == self.unk) for ids in blocks(rows.ids))
        framed = sum(np.count_nonzero(lengths) for lengths in rows.length_blocks())
        return unknown / max(1, len(rows.ids) - 2 * framed)

    def pieces(self):
        """Each id's piece, as a vocab.txt lists them; an id without a piece gets a unique name."""
        names = {i: token for token, i in self.tokenizer.get_vocab().items()}
        return [names.get(i, f"[unused id {i}]") for i in range(len(self))]


@contextlib.contextmanager
def _reporting(what, advice):
    """Turns whatever the library raises, which includes panics that are no Exception, into a UserError."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise UserError(f"{what} ({reason(error)}); {advice}") from error


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
    return _from_pieces(path, _read_names(Path(path)), {})


def build_wordpieces(texts, size):
    """The tokenizer of at most `size` pieces for an iterable of texts: its characters, then its most frequent words.

    (The library's own trainer gives the pieces other ids in each process.)
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
    """Writes the files from which `transformers` and `read_wordpieces` read the tokenizer."""
    directory = Path(directory)
    vocabulary.tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary.pieces()), encoding="utf-8")
    rules = json.loads(vocabulary.tokenizer.to_str())["normalizer"] or {}
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": rules.get("lowercase", True)}
    config |= {"strip_accents": rules.get("strip_accents")}
    config |= {"tokenize_chinese_chars": rules.get("handle_chinese_chars", True)}
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def check_unknown(vocabulary, rows, advice):
    """Raises UserError if the texts are of another language than the vocabulary."""
    share = vocabulary.unknown(rows)
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
    return _from_pieces(path, names, options)


def _from_pieces(path, names, options):
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
