"""Classifies texts with a trained network or linear model.

    python predict.py 体验2D巅峰 "60年铁树开花形状似玉米芯(组图)"      # texts as arguments; without any, a prompt
    python predict.py --input news.txt --output news.tsv               # one text a line; - is standard input
    python predict.py --input news.csv --text title --format jsonl     # or .tsv .jsonl .json .xlsx: texts of a column
    python predict.py --model DPCNN --dataset D --top_k 3 一条新闻      # default: the newest checkpoint
    python predict.py --input news.txt --min_precision 0.98            # ? where the model is not sure enough
    python predict.py --input news.txt --explain --output news.html    # the characters that decided
    python predict.py --dataset D --similar 3 一条新闻                   # the training rows that are most alike
    python predict.py --evaluate test.txt                              # report and errors on labelled texts

In Python, `Predict("TextCNN", dataset="THUCNews")` has `predict(text)`, `predict_list(texts)`, `predict_proba(texts)`.
"""

from cli.start import run_script

import collections
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from cli.console import Parser, UserError, say
from cli.device_flags import add_device_flags
from cli.files import replacing, shown
from engine.answers import add_answer_flags, lines_of
from engine.predictor import Predict
from text.inputs import read_texts

FORMATS = ("tsv", "jsonl", "html")
CHUNK = 4096  # texts that a thread predicts together


def prompt(predictor, lines):
    """Asks for texts and prints their classes until the input ends."""
    say("Enter a text; an empty line or Ctrl-D ends.")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            text = ""
        if not text:
            return
        print(lines.answer(text, predictor.predict_proba([text])))


def parse_args(description, names):
    parser = Parser(description)
    parser.add_argument("texts", nargs="*", help="texts to classify")
    parser.add_argument("--input", help="file of texts: one a line, or .csv, .tsv, .jsonl, .json, .xlsx; - is a pipe")
    parser.add_argument("--text", metavar="COLUMN", help="column or key of the texts in --input (text)")
    parser.add_argument("--output", help="file to write (standard output)")
    parser.add_argument("--format", choices=FORMATS, help="format of the output (as --output ends, otherwise tsv)")
    parser.add_argument(
        "--evaluate", metavar="FILE", help="labelled file, text<TAB>label: print a report, write the errors"
    )
    add_answer_flags(parser)
    parser.add_argument("--checkpoint", help="checkpoint file, instead of --model and --dataset")
    parser.add_argument("--model", choices=names, help="model (the one with the newest checkpoint)")
    parser.add_argument("--dataset", help="directory that training wrote to (THUCNews, or sample if that is missing)")
    add_device_flags(parser)
    parser.add_argument("--int8", action="store_true", help="compute in 8 bits, for processors with VNNI (CPU only)")
    args = parser.parse_args()
    if args.texts and args.input:
        parser.error("texts and --input are both given, expected one of them")
    unused = ("input", "text", "format", "top_k", "novelty", "explain", "similar")
    others = [f"--{name}" for name in unused if getattr(args, name)]
    if args.evaluate and (args.texts or others):
        parser.error(f"--evaluate is given with {', '.join(others) or 'texts'}, which it does not use")
    if args.int8 and args.amp not in ("auto", "off"):
        parser.error(f"--int8 and --amp {args.amp} are both given, expected one precision")
    if args.checkpoint and (args.model or (args.dataset and not (args.similar or args.int8))):
        parser.error("--checkpoint and --model or --dataset are both given, expected one way to name the checkpoint")
    return args


def main(predict=Predict, description=__doc__):
    args = parse_args(description, predict.names)
    predictor = predict(args.model, args.dataset, args.checkpoint, args.device, "off" if args.int8 else args.amp)
    levels = predictor.hierarchy.num_levels
    classes = f"{len(predictor.classes)} classes{f' in {levels} levels' if levels > 1 else ''}"
    say(f"Checkpoint: {shown(predictor.path)} ({predictor.saved.name}, {classes})")
    if args.int8:
        from engine.int8 import use_int8

        use_int8(predictor, args.dataset)
    if args.evaluate:
        from evaluation.errors import evaluate_file  # loads scikit-learn, which takes a second

        evaluate_file(args, predictor)
        return
    suffix = Path(args.output or "").suffix[1:]
    format = args.format or (suffix if suffix in FORMATS else "tsv")
    in_terminal = not args.output and not args.format and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lines = lines_of(args, predictor, format, in_terminal)
    if not args.texts and not args.input and sys.stdin.isatty():
        if args.output or args.format:
            raise UserError("--output and --format need texts as arguments or with --input")
        prompt(predictor, lines)
        return
    show_bar = bool(args.output) or not sys.stdout.isatty()
    blocks = iter([args.texts]) if args.texts else read_texts(args.input or "-", args.text, show_bar)
    if args.output:
        with replacing(args.output, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            write_all(predictor, blocks, lines, file)
    else:
        write_all(predictor, blocks, lines, sys.stdout)
    if predictor.cut:
        say(f"{predictor.cut} texts were longer than the {predictor.limit} tokens that the model reads")


def write_all(predictor, blocks, lines, file):
    """Writes the texts' lines: this thread reads and writes; others encode, predict and format a chunk each.

    blocks: lists of texts, an empty one if the next text has not arrived yet. A few chunks are in memory at a time. An
    error in any thread ends all of them.
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
        for chunk in chunks_of(blocks):
            if chunk:
                waiting.append(pool.submit(work, chunk))
            while waiting and (not chunk or len(waiting) > 2 * workers or waiting[0].done()):
                finish()
            if not chunk:
                file.flush()
        while waiting:
            finish()
        file.write(lines.footer)
    finally:
        predictor.stopped = True
        pool.shutdown(cancel_futures=True)
        predictor.stopped = False
        torch.set_num_threads(threads)


def chunks_of(blocks):
    """Lists of texts as lists of `CHUNK` texts. If a list is empty, those before it follow at once, and it too."""
    texts = []
    for block in blocks:
        texts += block
        while len(texts) >= CHUNK:
            yield texts[:CHUNK]
            texts = texts[CHUNK:]
        if not block:
            if texts:
                yield texts
            yield []
            texts = []
    if texts:
        yield texts


if __name__ == "__main__":
    run_script(main)
