"""A leaderboard from the results of runs: statistics over seeds, significance, the Pareto front; table and picture.

Mean and sample standard deviation are over a model's seeds. McNemar's exact test compares each model with the best one
(the highest mean accuracy), and with each linear model that is there: of the test rows that only one of the two
classifies correctly, half are each model's if they are equally good. The test takes each model's run of median accuracy
(the lower of two, among equals that of the first seed). The p-values have Holm's correction for the number of
comparisons with the same model. They measure the uncertainty of the sample of test rows; the standard deviation
measures that of the seed.

With any number of labels a row, the micro F1 takes the place of the accuracy, and a paired permutation test that of
McNemar's.
"""

import itertools
import json
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.transforms import Bbox

from cli.console import markdown_table
from cli.files import replacing
from evaluation import report
from evaluation.hierarchical import f1_of_file
from evaluation.job import MEASURES, measure_of
from evaluation.significance import holm, mcnemar, pareto, permutation
from models import LINEAR

ALPHA = 0.05  # with a p-value of at least this, a model is not significantly different from the best
SIDES = [  # of a point, at which its name may be: the offset, and the alignment of the text
    *((8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 8, "center", "bottom"), (0, -8, "center", "top")),
    *((7, 7, "left", "bottom"), (7, -7, "left", "top"), (-7, 7, "right", "bottom"), (-7, -7, "right", "top")),
    *((0, 20, "center", "bottom"), (0, -20, "center", "top")),
]
COLORS = {"network": "#1f6fb4", "encoder": "#c8501e", "linear": "#2e8b57", "ensemble": "#7b3fa0", "baseline": "#5f6b76"}
LATER_MEASURES = {"macro_f1": "macro F1, %", "hierarchical_f1": "hierarchical F1, %"}  # the latter for a hierarchy
COSTS = (
    *("parameters", "size", "training", "rows/s trained"),
    *("rows/s predicted", "one headline: p50", "p99", "peak memory"),
)
USES = {"train": "training", "dev": "validation", "test": "test"}
PAGE = """\
# Leaderboard: {name}

{counts}; {classes} classes; {several}.

{table}

![{Measure} and latency](leaderboard.png)

- ◆: on the Pareto front: no other model is at least as {good} and as fast at one headline, and better in one of them.
- p: {test} on the test rows, a model's run of median {measure} against that of the best model, or of the
  one that the column names, with Holm's correction for the number of comparisons. ≈: no significant difference
  (p ≥ {alpha}).
- Training: the mean time, including validation; an ensemble's is that of its members together. Peak memory: of the
  training's process, or of the GPU.
- Prediction: the first seed's model, from text to class, in a separate process (a baseline's in that of its training);
  many headlines at once, and one at a time (median and 99th percentile). Size: of the file to predict with.
{hierarchy}{ensemble}{baselines}{failures}- Trained on {machines}; predicted on {devices}.
- {date}; {versions}.

```
{command}
```
"""


def summary(values):
    """Mean, sample standard deviation (None for a single value) and the values, as data."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": list(values)}


def right_rows(path):
    """Whether the test rows of a `predictions.tsv` are classified correctly, (N,) bool, in the same order for all runs.

    Each file has its own order. Here rows are sorted by text and class, and rows with the same text and class, for
    which a model predicts the same, by whether they are correct.
    """
    rows = report.read_predictions(path)
    return np.array(
        [right for *_, right in sorted((text, label, label == predicted) for text, label, predicted in rows)]
    )


def label_counts(path):
    """Of the test rows of a `predictions.tsv` the labels that are predicted rightly, those predicted, and those of the
    row, (N, 3), in the same order for all runs."""
    rows = sorted(report.read_predictions(path))
    sets = [[set(filter(None, field.split(","))) for field in labels] for _, *labels in rows]
    return np.array([(len(own & found), len(found), len(own)) for own, found in sets])


def median_run(runs):
    """The run of median accuracy: the lower of two, among equals the first."""
    return sorted(runs, key=lambda run: run[measure_of(run)])[(len(runs) - 1) // 2]


def row_of(name, kind, runs, speed, hierarchy=None):
    """A model's row from its runs' results, one a seed, and its speed. hierarchy: of the classes, if they are paths."""
    measures = (measure_of(runs[0]), "macro_f1")
    row = {"model": name, "kind": kind} | {key: summary([run[key] for run in runs]) for key in measures}
    if hierarchy:
        row["hierarchical_f1"] = summary([f1_of_file(run["predictions"], hierarchy) for run in runs])
    seconds = [run["train_seconds"] for run in runs]
    row["train_seconds"] = summary(seconds)
    row["train_rows_per_second"] = sum(run["train_rows"] for run in runs) / max(sum(seconds), 1e-9)
    memory = [run["peak_memory_mb"] for run in runs if run["peak_memory_mb"] is not None]
    row["peak_memory_mb"] = max(memory, default=None)
    return row | {"speed": speed, "runs": runs}


def rank(rows):
    """The rows, best mean accuracy first, with `p`, `p_holm`, `like_best` and `pareto`.

    `against` has the `p` and `p_holm` of the comparisons with each linear model, by its name.
    """
    measure = measure_of(rows[0])
    read, test = (right_rows, mcnemar) if measure == "accuracy" else (label_counts, permutation)
    rows = sorted(rows, key=lambda row: -row[measure]["mean"])
    right = {row["model"]: read(median_run(row["runs"])["predictions"]) for row in rows}
    tested = {name: compared_with(name, right, test) for name in right if name in LINEAR}
    fronts = pareto([(row[measure]["mean"], row["speed"]["p50_ms"]) for row in rows])
    for row, best, front in zip(rows, compared_with(rows[0]["model"], right, test).values(), fronts, strict=True):
        row |= best | {"like_best": best["p_holm"] is None or best["p_holm"] >= ALPHA, "pareto": front}
        row["against"] = {name: found[row["model"]] for name, found in sorted(tested.items())}
    return rows


def compared_with(name, right, test=mcnemar):
    """Each model's `p` and `p_holm` against one of them, None for that one itself.

    right: what the test takes of each model, by its name: whether it classifies each test row correctly, (N,).
    """
    p_values = {other: test(right[name], found) for other, found in right.items() if other != name}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return {other: {"p": p_values.get(other), "p_holm": corrected.get(other)} for other in right}


def write(directory, about, rows):
    """Writes `leaderboard.md`, `.json` and `.png` of ranked rows. about: dataset, command, machine, date and more."""
    directory = Path(directory)
    with replacing(directory / "leaderboard.json", "w", encoding="utf-8") as file:
        json.dump(about | {"rows": rows}, file, ensure_ascii=False, indent=2)
    draw(directory / "leaderboard.png", about["dataset"]["name"], rows)
    with replacing(directory / "leaderboard.md", "w", encoding="utf-8", newline="\n") as file:
        file.write(page(about, rows))


def page(about, rows):
    """leaderboard.md."""
    data, seeds = about["dataset"], len(about["seeds"])
    baselines = [(row["model"], row["runs"][0]["plan"]["parameters"]) for row in rows if row["kind"] == "baseline"]
    described = [f"{name} ({', '.join(f'{key} {value}' for key, value in found.items())})" for name, found in baselines]
    members = next((row["runs"][0]["members"] for row in rows if row["kind"] == "ensemble"), {})
    shares = [f"{name} ({share:.2f})" for name, share in sorted(members.items(), key=lambda item: -item[1])]
    levels = "- Hierarchical F1: of the nodes on the paths of labels and predictions (Kiritchenko et al. 2006).\n"
    failures = [f"{name} ({why})" for name, why in about["failures"].items()]
    measure = MEASURES[measure_of(rows[0])]
    single = measure == "accuracy"
    return PAGE.format(
        measure=measure,
        Measure=measure[0].upper() + measure[1:],
        good="accurate" if single else "good",
        test="McNemar's exact test" if single else "paired permutation test of the micro F1",
        name=data["name"],
        counts=", ".join(f"{data['rows'][split]:,} {use} rows" for split, use in USES.items()),
        classes=data["classes"],
        several="one seed" if seeds == 1 else f"{seeds} seeds, mean ± sample standard deviation",
        table="\n".join(table(rows)),
        hierarchy=levels if "hierarchical_f1" in rows[0] else "",
        ensemble=f"- Ensemble: the weighted mean of the probabilities of {'; '.join(shares)}.\n" if shares else "",
        baselines=f"- Baselines, with characters as words: {'; '.join(described)}.\n" if described else "",
        failures=f"- Not in the table, since a training failed: {'; '.join(failures)}.\n" if failures else "",
        alpha=ALPHA,
        machines="; ".join(about["machines"]),
        devices="; ".join(about["devices"]),
        date=about["date"],
        versions=", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        command=about["command"],
    )


def table(rows):
    """The lines of a Markdown table."""
    cells = [_cells(row) for row in rows]
    heads = [
        "model",
        f"{MEASURES[measure_of(rows[0])]}, %",
        *(head for name, head in LATER_MEASURES.items() if name in rows[0]),
        "p against the best",
        *(f"p against {name}" for name in rows[0]["against"]),
        *COSTS,
    ]
    return markdown_table([heads, *cells])


def _cells(row):
    speed, memory = row["speed"], row["peak_memory_mb"]
    return (
        f"{row['model']}{' (baseline)' if row['kind'] == 'baseline' else ''}{' ◆' if row['pareto'] else ''}",
        percent(row[measure_of(row)]),
        *(percent(row[name]) for name in LATER_MEASURES if name in row),
        "best" if row["p_holm"] is None else _p_value(row["p_holm"]),
        *("–" if found["p_holm"] is None else _p_value(found["p_holm"]) for found in row["against"].values()),
        _short(speed["parameters"]),
        f"{speed['bytes'] / 1e6:,.1f} MB",
        _time(row["train_seconds"]["mean"]),
        f"{row['train_rows_per_second']:,.0f}",
        f"{speed['rows_per_second']:,.0f}",
        milliseconds(speed["p50_ms"]),
        milliseconds(speed["p99_ms"]),
        "–" if memory is None else f"{memory:,.0f} MB",
    )


def percent(values):
    """A summary of shares in percent, as `89.82 ± 0.15`."""
    return f"{values['mean']:.2%}"[:-1] + ("" if values["std"] is None else f" ± {values['std']:.2%}"[:-1])


def milliseconds(value):
    return f"{value:.2f} ms" if value >= 0.1 else f"{value:.3f} ms"


def _p_value(p):
    text = "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return text + (" ≈" if p >= ALPHA else "")


def _short(count):
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count / 1e3:,.0f} k"


def _time(seconds):
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def draw(path, title, rows):
    """`leaderboard.png`: accuracy against the latency of one headline, with the Pareto front as a line."""
    figure, axes = report.figure_and_axes((9, 5.5))
    measure = measure_of(rows[0])
    points = [(row["speed"]["p50_ms"], 100 * row[measure]["mean"]) for row in rows]
    errors = [100 * (row[measure]["std"] or 0) for row in rows]
    for (x, y), error, row in zip(points, errors, rows, strict=True):
        color = COLORS[row["kind"]]
        style = {"color": color, "markerfacecolor": color if row["pareto"] else "white", "ecolor": "#b0b0b0"}
        axes.errorbar(x, y, error or None, fmt="o", markersize=7, capsize=3, elinewidth=1, zorder=3, **style)
    front = sorted(point for point, row in zip(points, rows, strict=True) if row["pareto"])
    axes.plot(*zip(*front, strict=True), "--", color="#808080", linewidth=1.2, zorder=2, label="Pareto front")
    axes.set(
        xscale="log", xlabel="latency of one headline, median, ms", ylabel=f"test {MEASURES[measure]}, %", title=title
    )
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(0.13, 0.13)
    axes.grid(color="#e4e4e4", zorder=0)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        axes.plot([], [], "o", color=COLORS[kind], label=kind)
    legend = axes.legend(loc="best", frameon=False)
    figure.canvas.draw()  # computes the layout, so that positions are known
    low, high = (
        axes.transData.transform([(x, y + side * e) for (x, y), e in zip(points, errors, strict=True)])
        for side in (-1, 1)
    )
    taken = [Bbox.from_extents(x - 7, y - 7, x + 7, top + 7) for (x, y), (_, top) in zip(low, high, strict=True)]
    for start, end in itertools.pairwise(axes.transData.transform(front)):
        taken += [Bbox.from_extents(x, y, x + 1, y + 1) for x, y in np.linspace(start, end, 100)]
    _write_names(axes, points, [row["model"] for row in rows], [*taken, legend.get_window_extent()])
    report.save_figure(figure, path)


def _write_names(axes, points, names, taken):
    """Writes each point's name on the side on which it overlaps least with boxes `taken` and other names."""
    for point, name in zip(points, names, strict=True):
        texts = [
            axes.annotate(name, point, (x, y), textcoords="offset points", ha=across, va=along, fontsize=9)
            for x, y, across, along in SIDES
        ]
        covered = [sum(text.get_window_extent().overlaps(box) for box in taken) for text in texts]
        best = texts[int(np.argmin(covered))]
        taken.append(best.get_window_extent())
        for text in texts:
            text.set_in_layout(False)
            if text is not best:
                text.remove()
