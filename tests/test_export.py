import copy
import json
import os
import shutil

import pytest

import export
from conftest import assert_mistaken, here, inside, script
from evaluation import timing
from exporting import content, predict_onnx, verification
from exporting.graph import graph_of


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Measures speed on few texts, and no fresh processes."""
    monkeypatch.setattr(timing, "SECONDS", 1e-4)
    monkeypatch.setattr(timing, "CALLS", 3)
    monkeypatch.setattr(timing, "WARM_UP", 1)
    monkeypatch.setattr(verification, "start_up", lambda command: 0.25)


@pytest.fixture
def output(tmp_path):
    yield tmp_path / "onnx"
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".tmp", ".old")] == []


@pytest.mark.parametrize("flags", [(), ("--quantize", "int8", "--force")], ids=str)
def test_an_export_is_written_and_compared(flags, trained_svm, output):
    done = inside("export.py", "--model", "SVM", "--dataset", trained_svm, "--output", output, *flags)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        "",
        "accuracy on dev",
        "largest difference of probabilities",
        "texts with another prediction",
        "size",
        "one text in a fresh process",
        "texts a second",
        "one text, p50",
        "one text, p99",
    ]
    assert "Checkpoint: " in done.stderr
    predicted = inside("predict.py", "--model", "SVM", "--dataset", trained_svm, "央行降息", "房价").stdout
    found = script(output / "predict_onnx.py", "央行降息", "房价").stdout
    assert [line.split("\t")[:2] for line in found.splitlines()] == [
        line.split("\t")[:2] for line in predicted.splitlines()
    ]
    assert json.loads((output / "model.json").read_text(encoding="utf-8"))["quantize"] == (flags[1] if flags else None)


def test_of_many_rows_a_sample_is_compared(trained_svm, output, monkeypatch):
    monkeypatch.setattr(export, "ROWS", 10)
    done = inside("export.py", "--model", "SVM", "--dataset", trained_svm, "--output", output)
    assert done.stderr.splitlines()[1] == "10 of the 75 rows of dev are compared"
    assert done.stdout.splitlines()[1].split()[3].endswith("0.00%")


def test_several_labels_are_compared_by_the_macro_f1(several, several_svm, output):
    checkpoint = several_svm / "saved_dict" / "SVM.ckpt"
    done = inside("export.py", "--checkpoint", checkpoint, "--dataset", several, "--output", output)
    assert done.stdout.splitlines()[1].startswith("macro F1 on dev")
    assert predict_onnx.Predict(output).predict("") == []


def test_without_rows_random_texts_are_compared(several_svm, output):
    checkpoint = several_svm / "saved_dict" / "SVM.ckpt"
    done = inside("export.py", "--checkpoint", checkpoint, "--output", output)
    assert "largest difference" in done.stdout.splitlines()[1]
    assert "compared on random texts of the vocabulary" in done.stderr
    mistyped = ("--dataset", output / "several")
    done = inside("export.py", "--checkpoint", checkpoint, "--output", output, *mistyped, check=False)
    assert (done.returncode, "several has no data/dev.txt to compare the export on" in done.stderr) == (2, True)


def test_an_earlier_export_is_replaced_and_other_directories_are_not(trained_svm, output):
    arguments = ("--model", "SVM", "--dataset", trained_svm, "--output", output)
    inside("export.py", *arguments)
    (output / "n_grams.npz").write_bytes(b"")
    inside("export.py", *arguments)
    assert predict_onnx.Predict(output).predict("央行降息")
    (output / "mine.py").write_text("import predict_onnx")
    done = inside("export.py", *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr == f"export.py: {output} has files that are no export's: mine.py; use another --output\n"
    shutil.rmtree(output)
    output.mkdir()
    for name in ("README.md", "config.json", "model.safetensors"):  # an encoder of the library, for example
        (output / name).write_text("mine")
    done = inside("export.py", *arguments, check=False)
    assert done.stderr == f"export.py: {output} is no earlier export; use another --output\n"
    shutil.rmtree(output)
    output.write_text("mine")
    done = inside("export.py", *arguments, check=False)
    assert done.stderr == f"export.py: {output} is a file, expected a directory to write\n"


def test_an_export_that_differs_is_refused_and_leaves_nothing(trained_svm, output, monkeypatch):
    def wrong(member):
        model = copy.deepcopy(member.model)
        model.bias.data[0] += 0.5
        return graph_of(member._replace(model=model))

    monkeypatch.setattr(content, "graph_of", wrong)
    arguments = ("--model", "SVM", "--dataset", trained_svm, "--output", output / "in" / "it")
    done = inside("export.py", *arguments, check=False)
    assert done.returncode == 2
    assert "differs from the checkpoint by" in done.stderr
    assert not output.exists()


def test_the_rows_must_be_the_models(trained_svm, tiny, several, output):
    checkpoint = ("--checkpoint", trained_svm / "saved_dict" / "SVM.ckpt", "--output", output)
    done = inside("export.py", *checkpoint, "--dataset", several, check=False)
    assert "predicts one label a row" in done.stderr
    other = shutil.copytree(tiny, output.with_name("other"))
    (other / "data" / "class.txt").write_text("a\nb\nc\n", encoding="utf-8")
    done = inside("export.py", *checkpoint, "--dataset", other, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 2)
    assert f"{other / 'data' / 'class.txt'} has other classes than" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--checkpoint", "a", "--model", "SVM"), "--checkpoint and --model are both given"),
        (("--format", "safetensors", "--quantize", "int8"), "--quantize is for --format onnx"),
        (("--force",), "--force needs --quantize"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message, monkeypatch, capsys):
    assert_mistaken(monkeypatch, capsys, export.main, ("--output", "x", *arguments), message)


def test_safetensors_are_written(trained_svm, output):
    inside("export.py", "--model", "SVM", "--dataset", trained_svm, "--format", "safetensors", "--output", output)
    assert (output / "model.safetensors").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="directories without permission to write")
def test_a_directory_that_cannot_be_written_is_an_error(trained_svm, output):
    output.parent.chmod(0o500)
    done = inside("export.py", "--model", "SVM", "--dataset", trained_svm, "--output", output, check=False)
    output.parent.chmod(0o700)
    assert "cannot be written: Permission denied" in done.stderr


def test_missing_packages_are_named(trained_svm, output, monkeypatch):
    monkeypatch.setattr(export, "problem", lambda requirements: f"{requirements.name} is wanting")
    with pytest.raises(export.UserError, match=r"^requirements-export\.txt is wanting$"):
        here(monkeypatch, export.main, "--model", "SVM", "--dataset", trained_svm, "--output", output)
