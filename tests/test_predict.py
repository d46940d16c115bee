import gzip
import json
import math
import os
import shutil
import sys

import numpy as np
import pytest

import predict
import run
from conftest import ROOT, here, script
from console import UserError
from models import NETWORKS
from predict import Predict, read_texts

TEXTS = ["央行下调存款准备金率", "北京二手房价格上涨", "", "A股三大股指收涨 券商股领跑" * 4]
FEW = ("--num_epochs", 2, "--embed", 16, "--device", "cpu")


@pytest.fixture(scope="session")
def trained(tiny):
    """The tiny dataset with TextCNN's checkpoint."""
    script("run.py", "--model", "TextCNN", "--dataset", tiny, *FEW)
    return tiny


def rows_of(text):
    header, *rows = [line.split("\t") for line in text.splitlines()]
    return header, rows


@pytest.mark.parametrize("model", NETWORKS)
def test_each_network_predicts_the_same_each_time(tiny, tmp_path, monkeypatch, model):
    small = ("--n_gram_vocab", 999) if model == "FastText" else ("--bigram_vocab", 999)
    here(monkeypatch, run.main, "--model", model, "--dataset", tiny, "--output", tmp_path, *FEW, *small)
    predictor = Predict(model, dataset=tmp_path)
    probabilities = predictor.predict_proba(TEXTS)
    assert probabilities.shape == (4, 3)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1, 0, 1])
    assert np.array_equal(predictor.predict_proba(TEXTS), probabilities)
    alone = np.concatenate([predictor.predict_proba([text]) for text in TEXTS])
    assert alone == pytest.approx(probabilities, abs=1e-5)
    names = predictor.predict_list(TEXTS)
    assert set(names) <= {"财经", "房产", "股票", None}
    assert names[2] is None
    assert predictor.predict(TEXTS[0]) == names[0]
    (log,) = (tmp_path / "log" / model).iterdir()  # what the test saw is what prediction gives
    _, tested = rows_of((log / "predictions.tsv").read_text(encoding="utf-8"))
    again = predictor.predict_proba([row[0] for row in tested])
    assert again.max(axis=1) == pytest.approx([float(row[3]) for row in tested], abs=1e-4)


def test_arguments_files_and_pipes_agree(trained, tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    lines = [json.dumps({"id": 1, "title": text}) for text in TEXTS]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "t.csv").write_text("id,title\n" + "".join(f'1,"{text}"\n' for text in TEXTS), encoding="utf-8-sig")
    (tmp_path / "t.tsv").write_bytes(("title\tid\r\n" + "".join(f"{text}\t1\r\n" for text in TEXTS)).encode())
    for suffix in ("txt", "jsonl", "csv", "tsv"):
        assert (
            list(read_texts(str(tmp_path / f"t.{suffix}"), None if suffix == "txt" else "title", show=False)) == TEXTS
        )
    base = ("predict.py", "--dataset", trained)
    done = script(*base, *TEXTS)
    header, rows = rows_of(done.stdout)
    assert header == ["text", "label", "probability"]
    assert [row[0] for row in rows] == TEXTS
    assert rows[2] == ["", "", "0.0000"]
    assert "saved_dict/TextCNN.ckpt (TextCNN, 3 classes)" in done.stderr.replace(os.sep, "/")
    assert "1 texts were longer than the 32 tokens" in done.stderr
    assert script(*base, stdin="\n".join(TEXTS)).stdout == done.stdout
    script(*base, "--input", tmp_path / "t.csv", "--text", "title", "--output", tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text(encoding="utf-8") == done.stdout


def test_the_order_holds_over_many_chunks(trained, tmp_path, monkeypatch):
    texts = [f"第{i}支基金上涨" * (1 + i % 5) if i % 7 else "" for i in range(100)]
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    outputs = []
    for chunk in (100000, 9):
        monkeypatch.setattr(predict, "CHUNK", chunk)
        out = tmp_path / f"{chunk}.jsonl"
        here(monkeypatch, predict.main, "--dataset", trained, "--input", tmp_path / "t.txt", "--output", out)
        outputs.append([json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()])
    assert [row["text"] for row in outputs[0]] == texts
    assert [row["label"] for row in outputs[0]] == [row["label"] for row in outputs[1]]


def test_half_a_surrogate_pair_is_a_text(trained, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "坏\\ud83d"}', encoding="utf-8")
    done = script("predict.py", "--dataset", trained, "--input", tmp_path / "t.jsonl")
    assert rows_of(done.stdout)[1][0][0] == "坏\\ud83d"


def test_a_compressed_file_is_read_by_the_suffix_before(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(b"text\nx\n")
    assert list(read_texts(str(tmp_path / "t.csv.gz"), None, show=False)) == ["x"]
    (tmp_path / "t.csv.txt").write_bytes(b"text\nx\n")
    assert list(read_texts(str(tmp_path / "t.csv.txt"), None, show=False)) == ["text", "x"]


def test_top_k_and_jsonl(trained, tmp_path):
    script("predict.py", "--checkpoint", trained / "saved_dict" / "TextCNN.ckpt", "--top_k", 9, *TEXTS,
           "--output", tmp_path / "o.jsonl")  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[2] == {"text": "", "label": None, "probability": 0.0, "top_k": []}
    for row, text in zip(rows, TEXTS, strict=True):
        assert row["text"] == text
        if text:
            assert row["top_k"][0] == [row["label"], row["probability"]]
            assert {label for label, _ in row["top_k"]} == {"财经", "房产", "股票"}
            assert math.isclose(sum(value for _, value in row["top_k"]), 1, abs_tol=1e-3)
    plain = script("predict.py", "--dataset", trained, "--format", "jsonl", TEXTS[0]).stdout
    assert json.loads(plain) == {key: rows[0][key] for key in ("text", "label", "probability")}
    header, (row,) = rows_of(script("predict.py", "--dataset", trained, "--top_k", 2, "有\t标签").stdout)
    assert header == ["text", "label", "probability", "label_2", "probability_2"]
    assert len(row) == 5
    assert row[0] == "有 标签"


def test_words_are_segmented_as_in_training(tiny, tmp_path, monkeypatch):
    here(monkeypatch, run.main, "--dataset", tiny, "--output", tmp_path, "--word", *FEW)
    predictor = Predict("TextCNN", dataset=tmp_path)
    assert predictor.saved.vocabulary.segmenter == "jieba"
    known = predictor.saved.vocabulary.encode_texts(["基金公司"]).ids
    assert 1 <= len(known) <= 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,title\n1,x\n", "a.csv has no column 'text'; it has id, title; --text COLUMN names another"),
        ("a.csv", b"id,text\n1,x\n2\n", "a.csv, line 3: 1 fields, the header has 2"),
        ("a.csv", b'id,text\n1,"x\n', "a.csv, line 2: unexpected end of data"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', "a.jsonl, line 2: no text at 'text'; it has text"),
        ("a.jsonl", b"[]\n", "a.jsonl, line 1: no text at 'text'; it has no object"),
        ("a.jsonl", b"{text\n", "a.jsonl, line 1: no JSON"),
        ("a.txt", "好\n".encode() + "新闻\n".encode("gb18030"), "a.txt, line 2: not UTF-8"),
        ("missing.txt", None, "missing.txt cannot be read: No such file"),
    ],
)
def test_bad_input_is_told_with_its_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        list(read_texts(str(tmp_path / name), None, show=False))
    assert message in str(error.value)


def test_bad_input_ends_in_one_line_and_leaves_no_output(trained, tmp_path):
    (tmp_path / "a.csv").write_text("text,n\n新闻,1\n新闻\n", encoding="utf-8")
    arguments = ("--dataset", trained, "--input", tmp_path / "a.csv", "--output", tmp_path / "out.tsv")
    done = script("predict.py", *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [f"predict.py: {tmp_path / 'a.csv'}, line 3: 1 fields, the header has 2"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"dataset": "nowhere"},
            "no checkpoint of TextCNN, .*Transformer in nowhere.saved_dict; train one: python run.py --model TextCNN",
        ),
        ({"model": "DPCNN", "dataset": "nowhere"}, "no DPCNN.ckpt in nowhere"),
        ({"checkpoint": "nowhere.ckpt"}, "nowhere.ckpt: no such file"),
    ],
)
def test_a_checkpoint_that_is_not_there(settings, message):
    with pytest.raises(UserError, match=message):
        Predict(**settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--checkpoint", "a", "--model", "DPCNN"), "--checkpoint is given, and --model or --dataset too"),
        (("--input", "a", "b"), "texts and --input are both given"),
        (("--top_k", "0"), "argument --top_k: 0 is out of range, expected at least 1"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        here(monkeypatch, predict.main, *arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_default_is_the_sample_where_thucnews_is_not(trained, tmp_path):
    """In a copy of the project, trained nowhere else."""
    for path in ROOT.glob("*.py"):
        shutil.copy(path, tmp_path)
    shutil.copytree(ROOT / "models", tmp_path / "models")
    shutil.copytree(trained, tmp_path / "sample")
    done = script(tmp_path / "predict.py", TEXTS[0], cwd=tmp_path)
    assert "No THUCNews/data/train.txt: the bundled sample is used (python download.py thucnews gets" in done.stderr
    assert f"Checkpoint: {os.path.join('sample', 'saved_dict', 'TextCNN.ckpt')}" in done.stderr
    shutil.copytree(trained, tmp_path / "THUCNews")
    done = script(tmp_path / "predict.py", TEXTS[0], cwd=tmp_path)
    assert f"Checkpoint: {os.path.join('THUCNews', 'saved_dict', 'TextCNN.ckpt')}" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made with pty")
def test_a_person_is_asked(trained):
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "predict.py", "--dataset", str(trained), "--device", "cpu"])
    shown = b""
    while b"> " not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, "央行降息\n".encode())
    while shown.count(b"> ") < 2:
        shown += os.read(terminal, 1024)
    os.write(terminal, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert any(f"{name}\t0.".encode() in shown for name in ("财经", "房产", "股票"))
