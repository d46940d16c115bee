"""What a model loses when texts are changed: the measures, the files, what is not measured again, what is refused."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import classification_report, f1_score

from conftest import assert_mistaken, inside, write_dataset
from engine.predictor import Predict
from evaluation import robustness
from evaluation.robustness import Perturbed, score
from text.labelled import read_split
from text.perturbations import PERTURBATIONS, perturb

NAMES = ["traditional", "dropped"]
FILES = {"robustness.md", "robustness.json", "robustness.tsv", "robustness.png", "robustness_classes.png"}


def checkpoint_of(directory):
    return directory / "saved_dict" / "SVM.ckpt"


def measure(dataset, checkpoints, output, *flags, check=True):
    where = ("--checkpoints", *checkpoints, "--dataset", dataset, "--output", output, "--device", "cpu")
    return inside("evaluation.robustness", *where, *flags, check=check)


def test_the_score_of_one_label_a_row():
    labels, predicted = np.array([0, 0, 0, 1, 1, 3]), np.array([0, 0, 1, 1, 0, 2])
    found = score(labels, predicted, 4)
    report = classification_report(labels, predicted, labels=range(4), output_dict=True, zero_division=0)
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert found["by_class"] == [pytest.approx(2 / 3), 0.5, None, 0]


def test_the_score_of_several_labels_a_row():
    labels, predicted = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]]), np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    found = score(labels, predicted, 3)
    assert found["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["by_class"] == [pytest.approx(2 / 3), pytest.approx(2 / 3), None]
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))


def test_the_results_are_those_of_predicting_the_changed_texts(trained_svm):
    texts, labels = read_split(trained_svm, "test")
    predictor = Predict(checkpoint=checkpoint_of(trained_svm), device="cpu")
    found = Perturbed(texts, labels, 3, NAMES, [0.1, 0.5]).results(predictor, "SVM")
    assert found["clean"]["accuracy"] == (predictor.predict_proba(texts).argmax(axis=1) == labels).mean()
    for name in NAMES:
        assert found["perturbed"][name].keys() == {"0.1", "0.5"}
        for strength, result in found["perturbed"][name].items():
            changed = perturb(texts, name, float(strength))
            assert result["accuracy"] == (predictor.predict_proba(changed).argmax(axis=1) == labels).mean()
            assert result["changed"] == np.mean([a != b for a, b in zip(texts, changed, strict=True)])


def test_the_files_and_the_table(trained_svm, tmp_path):
    done = measure(trained_svm, [checkpoint_of(trained_svm)], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    found = json.loads((tmp_path / "out" / "robustness.json").read_text(encoding="utf-8"))
    assert found["strengths"] == [0.1, 0.2, 0.4]
    assert found["rows"] == 75
    model = found["models"]["SVM"]
    assert list(model["perturbed"]) == found["perturbations"] == list(PERTURBATIONS)
    lines = done.stdout.splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["change", "rows changed, %", "SVM"]
    assert cells[2] == ["none", "0", f"{100 * model['clean']['accuracy']:.2f}"]
    assert [row[0] for row in cells[3:]] == [*(found.title for found in PERTURBATIONS.values()), "mean"]
    dropped = model["perturbed"]["dropped"].values()
    assert cells[7][2] == " / ".join(f"{100 * result['accuracy']:.2f}" for result in dropped)
    mean = np.mean([[result["accuracy"] for result in of.values()] for of in model["perturbed"].values()], axis=0)
    assert cells[-1][2] == " / ".join(f"{100 * value:.2f}" for value in mean)
    page = (tmp_path / "out" / "robustness.md").read_text(encoding="utf-8")
    assert done.stdout in page
    assert f"| 财经    | {100 * model['clean']['by_class'][0]:.1f} → " in page
    rows = (tmp_path / "out" / "robustness.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "model\tchange\tstrength\taccuracy\tmacro_f1\t财经\t房产\t股票"
    assert len(rows) == 2 + 3 * len(PERTURBATIONS)
    assert rows[1].startswith(f"SVM\tnone\t0\t{model['clean']['accuracy']:.4f}\t{model['clean']['macro_f1']:.4f}\t")


def test_a_checkpoint_is_measured_once_and_another_one_is_added(trained_svm, tmp_path, monkeypatch):
    path, flags = checkpoint_of(trained_svm), ("--strengths", 0.3, "--rows", 20)
    first = measure(trained_svm, [path], tmp_path, *flags)
    assert "measured before" not in first.stderr
    measured = []
    monkeypatch.setattr(Perturbed, "results", lambda self, predictor, name: measured.append(name) or results)
    results = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))["models"]["SVM"]
    again = measure(trained_svm, [path], tmp_path, *flags)
    assert (again.stdout, measured) == (first.stdout, [])
    assert "SVM (measured before)" in again.stderr
    other = shutil.copy(path, tmp_path / "other.ckpt")
    with_other = measure(trained_svm, [other, path], tmp_path, *flags)
    assert measured == ["other"]
    assert with_other.stdout.splitlines()[0].split("|")[3:5] == [" other ", " SVM   "]
    measure(trained_svm, [path], tmp_path, "--strengths", 0.3, "--rows", 21)
    assert measured == ["other", "SVM"]


def test_rows_are_drawn_and_strengths_ordered(trained_svm, tmp_path):
    measure(trained_svm, [checkpoint_of(trained_svm)], tmp_path, "--strengths", 0.5, 0.2, 0.5, "--rows", 10)
    found = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert (found["rows"], found["strengths"]) == (10, [0.2, 0.5])


def test_several_labels_a_row(several, several_svm, tmp_path):
    measure(several, [checkpoint_of(several_svm)], tmp_path, "--strengths", 0.4)
    found = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    texts, labels = read_split(several, "test")
    predictor = Predict(checkpoint=checkpoint_of(several_svm), device="cpu")
    predicted = predictor.predicted(predictor.predict_proba(texts))
    clean = found["models"]["SVM"]["clean"]
    assert found["measure"] == "micro_f1"
    assert clean["micro_f1"] == pytest.approx(f1_score(labels, predicted, average="micro"))
    assert clean["by_class"] == pytest.approx(f1_score(labels, predicted, average=None))
    assert "Test micro F1 in %" in (tmp_path / "robustness.md").read_text(encoding="utf-8")


def test_without_the_packages_the_other_changes_are_measured(trained_svm, tmp_path, monkeypatch):
    monkeypatch.setattr("text.perturbations.version_of", lambda package: None)
    monkeypatch.setattr("text.perturbations.problem", lambda path: f"opencc is not installed; install {path.name}")
    done = measure(trained_svm, [checkpoint_of(trained_svm)], tmp_path, "--strengths", 0.4)
    why = "opencc is not installed; install requirements-robustness.txt"
    assert f"traditional, homophones left out: {why}\n" in done.stderr
    assert "traditional characters" not in done.stdout
    assert len(done.stdout.splitlines()) == 3 + 9 + 1


def test_many_classes_are_cut_and_a_class_without_rows_has_no_accuracy(trained_svm, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.robustness_report.MOST_CLASSES", 2)
    texts, labels = read_split(trained_svm, "test")
    rows = [(text, label) for text, label in zip(texts, labels, strict=True) if label]
    dataset = write_dataset(tmp_path / "d", ["财经", "房产", "股票"], rows)
    measure(dataset, [checkpoint_of(trained_svm)], tmp_path, "--strengths", 0.4)
    page = (tmp_path / "robustness.md").read_text(encoding="utf-8")
    assert "at a strength of 40%; the 2 of 3 classes that lose the most.\n" in page
    assert "| 财经" not in page
    monkeypatch.setattr("evaluation.robustness_report.MOST_CLASSES", 3)
    measure(dataset, [checkpoint_of(trained_svm)], tmp_path, "--strengths", 0.4)
    assert "| 财经    | –" in (tmp_path / "robustness.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--strengths", "0"), "argument --strengths: 0 is out of range, expected above 0 and at most 1"),
        (("--strengths", "1.5"), "argument --strengths: 1.5 is out of range, expected above 0 and at most 1"),
        (("--rows", "0"), "argument --rows: 0 is out of range, expected at least 1"),
        (("--names", "a"), "--names: 1 names for 2 checkpoints"),
        (("--names", "a", "a"), "--names: a is given twice"),
    ],
)
def test_mistaken_flags(arguments, message, monkeypatch, capsys):
    needed = ("--checkpoints", "a.ckpt", "b.ckpt", "--dataset", "d")
    assert_mistaken(monkeypatch, capsys, robustness.main, (*needed, *arguments), message)


def test_a_checkpoint_of_other_classes_or_of_another_kind_is_refused(trained_svm, several_svm, tmp_path):
    path = checkpoint_of(trained_svm)
    other = write_dataset(tmp_path / "d", ["体育", "房产", "股票"], [("甲", 0), ("乙", 1), ("丙", 2)])
    done = measure(other, [path], tmp_path / "out", check=False)
    assert done.returncode == 2
    assert f"{path} has other classes (财经, 房产, 股票) than {other / 'data' / 'class.txt'}" in done.stderr
    done = measure(trained_svm, [checkpoint_of(several_svm)], tmp_path / "out", check=False)
    assert "predicts any number of labels a row, but rows in" in done.stderr
    done = measure(trained_svm, [tmp_path / "no.ckpt"], tmp_path / "out", check=False)
    assert (done.returncode, "no.ckpt" in done.stderr) == (2, True)


def test_models_of_the_same_name_have_their_paths_as_names(monkeypatch):
    monkeypatch.setattr("sys.argv", ["script", "--checkpoints", "a/SVM.ckpt", "b/SVM.ckpt", "--dataset", "d"])
    assert robustness.parse_args().names == ["a/SVM.ckpt", "b/SVM.ckpt"]
