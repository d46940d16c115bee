"""Classifies texts with a trained network.

    python predict.py 体验2D巅峰 "60年铁树开花形状似玉米芯(组图)"      # texts as arguments; with none, a prompt
    python predict.py --input news.txt --output news.tsv               # a text a line; - is standard input
    python predict.py --input news.csv --text title --format jsonl     # .csv .tsv .jsonl: a column's texts
    python predict.py --model DPCNN --dataset D --top_k 3 一条新闻      # default: the checkpoint written last

In Python, `Predict("TextCNN", dataset="THUCNews")` has `predict(text)`, `predict_list(texts)`, `predict_proba(texts)`.
"""

import collections
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from cli.console import Parser, UserError, number, replacing, run_script, say
from engine import checkpoint as checkpoints
from engine.batches import Batches
from engine.device import add_device_flags, autocast, enough_memory, pick_device, precision
from models import NETWORKS, trainer
from models.base import infer
from text.inputs import Lines, most_probable, read_texts
from utils import default_dataset, shown

CHUNK = 4096  # texts that a thread takes at a time
WORKERS = 16  # threads at most, which take turns where they run Python


class Predict:
    """A trained network.

    model: its name, default the one whose checkpoint was written last; dataset: the directory that training wrote to;
    checkpoint: a file, in place of the two; amp: the precision, by default the fastest that the device has, `off` is
    float32. Raises UserError where there is no such checkpoint.
    """

    names = NETWORKS  # of the models that are looked for
    shares_cores = True  # a batch is too small for several cores, so that each takes batches of its own

    def __init__(self, model=None, dataset=None, checkpoint=None, device="auto", amp="auto"):
        self.path = Path(checkpoint) if checkpoint else find_checkpoint([model] if model else self.names, dataset)
        self.device = pick_device(device)
        self.amp = precision(amp, self.device)
        with enough_memory(self.device, "use --device cpu"):
            self.saved = checkpoints.load(self.path, self.device)
        self.classes = self.saved.classes
        self.cut = 0  # texts so far that were longer than pad_size
        self.stopped = False

    def predict(self, text):
        """A text's class; None where it is empty."""
        return self.predict_list([text])[0]

    def predict_list(self, texts):
        """Each text's class, in order; None where it is empty."""
        probabilities = self.predict_proba(texts)
        return [self.classes[row.argmax()] if row.any() else None for row in probabilities]

    def predict_proba(self, texts):
        """Each text's probability of each class, (N, C) float32; an empty text's are all 0."""
        probabilities, cut = self.compute(texts)
        self.cut += cut
        return probabilities

    def compute(self, texts):
        """What `predict_proba` gives, and how many of the texts were longer than pad_size.

        Several threads may call it. A `stopped` predictor ends after the batch at hand.
        """
        vocabulary, limit = self.saved.vocabulary, self.saved.config.pad_size
        rows = vocabulary.encode_texts([text.strip() for text in texts])
        probabilities = np.zeros((len(rows.lengths), len(self.classes)), np.float32)
        batches = Batches(rows, None, vocabulary, limit, self.device)
        with enough_memory(self.device, "use --device cpu"), autocast(self.device, self.amp):
            for numbers, _, logits in infer(self.saved.model, batches):
                probabilities[numbers] = logits.float().softmax(dim=1).cpu().numpy()
                if self.stopped:
                    break
        return probabilities, int((rows.lengths > limit).sum())

    @property
    def workers(self):
        """Threads that predict a file's texts, and the cores that each of them computes on."""
        cores = torch.get_num_threads()
        if self.device.type == "cpu":
            return (min(cores, WORKERS), 1) if self.shares_cores else (1, cores)
        return (2 if self.device.type == "cuda" else 1), cores  # two, for one encodes while the other's batches run


def find_checkpoint(names, dataset):
    """Of these models' checkpoints under a dataset the one that was written last."""
    directory = dataset or default_dataset()
    path = checkpoints.newest(directory, names)
    if path is None:
        what = f"no {names[0]}.ckpt" if len(names) == 1 else f"no checkpoint of {', '.join(names)}"
        train = f"python {trainer(names)} --model {names[0]}"
        raise UserError(f"{what} in {Path(directory) / 'saved_dict'}; train one: {train}")
    return path


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
        for i in most_probable(row[None], top_k or 1)[0]:
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
    add_device_flags(parser)
    args = parser.parse_args()
    if args.texts and args.input:
        parser.error("texts and --input are both given, expected one of them")
    if args.checkpoint and (args.model or args.dataset):
        parser.error("--checkpoint is given, and --model or --dataset too: expected one way to name the checkpoint")
    return args


def main(predict=Predict, description=__doc__):
    args = parse_args(description, predict.names)
    predictor = predict(args.model, args.dataset, args.checkpoint, args.device, args.amp)
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
    lines = Lines(kind, predictor.classes, top_k)
    if args.output:
        with replacing(args.output, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            write_all(predictor, texts, lines, file)
    else:
        write_all(predictor, texts, lines, sys.stdout)
    if predictor.cut:
        say(f"{predictor.cut} texts were longer than the {predictor.saved.config.pad_size} tokens that the model reads")


def write_all(predictor, texts, lines, file):
    """Writes the texts' lines: this thread reads and writes, others encode, predict and format, a chunk each.

    A few chunks are in memory at a time. Whatever goes wrong, in whichever thread, ends all of them.
    """

    def work(chunk):
        probabilities, cut = predictor.compute(chunk)
        return lines(chunk, probabilities), cut

    def finish():
        content, cut = waiting.popleft().result()
        file.write(content)
        predictor.cut += cut

    file.write(lines.header)
    waiting = collections.deque()
    threads = torch.get_num_threads()
    workers, cores = predictor.workers
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores,))
    try:
        while chunk := list(itertools.islice(texts, CHUNK)):
            waiting.append(pool.submit(work, chunk))
            while waiting and (len(waiting) > 2 * workers or waiting[0].done()):
                finish()
        while waiting:
            finish()
    finally:
        predictor.stopped = True
        pool.shutdown(cancel_futures=True)
        predictor.stopped = False
        torch.set_num_threads(threads)


if __name__ == "__main__":
    run_script(main)
