import shutil

import pytest
import torch

import run
from cli.console import UserError
from conftest import FIXTURES, here, sample_rows, write_dataset
from engine.resume import State
from engine.runs import Progress

SMALL = {
    "TextCNN": ("--embed", 8, "--num_filters", 4, "--bigram_vocab", 50),
    "FastText": ("--embed", 4, "--hidden_size", 4, "--n_gram_vocab", 50, "--batch_size", 32),
}


def state(path, **fields):
    """A state with a model; `fields` are written besides, as an earlier version would, without a digest."""
    model = torch.nn.Linear(2, 2)
    saved = State(path, {"seed": 1}, torch.device("cpu"), model, [torch.optim.Adam(model.parameters())])
    saved.save({"log": "2026", "step": 3})
    content = torch.load(path, weights_only=True)
    del content["digest"]
    torch.save({name: value for name, value in (content | fields).items() if value is not None}, path)
    return saved


def test_a_state_comes_back(tmp_path):
    assert state(tmp_path / "m.resume").restore(Progress) == Progress("2026", step=3)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": torch.ones(2)},
        {"format": 7},
        {"fingerprint": None},
        {"fingerprint": [1]},
        {"progress": None},
        {"progress": {}},
        {"progress": {"log": "../../etc", "step": 1}},
        {"progress": {"log": "2026", "step": "three"}},
        {"progress": {"log": "2026", "history": [{"step": 1}]}},
        {"progress": {"log": "2026", "more": 1}},
        {"weights": {"weight": torch.ones(3)}},
        {"weights": torch.ones(3)},
        {"optimizers": []},
        {"optimizers": [{"state": 1}]},
        {"random": None},
        {"random": torch.ones(3)},
    ],
)
def test_wrong_or_missing_fields_are_a_line(tmp_path, fields):
    saved = state(tmp_path / "m.resume", **fields)
    with pytest.raises(UserError, match=r"m\.resume is no state of this toolkit, or is damaged; start again without"):
        saved.restore(Progress)


def test_a_damaged_state_is_a_line(tmp_path):
    path = tmp_path / "m.resume"
    saved = state(path)
    saved.save({"log": "2026", "step": 3})
    content = bytearray(path.read_bytes())
    content[content.index(saved.model.weight.detach().numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"m\.resume is damaged"):
        saved.restore(Progress)


@pytest.mark.parametrize("model", SMALL)
def test_a_state_from_before_n_gram_evidence_is_refused_with_what_differs(model, tmp_path, monkeypatch):
    splits = [
        sample_rows(*part) for part in (("train", {0, 1, 2}, 90), ("dev", {0, 1, 2}, 30), ("test", {0, 1, 2}, 30))
    ]
    dataset = write_dataset(tmp_path / "tiny", ["财经", "房产", "股票"], *splits)
    (tmp_path / "saved_dict").mkdir()
    for end in ("ckpt", "resume"):
        shutil.copy(FIXTURES / f"{model}.{end}", tmp_path / "saved_dict")
    flags = ("--output", tmp_path, "--amp", "off", "--device", "cpu", "--num_epochs", 4, "--max_vocab", 60)
    with pytest.raises(UserError, match=r"is of a run with other flags or data: .*evidence is absent there, 4 here"):
        here(monkeypatch, run.main, "--model", model, "--dataset", dataset, *flags, *SMALL[model], "--resume")
