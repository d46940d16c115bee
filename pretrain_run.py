"""Fine-tunes and tests a pre-trained encoder.

python pretrain_run.py --model bert                    # ERNIE bert_CNN bert_RNN bert_RCNN bert_DPCNN bert_LayerAtt
python pretrain_run.py --model bert --dataset D        # D/data has class.txt, train.txt, dev.txt, test.txt
python pretrain_run.py --model bert_CNN --bert_path chinese-roberta-wwm-ext --pad_size 128 --accumulate 4
python pretrain_run.py --model bert --resume           # goes on where it was interrupted
torchrun --nproc_per_node=2 pretrain_run.py --model bert          # on two GPUs

The encoder's files lie in bert_pretrain, for ERNIE in ERNIE_pretrain: python download.py bert
"""

import time
from pathlib import Path

import torch

from cli.console import Parser, UserError, duration, echo, number, run_script, say
from cli.files import ROOT, default_dataset, shown
from engine.device import describe_device, pick_device
from engine.runs import add_run_flags, classifier, training
from models import ENCODERS, model_module
from models.base import add_config_flags, config_of
from models.encoder_files import read_settings, weights_digest, weights_file
from pretrain_eval import freeze, make_optimizers, warmup_and_decay
from text.wordpieces import check_unknown, read_wordpieces
from train_eval import train_and_test
from utils import add_dataset_flag, read_dataset, say_what_is_cut


def parse_args():
    first = Parser(add_help=False)
    first.add_argument("--model", choices=ENCODERS, default="bert", help="it decides the defaults below")
    name = first.parse_known_args()[0].model
    config = model_module(name).Config
    parser = Parser(__doc__, parents=[first])
    add_dataset_flag(parser)
    parser.add_argument("--bert_path", default=shown(ROOT / config.directory), help="directory of the encoder's files")
    parser.add_argument("--scratch", action="store_true", help="random weights of the encoder's size, to compare")
    parser.add_argument("--freeze", type=number(int, 0), default=0, help="lowest layers that stay as they are")
    parser.add_argument(
        "--layer_decay",
        type=number(float, 0, 1, open_low=True),
        default=1.0,
        help="factor of the learning rate at each layer downwards",
    )
    parser.add_argument("--gradient_checkpointing", action="store_true", help="less memory, a third more time")
    add_run_flags(parser)
    add_config_flags(parser, config)
    return parser.parse_args()


def main():
    args = parse_args()
    start = time.monotonic()
    device = pick_device(args.device)
    module = model_module(args.model)
    config = config_of(args, module.Config)
    encoder = read_settings(args.bert_path)
    source = None if args.scratch else weights_file(args.bert_path)
    vocabulary = read_wordpieces(args.bert_path, encoder["vocab_size"])
    args.dataset = Path(args.dataset or default_dataset())
    echo("Loading data...")
    dataset = read_dataset(args.dataset, vocabulary)
    echo(f"Vocab size: {len(vocabulary)}")
    check_unknown(vocabulary, dataset.train.rows, f"take the vocab.txt of the encoder in {args.bert_path}")
    say_what_is_cut(dataset.train.rows, config.pad_size, encoder.get("max_position_embeddings"))
    torch.manual_seed(args.seed)
    model = module.Model(config.fit(len(dataset.classes), len(vocabulary), encoder))
    if source:
        model.embedding.load(args.bert_path)
    freeze(model.embedding, args.freeze)
    if args.gradient_checkpointing:
        if not model.embedding.body.supports_gradient_checkpointing:
            raise UserError(f"--gradient_checkpointing is not there for an encoder of type {encoder['model_type']}")
        model.embedding.body.activation_checkpointing_enable()
    echo(f"Time usage: {duration(time.monotonic() - start)}")
    say(f"Encoder: {args.bert_path} ({encoder['model_type']}, {'random weights' if args.scratch else source.name})")
    say(f"Device: {describe_device(device)}")
    settings = {"encoder": encoder, "weights": source and weights_digest(source), "tokenizer": vocabulary.digest}
    settings |= {"freeze": args.freeze, "layer_decay": args.layer_decay}
    more = {"schedule": warmup_and_decay(config.warmup), "max_norm": config.max_norm}
    with training(device):
        optimizers = make_optimizers(model.to(device), config, model.embedding.layers(), args.layer_decay)
        run = classifier(args, config, model, dataset, device, optimizers, settings, **more)
        train_and_test(run, dataset)


if __name__ == "__main__":
    run_script(main)
