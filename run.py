"""Trains and tests a network or a linear model.

python run.py --model TextCNN                          # TextRNN TextRNN_Att TextRCNN FastText DPCNN Transformer
python run.py --model TextCNN --dataset D              # D/data has class.txt, train.txt, dev.txt, test.txt
python run.py --model DPCNN --embedding random --pad_size 64 --num_epochs 10
python run.py --model TextRNN --word True              # words instead of characters
python run.py --model SVM                              # NBSVM; scikit-learn trains them
python run.py --model TextCNN --resume                 # continues where it was interrupted
python run.py --model TextCNN --tuned                  # with the flags that tune.py found
python run.py --init A.ckpt --dataset D --replay OLD   # trains on from a checkpoint, with the rows of an old dataset
python run.py --model FastText --teacher A.ckpt B.ckpt --unlabelled news.txt --folds 5 --output small  # distillation
"""

from cli.start import run_script

import dataclasses
import time
from pathlib import Path

import torch

from cli.console import Parser, UserError, duration, echo, say
from cli.files import default_dataset, digest_of
from engine.checkpoint import Classifier
from engine.counting import add_evidence, limit_evidence
from engine.device import Compute, describe_device
from engine.distillation import add_distillation_flags, check_distillation_flags, load_teachers, read_targets
from engine.optimizers import make_optimizers, warmup_and_decay
from engine.replay import add_replay_flags
from engine.runs import Output, Updates, add_run_flags, hierarchy_of, run_of_classifier, training
from engine.tuned import parse_with_tuned
from engine.warm_start import add_init_flag, check_init_flags, read_start, start_on
from evaluation.folds import predict_held_out
from models import LINEAR, NETWORKS, model_module
from models.base import DataSpec, add_config_flags, config_of
from text import vectors
from train_eval import fit, train, train_and_test
from utils import add_dataset_flag, add_text_flags, classes_of, fit_to_rows, fit_to_vocabulary, read_dataset

OF_NETWORKS = ("embedding", "eval_every", "compile", "accumulate", "label_smoothing")  # flags without use to LINEAR


def parse_args(arguments=None):
    first = Parser(add_help=False)
    names = NETWORKS + LINEAR
    first.add_argument("--model", choices=names, default="TextCNN", help="model; decides the defaults below")
    first.add_argument("--paper", action="store_true", help="the paper's network, without what this toolkit adds to it")
    add_init_flag(first)
    warm_start = read_start(first, arguments, NETWORKS)
    known, _ = first.parse_known_args(arguments)
    config = model_module(known.model).Config
    parser = Parser(__doc__, parents=[first])
    add_dataset_flag(parser)
    add_text_flags(parser)
    parser.add_argument("--embedding", help="random, pre_trained or a .npz file (the dataset's vectors, if any)")
    add_run_flags(parser)
    add_replay_flags(parser)
    add_distillation_flags(parser)
    add_config_flags(parser, config)
    if known.paper and known.model in NETWORKS:
        parser.set_defaults(**config.paper)
    parser.set_defaults(**warm_start.flags if warm_start else {}, warm_start=warm_start)
    args = parse_with_tuned(parser, arguments)
    unused = [f"--{flag}" for flag in OF_NETWORKS if getattr(args, flag) != parser.get_default(flag)]
    unused += ["--paper"] if args.paper else []
    if args.model in LINEAR and unused:
        say(f"{args.model} has no embedding and no training steps: {', '.join(unused)} without effect")
    return args


def read_vectors(args, config, vocabulary):
    """The vocabulary's pre-trained vectors, (N, E), and the digest of their file; None and None for random ones."""
    if args.model in LINEAR or args.init:
        return None, None
    if not config.takes_vectors:
        if args.embedding not in (None, "random"):
            say(f"{args.model} starts from random vectors: --embedding {args.embedding} is not used")
        return None, None
    path = vectors.find(args.dataset, args.embedding)
    if path is None:
        say("Vectors: random")
        return None, None
    weights = vectors.load(path, vocabulary, args.seed)
    if args.embed not in (type(config).embed, weights.shape[1]):
        raise UserError(f"--embed {args.embed}, but the vectors in {path} are {weights.shape[1]} wide")
    return weights, digest_of(path)[:16]


def read(args):
    """The Config of a run's flags, and the Dataset that it is for."""
    config = limit_evidence(config_of(args, model_module(args.model).Config), len(classes_of(args.dataset)))
    known = args.warm_start and args.warm_start.saved.vocabulary
    texts = (args.word, args.segmenter, args.max_vocab, known, config.words > 0, args.augment)
    return config, read_dataset(args.dataset, None, *texts)


def fit_to_dataset(args, config, dataset):
    """The Config for a Dataset, and what `read_vectors` returns for it."""
    config = fit_to_rows(fit_to_vocabulary(config, dataset.vocabulary), dataset.train.rows)
    weights, digest = read_vectors(args, config, dataset.vocabulary)
    if weights is not None:
        config = dataclasses.replace(config, embed=weights.shape[1])
    return config, weights, digest


def build(args, config, dataset, weights, batches):
    """The model of a run and its Config. weights: the vectors, or None; batches: of the training split."""
    torch.manual_seed(args.seed)
    model = model_module(args.model).Model(config, DataSpec(len(dataset.classes), len(dataset.vocabulary)))
    if weights is not None:
        model.embedding.load(weights)
    if args.warm_start:
        return args.warm_start.continued(model, config, dataset, batches), config
    return add_evidence(model, config, batches, len(dataset.classes), args.seed)


def targets_of(args, dataset):
    """The `distillation.Targets` that the teachers give, None without any."""
    if not args.teacher:
        return None
    teachers = load_teachers(args, dataset.classes)
    held_out = predict_held_out(args, dataset, teachers) if args.folds else None
    return read_targets(args, dataset, teachers, held_out)


def main():
    args = parse_args()
    check_distillation_flags(args)
    start = time.monotonic()
    compute = Compute.of(args)
    args.dataset = Path(args.dataset or default_dataset())
    check_init_flags(args, {"paper": False, "embedding": None})
    echo("Loading data...")
    config, dataset = read(args)
    dataset, of_start = start_on(args, dataset)
    vocabulary, hierarchy = dataset.vocabulary, hierarchy_of(args, dataset)
    echo(f"Vocab size: {len(vocabulary)}")
    config, weights, digest = fit_to_dataset(args, config, dataset)
    with training(compute.device, Output(args.output or args.dataset, args.model)):
        targets = targets_of(args, dataset)
        batches = dataset.batches("train", config, compute.device)
        model, config = build(args, config, dataset, weights, batches)
        echo(f"Time usage: {duration(time.monotonic() - start)}")
        say(f"Device: {describe_device(compute.device)}")
        model, updates = model.to(compute.device), None
        if args.model in NETWORKS:
            optimizers = make_optimizers(model, config.learning_rate)
            updates = Updates(optimizers, warmup_and_decay(0.0), accumulate=args.accumulate)
        fingerprint = {name: getattr(args, name) for name in ("word", "segmenter", "max_vocab")} | {"vectors": digest}
        fingerprint |= {"vocabulary": vocabulary.digest} | of_start  # another version may make another vocabulary
        classifier = Classifier(args.model, config, dataset.classes, vocabulary, None, model)
        run = run_of_classifier(args, compute, classifier, dataset, hierarchy, updates, fingerprint)
        train_and_test(targets.apply(run, vocabulary) if targets else run, dataset, train if updates else fit)


if __name__ == "__main__":
    run_script(main)
