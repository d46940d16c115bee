"""Classifies texts with a trained network.

    python predict.py 体验2D巅峰 "60年铁树开花形状似玉米芯(组图)"      # texts as arguments; with none, a prompt
    python predict.py --input news.txt --output news.tsv               # a text a line; - is standard input
    python predict.py --input news.csv --text title --format jsonl     # .csv .tsv .jsonl: a column's texts
    python predict.py --model DPCNN --dataset D --top_k 3 一条新闻      # default: the checkpoint written last

In Python, `Predict("TextCNN", dataset="THUCNews")` has `predict(text)`, `predict_list(texts)`, `predict_proba(texts)`.
"""

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np

import checkpoint as checkpoints
from console import Parser, UserError, number, one_line, replacing, run_script, say
from models import NETWORKS, trainer
from models.base import infer
from runtime import enough_memory, pick_device
from textfile import decode, lines_of
from utils import Batches, default_dataset, shown

CHUNK = 16384  # texts that are in memory at a time


class Predict:
    """A trained network.

    model: its name, default the one whose checkpoint was written last; dataset: the directory that training wrote to;
    checkpoint: a file, in place of the two. Raises UserError where there is no such checkpoint.
    """

    names = NETWORKS  # of the models that are looked for

    def __init__(self, model=None, dataset=None, checkpoint=None, device="auto"):
        self.path = Path(checkpoint) if checkpoint else find_checkpoint([model] if model else self.names, dataset)
        self.device = pick_device(device)
        with enough_memory(self.device, "use --device cpu"):
            self.saved = checkpoints.load(self.path, self.device)
        self.classes = self.saved.classes
        self.cut = 0  # texts so far that were longer than pad_size

    def predict(self, text):
        """A text's class; None where it is empty."""
        return self.predict_list([text])[0]

    def predict_list(self, texts):
        """Each text's class, in order; None where it is empty."""
        probabilities = self.predict_proba(texts)
        return [self.classes[row.argmax()] if row.any() else None for row in probabilities]

    def predict_proba(self, texts):
        """Each text's probability of each class, (N, C) float32; an empty text's are all 0."""
        vocabulary, limit = self.saved.vocabulary, self.saved.config.pad_size
        rows = vocabulary.encode_texts([text.strip() for text in texts])
        self.cut += int((rows.lengths > limit).sum())
        probabilities = np.zeros((len(rows.lengths), len(self.classes)), np.float32)
        batches = Batches(vocabulary.cut(rows, limit), None, vocabulary.pad, self.device)
        with enough_memory(self.device, "use --device cpu"):
            for numbers, _, logits in infer(self.saved.model, batches):
                probabilities[numbers] = logits.float().softmax(dim=1).cpu().numpy()
        return probabilities


def find_checkpoint(names, dataset):
    """Of these models' checkpoints under a dataset the one that was written last."""
    directory = dataset or default_dataset()
    path = checkpoints.newest(directory, names)
    if path is None:
        what = f"no {names[0]}.ckpt" if len(names) == 1 else f"no checkpoint of {', '.join(names)}"
        train = f"python {trainer(names)} --model {names[0]}"
        raise UserError(f"{what} in {Path(directory) / 'saved_dict'}; train one: {train}")
    return path


def read_texts(source, column, show):
    """The texts of a file, one after the other: a line each, or a column of a .jsonl, .csv or .tsv file."""
    lines = sys.stdin.buffer if source == "-" else lines_of(source, show)
    name = "standard input" if source == "-" else source
    texts = (decode(name, line, i).rstrip("\r\n") for i, line in enumerate(lines))
    kinds = {".jsonl": _json_texts, ".csv": _table_texts, ".tsv": _table_texts}
    kind = kinds.get(_suffix(source))
    if column and not kind:
        raise UserError(f"--text {column} names a column, but {name} is no .jsonl, .csv or .tsv file")
    return kind(texts, name, column or "text") if kind else texts


def _suffix(source):
    """A file's suffix, before one of compression."""
    return Path(source.lower().removesuffix(".gz").removesuffix(".bz2")).suffix


def _json_texts(lines, name, column):
    for i, line in enumerate(lines, 1):
        if not line.strip():
            yield ""
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name}, line {i}: no JSON ({error})") from error
        text = row.get(column) if isinstance(row, dict) else None
        if not isinstance(text, str):
            keys = ", ".join(row) if isinstance(row, dict) else "no object"
            raise UserError(f"{name}, line {i}: no text at {column!r}; it has {keys}; --text COLUMN names another")
        yield text


def _table_texts(lines, name, column):
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if _suffix(name) == ".tsv" else {}
    csv.field_size_limit(1 << 30)
    reader = csv.reader((line + "\n" for line in lines), strict=True, **options)
    try:
        header = next(reader, [])
        if column not in header:
            raise UserError(f"{name} has no column {column!r}; it has {', '.join(header)}; --text COLUMN names another")
        place = header.index(column)
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(f"{name}, line {reader.line_num}: {len(row)} fields, the header has {len(header)}")
            yield row[place] if row else ""
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: {error}") from error


class Writer:
    """Writes texts with their predictions as tsv or jsonl."""

    def __init__(self, file, kind, classes, top_k):
        self.file, self.kind, self.classes, self.top_k = file, kind, classes, top_k
        if kind == "tsv":
            places = ["", *(f"_{k}" for k in range(2, (top_k or 1) + 1))]
            self._row(["text", *(f"{name}{place}" for place in places for name in ("label", "probability"))])

    def _row(self, fields):
        self.file.write("\t".join(fields) + "\n")

    def write(self, texts, probabilities):
        count = self.top_k or 1
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(probabilities, order, axis=1)
        for text, ids, values, known in zip(texts, order, best, probabilities.any(axis=1), strict=True):
            pairs = [(self.classes[i], value) for i, value in zip(ids, values.tolist(), strict=True)] if known else []
            if self.kind == "jsonl":
                label, probability = pairs[0] if pairs else (None, 0.0)
                row = {"text": text, "label": label, "probability": round(probability, 4)}
                if self.top_k:
                    row["top_k"] = [[label, round(probability, 4)] for label, probability in pairs]
                self.file.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                pairs = pairs or [("", 0.0)] * count
                self._row([one_line(text), *(field for label, value in pairs for field in (label, f"{value:.4f}"))])


def prompt(predictor, top_k):
    """Asks for texts and answers them until the input ends."""
    say("A text, then Enter; an empty line or Ctrl-D ends.")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            text = ""
        if not text:
            return
        row = predictor.predict_proba([text])[0]
        for i in np.argsort(-row, kind="stable")[: top_k or 1]:
            print(f"{predictor.classes[i]}\t{row[i]:.4f}")


def parse_args(description, names):
    parser = Parser(description)
    parser.add_argument("texts", nargs="*", help="texts to classify")
    parser.add_argument("--input", help="file of texts, a line each, or .jsonl, .csv, .tsv; - is standard input")
    parser.add_argument("--text", metavar="COLUMN", help="the column or key of the texts in --input (text)")
    parser.add_argument("--output", help="file to write (the screen)")
    parser.add_argument(
        "--format", choices=["tsv", "jsonl"], help="of the output (tsv, or jsonl where --output says so)"
    )
    parser.add_argument("--top_k", type=number(int, 1), help="as many most probable classes, not only the first")
    parser.add_argument("--checkpoint", help="checkpoint file, in place of --model and --dataset")
    parser.add_argument("--model", choices=names, help="model (the one whose checkpoint was written last)")
    parser.add_argument("--dataset", help="directory that training wrote to (THUCNews, else sample)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    args = parser.parse_args()
    if args.texts and args.input:
        parser.error("texts and --input are both given, expected one of them")
    if args.checkpoint and (args.model or args.dataset):
        parser.error("--checkpoint is given, and --model or --dataset too: expected one way to name the checkpoint")
    return args


def main(predict=Predict, description=__doc__):
    args = parse_args(description, predict.names)
    predictor = predict(args.model, args.dataset, args.checkpoint, args.device)
    say(f"Checkpoint: {shown(predictor.path)} ({predictor.saved.name}, {len(predictor.classes)} classes)")
    top_k = min(args.top_k, len(predictor.classes)) if args.top_k else None
    if not args.texts and not args.input and sys.stdin.isatty():
        if args.output or args.format:
            raise UserError("--output and --format are for texts that are given as arguments or with --input")
        prompt(predictor, top_k)
        return
    show_bar = bool(args.output) or not sys.stdout.isatty()
    texts = iter(args.texts) if args.texts else read_texts(args.input or "-", args.text, show_bar)
    kind = args.format or ("jsonl" if Path(args.output or "").suffix == ".jsonl" else "tsv")
    if args.output:
        with replacing(args.output, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            write_all(predictor, texts, Writer(file, kind, predictor.classes, top_k))
    else:
        write_all(predictor, texts, Writer(sys.stdout, kind, predictor.classes, top_k))
    if predictor.cut:
        say(f"{predictor.cut} texts were longer than the {predictor.saved.config.pad_size} tokens that the model reads")


def write_all(predictor, texts, writer):
    while chunk := list(itertools.islice(texts, CHUNK)):
        writer.write(chunk, predictor.predict_proba(chunk))


if __name__ == "__main__":
    run_script(main)
