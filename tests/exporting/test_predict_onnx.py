import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from conftest import ROOT, inside
from engine import checkpoint
from engine.calibration import Calibration
from engine.label_calibration import MultiLabelCalibration
from engine.predictor import Predict
from exporting import predict_onnx
from saved_models import CLASSES, ODD, exported, saved_model

WITHOUT_TORCH = """
import runpy, sys
for name in ("torch", "tqdm", "onnx", "transformers"):
    sys.modules[name] = None
script = sys.argv[1]
sys.argv, sys.path[0] = sys.argv[1:], script.removesuffix("predict_onnx.py")
runpy.run_path(script, run_name="__main__")
"""


def assert_alike(predictor, found, tolerance=1e-4):
    expected, cut = predictor.compute(ODD)
    probabilities, own_cut = found.compute(ODD)
    np.testing.assert_allclose(probabilities, expected, atol=tolerance)
    assert (own_cut, found.limit) == (cut, predictor.limit)
    for least in (0.0, 0.3, 0.5, 0.9):
        assert found.predict_list(ODD, least) == predictor.predict_list(ODD, least)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("NBSVM", {}),
        ("SVM", {"segmenter": "jieba"}),
        ("SVM", {"segmenter": "space", "n_grams": 1, "pad_size": 3}),
        ("SVM", {"multi_label": True, "word_n_grams": 2}),
        ("SVM", {"hierarchical": True}),
        ("TextCNN", {"long": "windows", "multi_label": True}),
        ("FastText", {"long": "head_tail"}),
    ],
    ids=str,
)
def test_an_export_predicts_what_the_checkpoint_does(name, settings, tmp_path):
    predictor = saved_model(name, tmp_path, **settings)
    assert_alike(predictor, exported(predictor, tmp_path / "onnx"))


def test_a_model_on_an_encoder_is_exported(encoder, tmp_path):
    predictor = saved_model("bert", tmp_path, encoder=encoder, long="windows")
    assert_alike(predictor, exported(predictor, tmp_path / "onnx"))


@pytest.mark.parametrize("multi_label", [False, True])
def test_an_ensemble_is_exported(multi_label, tmp_path):
    members = [saved_model("SVM", tmp_path / "1", multi_label), saved_model("NBSVM", tmp_path / "2", multi_label)]
    members.append(saved_model("SVM", tmp_path / "3", multi_label, segmenter="jieba", pad_size=4))
    calibration = Calibration(0.8)
    if multi_label:
        calibration = MultiLabelCalibration(torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.1, 0.5, 0.9]))
    path = tmp_path / "ensemble.ckpt"
    checkpoint.save_ensemble(path, [own.path for own in members], [0.5, 0.25, 0.25], CLASSES, {}, calibration)
    predictor = Predict(checkpoint=path, device="cpu", amp="off")
    found = exported(predictor, tmp_path / "onnx")
    assert len({member.vocabulary for member in found.members}) == 2  # of equal ones one is stored
    assert_alike(predictor, found)


@pytest.mark.parametrize("kind", ["one", "multi_label", "hierarchical"])
@pytest.mark.parametrize(
    "flags",
    [(), ("--format", "jsonl"), ("--top_k", 2), ("--top_k", 9, "--format", "jsonl"), ("--min_confidence", 0.6)],
    ids=str,
)
def test_lines_are_those_of_predict(kind, flags, exports, tmp_path, monkeypatch, capsys):
    path, directory = exports[kind]
    texts = tmp_path / "t.txt"
    lines = [text.replace("\n", "\r") for text in ODD if "\ud83d" not in text and "\udc00" not in text]
    texts.write_text("\ufeff" + "\n".join(lines) + "\r\n", encoding="utf-8", newline="")
    expected = inside("predict.py", "--checkpoint", path, "--input", texts, *flags).stdout
    monkeypatch.setattr(predict_onnx, "__file__", str(directory / "predict_onnx.py"))
    monkeypatch.setattr(predict_onnx, "CHUNK", 7)
    monkeypatch.setattr(sys, "argv", ["predict_onnx.py", "--input", str(texts), *map(str, flags)])
    predict_onnx.main()
    assert capsys.readouterr().out == expected


def run(directory, *arguments, stdin=""):
    """Runs the page of an export in a process that cannot import torch."""
    command = [sys.executable, "-c", WITHOUT_TORCH, directory / "predict_onnx.py", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", cwd=directory.parent)


def test_the_page_runs_without_torch_and_without_the_toolkit(exports, tmp_path):
    path, directory = exports["one"]
    long = "北京二手房" * 9
    expected = inside("predict.py", "--checkpoint", path, "央行降息", long).stdout
    done = run(directory, "央行降息", long)
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
    assert done.stderr == "1 texts were longer than the 20 tokens that the model reads\n"
    done = run(directory, "--output", tmp_path / "o.jsonl", stdin="央行降息\n")
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["label"] == expected.splitlines()[1].split("\t")[1]
    assert [file.name for file in tmp_path.iterdir()] == ["o.jsonl"]


@pytest.mark.skipif(sys.platform != "linux", reason="the place of onnxruntime's identifier")
def test_onnxruntime_makes_no_identifier_for_its_telemetry(exports, tmp_path):
    dropped = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI", "GITHUB_ACTIONS")
    environment = {name: value for name, value in os.environ.items() if name not in dropped} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-B", exports["one"][1] / "predict_onnx.py", "央行降息"]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_toolkit_imports_the_page_without_torch():
    program = "import sys; from exporting import predict_onnx; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    assert done.stdout == "False\n"


def test_mistakes_end_in_a_line(exports, tmp_path, monkeypatch):
    directory = shutil.copytree(exports["one"][1], tmp_path / "onnx")
    (tmp_path / "bad.txt").write_bytes("好\n坏\n".encode() + "坏\n".encode("gb18030"))
    for arguments, message in (
        (("--input", tmp_path / "bad.txt"), f"{tmp_path / 'bad.txt'}, line 3: not UTF-8. Save it as UTF-8"),
        (("--input", tmp_path / "none.txt"), "No such file or directory"),
    ):
        done = run(directory, *arguments, "--output", tmp_path / "out.tsv")
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not list(tmp_path.glob("out.tsv*"))
    (directory / "model.onnx").unlink()
    done = run(directory, "一")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("flags", [("--top_k", 0), ("--top_k", -1), ("--min_confidence", "nan")], ids=str)
def test_flags_out_of_range(flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["predict_onnx.py", "一", *map(str, flags)])
    with pytest.raises(SystemExit) as done:
        predict_onnx.main()
    assert done.value.code == 2
    assert "--top_k is at least 1, --min_confidence between 0 and 1" in capsys.readouterr().err


def test_a_reader_that_closes_the_pipe_is_no_error(exports, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("央行降息\n" * 20_000, encoding="utf-8")
    command = [sys.executable, exports["one"][1] / "predict_onnx.py", "--input", texts]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_missing_packages_are_named(exports):
    command = [sys.executable, "-I", "-S", exports["one"][1] / "predict_onnx.py", "一"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    message = "predict_onnx.py: No module named 'numpy'; python -m pip install numpy onnxruntime\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_what_is_no_text_raises_a_type_error(exports):
    predict = predict_onnx.Predict(exports["one"][1])
    for call in (
        lambda: predict.predict(["一"]),
        lambda: predict.predict_proba("一"),
        lambda: predict.predict_list([1]),
    ):
        with pytest.raises(TypeError, match="expect"):
            call()
    assert predict.predict_proba([]).shape == (0, 3)
