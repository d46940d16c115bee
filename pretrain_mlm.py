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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM

from cli.console import Parser, UserError, echo, move, number, run_script, say
from engine.batches import Batches
from engine.device import add_training_flags, describe_device, pick_device, training
from models import base, encoder
from models.base import add_config_flags, config_of
from pretrain_eval import make_optimizers, warmup_and_decay
from text.labelled import decode, lines_of
from text.vocabulary import concatenate, gather
from text.wordpieces import build_wordpieces, check_unknown, read_vocab_file, read_wordpieces, write_wordpieces
from train_eval import Run, duration, finish, train

# layers and width, after Turc et al. 2019, https://arxiv.org/abs/1908.08962, and BERT's base
SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "base": (12, 768)}
HEAD_WIDTH = 64
HEADS = ("cls.", "predictions.", "generator_predictions.", "generator_lm_head.")  # that fill in words
CHUNK = 1 << 15  # lines that are tokenised at a time
DEV_SHARE, DEV_ROWS = 0.02, 10_000  # what is held out for validation, and how much at the most
MASKED, SWAPPED = 0.8, 0.9  # of the chosen words 80 % are masked, 10 % swapped, and 10 % stay


@dataclass
class Config(encoder.Config):
    num_epochs: int = 10
    learning_rate: float = 5e-4
    require_improvement: int = 10000
    mask_share: float = base.flag(0.15, "share of the words that are to be filled in", low=0, high=0.9, open_low=True)


class Model(nn.Module):
    """An encoder with the head that fills in words: a Batch with places -> logits, (M, tokens)."""

    def __init__(self, config):
        super().__init__()
        self.filler = encoder.build(AutoModelForMaskedLM, config)

    def forward(self, batch):
        states = encoder.run(self.filler.base_model, batch).last_hidden_state
        chosen = states.flatten(0, 1)[batch.places]  # (M, E): the head is for the masked words alone
        if hasattr(self.filler, "generator_predictions"):  # ELECTRA
            return self.filler.generator_lm_head(self.filler.generator_predictions(chosen))
        return (self.filler.predictions if hasattr(self.filler, "predictions") else self.filler.cls)(chosen)


class MaskedBatches(Batches):
    """Batches in which some words are masked, others in each epoch; their labels are the words.

    What is masked depends on the seed, the epoch and the word's place in the corpus, not on the batch: a resumed run
    and several ranks mask the same.
    """

    resident = False  # words are masked on the host

    def __init__(self, rows, vocabulary, share, seed, device):
        super().__init__(rows, None, vocabulary, int(rows.lengths.max()), device)
        self.vocabulary, self.share, self.seed, self.epoch = vocabulary, share, seed, -1  # validation's epoch

    def shuffled(self, batch_size, seed, epoch):
        self.epoch = epoch
        return super().shuffled(batch_size, seed, epoch)

    def cut(self, numbers):
        _, places, tokens, lengths = (part.numpy() for part in self.grid(numbers))
        columns = np.arange(tokens.shape[1])
        solid = (columns > 0) & (columns < lengths[:, None] - 1)  # not [CLS], [SEP] and padding
        drawn = np.where(solid, self.draw(places, 0), 2.0)
        mask = solid & ((drawn < self.share) | (drawn == drawn.min(axis=1, keepdims=True)))  # one a row at the least
        labels = tokens[mask]
        fate, swap = self.draw(places[mask], 1), self.draw(places[mask], 2)
        swapped = np.where(fate < SWAPPED, (swap * len(self.vocabulary)).astype(np.int64), labels)
        tokens[mask] = np.where(fate < MASKED, self.vocabulary.mask, swapped)
        return self.batch(*map(torch.from_numpy, (tokens, lengths, labels, np.flatnonzero(mask))))

    def draw(self, places, purpose):
        """A random number in [0, 1) for each place: SplitMix64, Steele et al. 2014."""
        stream = np.random.SeedSequence((self.seed, self.epoch + 1, purpose)).generate_state(1, np.uint64)
        z = places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + stream
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


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
        settings = encoder.read_settings(args.init)
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
    if encoder.load_weights(model.filler, directory, optional=HEADS):
        say(f"{directory} has no head that fills in words: it starts random")
    body = AutoModel.from_config(model.filler.config)  # the whole encoder
    absent = encoder.load_weights(body, directory, optional="pooler.")
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
    encoder.hush()
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
    decisive |= {"init": args.init and encoder.weights_digest(encoder.weights_file(args.init))}
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
