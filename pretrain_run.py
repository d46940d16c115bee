"""Fine-tunes and tests a pre-trained encoder.

python pretrain_run.py --model bert                    # ERNIE bert_CNN bert_RNN bert_RCNN bert_DPCNN bert_LayerAtt
python pretrain_run.py --model bert --dataset D        # D/data has class.txt, train.txt, dev.txt, test.txt
python pretrain_run.py --model bert_CNN --bert_path chinese-roberta-wwm-ext --pad_size 128 --accumulate 4
python pretrain_run.py --model bert --resume           # continues where it was interrupted
python pretrain_run.py --model bert --tuned            # with the flags that tune.py found
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
from engine.device import Compute, describe_device
from engine.optimizers import warmup_and_decay
from engine.runs import Output, Updates, add_run_flags, run_of_classifier, training
from engine.tuned import parse_with_tuned
from models import ENCODERS, model_module
from models.base import DataSpec, add_config_flags, config_of
from models.encoder_files import digest_of_weights, fits_weights, read_config, weights_file
from pretrain_eval import freeze, make_optimizers
from text.wordpieces import check_unknown, read_wordpieces
from train_eval import train_and_test
from utils import add_dataset_flag, fit_to_rows, read_dataset


def parse_args(arguments=None):
    first = Parser(add_help=False)
    first.add_argument("--model", choices=ENCODERS, default="bert", help="model; decides the defaults below")
    name = first.parse_known_args(arguments)[0].model
    config = model_module(name).Config
    parser = Parser(__doc__, parents=[first])
    add_dataset_flag(parser)
    parser.add_argument("--bert_path", default=shown(ROOT / config.directory), help="directory of the encoder's files")
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
    add_config_flags(parser, config)
    return parse_with_tuned(parser, arguments)


def build(args, config, spec):
    """The model with the encoder's weights, or random ones with `--scratch`."""
    with contextlib.nullcontext() if args.scratch else fits_weights(args.bert_path):
        model = model_module(args.model).Model(config, spec)
    if not args.scratch:
        model.embedding.load(args.bert_path)
    freeze(model.embedding, args.freeze)
    if args.gradient_checkpointing:
        if not model.embedding.body.supports_gradient_checkpointing:
            raise UserError(f"--gradient_checkpointing is not supported for type {spec.encoder['model_type']}")
        model.embedding.body.activation_checkpointing_enable()
    return model


def main():
    args = parse_args()
    start = time.monotonic()
    compute = Compute.of(args)
    config = config_of(args, model_module(args.model).Config)
    encoder = read_config(args.bert_path)
    source = None if args.scratch else weights_file(args.bert_path)
    vocabulary = read_wordpieces(args.bert_path, encoder["vocab_size"])
    args.dataset = Path(args.dataset or default_dataset())
    echo("Loading data...")
    dataset = read_dataset(args.dataset, vocabulary)
    classes = dataset.classes
    echo(f"Vocab size: {len(vocabulary)}")
    check_unknown(vocabulary, dataset.train.rows, f"use the vocab.txt of the encoder in {args.bert_path}")
    config = fit_to_rows(config, dataset.train.rows, encoder.get("max_position_embeddings"))
    config = limit_evidence(config, len(classes))
    with training(compute.device, Output(args.output or args.dataset, args.model)):
        torch.manual_seed(args.seed)
        model = build(args, config, DataSpec(len(classes), len(vocabulary), encoder))
        layers = model.embedding.layers()
        echo(f"Time usage: {duration(time.monotonic() - start)}")
        weights = "random weights" if args.scratch else source.name
        say(f"Encoder: {args.bert_path} ({encoder['model_type']}, {weights})")
        say(f"Device: {describe_device(compute.device)}")
        batches = dataset.batches("train", config.pad_size, compute.device)
        model, config = add_evidence(model, config, batches, len(classes), args.seed)
        optimizers = make_optimizers(model.to(compute.device), config, layers, args.layer_decay)
        updates = Updates(optimizers, warmup_and_decay(config.warmup), config.max_norm, args.accumulate)
        fingerprint = {"encoder": encoder, "weights": source and digest_of_weights(source)}
        fingerprint |= {"tokenizer": vocabulary.digest, "freeze": args.freeze, "layer_decay": args.layer_decay}
        classifier = Classifier(args.model, config, classes, vocabulary, encoder, model)
        train_and_test(run_of_classifier(args, compute, classifier, dataset, updates, fingerprint), dataset)


if __name__ == "__main__":
    run_script(main)
