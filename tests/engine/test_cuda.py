"""The code for CUDA, on a simulated GPU: devices, waiting, precision, whole scripts; and that models compile."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import distributed
from torch._dynamo.testing import CompileCounterWithBackend

from cli.console import UserError
from conftest import batches_of, build_encoder, inside, with_evidence
from engine import device, ranks, resume
from engine.batches import Batch, Batches
from engine.device import Compute, describe_device, pick_device, precision
from engine.losses import Loss, Tally, tally_class
from engine.optimizers import make_optimizers
from engine.predictor import Predict
from engine.runs import Updates
from models import ENCODERS, NETWORKS, model_module
from models.base import DataSpec
from models.layers import Dropout
from models.tables import Table
from pretrain_eval import make_optimizers as make_encoder_optimizers
from simulated_gpu import CUDA, WAITED, OnGPU, on_gpu, plain, simulated_gpu
from train_eval import take_step

TOKENS, CLASSES = 300, 3
LSTMS = ("TextRNN", "TextRNN_Att", "TextRCNN", "bert_RNN")
SEVERAL_GRAPHS = (*LSTMS, "bert_LayerAtt")
LENGTHS = (5, 17, 30, 3, 9, 9, 24, 3)
SMALL = {"embed": 40, "num_filters": 16, "hidden_size": 16, "rnn_hidden": 16, "dim_model": 40, "hidden": 64}
SMALL |= {"n_gram_vocab": 1009, "bigram_vocab": 1009}


def build(name, encoder, evidence=4):
    """A small model without dropout, with tables of n-grams if it can have them, and its optimizers."""
    torch.manual_seed(0)
    module = model_module(name)
    settings = {field: value for field, value in SMALL.items() if field in module.Config.__dataclass_fields__}
    if name in ENCODERS:
        model = build_encoder(name, encoder, dropout=0.0, evidence=0, **settings)
        return model, make_encoder_optimizers(model, module.Config(learning_rate=1e-3))
    config = module.Config(smoothing=0.1, dropout=0.0, evidence=evidence, **settings)
    model = with_evidence(module.Model(config, DataSpec(CLASSES, TOKENS)), config, TOKENS, CLASSES)
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    return model, make_optimizers(model, 1e-3)


def train(name, encoder, where, amp="off", count=3):
    """The losses of the first steps of a training, and the model."""
    model, optimizers = build(name, encoder)
    model.train().to(where)
    rng = np.random.default_rng(1)
    ids, labels = rng.integers(5, TOKENS - 1, sum(LENGTHS)).astype(np.int32), rng.integers(0, CLASSES, len(LENGTHS))
    ends = None if name in ENCODERS else rng.integers(0, 2, len(ids))
    batches = batches_of(ids, LENGTHS, labels, pad=TOKENS - 1, ends=ends, device=where)
    compute, loss = Compute(torch.device(where), amp), Loss(None, 0.1)
    max_norm = 1.0 if name in ENCODERS else None
    run = SimpleNamespace(model=model, updates=Updates(optimizers, max_norm=max_norm), compute=compute, loss=loss)
    scaler, losses = torch.amp.GradScaler(compute.device.type, enabled=amp == "fp16"), []
    for step in range(count):
        WAITED.clear()
        tally = Tally(compute.device, loss)
        take_step(run, model, batches.parts(np.roll(np.arange(len(LENGTHS)), step), 2), scaler, tally)
        waited = WAITED.copy()
        losses.append(tally.close()[0])
    return losses, waited, model


@pytest.mark.parametrize("name", NETWORKS + ENCODERS)
def test_a_step_is_that_of_the_cpu_and_waits_for_nothing(name, encoder):
    expected = train(name, encoder, "cpu")[0]
    with simulated_gpu():
        found, waited, model = train(name, encoder, "cuda:0")
        assert all(tensor.device == CUDA for tensor in model.state_dict().values())
        half, waited_in_half, model = train(name, encoder, "cuda:0", "fp16")
        weights = plain(dict(model.named_parameters()))
    assert waited == []
    assert found == pytest.approx(expected, rel=1e-4)
    assert found[-1] < found[0]
    tables = any(isinstance(module, Table) for module in model.modules())
    assert {line.split(": ")[1] for line in waited_in_half} == ({"take_step"} if tables else set())  # GradScaler
    assert half[0] == pytest.approx(expected[0], rel=2e-2)
    assert np.isfinite(half).all()
    assert all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize("long", ["head", "head_tail", "windows"])
@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_is_that_of_the_cpu(monkeypatch, long, resident):
    monkeypatch.setattr(Batches, "resident", resident)
    ids, row_ids = np.arange(1, 1 + sum(LENGTHS)).astype(np.int32), np.arange(len(LENGTHS))

    def batches_on(where):
        made = batches_of(ids, LENGTHS, row_ids, end=2, limit=8, device=where, long=long)
        made.shuffled(4, 1, 0)
        WAITED.clear()
        return made.cut(row_ids), made.whole(row_ids)

    expected = batches_on("cpu")
    with simulated_gpu():
        found = batches_on("cuda:0")
        assert {type(part) for batch in found for part in batch} <= {OnGPU, type(None)}
    assert WAITED == []
    for one, other in zip(expected, found, strict=True):
        for part, same in zip(one, plain(list(other)), strict=True):
            assert (part is None and same is None) or torch.equal(part, same)


LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -3.0], [1.0, 1.5, 0.2]])
TARGETS = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.0, 0.0], [0.1, 0.6, 0.3]])


@pytest.mark.parametrize("targets", [None, TARGETS])
@pytest.mark.parametrize("labels", [torch.tensor([0, 2, -1]), torch.tensor([[1, 0, 1], [0, 0, 0], [-1, -1, -1]])])
def test_a_loss_is_that_of_the_cpu_and_waits_for_nothing(labels, targets):
    labels = labels.clamp(min=0) if targets is None else labels
    several, weights = labels.dim() == 2, torch.tensor([1.0, 3.0, 0.5])

    def tally_of(loss, *parts, where="cpu"):
        tally = tally_class(several)(where, loss, *[CLASSES] * several)
        tally.add(*parts)
        return tally

    expected = tally_of(Loss(weights, 0.1, 0.3, 2.0), LOGITS, labels, targets).close()
    with simulated_gpu() as waited:
        parts = on_gpu((LOGITS, labels, targets))
        tally = tally_of(Loss(on_gpu(weights), 0.1, 0.3, 2.0), *parts, where="cuda:0")
        assert waited == []
        assert tally.close() == pytest.approx(expected)


TRAININGS = [
    ("several", "run.py", "TextCNN", "--smoothing", 0.1, "--class_weight", "balanced", "--embed", 16),
    ("tiny", "run.py", "FastText", "--evidence", 0, "--long", "windows", "--pad_size", 9, "--n_gram_vocab", 999),
    ("several", "run.py", "SVM"),
    ("tiny", "pretrain_run.py", "bert_CNN", "--evidence", 0, "--gradient_checkpointing", "--accumulate", 2),
]


@pytest.mark.parametrize(("data", "script", "name", "arguments"), [(*case[:3], case[3:]) for case in TRAININGS])
def test_a_model_trained_on_a_gpu_predicts_on_a_cpu(
    request, monkeypatch, tmp_path, encoder, data, script, name, arguments
):
    search = torch.optim.LBFGS
    monkeypatch.setattr(torch.optim, "LBFGS", lambda *args, max_iter, **options: search(*args, max_iter=2, **options))
    arguments += () if name == "SVM" else ("--num_epochs", 1)
    arguments += ("--bert_path", encoder) if name in ENCODERS else ()
    dataset = request.getfixturevalue(data)
    with simulated_gpu():
        command = ("--model", name, "--dataset", dataset, "--output", tmp_path, "--device", "cuda:0", *arguments)
        assert "Device: cuda:0 (simulated)" in inside(script, *command).stderr
        again = inside(script, *command, "--resume")
        assert "This run is finished" in again.stderr
        path = tmp_path / "saved_dict" / f"{name}.ckpt"
        texts = ["中国股市大涨", "", "楼市新政" * 20]
        found = Predict(checkpoint=path, device="cuda:0", amp="off").predict_proba(texts)
    expected = Predict(checkpoint=path, device="cpu", amp="off").predict_proba(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_encoder_is_pre_trained_on_a_gpu(tiny, tmp_path):
    arguments = ("--size", "tiny", "--masking", "ngram", "--num_epochs", 1, "--output", tmp_path, "--device", "cuda:0")
    with simulated_gpu() as waited:
        done = inside("pretrain_mlm.py", "--corpus", tiny / "data" / "train.txt", *arguments)
    assert "Perplexity" in done.stdout
    assert not [line for line in waited if "take_step" in line or "masking" in line]


def test_a_training_on_a_gpu_resumes_with_the_same_weights(tiny, tmp_path, monkeypatch):
    arguments = ("--model", "TextCNN", "--evidence", 0, "--dataset", tiny, "--device", "cuda:0", "--num_epochs", 2)
    arguments += ("--amp", "fp16", "--embed", 16, "--bigram_vocab", 99)
    keep, states = resume.State.save, []

    def stop(self, progress, now=True):
        keep(self, progress)
        states.append(progress["epoch"])
        if len(states) == 1:
            raise KeyboardInterrupt

    with simulated_gpu():
        expected = inside("run.py", *arguments, "--output", tmp_path / "one").stdout
        with monkeypatch.context() as patch:
            patch.setattr(resume.State, "save", stop)
            assert inside("run.py", *arguments, "--output", tmp_path / "two", check=False).returncode == 130
        found = inside("run.py", *arguments, "--output", tmp_path / "two", "--resume").stdout
    lines = [[line for line in text.splitlines() if line.startswith("Test")] for text in (expected, found)]
    assert lines[0] == lines[1] != []
    paths = (tmp_path / name / "saved_dict" / "TextCNN.ckpt" for name in ("one", "two"))
    one, two = (torch.load(path, weights_only=True)["weights"] for path in paths)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", [*NETWORKS, "bert", "bert_CNN", "bert_DPCNN", "bert_LayerAtt", "bert_RNN"])
def test_a_model_compiles_once_for_batches_of_all_lengths(name, encoder):
    """As a single graph. Torch does not trace LSTMs: there are several, of which one is for a single number of rows.

    Nor does it trace how transformers returns the states of all layers.
    """
    model = build(name, encoder, evidence=4 if name == "TextCNN" else 0)[0].train().to("meta")
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, backend=counter, fullgraph=name not in SEVERAL_GRAPHS, dynamic=True)
    graphs = []
    for rows, length in ((16, 12), (16, 17), (9, 30)):
        with torch.device("meta"):
            ends = torch.zeros(rows, length, dtype=torch.bool)
            ids, lengths = (torch.zeros(shape, dtype=torch.int64) for shape in ((rows, length), rows))
        assert compiled(Batch(ids, lengths, lengths, word_ends=ends)).shape == (rows, CLASSES)
        graphs.append(counter.frame_count)
    assert graphs[-1] - graphs[0] <= (name in LSTMS)


def test_devices_and_their_names(monkeypatch):
    with simulated_gpu(bfloat16=False):
        found = pick_device()
        assert found.type == "cuda"
        assert pick_device("cuda:0") == CUDA
        assert precision("auto", found) == "fp16"
        assert describe_device(CUDA) == "cuda:0 (simulated)"
        with pytest.raises(UserError, match=r"--device cuda:1: torch .* finds no such device here, only cuda, cpu"):
            pick_device("cuda:1")
        monkeypatch.setattr(device, "RANKS", 2)
        assert pick_device() == CUDA
        assert describe_device(CUDA) == "cuda:0 (simulated, 2 processes)"
        monkeypatch.setattr(device, "LOCAL_RANK", 1)
        with pytest.raises(UserError, match="no GPU for this process: torch finds 1 here; lower --nproc_per_node"):
            pick_device()
    with simulated_gpu():
        assert precision("auto", CUDA) == "bf16"


def test_processes_on_gpus_use_nccl_and_a_gpu_each(monkeypatch):
    calls = []
    monkeypatch.setattr(ranks, "RANKS", 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("set_device", device)))
    monkeypatch.setattr(distributed, "init_process_group", lambda backend: calls.append(("backend", backend)))
    monkeypatch.setattr(distributed, "broadcast", lambda tensor, source: None)
    monkeypatch.setattr(ranks, "DistributedDataParallel", lambda model, devices, **_: calls.append(("model", devices)))
    ranks.join_ranks(CUDA)
    ranks.parallel(torch.nn.Linear(1, 1), CUDA)
    assert calls == [("set_device", CUDA), ("backend", "cpu:gloo,cuda:nccl"), ("model", [CUDA])]
