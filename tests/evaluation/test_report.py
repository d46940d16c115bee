import importlib.util

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib import pyplot as plt

from evaluation import report


def test_a_class_without_rows_is_reported_with_zero_support():
    results, text = report.test_results(np.array([0, 0, 1]), np.array([0, 1, 1]), ["财经", "房产", "股票"])
    assert [line.split()[-1] for line in text.splitlines() if "股票" in line] == ["0"]
    assert results["report"]["股票"]["support"] == 0
    assert results["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert results["accuracy"] == pytest.approx(2 / 3)


def test_wrong_rows_stand_first_the_most_confident_before_the_others(tmp_path):
    texts, probabilities = ["对的", "错的 小", "错的 大"], np.array([0.9, 0.5, 0.8])
    report.write_predictions(tmp_path, texts, np.array([0, 0, 1]), np.array([0, 1, 0]), ["财", "房"], probabilities)
    assert (tmp_path / "predictions.tsv").read_text(encoding="utf-8") == (
        "text\tlabel\tpredicted\tprobability\n"
        "错的 大\t房\t财\t0.8000\n"
        "错的 小\t财\t房\t0.5000\n"
        "对的\t财\t财\t0.9000\n"
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 60])
def test_pictures_are_drawn(tmp_path, count, recwarn):
    classes = [f"{name}{i}" for i, name in enumerate(["财经", "房产", "股票"] * 20)][:count]
    report.draw_confusion_matrix(tmp_path, np.eye(count, dtype=int) * 5, classes)
    report.draw_losses(tmp_path, [{"step": 1, "train_loss": 2.0, "dev_loss": 1.5}], 1)
    for name in ("confusion_matrix.png", "loss.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    assert not [warning for warning in recwarn if "missing from" in str(warning.message)]  # a glyph without a font


def test_the_font_comes_with_a_package_where_the_system_has_none(monkeypatch):
    if importlib.util.find_spec("zhplot") is None:
        pytest.skip("zhplot is not installed")
    monkeypatch.setattr(report, "CHINESE_FONTS", ())
    plt.close(report.figure_and_axes((2, 2))[0])
    assert plt.rcParams["font.family"][0] in {font.name for font in font_manager.fontManager.ttflist}
