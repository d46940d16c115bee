"""Fine-tunes and tests a pre-trained encoder.

python pretrain_run.py --model bert                    # ERNIE bert_CNN bert_RNN bert_RCNN bert_DPCNN bert_LayerAtt
python pretrain_run.py --model bert --dataset D        # D/data has class.txt, train.txt, dev.txt, test.txt
python pretrain_run.py --model bert_CNN --bert_path chinese-roberta-wwm-ext --pad_size 128 --accumulate 4
python pretrain_run.py --model bert --resume           # continues where it was interrupted
python pretrain_run.py --model bert --tuned            # with the flags that tune.py found
python pretrain_run.py --init A.ckpt --dataset D --replay OLD     # trains on, with the rows of an old dataset
torchrun --nproc_per_node=2 pretrain_run.py --model bert          # on two GPUs

The encoder's files are in bert_pretrain, those of ERNIE in ERNIE_pretrain: python download.py bert
"""

from cli.start import run_script

import contextlib
import time
from pathlib import Path

import torch

from cli.console import Parser, UserError, duration, echo, number, say
from cli.files import ROOT, default_dataset, shown
from engine.checkpoint import Classifier
from engine.counting import add_evidence, limit_evidence
from engine.device import Compute, autocast, describe_device
from engine.optimizers import warmup_and_decay
from engine.replay import add_replay_flags
from engine.runs import Output, Updates, add_run_flags, hierarchy_of, run_of_classifier, training
from engine.tuned import parse_with_tuned
from engine.warm_start import add_init_flag, check_init_flags, read_start, start_on
from models import ENCODERS, model_module
from models.base import DataSpec, add_config_flags, config_of
from models.encoder import fit_to_encoder
from models.encoder_files import digest_of_weights, fits_weights, read_config, weights_file
from pretrain_eval import freeze, make_optimizers
from text.wordpiece_files import check_unknown, read_wordpieces
from train_eval import train_and_test
from utils import add_dataset_flag, fit_to_rows, read_dataset


def default_path(config):
    """The default of `--bert_path` for a `Config`."""
    return shown(ROOT / config.directory)


def parse_args(arguments=None):
    first = Parser(add_help=False)
    first.add_argument("--model", choices=ENCODERS, default="bert", help="model; decides the defaults below")
    add_init_flag(first)
    warm_start = read_start(first, arguments, ENCODERS)
    name = first.parse_known_args(arguments)[0].model
    config = model_module(name).Config
    parser = Parser(__doc__, parents=[first])
    add_dataset_flag(parser)
    parser.add_argument("--bert_path", default=default_path(config), help="directory of the encoder's files")
    parser.add_argument("--scratch", action="store_true", help="start from random weights instead of the encoder's")
    parser.add_argument("--freeze", type=number(int, 0), default=0, help="number of lowest layers not to train")
    parser.add_argument(
        "--layer_decay",
        type=number(float, 0, 1, open_low=True),
        default=1.0,
        help="factor of the learning rate from each layer to the one below",
    )
    parser.add_argument(
        "--gradient_checkpointing", action="store_true", help="use less memory and a third more time in training"
    )
    add_run_flags(parser)
    add_replay_flags(parser)
    add_config_flags(parser, config)
    parser.set_defaults(**warm_start.flags if warm_start else {}, warm_start=warm_start)
    return parse_with_tuned(parser, arguments)


def read_encoder(args):
    """The encoder's config, its vocabulary, and the file of its weights; None for random ones and those of `--init`."""
    if args.warm_start:
        return args.warm_start.saved.encoder, args.warm_start.saved.vocabulary, None
    encoder = read_config(args.bert_path)
    source = None if args.scratch else weights_file(args.bert_path)
    return encoder, read_wordpieces(args.bert_path, encoder["vocab_size"]), source


def build(args, config, spec, source, compute):
    """The model with the encoder's weights in the file `source`, or random ones without any."""
    with fits_weights(args.bert_path) if source else contextlib.nullcontext():
        model = model_module(args.model).Model(config, spec)
    if source:
        model.embedding.load(args.bert_path)
    freeze(model.embedding, args.freeze)
    if args.gradient_checkpointing:
        if not model.embedding.body.supports_gradient_checkpointing:
            raise UserError(f"--gradient_checkpointing is not supported for type {spec.encoder['model_type']}")
        again = {"context_fn": lambda: (contextlib.nullcontext(), autocast(compute.device, compute.amp))}
        model.embedding.body.activation_checkpointing_enable({"use_reentrant": False} | again)
    return model


def main():
    args = parse_args()
    start = time.monotonic()
    compute = Compute.of(args)
    config = config_of(args, model_module(args.model).Config)
    args.dataset = Path(args.dataset or default_dataset())
    check_init_flags(args, {"bert_path": default_path(type(config)), "scratch": False})
    encoder, vocabulary, source = read_encoder(args)
    vocabulary = vocabulary.with_aliases()
    echo("Loading data...")
    dataset, of_start = start_on(args, read_dataset(args.dataset, vocabulary, augment=args.augment))
    classes, hierarchy = dataset.classes, hierarchy_of(args, dataset)
    echo(f"Vocab size: {len(vocabulary)}")
    advice = f"use the vocab.txt of the encoder in {args.init or args.bert_path}"
    check_unknown(vocabulary.unknown(dataset.train.rows), advice)
    config = fit_to_rows(config, dataset.train.rows, encoder.get("max_position_embeddings"))
    config = limit_evidence(fit_to_encoder(config, encoder), len(classes))
    with training(compute.device, Output(args.output or args.dataset, args.model)):
        torch.manual_seed(args.seed)
        model = build(args, config, DataSpec(len(classes), len(vocabulary), encoder), source, compute)
        layers = model.embedding.layers()
        echo(f"Time usage: {duration(time.monotonic() - start)}")
        weights = source.name if source else "trained weights" if args.init else "random weights"
        say(f"Encoder: {args.init or args.bert_path} ({encoder['model_type']}, {weights})")
        say(f"Device: {describe_device(compute.device)}")
        batches = dataset.batches("train", config, compute.device)
        if args.warm_start:
            model = args.warm_start.continued(model, config, dataset, batches)
        else:
            model, config = add_evidence(model, config, batches, len(classes), args.seed)
        optimizers = make_optimizers(model.to(compute.device), config, layers, args.layer_decay)
        updates = Updates(optimizers, warmup_and_decay(config.warmup), config.max_norm, args.accumulate)
        fingerprint = {"encoder": encoder, "weights": source and digest_of_weights(source)}
        fingerprint |= {"tokenizer": vocabulary.digest, "freeze": args.freeze, "layer_decay": args.layer_decay}
        fingerprint |= of_start
        classifier = Classifier(args.model, config, classes, vocabulary, encoder, model)
        train_and_test(run_of_classifier(args, compute, classifier, dataset, hierarchy, updates, fingerprint), dataset)


if __name__ == "__main__":
    run_script(main)
