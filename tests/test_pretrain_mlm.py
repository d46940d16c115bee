"""`pretrain_mlm.py`: the encoder that it leaves."""

import bz2
import math
import re

import pytest
import transformers

import pretrain_mlm
import pretrain_run
from cli.console import UserError
from conftest import assert_mistaken, here, inside, pieces, sample_rows, script, write_encoder
from test_run import KILL, interrupt
from text.wordpiece_files import read_wordpieces

FEW = ("--device", "cpu", "--batch_size", 32)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The sample's headlines, labels behind a tab, in two files, one of them compressed."""
    directory = tmp_path_factory.mktemp("corpus")
    rows = [f"{text}\t{label}\n" for text, label in sample_rows("train", set(range(10)), 400)]
    (directory / "a.txt").write_text("\n" + "".join(rows[:200]), encoding="utf-8")
    (directory / "b.txt.bz2").write_bytes(bz2.compress("".join(rows[200:]).encode()))
    return [directory / "a.txt", directory / "b.txt.bz2"]


def pretrain(monkeypatch, corpus, output, *settings):
    here(monkeypatch, pretrain_mlm.main, "--corpus", *corpus, "--output", output, *FEW, *settings)


def test_an_encoder_from_nothing(corpus, tiny, tmp_path, monkeypatch, capsys):
    output = tmp_path / "encoder"
    pretrain(monkeypatch, corpus, output, "--size", "tiny", "--num_epochs", 4, "--learning_rate", 3e-3)
    printed = capsys.readouterr()
    losses = [float(loss) for loss in re.findall(r"Train Loss: +([\d.]+)", printed.out)]
    assert len(losses) == 4 and losses[3] < losses[0] < 7.5
    assert "1 blank lines skipped" in printed.err
    assert "392 rows for training, 8 for validation" in printed.err
    filler = transformers.AutoModelForMaskedLM.from_pretrained(output)
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    assert filler.config.num_hidden_layers == 2 and filler.config.hidden_size == 128
    ids = tokenizer("股票大涨", return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(ids["input_ids"][0]) == ["[CLS]", *"股票大涨", "[SEP]"]
    assert filler.config.max_position_embeddings == 32
    assert filler(**ids).logits.shape == (1, 6, len(tokenizer))
    tuning = ("--dataset", tiny, "--output", tmp_path, "--bert_path", output, "--num_epochs", 1, "--device", "cpu")
    here(monkeypatch, pretrain_run.main, *tuning)
    printed = capsys.readouterr()
    assert "has no pooler (the encoder was trained on masked words alone" in printed.err
    assert "Test Acc" in printed.out


@pytest.mark.parametrize("kind", ["Bert", "Ernie", "Electra", "Albert"])
def test_training_goes_on_from_an_encoder(corpus, tmp_path, monkeypatch, capsys, kind):
    """It starts from the encoder's weights, with or without a head, and its pooler is not lost."""
    start = write_encoder(tmp_path / "start", kind, "ForMaskedLM" if kind == "Albert" else "Model")
    pretrain(monkeypatch, corpus[:1], tmp_path / "more", "--init", tmp_path / "start", "--num_epochs", 1)
    said = capsys.readouterr().err
    assert ("has no head that predicts words: it starts random" in said) == (kind != "Albert")
    more = type(start).from_pretrained(tmp_path / "more").state_dict()
    for name, weight in start.state_dict().items():
        distance = (more[name] - weight).abs().max()
        assert distance < 0.01, name
        assert (distance == 0) == name.startswith("pooler"), name
    assert read_wordpieces(tmp_path / "more", len(pieces())).pieces() == pieces()


def test_an_interrupted_training_resumes_to_the_same_weights(corpus, encoder, tmp_path):
    settings = ("pretrain_mlm.py", "--corpus", *corpus, "--init", encoder, *FEW, "--num_epochs", 8, "--eval_every", 5)
    settings += ("--masking", "ngram")
    inside(*settings, "--output", tmp_path / "whole")
    broken = ("--output", tmp_path / "broken")
    interrupt(KILL, tmp_path / "broken" / "saved_dict" / "mlm.resume", *settings, *broken)
    done = script(*settings, *broken, "--resume")
    assert int(re.search(r"Iter: +(\d+)", done.stdout)[1]) > 5
    expected, found = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert expected == found
    assert not list(tmp_path.glob("broken/new.tmp"))
    again = inside(*settings, *broken, "--resume")
    assert "Iter" not in again.stdout
    loss, perplexity = re.search(r"Best Val Loss: +([\d.]+),  Perplexity: ([\d.]+)", again.stdout).groups()
    assert math.exp(float(loss)) == pytest.approx(float(perplexity), rel=0.06)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--output", "{encoder}", "--init", "{encoder}"), "is the directory of --init; name another"),
        (("--output", "{encoder}"), "has an encoder that this script did not make; name another directory"),
        (("--output", "{tmp}/o", "--vocab", "{tmp}/v.txt"), "v.txt cannot be read: No such file"),
        (("--output", "{tmp}/o", "--corpus", "{tmp}/one.txt"), "one.txt: 1 texts, expected two or more"),
        (("--output", "{tmp}/o", "--corpus", "{tmp}/none.txt"), "none.txt cannot be read: No such file"),
        (
            ("--output", "{tmp}/o", "--vocab_size", "100"),
            "characters are unknown to the vocabulary, .*; increase --vocab_size",
        ),
    ],
)
def test_what_is_wrong_is_told(corpus, encoder, tmp_path, monkeypatch, settings, message):
    (tmp_path / "one.txt").write_text("一\n\n", encoding="utf-8")
    settings = [setting.format(encoder=encoder, tmp=tmp_path) for setting in settings]
    with pytest.raises(UserError, match=message):
        here(monkeypatch, pretrain_mlm.main, "--corpus", *corpus, *FEW, *settings)


def test_a_run_with_another_masking_is_not_resumed(corpus, encoder, tmp_path):
    settings = ("pretrain_mlm.py", "--corpus", *corpus, "--init", encoder, *FEW, "--num_epochs", 1)
    inside(*settings, "--output", tmp_path / "o", "--masking", "word")
    done = inside(*settings, "--output", tmp_path / "o", "--masking", "ngram", "--resume", check=False)
    assert done.returncode == 2
    assert "is of a run with other flags or data: masking is 'word' there, 'ngram' here" in done.stderr


def test_a_masking_that_is_unknown(corpus, tmp_path, monkeypatch, capsys):
    flags = ("--corpus", *corpus, "--output", tmp_path / "o", "--masking", "phrase")
    message = "argument --masking: invalid choice: 'phrase' (choose from"
    assert_mistaken(monkeypatch, capsys, pretrain_mlm.main, flags, message)


def test_an_encoder_brings_its_size(encoder, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        pretrain(monkeypatch, ["c.txt"], tmp_path, "--init", encoder, "--size", "tiny")
    assert "--init and --size or --vocab are both given" in capsys.readouterr().err


def test_long_lines_are_split_and_not_cut(encoder, tmp_path, monkeypatch, capsys):
    (tmp_path / "long.txt").write_text(("股票大涨" * 100 + "\n") * 3, encoding="utf-8")
    settings = ("--init", encoder, "--pad_size", 12, "--num_epochs", 1)
    pretrain(monkeypatch, [tmp_path / "long.txt"], tmp_path / "o", *settings)
    assert "80 rows for training, 40 for validation" in capsys.readouterr().err
