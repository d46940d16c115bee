import io
import itertools
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

import predict
import run
from conftest import ROOT, asked_in_a_terminal, assert_mistaken, command, here, inside, script
from engine.predictions import Lines
from engine.predictor import WORKERS, Predict
from text.inputs import read_texts

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


def test_arguments_files_and_pipes_agree(trained, tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    lines = [json.dumps({"id": 1, "title": text}) for text in TEXTS]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "t.csv").write_text("id,title\n" + "".join(f'1,"{text}"\n' for text in TEXTS), encoding="utf-8-sig")
    (tmp_path / "t.tsv").write_bytes(("title\tid\r\n" + "".join(f"{text}\t1\r\n" for text in TEXTS)).encode())
    for suffix in ("txt", "jsonl", "csv", "tsv"):
        blocks = read_texts(str(tmp_path / f"t.{suffix}"), None if suffix == "txt" else "title", show=False)
        assert [text for texts in blocks for text in texts] == TEXTS
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


@pytest.fixture
def threads():
    """Sets the cores that torch computes on, which decide the number of workers."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def many(tmp_path):
    """A file of 20,000 texts, some of them empty and some too long."""
    texts = [f"第{i}支基金上涨" * (1 + i % 6) if i % 7 else "" for i in range(20000)]
    (tmp_path / "many.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return texts


def written(predictor, source, **settings):
    """What `predict.write_all` writes of a file's texts."""
    file = io.StringIO()
    predict.write_all(predictor, read_texts(str(source), None, show=False), Lines("jsonl", **settings), file)
    return file.getvalue()


def test_chunks_and_workers_do_not_show(trained, tmp_path, many, monkeypatch, threads):
    predictor = Predict(dataset=trained, device="cpu")
    outputs = []
    for workers in (1, 3):
        threads(workers)
        outputs.append(written(predictor, tmp_path / "many.txt", names=predictor.classes, top_k=None))
        assert predictor.workers == (workers, 1)
        assert torch.get_num_threads() == workers
    assert outputs[0] == outputs[1]
    rows = [json.loads(line) for line in outputs[0].splitlines()]
    assert [row["text"] for row in rows] == many
    assert [row["label"] for row in rows[:20]] == [predictor.predict(text) for text in many[:20]]
    assert [row["label"] for row in rows] == predictor.predict_list(many)
    assert predictor.cut == 2 * sum(len(text) > 32 for text in many) + sum(len(text) > 32 for text in many[:20] + many)
    monkeypatch.setattr(predict, "CHUNK", 9)
    few = [json.loads(line) for line in written(predictor, tmp_path / "many.txt", names=predictor.classes, top_k=2)
           .splitlines()[:100]]  # fmt: skip
    assert [(row["text"], row["label"]) for row in few] == [(row["text"], row["label"]) for row in rows[:100]]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_a_pipe_leaves_no_output(trained, tmp_path, many):
    out = tmp_path / "out" / "o.tsv"
    arguments = command("predict.py", "--dataset", trained, "--input", "-", "--output", out)
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    rows = predict.CHUNK * (2 * min(os.cpu_count(), WORKERS) + 3)  # more than wait for each other
    process.stdin.write("\n".join(itertools.islice(itertools.cycle(many), rows)).encode())
    process.stdin.flush()  # and the pipe stays open: what came is predicted and written meanwhile
    end = time.monotonic() + 60
    while not any(part.stat().st_size > 100 for part in out.parent.glob("o.tsv.*.tmp")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=30)
    assert process.returncode == 130
    assert messages.decode().splitlines()[1:] == ["Interrupted."]
    assert list(out.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
def test_a_reader_that_has_enough_ends_it(trained, tmp_path, many):
    arguments = command("predict.py", "--dataset", trained, "--input", tmp_path / "many.txt")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout.readline() == b"text\tlabel\tprobability\n"
    process.stdout.close()
    assert len(process.stderr.read().splitlines()) == 1
    assert process.wait(timeout=30) == 141


def test_a_bad_line_far_down_is_told_and_leaves_no_output(trained, tmp_path, many):
    with open(tmp_path / "many.txt", "ab") as file:
        file.write("坏\n".encode("gb18030"))
    arguments = ("--dataset", trained, "--input", tmp_path / "many.txt", "--output", tmp_path / "out.tsv")
    done = inside("predict.py", *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        f"predict.py: {tmp_path / 'many.txt'}, line 20001: not UTF-8. Save it as UTF-8"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["many.txt"]


def test_what_takes_long_to_load_is_not_loaded(trained):
    """A text is classified in little more time than torch takes to load."""
    heavy = ["torch._dynamo", "sympy", "transformers", "sklearn", "matplotlib", "tensorboardX"]
    code = (
        "import sys; from predict import Predict; Predict('TextCNN', sys.argv[1], device='cpu').predict('新闻');"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, trained], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_half_a_surrogate_pair_is_a_text(trained, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "坏\\ud83d"}', encoding="utf-8")
    done = script("predict.py", "--dataset", trained, "--input", tmp_path / "t.jsonl")
    assert rows_of(done.stdout)[1][0][0] == "坏\\ud83d"


def test_top_k_and_jsonl(trained, tmp_path):
    inside("predict.py", "--checkpoint", trained / "saved_dict" / "TextCNN.ckpt", "--top_k", 9, *TEXTS,
           "--output", tmp_path / "o.jsonl")  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[2] == {"text": "", "label": None, "probability": 0.0, "top_k": []}
    for row, text in zip(rows, TEXTS, strict=True):
        assert row["text"] == text
        if text:
            assert row["top_k"][0] == [row["label"], row["probability"]]
            assert {label for label, _ in row["top_k"]} == {"财经", "房产", "股票"}
            assert math.isclose(sum(value for _, value in row["top_k"]), 1, abs_tol=1e-3)
    plain = inside("predict.py", "--dataset", trained, "--format", "jsonl", TEXTS[0]).stdout
    assert json.loads(plain) == {key: rows[0][key] for key in ("text", "label", "probability")}
    header, (row,) = rows_of(inside("predict.py", "--dataset", trained, "--top_k", 2, "有\t标签").stdout)
    assert header == ["text", "label", "probability", "label_2", "probability_2"]
    assert len(row) == 5
    assert row[0] == "有 标签"


def test_words_are_segmented_as_in_training(tiny, tmp_path, monkeypatch):
    here(monkeypatch, run.main, "--dataset", tiny, "--output", tmp_path, "--word", *FEW)
    predictor = Predict("TextCNN", dataset=tmp_path)
    assert predictor.saved.vocabulary.segmenter == "jieba"
    known = predictor.saved.vocabulary.encode_texts(["基金公司"]).ids
    assert 1 <= len(known) <= 2


def test_bad_input_ends_in_one_line_and_leaves_no_output(trained, tmp_path):
    (tmp_path / "a.csv").write_text("text,n\n新闻,1\n新闻\n", encoding="utf-8")
    arguments = ("--dataset", trained, "--input", tmp_path / "a.csv", "--output", tmp_path / "out.tsv")
    done = inside("predict.py", *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [f"predict.py: {tmp_path / 'a.csv'}, line 3: 1 fields, the first row has 2"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--checkpoint", "a", "--model", "DPCNN"), "--checkpoint and --model or --dataset are both given"),
        (("--input", "a", "b"), "texts and --input are both given"),
        (("--top_k", "0"), "argument --top_k: 0 is out of range, expected at least 1"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message, monkeypatch, capsys):
    assert_mistaken(monkeypatch, capsys, predict.main, arguments, message)


def test_the_default_is_the_sample_where_thucnews_is_not(trained, tmp_path):
    """In a copy of the project, trained nowhere else."""
    for path in [*ROOT.glob("*.py"), ROOT / "requirements.txt"]:
        shutil.copy(path, tmp_path)
    for room in ("cli", "text", "models", "engine"):
        shutil.copytree(ROOT / room, tmp_path / room)
    shutil.copytree(trained, tmp_path / "sample")
    done = script(tmp_path / "predict.py", TEXTS[0], cwd=tmp_path)
    assert "No THUCNews/data/train.txt: the bundled sample is used (python download.py thucnews gets" in done.stderr
    assert f"Checkpoint: {os.path.join('sample', 'saved_dict', 'TextCNN.ckpt')}" in done.stderr
    shutil.copytree(trained, tmp_path / "THUCNews")
    done = script(tmp_path / "predict.py", TEXTS[0], cwd=tmp_path)
    assert f"Checkpoint: {os.path.join('THUCNews', 'saved_dict', 'TextCNN.ckpt')}" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made with pty")
def test_a_person_is_asked(trained):
    shown = asked_in_a_terminal("央行降息", "--dataset", trained)
    assert any(f"{name}\t0.".encode() in shown for name in ("财经", "房产", "股票"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot tell whether a pipe has more")
def test_a_line_of_a_pipe_is_answered_when_it_arrives(trained):
    arguments = command("predict.py", "--dataset", trained, "--device", "cpu")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(arguments, cwd=ROOT, **pipes)
    for text in ("沪铜围绕6万关口争夺", "一条新闻"):
        process.stdin.write(f"{text}\n".encode())
        process.stdin.flush()
        while not (line := process.stdout.readline().decode()).startswith(text):
            assert line == "text\tlabel\tprobability\n"
    process.stdin.close()
    assert process.wait(timeout=30) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="closes a descriptor in a shell")
def test_a_closed_standard_input_is_an_empty_one(trained):
    arguments = shlex.join(command("predict.py", "--dataset", trained, "--device", "cpu"))
    for text, rows in (("一条新闻", 2), ("", 1)):
        done = subprocess.run(f"{arguments} {text} <&-", shell=True, capture_output=True, encoding="utf-8", check=False)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, rows), done.stderr
