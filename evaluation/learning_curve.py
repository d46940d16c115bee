"""How the accuracy of models, or their F1, grows with the number of training rows.

A part of a training split has rows that are drawn at random, and those of every smaller part. A training on it is a job
of a comparison like that on all rows; validation and test splits are the whole ones.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from matplotlib import ticker

from cli.console import markdown_table, say
from cli.files import replacing
from evaluation import report
from evaluation.comparison import Comparison
from evaluation.job import measure_of
from evaluation.leaderboard import percent, summary

SEED = 1  # of the draw
MARKERS = "os^Dv<>pP*Xh"


def parts(comparison, counts):
    """A Comparison of each part of the training split with so many rows that is smaller than the split, by its rows."""
    total = comparison.rows["train"]
    if beyond := [count for count in counts if count > total]:
        say(f"--rows {' '.join(map(str, beyond))}: the training split has {total} rows, which are the last point")
    counts = sorted({count for count in counts if count < total})
    found = {count: comparison.output / f"rows-{count}" for count in counts}
    for count, directory in found.items():
        write_part(comparison.directory, directory, count, total)
    return {count: Comparison(directory, directory, comparison.flags) for count, directory in found.items()}


def write_part(dataset, part, count, total):
    """Writes a dataset with `count` of the `total` training rows of another, in their order, and its other files."""
    source, target = Path(dataset) / "data", Path(part) / "data"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("train.txt"), dirs_exist_ok=True)
    chosen = np.zeros(total, bool)
    chosen[np.random.default_rng(SEED).permutation(total)[:count]] = True
    with open(source / "train.txt", "rb") as rows, replacing(target / "train.txt") as file:
        present = (line for line in rows if not line.decode("utf-8", "replace").isspace())
        file.writelines(line.rstrip(b"\n") + b"\n" for line, keep in zip(present, chosen, strict=True) if keep)


def write(directory, name, points):
    """Writes `rows.md`, `.json` and `.png`.

    name: the dataset's; points: each model's records by number of rows, `{model: {rows: [record, …]}}`.
    """
    directory, record = Path(directory), next(run for of_model in points.values() for (run, *_) in of_model.values())
    measure = measure_of(record)
    curves = {name: curve(points, name) for name in (measure, *(["macro_f1"] if measure == "micro_f1" else []))}
    with replacing(directory / "rows.json", "w", encoding="utf-8") as file:
        json.dump({"dataset": name, **curves}, file, ensure_ascii=False, indent=2)
    parts = [
        f"Test {title_of(measure)} in % by number of training rows of {name}.\n\n{table(found)}\n"
        for measure, found in curves.items()
    ]
    with replacing(directory / "rows.md", "w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(parts))
    draw(directory / "rows.png", name, curves)


def curve(points, measure):
    """The `summary` of a measure by model and number of rows, of what `write` takes."""
    return {
        model: {rows: summary([run[measure] for run in runs]) for rows, runs in sorted(of_model.items())}
        for model, of_model in points.items()
    }


def title_of(measure):
    return measure.replace("_f1", " F1")


def table(points):
    """A Markdown table, a line for each model."""
    counts = sorted({rows for of_model in points.values() for rows in of_model})
    lines = [["rows", *(f"{rows:,}" for rows in counts)]]
    lines += [
        [model, *(percent(of_model[rows]) if rows in of_model else "–" for rows in counts)]
        for model, of_model in points.items()
    ]
    return "\n".join(markdown_table(lines))


def draw(path, title, curves):
    """A panel for each measure, with a line for each model, over a logarithmic axis of rows."""
    figure, (panels,) = report.figure_and_axes((8 * len(curves), 5), 1, len(curves), squeeze=False)
    for axes, (measure, points) in zip(panels, curves.items(), strict=True):
        draw_panel(axes, title, points, title_of(measure))
    report.save_figure(figure, path)


def draw_panel(axes, title, points, measure):
    for i, (model, of_model) in enumerate(points.items()):
        errors = [100 * (found["std"] or 0) for found in of_model.values()]
        means = [100 * found["mean"] for found in of_model.values()]
        marker = MARKERS[i % len(MARKERS)]
        axes.errorbar(list(of_model), means, errors, marker=marker, markersize=5, capsize=3, label=model)
    counts = sorted({rows for of_model in points.values() for rows in of_model})
    axes.set(xscale="log", xlabel="training rows", ylabel=f"test {measure}, %", title=title)
    axes.xaxis.set_major_locator(ticker.FixedLocator(counts))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(color="#e4e4e4")
    axes.legend(loc="best", frameon=False)
