"""`predict_onnx.Predict` of directories that are damaged, or edited by hand."""

import json
import shutil

import pytest

from exporting import predict_onnx
from exporting.predict_onnx import ExportError


def broken(**changes):
    """A function that gives fields of model.json other values."""

    def change(directory):
        content = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        for name, value in changes.items():
            place, _, field = name.rpartition("__")
            target = content
            for part in filter(None, place.split("__")):
                target = target[int(part)] if part.isdigit() else target[part]
            target[field] = value
        (directory / "model.json").write_text(json.dumps(content), encoding="utf-8")

    return change


def without(name):
    return lambda directory: (directory / name).unlink()


def flipped(name, position):
    """A function that changes a byte of a file."""

    def change(directory):
        content = bytearray((directory / name).read_bytes())
        content[position] ^= 0xFF
        (directory / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model.json"), "no file"),
        (without("model.onnx"), "no file"),
        (without("n_grams.npz"), "no file"),
        (flipped("model.onnx", -20), "model.onnx is damaged"),
        (flipped("n_grams.npz", 700), "a damaged one"),
        (flipped("n_grams.npz", -3), "a damaged one"),
        (flipped("model.json", 0), "a damaged one"),
        (broken(format=2), "model.json has format 2, and this code reads format 1; export again"),
        (broken(format="1"), "format is '1', not a valid int"),
        (broken(vocabularies__0__unk=7), "only its names of classes, temperatures and thresholds can be"),
        (broken(vocabularies__0__aliases="愛"), "aliases is '愛', not a valid str"),
        (broken(vocabularies__0__aliases=None), "aliases is None, not a valid str"),
        (broken(vocabularies__0__aliases="愛爱"), "model.json was edited"),
        (broken(members__0__truncation__limit=64), "model.json was edited"),
        (broken(classes=["a", 1, "c"]), "classes is ['a', 1, 'c']"),
        (broken(classes=["a", "b"]), "model.onnx does not fit model.json"),
        (broken(members=[]), "members is []"),
        (broken(members=5), "members is 5"),
        (broken(vocabularies=[]), "vocabulary is 0"),
        (broken(vocabularies__0__tokens=[1]), "tokens is [1]"),
        (broken(vocabularies__0__tokens=["ab"] * 400), "a damaged one"),
        (broken(vocabularies__0__marks_words="yes"), "marks_words is 'yes', not a valid bool"),
        (broken(members__0__temperatures=[0.0]), "temperatures has numbers out of range, expected 0.03125 to 32"),
        (broken(members__0__temperatures=[float("nan")]), "temperatures has numbers out of range"),
        (broken(members__0__truncation={"limit": 0}), "limit is 0"),
        (broken(members__0__graph="../model.onnx"), "graph is '../model.onnx'"),
        (broken(members__0__n_grams__longest=9), "longest is 9"),
        (broken(members__0__n_grams__key_bits=32), "arrays or tokens of another model"),
        (broken(members__0__n_grams__file="model.onnx"), "a damaged one"),
        (broken(members__0__n_grams=None), "model.onnx does not fit model.json"),
    ],
)
def test_a_directory_that_is_no_whole_export_is_refused_in_a_line(change, message, exports, tmp_path):
    directory = shutil.copytree(exports["one"][1], tmp_path / "onnx")
    change(directory)
    with pytest.raises(ExportError) as error:
        predict_onnx.Predict(directory)
    assert message in str(error.value)
    assert str(directory) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_names_of_classes_temperatures_and_thresholds_can_be_edited(exports, tmp_path):
    directory = shutil.copytree(exports["multi_label"][1], tmp_path / "onnx")
    broken(classes=["a", "b", "c"], thresholds=[0, 0, 1], members__0__temperatures=[1, 2, 1.5])(directory)
    assert sorted(predict_onnx.Predict(directory).predict("央行降息")) == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken(thresholds=[0.5, 0.5, 1.5]), "thresholds has numbers out of range, expected 0 to 1"),
        (broken(thresholds=[0.5]), "thresholds is [0.5]"),
        (broken(multi_label=False), "thresholds is"),
    ],
)
def test_thresholds_are_checked(change, message, exports, tmp_path):
    directory = shutil.copytree(exports["multi_label"][1], tmp_path / "onnx")
    change(directory)
    with pytest.raises(ExportError, match="thresholds") as error:
        predict_onnx.Predict(directory)
    assert message in str(error.value)


@pytest.mark.parametrize(("kind", "name"), [("one", "?"), ("hierarchical", "?/a")])
def test_a_class_must_not_be_called_as_what_is_unsure(kind, name, exports, tmp_path):
    directory = shutil.copytree(exports[kind][1], tmp_path / "onnx")
    broken(classes=[name, "b", "c"])(directory)
    found = predict_onnx.Predict(directory)
    assert found.predict("央行降息") in (name, "b", "c")
    with pytest.raises(ExportError, match=r"a class is called \?"):
        found.predict("央行降息", min_confidence=0.5)
