"""Pre-trains an encoder on unlabelled text: some of the words are masked, and it learns to fill them in.

python pretrain_mlm.py --corpus news.txt more.txt.gz --output my_encoder --size mini       # from nothing
python pretrain_mlm.py --corpus news.txt --output my_encoder --init bert_pretrain          # goes on from an encoder
python pretrain_mlm.py --corpus news.txt --output my_encoder --size mini --resume          # where it was interrupted
python pretrain_run.py --model bert --bert_path my_encoder                                 # then fine-tune it

A corpus is a text a line, plain, .gz or .bz2; what follows a tab (a label) is left out, so that a train.txt will do.
"""

import hashlib
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from cli.console import Parser, UserError, duration, echo, number, run_script, say
from cli.files import move
from engine.device import describe_device, pick_device
from engine.masking import MaskedBatches
from engine.runs import Run, add_training_flags, training
from models import encoder_files
from models.base import add_config_flags, config_of
from models.mlm import Config, Model
from pretrain_eval import make_optimizers, warmup_and_decay
from text.files import decode, lines_of
from text.rows import concatenate, gather
from text.wordpieces import build_wordpieces, check_unknown, read_vocab_file, read_wordpieces, write_wordpieces
from train_eval import finish, train

# layers and width, after Turc et al. 2019, https://arxiv.org/abs/1908.08962, and BERT's base
SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "base": (12, 768)}
HEAD_WIDTH = 64
HEADS = ("cls.", "predictions.", "generator_predictions.", "generator_lm_head.")  # that fill in words
CHUNK = 1 << 15  # lines that are tokenised at a time
DEV_SHARE, DEV_ROWS = 0.02, 10_000  # what is held out for validation, and how much at the most


def parse_args():
    first = Parser(add_help=False)
    first.add_argument("--init", type=Path, help="directory of the encoder to go on from (none: from nothing)")
    going_on = first.parse_known_args()[0].init
    parser = Parser(__doc__, parents=[first])
    parser.add_argument("--corpus", nargs="+", required=True, help="files of unlabelled text, a text a line")
    parser.add_argument("--output", type=Path, required=True, help="directory that the encoder is written to")
    parser.add_argument("--size", choices=SIZES, help="of an encoder from nothing (mini)")
    parser.add_argument("--vocab", type=Path, help="vocab.txt for an encoder from nothing (built from the corpus)")
    parser.add_argument("--vocab_size", type=number(int, 100), default=21128, help="pieces at most, where it is built")
    add_training_flags(parser)
    add_config_flags(parser, Config)
    if going_on:
        parser.set_defaults(learning_rate=5e-5)
    args = parser.parse_args()
    if args.init and (args.size or args.vocab):
        parser.error("--init is given, and --size or --vocab too: an encoder brings its size and vocabulary")
    return args


def texts_of(paths, show=True):
    """The texts of a corpus, one after the other, each up to its first tab."""
    for path in paths:
        for i, line in enumerate(lines_of(path, show)):
            yield decode(path, line, i).split("\t", 1)[0].strip()


def read_rows(paths, vocabulary, pad_size):
    """The rows of a corpus, encoded, long texts as several, and the digest of its ids."""
    parts, chunk, blank = [], [], 0
    for text in texts_of(paths):
        blank += not text
        if text:
            chunk.append(text)
        if len(chunk) == CHUNK:
            parts.append(vocabulary.split(vocabulary.encode_texts(chunk), pad_size))
            chunk = []
    parts.append(vocabulary.split(vocabulary.encode_texts(chunk), pad_size))
    rows = concatenate(parts)
    if len(rows.lengths) < 2:
        raise UserError(f"--corpus {' '.join(paths)}: {len(rows.lengths)} texts, expected two or more, a text a line")
    if blank:
        say(f"{blank} blank lines skipped")
    digest = hashlib.sha256(rows.ids)
    digest.update(rows.offsets)
    return rows, digest.hexdigest()[:16]


def hold_out(rows, seed):
    """The rows to train on and those to validate on."""
    order = np.random.default_rng(seed).permutation(len(rows.lengths))
    count = min(DEV_ROWS, max(1, round(DEV_SHARE * len(order))))
    splits = np.sort(order[count:]), np.sort(order[:count])
    return [gather(rows.ids, rows.offsets[:-1][numbers], rows.lengths[numbers]) for numbers in splits]


def start_of(args):
    """The encoder's settings and vocabulary: those of `--init`, or of one from nothing."""
    if args.init:
        settings = encoder_files.read_settings(args.init)
        return settings, read_wordpieces(args.init, settings["vocab_size"])
    if args.vocab:
        vocabulary = read_vocab_file(args.vocab)
    else:
        say("Vocabulary: built from the corpus")
        vocabulary = build_wordpieces(texts_of(args.corpus), args.vocab_size)
    layers, width = SIZES[args.size or "mini"]
    settings = {"model_type": "bert", "vocab_size": len(vocabulary), "num_hidden_layers": layers, "hidden_size": width}
    settings |= {"num_attention_heads": width // HEAD_WIDTH, "intermediate_size": 4 * width}
    # no position that training does not see
    return settings | {"max_position_embeddings": args.pad_size, "pad_token_id": vocabulary.pad}, vocabulary


def load(model, directory):
    """Takes an encoder's weights; returns those of its pooler, which is not trained here but is not to be lost."""
    if encoder_files.load_weights(model.filler, directory, optional=HEADS):
        say(f"{directory} has no head that fills in words: it starts random")
    body = AutoModel.from_config(model.filler.config)  # the whole encoder
    absent = encoder_files.load_weights(body, directory, optional="pooler.")
    own = model.filler.base_model_prefix
    return {f"{own}.{name}": w for name, w in body.state_dict().items() if name.startswith("pooler.") and not absent}


def write(directory, model, vocabulary, pooler):
    """Writes the encoder as a directory that `--bert_path` takes and `transformers` opens, each file whole."""
    beside = directory / "new.tmp"
    try:
        shutil.rmtree(beside, ignore_errors=True)  # what a crash left
        beside.mkdir()
        model.filler.save_pretrained(beside, state_dict=model.filler.state_dict() | pooler)
        write_wordpieces(beside, vocabulary)
        for path in beside.iterdir():
            shutil.copymode(beside / "config.json", path)  # safetensors lets nobody else read
            move(path, directory / path.name)
        beside.rmdir()
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error.strerror or error}") from error


def check_output(args):
    if args.init and args.output.resolve() == args.init.resolve():
        raise UserError(f"--output {args.output} is the directory of --init; name another, the encoder there stays")
    if (args.output / "config.json").exists() and not (args.output / "log").exists():
        raise UserError(
            f"--output {args.output} holds an encoder that this script did not make; name another directory"
        )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {args.output} cannot be written: {error.strerror}") from error


def main():
    args = parse_args()
    start = time.monotonic()
    device = pick_device(args.device)
    config = config_of(args, Config)
    check_output(args)
    encoder_files.hush()
    settings, vocabulary = start_of(args)
    echo("Loading data...")
    rows, digest = read_rows(args.corpus, vocabulary, config.pad_size)
    advice = f"take the vocab.txt of the encoder in {args.init}" if args.init else "take another --vocab"
    check_unknown(vocabulary, rows, advice if args.init or args.vocab else "raise --vocab_size")
    echo(f"Vocab size: {len(vocabulary)}")
    torch.manual_seed(args.seed)
    model = Model(config.fit(0, len(vocabulary), settings))
    pooler = load(model, args.init) if args.init else {}
    splits = [
        MaskedBatches(part, vocabulary, config.mask_share, args.seed, device) for part in hold_out(rows, args.seed)
    ]
    train_rows, dev_rows = (len(split.lengths) for split in splits)
    weights = sum(weight.numel() for weight in model.parameters())
    say(f"{train_rows} rows to train on, {dev_rows} to validate on; {weights:,} weights")
    echo(f"Time usage: {duration(time.monotonic() - start)}")
    say(f"Device: {describe_device(device)}")
    decisive = {"encoder": settings, "tokenizer": vocabulary.digest, "corpus": digest}
    decisive |= {"init": args.init and encoder_files.weights_digest(encoder_files.weights_file(args.init))}
    with training(device):
        run = Run.of(
            args,
            device,
            decisive,
            name="mlm",
            config=config,
            model=model,
            optimizers=make_optimizers(model.to(device), config),
            train=splits[0],
            dev=splits[1],
            output=args.output,
            keep=lambda metrics: write(args.output, model, vocabulary, pooler),
            schedule=warmup_and_decay(config.warmup),
            max_norm=config.max_norm,
        )
        progress = train(run)
        finish(run, progress)
    best = min(progress.history, key=lambda point: point["dev_loss"])
    loss, accuracy = best["dev_loss"], best["dev_accuracy"]
    echo(f"Best Val Loss: {loss:>5.2},  Perplexity: {math.exp(loss):.1f},  Words filled in: {accuracy:.2%}")
    say(f"The encoder is in {args.output}: python pretrain_run.py --model bert --bert_path {args.output}")


if __name__ == "__main__":
    run_script(main)
