"""Measures the speed of fine-tuning, relative to a plain loop in the same run, and of tokenisation.

    python -m benchmarks.encoders --bert_path DIR --dataset D

The plain loop: `transformers`' own model for sequences, rows padded to 32, float32, torch's AdamW. Both train
`bert` on batches of 128 rows; three turns each, medians.
"""

from cli.start import run_script

import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import BertForSequenceClassification, BertTokenizer

from benchmarks.hardware import operations, product_rate
from cli.console import Parser, echo
from engine.device import Compute, keep_memory, pick_device, precision, tensor_floats
from engine.losses import Loss, Tally
from engine.runs import Updates
from models import bert
from models.base import DataSpec
from models.encoder import fit_to_encoder
from models.encoder_files import read_config
from pretrain_eval import make_optimizers
from text.wordpiece_files import read_wordpieces
from train_eval import take_step
from utils import read_dataset

BATCH, STEPS, TURNS, WARM = 128, 12, 3, 3


def plain_steps(path, texts, labels, device):
    """Takes a step each time it is asked for one."""
    tokenizer = BertTokenizer.from_pretrained(path)
    model = BertForSequenceClassification.from_pretrained(path, num_labels=max(labels) + 1).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    while True:
        for start in range(0, len(texts) - BATCH, BATCH):
            part = slice(start, start + BATCH)
            options = {"padding": "max_length", "truncation": True, "max_length": 32, "return_tensors": "pt"}
            batch = tokenizer(texts[part], **options).to(device)
            loss = model(**batch, labels=torch.tensor(labels[part], device=device)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield BATCH


def our_steps(path, dataset, vocabulary, compute):
    encoder = read_config(path)
    config = fit_to_encoder(bert.Config(pad_size=32), encoder)
    model = bert.Model(config, DataSpec(len(dataset.classes), len(vocabulary), encoder))
    model.embedding.load(path)
    device = compute.device
    model.to(device).train()
    updates = Updates(make_optimizers(model, config), max_norm=config.max_norm)
    run = SimpleNamespace(model=model, updates=updates, compute=compute, loss=Loss())
    scaler, tally = torch.amp.GradScaler(device.type, enabled=compute.amp == "fp16"), Tally(device, Loss())
    batches = dataset.batches("train", config, device)
    for epoch in range(100):
        for row_ids in batches.shuffled(BATCH, 1, epoch):
            take_step(run, model, batches.parts(row_ids, 1), scaler, tally)
            yield len(row_ids)


def rows_a_second(steps, device, amp="off"):
    rows, start = 0, time.perf_counter()
    with tensor_floats(device, amp):  # as `train_eval.train` does
        for _ in range(STEPS):
            rows += next(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return rows / (time.perf_counter() - start)


def main():
    parser = Parser(__doc__)
    parser.add_argument("--bert_path", required=True, help="directory of an encoder of type bert")
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--device", default="auto", help="device: auto, cpu, cuda, cuda:1 or mps")
    args = parser.parse_args()
    device = pick_device(args.device)
    vocabulary = read_wordpieces(args.bert_path, read_config(args.bert_path)["vocab_size"])
    dataset = read_dataset(args.dataset, vocabulary)
    lines = (args.dataset / "data" / "train.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines if line.strip()]
    turns = []
    for _ in range(TURNS):
        start = time.perf_counter()
        vocabulary.encode_texts(texts)
        turns.append(len(texts) / (time.perf_counter() - start))
    echo(f"tokenised: {statistics.median(turns):,.0f} headlines/s")
    keep_memory()  # as `engine.runs.training` does, for both loops
    plain = plain_steps(args.bert_path, texts, dataset.train.labels.tolist(), device)
    compute = Compute(device, precision("auto", device))
    ours = our_steps(args.bert_path, dataset, vocabulary, compute)
    counts = []
    cost = operations(lambda: counts.extend(next(ours) for _ in range(WARM))) / sum(counts)
    for _ in range(WARM):
        next(plain)
    rates = []
    for _ in range(TURNS):
        rates.append((rows_a_second(plain, device), rows_a_second(ours, device, compute.amp)))
    one, other = (statistics.median(part) for part in zip(*rates, strict=True))
    share = other * cost / product_rate(compute)
    echo(f"fine-tuned: {other:,.0f} rows/s, the plain loop {one:,.0f}: {other / one:.1f} times")
    echo(f"its products take {share:.0%} of the time, at the rate of large ones (see benchmarks.hardware)")


if __name__ == "__main__":
    run_script(main)
