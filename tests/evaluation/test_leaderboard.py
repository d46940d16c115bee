import itertools
import json
import math

import numpy as np
import pytest

from evaluation import leaderboard
from evaluation.leaderboard import median_run, rank, right_rows, row_of, summary, table
from evaluation.significance import holm, mcnemar, pareto
from text.hierarchy import Hierarchy


def test_mean_and_sample_standard_deviation():
    assert summary([0.5, 0.7, 0.6]) == {
        "mean": pytest.approx(0.6),
        "std": pytest.approx(0.1),
        "values": [0.5, 0.7, 0.6],
    }
    assert summary([0.5]) == {"mean": 0.5, "std": None, "values": [0.5]}
    assert leaderboard.percent(summary([0.5, 0.7, 0.6])) == "60.00 ± 10.00"
    assert leaderboard.percent(summary([0.12345])) == "12.35"


def right(both, ours, theirs, neither):
    """Two models' rows, of which so many both have right, and so on."""
    pairs = [(1, 1)] * both + [(1, 0)] * ours + [(0, 1)] * theirs + [(0, 0)] * neither
    return np.array(pairs, bool).reshape(-1, 2).T


@pytest.mark.parametrize(
    ("counts", "p"),
    [
        ((90, 0, 0, 10), 1.0),
        ((0, 5, 5, 0), 1.0),
        ((50, 6, 0, 3), 2 / 2**6),
        ((50, 0, 6, 3), 2 / 2**6),
        ((7, 8, 2, 9), 2 * (1 + 10 + 45) / 2**10),
        ((900, 30, 12, 58), 2 * sum(math.comb(42, k) for k in range(13)) / 2**42),
    ],
)
def test_mcnemar_is_the_binomial_sum(counts, p):
    assert mcnemar(*right(*counts)) == pytest.approx(p)


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.6, 0.001], [1.0, 1.0, 0.003]),
    ],
)
def test_holm(p_values, corrected):
    assert holm(p_values) == pytest.approx(corrected)


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.9, 1.0)], [True]),
        ([(0.9, 1.0), (0.8, 2.0)], [True, False]),
        ([(0.9, 2.0), (0.8, 1.0)], [True, True]),
        ([(0.9, 2.0), (0.8, 1.0), (0.85, 3.0)], [True, True, False]),
        ([(0.9, 1.0), (0.9, 2.0)], [True, False]),  # as accurate, and slower
        ([(0.9, 1.0), (0.8, 1.0)], [True, False]),
        ([(0.9, 1.0), (0.9, 1.0)], [True, True]),  # neither beats the other
    ],
)
def test_pareto(points, front):
    assert pareto(points) == front


def write_predictions(path, rows):
    path.write_text(
        "text\tlabel\tpredicted\tprobability\n" + "".join(f"{row}\t0.5\n" for row in rows), encoding="utf-8"
    )
    return path


def test_rows_are_paired_whatever_their_order_and_however_often_a_text_stands_there(tmp_path):
    alike = ["同\t好\t坏", "同\t好\t坏", "同\t坏\t坏"]  # a text under two classes, one of them twice
    ours = ["甲\t好\t好", "乙\t坏\t好", *alike]
    theirs = ["甲\t好\t坏", "乙\t坏\t坏", *alike]
    expected = right(1, 1, 1, 2)
    for order in itertools.permutations(theirs):
        found = (
            right_rows(write_predictions(tmp_path / "a", ours)),
            right_rows(write_predictions(tmp_path / "b", order)),
        )
        assert sorted(zip(*found, strict=True)) == sorted(zip(*expected, strict=True))


def test_the_run_of_median_accuracy():
    runs = [{"seed": seed, "accuracy": accuracy} for seed, accuracy in enumerate([0.7, 0.5, 0.6, 0.6], 1)]
    assert [median_run(runs[:n])["seed"] for n in (1, 2, 3, 4)] == [1, 2, 3, 3]


def competitor(directory, name, kind, accuracies, p50, hierarchy=None):
    """A row of runs that have the first rows of 1,000 right."""
    runs = []
    for seed, accuracy in enumerate(accuracies, 1):
        rows = [f"第{i:03}条\t好\t{'好' if i < 1000 * accuracy else '坏'}" for i in range(1000)]
        path = write_predictions(directory / f"{name}-{seed}", rows)
        result = {"accuracy": accuracy, "macro_f1": accuracy - 0.01, "train_seconds": 70 * seed, "train_rows": 7000}
        result |= {"peak_memory_mb": 500.0 + seed if kind != "baseline" else None, "plan": {"parameters": {"C": 0.5}}}
        runs.append({"seed": seed, "predictions": str(path), **result})
    speed = {"rows_per_second": 12345.6, "p50_ms": p50, "p99_ms": 2 * p50, "parameters": 1234567, "bytes": 2500000}
    return row_of(name, kind, runs, speed | {"device": "cpu"}, hierarchy)


def test_the_table_the_data_and_the_picture(tmp_path):
    rows = rank(
        [
            competitor(tmp_path, "慢", "network", [0.8, 0.82], 5.0),
            competitor(tmp_path, "TextCNN", "network", [0.9, 0.92], 1.5),
            competitor(tmp_path, "bert", "encoder", [0.898, 0.922], 10.0),
            competitor(tmp_path, "svm", "baseline", [0.7, 0.7], 0.05),
        ]
    )
    speed = "1.2 M | 2.5 MB | 1:45 | 67 | 12,346"
    assert table(rows)[2:] == [
        f"| TextCNN ◆ | 91.00 ± 1.41 | 90.00 ± 1.41 | best | {speed} | 1.50 ms | 3.00 ms | 502 MB |",
        f"| bert | 91.00 ± 1.70 | 90.00 ± 1.70 | 0.50 ≈ | {speed} | 10.00 ms | 20.00 ms | 502 MB |",
        f"| 慢 | 81.00 ± 1.41 | 80.00 ± 1.41 | <0.001 | {speed} | 5.00 ms | 10.00 ms | 502 MB |",
        f"| svm (baseline) ◆ | 70.00 ± 0.00 | 69.00 ± 0.00 | <0.001 | {speed} | 0.050 ms | 0.10 ms | – |",
    ]
    about = {
        "dataset": {"name": "新闻", "rows": {"train": 1500, "dev": 20, "test": 1000}, "classes": 2},
        "command": "python compare.py --seeds 2",
        "seeds": [1, 2],
        "failures": {"DPCNN": "DPCNN, seed 1: failed"},
        "machines": ["an abacus"],
        "devices": ["cpu"],
        "versions": {"torch": "2"},
        "date": "2026-01-02",
    }
    leaderboard.write(tmp_path, about, rows)
    data = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert data == about | {"rows": json.loads(json.dumps(rows))}
    assert [row["pareto"] for row in data["rows"]] == [True, False, False, True]
    page = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "1,500 training rows, 20 validation rows, 1,000 test rows; 2 classes; 2 seeds, mean ±" in page
    assert "\n".join(table(rows)) in page
    assert "svm (C 0.5)" in page
    assert "Not in the table, since a training failed: DPCNN (DPCNN, seed 1: failed)." in page
    assert "Trained on an abacus; predicted on cpu." in page
    assert "```\npython compare.py --seeds 2\n```" in page
    assert (tmp_path / "leaderboard.png").read_bytes()[:4] == b"\x89PNG"


def test_linear_models_have_a_column_of_p_values(tmp_path):
    rows = rank(
        [
            competitor(tmp_path, "TextCNN", "network", [0.9], 1.5),
            competitor(tmp_path, "SVM", "linear", [0.893], 0.4),
            competitor(tmp_path, "NBSVM", "linear", [0.894], 0.4),
            competitor(tmp_path, "bert", "encoder", [0.8], 9.0),
        ]
    )
    assert table(rows)[0].startswith(
        "| model | accuracy, % | macro F1, % | p against the best | p against NBSVM | p against"
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")][3:6] for line in table(rows)[2:]]
    assert cells == [
        ["best", "0.062 ≈", "0.031"],  # 2 * 2 ** -5, 2 * 2 ** -6
        ["0.031", "–", "1.00 ≈"],
        ["0.031", "1.00 ≈", "–"],
        ["<0.001", "<0.001", "<0.001"],
    ]
    assert rows[0]["against"]["SVM"]["p"] == pytest.approx(2**-6)


def test_a_hierarchy_has_a_column(tmp_path):
    row = competitor(tmp_path, "TextCNN", "network", [0.9], 1.5, Hierarchy(["好", "坏"]))
    assert row["hierarchical_f1"]["values"] == [0.9]
    heads, _, cells = table(rank([row]))
    assert heads.startswith("| model | accuracy, % | macro F1, % | hierarchical F1, % | p against the best |")
    assert cells.startswith("| TextCNN ◆ | 90.00 | 89.00 | 90.00 | best |")


def test_one_run_of_one_model_is_a_leaderboard(tmp_path):
    (row,) = rank([competitor(tmp_path, "TextCNN", "network", [0.9], 1.5)])
    assert table([row])[2].startswith("| TextCNN ◆ | 90.00 | 89.00 | best |")
    leaderboard.draw(tmp_path / "one.png", "新闻", [row])
    assert (tmp_path / "one.png").exists()
