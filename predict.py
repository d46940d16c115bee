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

import torch

from cli.console import Parser, UserError, number, run_script, say
from cli.files import replacing, shown
from engine.device import add_device_flags
from engine.predictions import Lines, most_probable
from engine.predictor import Predict
from text.inputs import read_texts

CHUNK = 4096  # texts that a thread takes at a time


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
