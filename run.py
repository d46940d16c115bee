"""Trains and tests a network.

python run.py --model TextCNN                          # TextRNN TextRNN_Att TextRCNN FastText DPCNN Transformer
python run.py --model TextCNN --dataset D              # D/data has class.txt, train.txt, dev.txt, test.txt
python run.py --model DPCNN --embedding random --pad_size 64 --num_epochs 10
python run.py --model TextRNN --word True              # words instead of characters
python run.py --model TextCNN --resume                 # goes on where it was interrupted
"""

import dataclasses
import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import torch

import vectors
from console import Parser, UserError, echo, number, run_script, say
from models import NETWORKS, model_module
from models.base import add_config_flags, describe
from train_eval import Run, duration, test, train
from utils import add_text_flags, default_dataset, has_bfloat16, pick_device, read_dataset


def parse_args():
    first = Parser(add_help=False)
    first.add_argument(
        "--model", choices=NETWORKS, default="TextCNN", help="the network; it decides the defaults below"
    )
    name = first.parse_known_args()[0].model
    parser = Parser(__doc__, parents=[first])
    add_text_flags(parser)
    parser.add_argument("--embedding", help="random, pre_trained or a .npz file (the dataset's vectors, if any)")
    parser.add_argument("--output", type=Path, help="directory for saved_dict and log (the dataset's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), default=1, help="of weights, order and dropout")
    parser.add_argument("--class_weight", choices=["balanced"], help="weigh rare classes as much as frequent ones")
    parser.add_argument("--label_smoothing", type=number(float, 0, 1), default=0.0, help="in the training's loss")
    parser.add_argument("--eval_every", type=number(int, 1), help="steps between validations (a tenth of the cost)")
    parser.add_argument("--amp", choices=["auto", "off"], default="auto", help="bfloat16 where the hardware has it")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step")
    add_config_flags(parser, model_module(name).Config)
    return parser.parse_args()


def read_vectors(args, config, directory, vocabulary):
    """The vocabulary's pre-trained vectors, (N, E), and their file's digest; two Nones where they start random."""
    if not config.takes_vectors:
        if args.embedding not in (None, "random"):
            say(f"{args.model} starts from random vectors: --embedding {args.embedding} is not used")
        return None, None
    path = vectors.find(directory, args.embedding)
    if path is None:
        say("Vectors: random")
        return None, None
    weights = vectors.load(path, vocabulary, args.seed)
    if args.embed not in (type(config).embed, weights.shape[1]):
        raise UserError(f"--embed {args.embed}, but the vectors in {path} are {weights.shape[1]} wide")
    config.embed = weights.shape[1]
    return weights, hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def say_what_is_cut(lengths, pad_size):
    cut = int((lengths > pad_size).sum())
    if cut:
        whole = int(np.quantile(lengths, 0.99, method="higher"))
        advice = f"; --pad_size {whole} keeps 99 % whole" if whole > pad_size else ""
        share = f"{cut} of {len(lengths)} training rows ({cut / len(lengths):.1%})"
        say(f"{share} are longer than {pad_size} tokens and are cut{advice}")


def describe_device(device):
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        there = "" if torch.cuda.is_available() else "; torch finds no GPU"
        return f"cpu ({torch.get_num_threads()} threads{there})"
    return str(device)


def main():
    args = parse_args()
    start = time.monotonic()
    device = pick_device(args.device)
    module = model_module(args.model)
    config = module.Config(**{name: getattr(args, name) for name in describe(module.Config)})
    directory = args.dataset or default_dataset()
    echo("Loading data...")
    dataset = read_dataset(directory, args.word, args.segmenter, args.max_vocab)
    echo(f"Vocab size: {len(dataset.vocabulary)}")
    say_what_is_cut(dataset.train.rows.lengths, config.pad_size)
    weights, digest = read_vectors(args, config, directory, dataset.vocabulary)
    torch.manual_seed(args.seed)
    model = module.Model(config.fit(len(dataset.classes), len(dataset.vocabulary)))
    if weights is not None:
        model.embedding.load(weights)
    echo(f"Time usage: {duration(time.monotonic() - start)}")
    say(f"Device: {describe_device(device)}")
    names = ("seed", "word", "segmenter", "max_vocab", "class_weight", "label_smoothing", "eval_every")
    settings = dataclasses.asdict(config) | {name: getattr(args, name) for name in names} | {"vectors": digest}
    amp = args.amp == "auto" and has_bfloat16(device)
    settings |= {"classes": dataset.classes, "amp": amp}
    settings |= {f"{split}.txt": getattr(dataset, split).digest for split in ("train", "dev", "test")}
    run = Run(
        name=args.model,
        config=config,
        model=model.to(device),
        dataset=dataset,
        device=device,
        output=args.output or Path(directory),
        settings=settings,
        seed=args.seed,
        class_weight=args.class_weight,
        label_smoothing=args.label_smoothing,
        eval_every=args.eval_every,
        resume=args.resume,
        amp=amp,
    )
    try:
        progress = train(run)
    except KeyboardInterrupt:
        say("Interrupted: the same command with --resume goes on from the last saved step")
        sys.exit(130)
    if progress.finished:
        say(f"This run is finished already, its report is in {run.logs / progress.log}; start anew without --resume")
    else:
        test(run, progress)


if __name__ == "__main__":
    run_script(main)
