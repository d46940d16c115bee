"""`pretrain_run.py` and `pretrain_predict.py` as a user runs them."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

import pretrain_predict
import pretrain_run
from cli.console import UserError
from conftest import here, in_other_forms, inside, sample_rows, script, write_dataset, write_encoder
from models import ENCODERS
from pretrain_predict import Predict
from test_run import KILL, interrupt, weights

FEW = ("--num_epochs", 2, "--batch_size", 16, "--device", "cpu")


def fine_tune(monkeypatch, dataset, output, encoder, *settings):
    here(
        monkeypatch,
        pretrain_run.main,
        "--dataset",
        dataset,
        "--output",
        output,
        "--bert_path",
        encoder,
        *FEW,
        *settings,
    )
    name = settings[settings.index("--model") + 1] if "--model" in settings else "bert"
    return output / "saved_dict" / f"{name}.ckpt"


@pytest.mark.parametrize("model", ENCODERS)
def test_each_model_trains_and_its_checkpoint_predicts_without_the_encoder(tiny, encoder, tmp_path, monkeypatch, model):
    directory = shutil.copytree(encoder, tmp_path / "encoder")
    settings = ("--rnn_hidden", 8) if "RCNN" in model else ()
    path = fine_tune(monkeypatch, tiny, tmp_path, directory, "--model", model, *settings)
    shutil.rmtree(directory)
    (log,) = (tmp_path / "log" / model).iterdir()
    tested = [line.split("\t") for line in (log / "predictions.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    predictor = Predict(model, dataset=tmp_path)
    assert predictor.path == path
    assert predictor.predict_list([row[0] for row in tested]) == [row[2] for row in tested]
    others = in_other_forms([row[0] for row in tested], predictor.saved.vocabulary.aliases)
    assert predictor.predict_list(others) == [row[2] for row in tested] != others
    best = predictor.predict_proba([row[0] for row in tested]).max(axis=1)
    assert best == pytest.approx([float(row[3]) for row in tested], abs=1e-4)
    assert predictor.predict("") is None


def test_it_learns_its_rows(encoder, tmp_path, monkeypatch, capsys):
    rows = [(text, label - 7) for text, label in sample_rows("train", {7, 8}, 200)]
    dataset = write_dataset(tmp_path / "d", ["体育", "游戏"], rows[:64])
    settings = ("--num_epochs", 20, "--learning_rate", 2e-3, "--require_improvement", 1000)
    path = fine_tune(monkeypatch, dataset, tmp_path, encoder, *settings)
    printed = capsys.readouterr()
    assert float(re.search(r"Test Acc: +([\d.]+)%", printed.out)[1]) > 95
    assert f"Encoder: {encoder} (bert, model.safetensors)" in printed.err
    content = torch.load(path, weights_only=True)
    assert content["encoder"]["hidden_size"] == 32
    assert content["versions"]["transformers"]


def test_prediction_of_files(tiny, encoder, tmp_path, monkeypatch, capsys):
    fine_tune(monkeypatch, tiny, tmp_path, encoder)
    (tmp_path / "in.txt").write_text("股票大涨\n\n" + "房" * 500 + "\n", encoding="utf-8")
    capsys.readouterr()
    here(monkeypatch, pretrain_predict.main, "--dataset", tmp_path, "--input", tmp_path / "in.txt", "--format", "jsonl")
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [row["text"] for row in rows] == ["股票大涨", "", "房" * 500]
    assert rows[1]["label"] is None
    assert {rows[0]["label"], rows[2]["label"]} <= {"财经", "房产", "股票"}
    assert "1 texts were longer than the 32 tokens that the model reads" in printed.err
    with pytest.raises(UserError, match=r"no checkpoint of bert, .* train one: python pretrain_run.py --model bert"):
        Predict(dataset=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        (("--accumulate", 3), 2e-5),
        (("--accumulate", 16, "--class_weight", "balanced", "--label_smoothing", 0.1), 2e-5),
        (("--gradient_checkpointing",), 1e-6),
    ],
)
def test_what_saves_memory_changes_nothing(tiny, encoder, tmp_path, monkeypatch, settings, tolerance):
    common = ("--dropout", 0, "--amp", "off", "--learning_rate", 1e-3)
    same = list(settings[2:]) if settings[0] == "--accumulate" else []
    expected = weights(fine_tune(monkeypatch, tiny, tmp_path / "a", encoder, *common, *same))
    found = weights(fine_tune(monkeypatch, tiny, tmp_path / "b", encoder, *common, *settings))
    start = weights(fine_tune(monkeypatch, tiny, tmp_path / "c", encoder, *common, "--learning_rate", 1e-9))
    change = max((expected[name] - start[name]).abs().max() for name in expected)
    assert change > 100 * tolerance
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=tolerance, rtol=0, msg=name)


def test_gradient_checkpointing_with_dropout_draws_the_same_masks(tiny, encoder, tmp_path, monkeypatch):
    expected = weights(fine_tune(monkeypatch, tiny, tmp_path / "a", encoder, "--amp", "off"))
    found = weights(fine_tune(monkeypatch, tiny, tmp_path / "b", encoder, "--amp", "off", "--gradient_checkpointing"))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=0, msg=name)


def test_frozen_layers_stay_as_they_were(tiny, encoder, tmp_path, monkeypatch):
    found = weights(fine_tune(monkeypatch, tiny, tmp_path, encoder, "--freeze", 2, "--learning_rate", 0.01))
    before = write_encoder(tmp_path / "again").bert.state_dict()
    for name, weight in before.items():
        low = name.startswith(("embeddings.", "encoder.layer.0.", "encoder.layer.1."))
        assert torch.equal(found[f"model.embedding.body.{name}"], weight) == low, name


def test_from_scratch_needs_no_weights(tiny, encoder, tmp_path, monkeypatch, capsys):
    directory = shutil.copytree(encoder, tmp_path / "encoder", ignore=shutil.ignore_patterns("*.safetensors"))
    fine_tune(monkeypatch, tiny, tmp_path, directory, "--scratch")
    assert "(bert, random weights)" in capsys.readouterr().err


def test_an_interrupted_fine_tuning_resumes_to_the_same_weights(tiny, encoder, tmp_path):
    settings = ("pretrain_run.py", "--dataset", tiny, "--bert_path", encoder, "--device", "cpu", "--num_epochs", 12)
    settings += ("--batch_size", 8, "--eval_every", 5)
    whole, broken = ("--output", tmp_path / "whole"), ("--output", tmp_path / "broken")
    inside(*settings, *whole)
    interrupt(KILL, tmp_path / "broken" / "saved_dict" / "bert.resume", *settings, *broken)
    script(*settings, *broken, "--resume")
    expected, resumed = (weights(tmp_path / name / "saved_dict" / "bert.ckpt") for name in ("whole", "broken"))
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)


def other_text(directory):
    return write_dataset(directory, ["一", "二"], [("ⴰⴱⴳ ⴷ ⴹ", 0), ("ⴰⴱⴳ ⴷ", 1)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--freeze", 7), "--freeze 7 is out of range, the encoder has 3 layers of its own weights"),
        (("--pad_size", 65), "--pad_size 65 is more than the 64 positions"),
        (("--bert_path", "nowhere"), "nowhere: no such directory; .* python download.py bert --output nowhere"),
        (("--amp", "fp16"), "--amp fp16 is for GPUs, and this run is on cpu; use --amp bf16 or --amp off"),
        (("--compile",), "--compile is for GPUs, and this run is on cpu"),
    ],
)
def test_flags_that_do_not_fit(tiny, encoder, tmp_path, monkeypatch, settings, message):
    with pytest.raises(UserError, match=message):
        fine_tune(monkeypatch, tiny, tmp_path, encoder, *settings)
    assert not list(tmp_path.glob("saved_dict/*.ckpt"))


def test_a_text_of_another_language(encoder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"100% of the training text's characters are unknown .*use the vocab.txt of"):
        fine_tune(monkeypatch, other_text(tmp_path / "d"), tmp_path, encoder)


@pytest.mark.parametrize("where", ["train_eval.take_step", "torch.nn.Module.to"])
def test_out_of_memory_is_one_line(tiny, encoder, tmp_path, monkeypatch, where):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(where, full)
    with pytest.raises(UserError, match=r"out of memory on cpu: lower --batch_size or --pad_size .*--accumulate 4"):
        fine_tune(monkeypatch, tiny, tmp_path, encoder)


def test_out_of_memory_while_predicting(tiny, encoder, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")

    fine_tune(monkeypatch, tiny, tmp_path, encoder, "--num_epochs", 1)
    predictor = Predict("bert", dataset=tmp_path, device="cpu")
    monkeypatch.setattr("models.bert.Model.forward", full)
    with pytest.raises(UserError, match="out of memory on cpu: use --device cpu"):
        predictor.predict("股票")


def test_what_is_cut_is_said(tiny, encoder, tmp_path, monkeypatch, capsys):
    fine_tune(monkeypatch, tiny, tmp_path, encoder, "--pad_size", 10, "--num_epochs", 1)
    said = capsys.readouterr().err
    cut, rows, whole = map(int, re.search(r"(\d+) of (\d+) training rows .* --pad_size (\d+) keeps", said).groups())
    lengths = np.array([len(text) for text, _ in sample_rows("train", {0, 1, 2}, 90)])
    assert rows == 90 and 0 < cut <= (lengths + 2 > 10).sum()
    assert whole <= lengths.max() + 2


@pytest.mark.parametrize("long", ["head_tail", "windows"])
def test_an_encoder_reads_long_rows(tiny, encoder, tmp_path, monkeypatch, capsys, long):
    fine_tune(monkeypatch, tiny, tmp_path, encoder, "--pad_size", 10, "--num_epochs", 1, "--long", long)
    assert "are longer than 10 tokens and are" in capsys.readouterr().err
    predictor = Predict("bert", dataset=tmp_path, device="cpu")
    text = "股票基金上涨房产下跌银行"
    same, other = predictor.predict_proba([text, f"{text[:-1]}票"])
    assert np.abs(same - other).max() > 1e-6  # the last character is read


def test_help_shows_the_defaults_of_the_model(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        here(monkeypatch, pretrain_run.main, "--model", "ERNIE", "--help")
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "directory of the encoder's files (default: ERNIE_pretrain)" in shown
    assert "5e-5 for an encoder that is 768 wide" in shown
    assert "share of the steps in which the learning rate rises (default: 0.05)" in shown
    assert "{auto,bf16,fp16,off}" in shown
