"""Pre-trains an encoder on unlabelled text: it learns to predict masked words.

python pretrain_mlm.py --corpus news.txt more.txt.gz --output my_encoder --size mini       # from random weights
python pretrain_mlm.py --corpus news.txt --output my_encoder --init bert_pretrain          # from an encoder
python pretrain_mlm.py --corpus news.txt --output my_encoder --size mini --resume          # where it was interrupted
python pretrain_run.py --model bert --bert_path my_encoder                                 # then fine-tune it

A corpus has one text a line, plain, .gz or .bz2. What follows a tab (a label) is ignored: a train.txt is a corpus.
"""

from cli.start import run_script

import contextlib
import hashlib
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from cli.console import Parser, UserError, duration, echo, number, reason, say
from cli.files import move
from engine.device import Compute, describe_device
from engine.masking import MaskedBatches
from engine.optimizers import warmup_and_decay
from engine.runs import Output, Run, Updates, add_training_flags, training
from models import encoder_files
from models.base import DataSpec, add_config_flags, config_of
from models.mlm import Config, Model
from pretrain_eval import make_optimizers
from text.files import decode, lines_of
from text.rows import concatenate, gather
from text.wordpieces import build_wordpieces, check_unknown, read_vocab_file, read_wordpieces, write_wordpieces
from train_eval import finish, train

# layers and width, after Turc et al. 2019, https://arxiv.org/abs/1908.08962, and BERT's base
SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "base": (12, 768)}
HEAD_WIDTH = 64
HEADS = ("cls.", "predictions.", "generator_predictions.", "generator_lm_head.")  # that predict words
CHUNK = 1 << 15  # lines that are tokenised together
DEV_SHARE, DEV_ROWS = 0.02, 10_000  # of the rows, for validation, and how many at most


def parse_args():
    first = Parser(add_help=False)
    first.add_argument("--init", type=Path, help="directory of the encoder to start from (random weights)")
    init = first.parse_known_args()[0].init
    parser = Parser(__doc__, parents=[first])
    parser.add_argument("--corpus", nargs="+", required=True, help="files of unlabelled text, one text a line")
    parser.add_argument("--output", type=Path, required=True, help="directory to write the encoder to")
    parser.add_argument("--size", choices=SIZES, help="size of an encoder with random weights (mini)")
    parser.add_argument("--vocab", type=Path, help="vocab.txt for random weights (built from the corpus)")
    parser.add_argument(
        "--vocab_size",
        type=number(int, 100, 10**7),
        default=21128,
        help="pieces of a vocabulary that is built, at most",
    )
    add_training_flags(parser)
    add_config_flags(parser, Config)
    if init:
        parser.set_defaults(learning_rate=5e-5)
    args = parser.parse_args()
    if args.init and (args.size or args.vocab):
        parser.error("--init and --size or --vocab are both given: an encoder has its own size and vocabulary")
    return args


def texts_of(paths, show=True):
    """The texts of a corpus, one after the other, each up to its first tab."""
    for path in paths:
        for i, line in enumerate(lines_of(path, show)):
            yield decode(path, line, i).split("\t", 1)[0].strip()


def read_rows(paths, vocabulary, pad_size):
    """The encoded rows of a corpus, long texts as several rows, and the digest of the ids."""
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
        raise UserError(f"--corpus {' '.join(paths)}: {len(rows.lengths)} texts, expected two or more, one a line")
    if blank:
        say(f"{blank} blank lines skipped")
    digest = hashlib.sha256(rows.ids)
    digest.update(rows.offsets)
    return rows, digest.hexdigest()[:16]


def hold_out(rows, seed):
    """The rows for training and those for validation."""
    order = np.random.default_rng(seed).permutation(len(rows.lengths))
    count = min(DEV_ROWS, max(1, round(DEV_SHARE * len(order))))
    splits = np.sort(order[count:]), np.sort(order[:count])
    return [gather(rows.ids, rows.offsets[:-1][row_ids], rows.lengths[row_ids]) for row_ids in splits]


def read_encoder(args):
    """The config.json, as a dict, and the vocabulary: those of `--init`, or of an encoder with random weights."""
    if args.init:
        config = encoder_files.read_config(args.init)
        return config, read_wordpieces(args.init, config["vocab_size"])
    if args.vocab:
        vocabulary = read_vocab_file(args.vocab)
    else:
        say("Vocabulary: built from the corpus")
        vocabulary = build_wordpieces(texts_of(args.corpus), args.vocab_size)
    layers, width = SIZES[args.size or "mini"]
    config = {"model_type": "bert", "vocab_size": len(vocabulary), "num_hidden_layers": layers, "hidden_size": width}
    config |= {"num_attention_heads": width // HEAD_WIDTH, "intermediate_size": 4 * width}
    # no more positions than are trained
    return config | {"max_position_embeddings": args.pad_size, "pad_token_id": vocabulary.pad}, vocabulary


def load(model, directory):
    """Loads an encoder's weights; returns those of its pooler, which are written again without being trained."""
    if encoder_files.load_weights(model.filler, directory, optional=HEADS):
        say(f"{directory} has no head that predicts words: it starts random")
    body = AutoModel.from_config(model.filler.config)  # the whole encoder
    absent = encoder_files.load_weights(body, directory, optional="pooler.")
    own = model.filler.base_model_prefix
    return {f"{own}.{name}": w for name, w in body.state_dict().items() if name.startswith("pooler.") and not absent}


def write(directory, model, vocabulary, pooler):
    """Writes the encoder as a directory that `--bert_path` and `transformers` accept, each file completely."""
    beside = directory / "new.tmp"
    try:
        shutil.rmtree(beside, ignore_errors=True)  # left by a crash
        beside.mkdir()
        model.filler.save_pretrained(beside, state_dict=model.filler.state_dict() | pooler)
        write_wordpieces(beside, vocabulary)
        for path in beside.iterdir():
            shutil.copymode(beside / "config.json", path)  # safetensors makes it readable for the owner alone
            move(path, directory / path.name)
        beside.rmdir()
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {reason(error)}") from error


def check_output(args):
    if args.init and args.output.resolve() == args.init.resolve():
        raise UserError(f"--output {args.output} is the directory of --init; name another, that encoder is kept")
    try:
        if (args.output / "config.json").exists() and not (args.output / "log").exists():
            raise UserError(
                f"--output {args.output} has an encoder that this script did not make; name another directory"
            )
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {args.output} cannot be written: {reason(error)}") from error


def main():
    args = parse_args()
    start = time.monotonic()
    compute = Compute.of(args)
    config = config_of(args, Config)
    check_output(args)
    encoder_files.hush()
    encoder, vocabulary = read_encoder(args)
    echo("Loading data...")
    rows, digest = read_rows(args.corpus, vocabulary, config.pad_size)
    advice = f"use the vocab.txt of the encoder in {args.init}" if args.init else "use another --vocab"
    check_unknown(vocabulary, rows, advice if args.init or args.vocab else "increase --vocab_size")
    echo(f"Vocab size: {len(vocabulary)}")
    output = Output(args.output, "mlm")
    with training(compute.device, output):
        torch.manual_seed(args.seed)
        with encoder_files.fits_weights(args.init) if args.init else contextlib.nullcontext():
            model = Model(config, DataSpec(0, len(vocabulary), encoder))
        pooler = load(model, args.init) if args.init else {}
        train_split, dev_split = (
            MaskedBatches(part, vocabulary, config.mask_share, args.seed, compute.device)
            for part in hold_out(rows, args.seed)
        )
        weights = sum(weight.numel() for weight in model.parameters())
        counts = f"{len(train_split.lengths)} rows for training, {len(dev_split.lengths)} for validation"
        say(f"{counts}; {weights:,} parameters")
        echo(f"Time usage: {duration(time.monotonic() - start)}")
        say(f"Device: {describe_device(compute.device)}")
        optimizers = make_optimizers(model.to(compute.device), config)
        init = args.init and encoder_files.digest_of_weights(encoder_files.weights_file(args.init))
        run = Run.of(
            args,
            {"encoder": encoder, "tokenizer": vocabulary.digest, "corpus": digest, "init": init},
            config=config,
            model=model,
            train=train_split,
            dev=dev_split,
            updates=Updates(optimizers, warmup_and_decay(config.warmup), config.max_norm, args.accumulate),
            compute=compute,
            output=output,
            keep=lambda metrics: write(args.output, model, vocabulary, pooler),
        )
        progress = train(run)
        finish(run, progress)
    best = min(progress.history, key=lambda point: point["dev_loss"])
    loss, accuracy = best["dev_loss"], best["dev_accuracy"]
    echo(f"Best Val Loss: {loss:>5.2},  Perplexity: {math.exp(loss):.1f},  Words filled in: {accuracy:.2%}")
    say(f"The encoder is in {args.output}: python pretrain_run.py --model bert --bert_path {args.output}")


if __name__ == "__main__":
    run_script(main)
