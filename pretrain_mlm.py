"""Pre-trains an encoder on unlabelled text: it learns to predict masked words.

python pretrain_mlm.py --corpus news.txt more.txt.gz --output my_encoder --size mini       # from random weights
python pretrain_mlm.py --corpus news.txt --output my_encoder --init bert_pretrain          # from an encoder
python pretrain_mlm.py --corpus news.txt --output my_encoder --size mini --resume          # where it was interrupted
python pretrain_run.py --model bert --bert_path my_encoder                                 # then fine-tune it

A corpus has one text a line, plain, .gz or .bz2. What follows a tab (a label) is ignored: a train.txt is a corpus.
"""

from cli.start import run_script

import contextlib
import math
import shutil
import time
from pathlib import Path

import torch
from transformers import AutoModel

from cli.console import Parser, UserError, duration, echo, number, reason, say
from cli.files import move
from engine.device import Compute, describe_device
from engine.masking import FORMAT, MaskedBatches
from engine.optimizers import warmup_and_decay
from engine.runs import Output, Run, Updates, add_training_flags, training
from models import encoder_files
from models.base import DataSpec, add_config_flags, config_of
from models.mlm import TOKEN, Config, Model
from pretrain_eval import make_optimizers
from text.corpus import hold_out, read_corpus
from text.wordpiece_files import check_unknown, read_vocab_file, read_wordpieces, write_wordpieces
from train_eval import finish, train

# layers and width, after Turc et al. 2019, https://arxiv.org/abs/1908.08962, and BERT's base
SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "base": (12, 768)}
HEAD_WIDTH = 64
HEADS = ("cls.", "predictions.", "generator_predictions.", "generator_lm_head.")  # that predict words


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


def read_encoder(args):
    """The config.json of `--init` as a dict, and the vocabulary, of `--init` or `--vocab`; None for what is to be made.

    Those of an encoder with random weights depend on the corpus.
    """
    if args.init:
        config = encoder_files.read_config(args.init)
        return config, read_wordpieces(args.init, config["vocab_size"])
    return None, args.vocab and read_vocab_file(args.vocab)


def new_encoder(size, pad_size, vocabulary):
    """The config.json, as a dict, of an encoder with random weights."""
    layers, width = SIZES[size or "mini"]
    config = {"model_type": "bert", "vocab_size": len(vocabulary), "num_hidden_layers": layers, "hidden_size": width}
    config |= {"num_attention_heads": width // HEAD_WIDTH, "intermediate_size": 4 * width}
    # no more positions than are trained
    return config | {"max_position_embeddings": pad_size, "pad_token_id": vocabulary.pad}


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
    corpus = read_corpus(args.corpus, config.pad_size, config.masking != TOKEN, vocabulary, args.vocab_size)
    vocabulary = corpus.vocabulary
    encoder = encoder or new_encoder(args.size, config.pad_size, vocabulary)
    advice = f"use the vocab.txt of the encoder in {args.init}" if args.init else "use another --vocab"
    check_unknown(corpus.unknown, advice if args.init or args.vocab else "increase --vocab_size")
    echo(f"Vocab size: {len(vocabulary)}")
    output = Output(args.output, "mlm")
    with training(compute.device, output):
        torch.manual_seed(args.seed)
        with encoder_files.fits_weights(args.init) if args.init else contextlib.nullcontext():
            model = Model(config, DataSpec(0, len(vocabulary), encoder))
        pooler = load(model, args.init) if args.init else {}
        train_split, dev_split = (
            MaskedBatches(part, vocabulary, config, args.seed, compute.device) for part in hold_out(corpus, args.seed)
        )
        weights = sum(weight.numel() for weight in model.parameters())
        counts = f"{len(train_split.lengths)} rows for training, {len(dev_split.lengths)} for validation"
        say(f"{counts}; {weights:,} parameters")
        echo(f"Time usage: {duration(time.monotonic() - start)}")
        say(f"Device: {describe_device(compute.device)}")
        optimizers = make_optimizers(model.to(compute.device), config)
        masks = {} if config.masking == TOKEN else {"masks": FORMAT}
        init = args.init and encoder_files.digest_of_weights(encoder_files.weights_file(args.init))
        run = Run.of(
            args,
            {"encoder": encoder, "tokenizer": vocabulary.digest, "corpus": corpus.digest, "init": init} | masks,
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
