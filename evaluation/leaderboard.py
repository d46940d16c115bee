"""A leaderboard from the results of runs: statistics over seeds, significance, the Pareto front; table and picture.

Mean and sample standard deviation are over a model's seeds. Whether a model differs from the best one (the highest mean
accuracy) is asked with McNemar's exact test: of the test rows that one of the two has right and the other wrong, each
is as likely either's if they are equally good. It takes a model's run of median accuracy (the lower one of two, of
equal ones the first seed's), and the p-values are corrected by Holm for the number of comparisons, one for each model
but the best. They tell how far the sample of test rows carries; how far another seed moves a model the standard
deviation tells.
"""

import itertools
import json
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.transforms import Bbox

from cli.files import replacing
from evaluation import report
from evaluation.significance import holm, mcnemar, pareto

ALPHA = 0.05  # from this p-value on a model is not told from the best
SIDES = [  # of a point, where its name may stand: the offset, and how the text lies at that place
    *((8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 8, "center", "bottom"), (0, -8, "center", "top")),
    *((7, 7, "left", "bottom"), (7, -7, "left", "top"), (-7, 7, "right", "bottom"), (-7, -7, "right", "top")),
    *((0, 20, "center", "bottom"), (0, -20, "center", "top")),
]
COLORS = {"network": "#1f6fb4", "encoder": "#c8501e", "peer": "#5f6b76"}
HEADS = (
    *("model", "accuracy, %", "macro F1, %", "p against the best", "parameters", "size", "training", "rows/s trained"),
    *("rows/s predicted", "one headline: p50", "p99", "peak memory"),
)
USES = {"train": "train on", "dev": "validate", "test": "test"}
PAGE = """\
# Leaderboard: {name}

{counts}; {classes} classes; {several}.

{table}

![Accuracy and latency](leaderboard.png)

- ◆: on the Pareto front: no other model is at least as accurate and as fast at one headline, and better in one of them.
- p: McNemar's exact test on the test rows, a model's run of median accuracy against the best model's, with Holm's
  correction for the number of comparisons. ≈: not told from the best (p ≥ {alpha}).
- Training: the mean time, with validation. Peak memory: of the training's process, the GPU's where it trains there.
- Prediction: the first seed's model, from text to class, in a process of its own (a peer's in that of its training);
  many headlines at once, and one at a time (median and 99th percentile). Size: of the file to predict with.
{peers}- Trained on {machines}; predicted on {devices}.
- {date}; {versions}.

```
{command}
```
"""


def summary(values):
    """Mean, sample standard deviation (None of a single value) and the values, as data."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": list(values)}


def right_rows(path):
    """Which test rows a `predictions.tsv` has right, (N,) bool, in an order that is the same for each run's.

    Files list their rows in orders of their own. Here they are sorted by text and class, and rows that are alike in
    both, of which a model says the same, by whether they are right.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = [line.rstrip("\n").split("\t")[:3] for line in file][1:]
    return np.array([right for *_, right in sorted((text, label, label == said) for text, label, said in rows)])


def median_run(runs):
    """The run of median accuracy: the lower one of two, of equal ones the first."""
    return sorted(runs, key=lambda run: run["accuracy"])[(len(runs) - 1) // 2]


def standing(name, kind, runs, speed):
    """A model's row from its runs' results, one a seed, and its speed."""
    row = {"model": name, "kind": kind} | {key: summary([run[key] for run in runs]) for key in ("accuracy", "macro_f1")}
    seconds = [run["train_seconds"] for run in runs]
    row["train_seconds"] = summary(seconds)
    row["train_rows_per_second"] = sum(run["train_rows"] for run in runs) / max(sum(seconds), 1e-9)
    memory = [run["peak_memory_mb"] for run in runs if run["peak_memory_mb"] is not None]
    row["peak_memory_mb"] = max(memory, default=None)
    return row | {"speed": speed, "runs": runs}


def rank(rows):
    """The rows, best mean accuracy first, with `p`, `p_holm`, `like_best` and `pareto`."""
    rows = sorted(rows, key=lambda row: -row["accuracy"]["mean"])
    right = [right_rows(median_run(row["runs"])["predictions"]) for row in rows]
    p_values = [mcnemar(right[0], other) for other in right[1:]]
    fronts = pareto([(row["accuracy"]["mean"], row["speed"]["p50_ms"]) for row in rows])
    tested = zip([None, *p_values], [None, *holm(p_values)], fronts, strict=True)
    for row, (p, p_holm, front) in zip(rows, tested, strict=True):
        row |= {"p": p, "p_holm": p_holm, "like_best": p_holm is None or p_holm >= ALPHA, "pareto": front}
    return rows


def write(directory, about, rows):
    """`leaderboard.md`, `.json` and `.png` of ranked rows. about: title, command, machine, date and so on, as data."""
    directory = Path(directory)
    with replacing(directory / "leaderboard.json", "w", encoding="utf-8") as file:
        json.dump(about | {"rows": rows}, file, ensure_ascii=False, indent=2)
    draw(directory / "leaderboard.png", about["dataset"]["name"], rows)
    with replacing(directory / "leaderboard.md", "w", encoding="utf-8", newline="\n") as file:
        file.write(page(about, rows))


def page(about, rows):
    """leaderboard.md."""
    data, seeds = about["dataset"], len(about["seeds"])
    peers = [(row["model"], row["runs"][0]["plan"]["settings"]) for row in rows if row["kind"] == "peer"]
    told = (f"{name} ({', '.join(f'{key} {value}' for key, value in settings.items())})" for name, settings in peers)
    return PAGE.format(
        name=data["name"],
        counts=", ".join(f"{data['rows'][split]:,} rows to {use}" for split, use in USES.items()),
        classes=data["classes"],
        several="one seed" if seeds == 1 else f"{seeds} seeds, mean ± sample standard deviation",
        table="\n".join(table(rows)),
        peers=f"- Peers, given characters for words: {'; '.join(told)}.\n" if peers else "",
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
    lines = [HEADS, ("---", *["---:"] * (len(HEADS) - 1)), *cells]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cells(row):
    speed, memory = row["speed"], row["peak_memory_mb"]
    p = "best" if row["p_holm"] is None else f"{_p_value(row['p_holm'])}{' ≈' if row['like_best'] else ''}"
    return (
        f"{row['model']}{' (peer)' if row['kind'] == 'peer' else ''}{' ◆' if row['pareto'] else ''}",
        percent(row["accuracy"]),
        percent(row["macro_f1"]),
        p,
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
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


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
    points = [(row["speed"]["p50_ms"], 100 * row["accuracy"]["mean"]) for row in rows]
    errors = [100 * (row["accuracy"]["std"] or 0) for row in rows]
    for (x, y), error, row in zip(points, errors, rows, strict=True):
        color = COLORS[row["kind"]]
        style = {"color": color, "markerfacecolor": color if row["pareto"] else "white", "ecolor": "#b0b0b0"}
        axes.errorbar(x, y, error or None, fmt="o", markersize=7, capsize=3, elinewidth=1, zorder=3, **style)
    front = sorted(point for point, row in zip(points, rows, strict=True) if row["pareto"])
    axes.plot(*zip(*front, strict=True), "--", color="#808080", linewidth=1.2, zorder=2, label="Pareto front")
    axes.set(xscale="log", xlabel="latency of one headline, median, ms", ylabel="test accuracy, %", title=title)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(0.13, 0.13)
    axes.grid(color="#e4e4e4", zorder=0)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        axes.plot([], [], "o", color=COLORS[kind], label=kind)
    legend = axes.legend(loc="best", frameon=False)
    figure.canvas.draw()  # the layout is settled now, and what lies where is known
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
    """Each point's name beside it, on the side where it covers least of what lies there, other names among it."""
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
