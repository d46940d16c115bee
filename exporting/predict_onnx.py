"""Classifies texts with the exported model in this directory. It needs numpy and onnxruntime.

    python predict_onnx.py 一条新闻 另一条新闻                          # texts as arguments, or lines of standard input
    python predict_onnx.py --input news.txt --output news.tsv          # one text a line; - is standard input
    python predict_onnx.py --format jsonl --top_k 3 --min_confidence 0.8 一条新闻

In Python, `Predict(directory)` has `predict(text)`, `predict_list(texts)`, `predict_proba(texts)`. Beside this
file, `features.py` makes the inputs of the graph and `outputs.py` the lines. Shapes: N texts, B rows, C classes.
"""

import argparse
import contextlib
import json
import os
import sys
import zlib
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise onnxruntime reports on models to its makers
try:
    import numpy as np
    import onnxruntime
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    print(f"predict_onnx.py: {error}; python -m pip install numpy onnxruntime", file=sys.stderr)
    sys.exit(2)

if __package__:
    from .features import ExportError, NGrams, Truncation, Vocabulary, offsets_of, take
    from .outputs import UNSURE, Hierarchy, class_lines, label_ids, labels_lines, opened
else:
    from features import ExportError, NGrams, Truncation, Vocabulary, offsets_of, take
    from outputs import UNSURE, Hierarchy, class_lines, label_ids, labels_lines, opened

FORMAT = 1
BATCH_TOKENS = 8192  # of a batch
CHUNK = 4096  # lines of a file that are predicted together
TINY = 1e-30  # so that nothing is divided by zero


class Predict:
    """An exported model.

    directory: with model.json and the files that it names; threads: of a computation, 0 for one on each core. Several
    threads may call the methods. Raises ExportError if a file is missing, damaged or not as it was written.
    """

    def __init__(self, directory=".", threads=0):
        self.path = Path(directory)
        try:
            content = json.loads((self.path / "model.json").read_text(encoding="utf-8"))
            if (format := take(content, "format", int)) != FORMAT:
                raise ExportError(f"model.json has format {format}, and this code reads format {FORMAT}; export again")
            self.name = take(content, "model", str)
            self.classes = take(content, "classes", list, lambda names: names and all(type(n) is str for n in names))
            self.multi_label = take(content, "multi_label", bool)
            self.hierarchy = Hierarchy(self.classes, take(content, "hierarchical", bool))
            many = len(self.classes) if self.multi_label else 0
            self.thresholds = numbers(content, "thresholds", many, 0, 1)
            self.temperatures = numbers(content, "temperatures", many or 1) if content.get("temperatures") else None
            vocabularies = [Vocabulary(own) for own in take(content, "vocabularies", list)]
            members = take(content, "members", list, len)
            self.members = [Member(self.path, own, vocabularies, len(self.classes), many, threads) for own in members]
            if take(content, "checksum", int) != checksum_of(content):
                changeable = "names of classes, temperatures and thresholds"
                raise ExportError(f"model.json was edited, and only its {changeable} can be; export again")
        except ExportError as error:
            raise ExportError(f"{self.path}: {error}") from None
        except FileNotFoundError as error:
            raise ExportError(f"{self.path} is no export, or not a whole one: no file {error.filename}") from None
        except Exception as error:  # packages raise exceptions of all types for damaged files
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ExportError(f"{self.path} is no export, or a damaged one ({reason}); export again") from error
        self.cut = 0  # texts so far that were longer than what is read of them

    @property
    def limit(self):
        """Tokens of a text that the model reads, or that member of an ensemble which reads the fewest."""
        return min(member.truncation.most for member in self.members)

    def predict(self, text, min_confidence=0.0):
        """A text's class, None if it is empty; with several labels a text their list."""
        if not isinstance(text, str):
            raise TypeError(f"predict expects a text (str), got {type(text).__name__}; predict_list takes a list")
        return self.predict_list([text], min_confidence)[0]

    def predict_list(self, texts, min_confidence=0.0):
        """Each text's class, None if it is empty; with several labels a text their lists, the most probable first.

        min_confidence: the least probability of a class; if it is lower, `UNSURE` is returned, or the deepest node
        above with this probability if names are paths; with several labels a text, in the place of the label.
        """
        if min_confidence:
            self.check_unsure()
        probabilities = self.predict_proba(texts)
        if self.multi_label:
            rows = zip(
                label_ids(probabilities, self.thresholds), probabilities >= np.float32(min_confidence), strict=True
            )
            return [[self.classes[i] if is_sure[i] else UNSURE for i in ids] for ids, is_sure in rows]
        if min_confidence:
            found = self.hierarchy.answer(probabilities, min_confidence)[0]
        else:
            found = [self.classes[i] for i in probabilities.argmax(axis=1)]
        return [name if is_read else None for name, is_read in zip(found, probabilities.any(axis=1), strict=True)]

    def check_unsure(self):
        """Raises ExportError if a class, or a node above, is called as `UNSURE`, which could mean both then."""
        if any(UNSURE in names for names, *_ in self.hierarchy.levels):
            raise ExportError(f"a class is called {UNSURE}, which --min_confidence prints; rename it")

    def predict_proba(self, texts):
        """Each text's probability of each class, calibrated, (N, C) float32; all 0 for an empty text."""
        is_one, texts = isinstance(texts, str), list(texts)
        if is_one or not all(isinstance(text, str) for text in texts):
            raise TypeError("expected a list of texts (str); predict takes a single text")
        probabilities, cut = self.compute(texts)
        self.cut += cut
        return probabilities

    def compute(self, texts):
        """What `predict_proba` returns, and how many of the texts were longer than what is read of them."""
        texts = [text.strip() for text in texts]
        encoded = {vocabulary: vocabulary.encode(texts) for vocabulary in {own.vocabulary for own in self.members}}
        probabilities = np.zeros((len(texts), len(self.classes)), np.float32)
        read, cut = np.zeros((len(texts), 1), np.float32), np.zeros(len(texts), bool)
        for member in self.members:
            ids, offsets = encoded[member.vocabulary]
            for rows, logits in member.logits(ids, offsets):
                logits /= member.temperatures
                probabilities[rows] += member.share * (sigmoid(logits) if self.multi_label else softmax(logits))
                read[rows] += member.share
            cut |= np.diff(offsets) > member.truncation.most
        if not np.isfinite(probabilities).all():
            raise ExportError(f"{self.path}: the model computes numbers that are not finite")
        probabilities /= np.where(read > 0, read, 1)
        return probabilities if self.temperatures is None else self._tempered(probabilities), int(cut.sum())

    def _tempered(self, probabilities):
        """The calibrated probabilities of the mean of several members."""
        powers = 1 / self.temperatures
        if self.multi_label:
            odds = [side**powers for side in (probabilities, 1 - probabilities)]
            return odds[0] / sum(odds)
        largest = probabilities.max(axis=1, keepdims=True)
        odds = (probabilities / np.where(largest > 0, largest, 1)) ** powers
        return odds / np.maximum(odds.sum(axis=1, keepdims=True), TINY)


class Member:
    """A graph and what makes its inputs. An ensemble has several."""

    def __init__(self, directory, content, vocabularies, num_classes, num_labels, threads):
        self.share = take(content, "share", float, lambda share: 0 < share <= 1)
        self.vocabulary = vocabularies[take(content, "vocabulary", int, lambda i: 0 <= i < len(vocabularies))]
        self.truncation = Truncation(take(content, "truncation", dict))
        self.temperatures = numbers(content, "temperatures", num_labels or 1)
        self.n_grams, names = None, {"tokens", "lengths"}
        if content.get("n_grams") is not None:
            settings = take(content, "n_grams", dict)
            with np.load(directory / file_name(settings, "file"), allow_pickle=False) as arrays:
                self.n_grams = NGrams(settings, arrays)
            names = names | {"evidence"} if self.n_grams.kind == "evidence" else {"ids", "values"}
        graph = (directory / file_name(content, "graph")).read_bytes()
        if zlib.crc32(graph) != take(content, "checksum", int):
            raise ExportError(f"{content['graph']} is damaged, its checksum is another one; export again")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.inputs = {own.name for own in self.session.get_inputs()}
        if self.inputs - {"joints"} != names or self.session.get_outputs()[0].shape[1] != num_classes:
            raise ExportError(f"{content['graph']} does not fit model.json; export again")

    def logits(self, ids, offsets):
        """Yields the ids of some rows and their logits, (B, C), until all rows with tokens are computed.

        ids, offsets: of the tokens, as by `Vocabulary.encode`. Rows of similar length are in a batch.
        """
        lengths = np.diff(offsets)
        windows = self.truncation.windows(lengths)
        costs = np.minimum(lengths, self.truncation.limit) * windows
        order = np.argsort(-costs, kind="stable")[: np.count_nonzero(costs)]
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, BATCH_TOKENS // int(costs[order[start]]))]
            counts = windows[rows]
            firsts, repeated = offsets_of(counts)[:-1], rows.repeat(counts)
            index = np.arange(len(repeated)) - firsts.repeat(counts)
            logits = self._run(*self.truncation.grid(self.vocabulary, ids, offsets[repeated], lengths[repeated], index))
            yield rows, np.add.reduceat(logits, firsts) / counts[:, None].astype(np.float32)  # the mean over windows
            start += len(rows)

    def _run(self, tokens, lengths, joints):
        ends = None
        if self.vocabulary.marks_words:
            tokens, ends = tokens >> 1, tokens & 1
        inputs = {"tokens": tokens, "lengths": lengths, "joints": joints}
        if self.n_grams:
            inputs |= self.n_grams.inputs(tokens, lengths, joints, ends)
        return self.session.run(None, {name: inputs[name] for name in self.inputs})[0]


def checksum_of(content):
    """The checksum of what model.json has of the computation, without temperatures."""
    members = [member | {"temperatures": None} for member in content["members"]]
    fixed = [content["multi_label"], members, content["vocabularies"]]
    return zlib.crc32(json.dumps(fixed, sort_keys=True).encode())


def numbers(content, name, count, low=1 / 32, high=32.0):
    """A field of so many numbers, as float32."""
    found = take(content, name, list, lambda own: len(own) == count and all(type(n) in (float, int) for n in own))
    if not all(low <= number <= high for number in found):
        raise ExportError(f"model.json: {name} has numbers out of range, expected {low} to {high}; export again")
    return np.array(found, np.float32)


def file_name(content, name):
    """A field with the name of a file in the directory."""
    return take(content, name, str, lambda own: own == os.path.basename(own) and own not in ("", ".", ".."))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits):
    return 0.5 * (1 + np.tanh(0.5 * logits))


def main():
    parser = argparse.ArgumentParser(description="Classifies texts with the exported model in this directory.")
    parser.add_argument("texts", nargs="*", help="texts to classify (the lines of standard input)")
    parser.add_argument("--input", help="file of texts, one a line; - is standard input")
    parser.add_argument("--output", help="file to write (standard output)")
    parser.add_argument("--format", choices=("tsv", "jsonl"), help="format of the output (as --output ends, or tsv)")
    parser.add_argument("--top_k", type=int, help="number of most probable classes to print (the first)")
    parser.add_argument(
        "--min_confidence", type=float, help="print ? (or a node above) instead of a less probable class"
    )
    args = parser.parse_args()
    if args.texts and args.input:
        parser.error("texts and --input are both given, expected one of them")
    if (args.top_k is not None and args.top_k < 1) or not 0 <= (args.min_confidence or 0) <= 1:
        parser.error("--top_k is at least 1, --min_confidence between 0 and 1")
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None is one that is closed
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # half a surrogate pair is no UTF-8
    try:
        write(Predict(Path(__file__).parent), args)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (ExportError, OSError) as error:
        print(f"predict_onnx.py: {error}", file=sys.stderr)
        sys.exit(2)


def write(predict, args):
    """Writes the lines of the texts that the flags name."""
    if args.min_confidence:
        predict.check_unsure()
    if args.top_k and args.min_confidence and predict.multi_label:
        raise ExportError("--top_k prints labels whatever their probability; leave out --min_confidence")
    format = args.format or ("jsonl" if (args.output or "").endswith(".jsonl") else "tsv")
    count, least = min(args.top_k or 1, len(predict.classes)), args.min_confidence or 0.0
    names = ("labels", "probabilities") if predict.multi_label else ("label", "probability")
    suffixes = [""] if predict.multi_label else ["", *(f"_{k}" for k in range(2, count + 1))]
    header = "\t".join(["text", *(name + suffix for suffix in suffixes for name in names)]) + "\n"
    make = labels_lines if predict.multi_label else class_lines
    with opened(args.output) as file:
        file.write(header if format == "tsv" else "")
        for texts in [args.texts] if args.texts else chunks_of(args.input or "-"):
            file.writelines(make(predict, texts, predict.predict_proba(texts), format, args.top_k and count, least))
    if predict.cut:
        print(f"{predict.cut} texts were longer than the {predict.limit} tokens that the model reads", file=sys.stderr)


def chunks_of(source):
    """The lines of a file, some at a time as a list."""
    texts = []
    with contextlib.nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ExportError(f"{source}, line {number}: not UTF-8. Save it as UTF-8") from error
            texts.append(text.removesuffix("\n").rstrip("\r"))
            if len(texts) == CHUNK:
                yield texts
                texts = []
    if texts:
        yield texts


if __name__ == "__main__":
    main()
