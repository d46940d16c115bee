"""The files of `evaluation.robustness`: tables and pictures."""

import json
import math
from pathlib import Path

import numpy as np

from cli.console import echo, markdown_table, say
from cli.files import replacing
from evaluation.learning_curve import MARKERS, title_of
from evaluation.report import figure_and_axes, save_figure
from text.perturbations import PERTURBATIONS

MEAN = "mean"  # over the perturbations
MOST_CLASSES = 50  # in a table or picture, those that lose the most
COLUMNS = 4  # of panels
PAGE = """\
# Robustness: {name}

Test {measure} in % of {rows:,} rows, after changes of about {strengths} of a text's characters (fewer if fewer can be
changed) that leave its class as it is.

{table}

![{measure} by strength](robustness.png)

By class: the {by_class} in % of the unchanged rows, and the mean over the changes at a strength of {strongest}{cut}.

{classes}

![Loss by class and change](robustness_classes.png)
"""


def write_json(directory, found):
    """Writes robustness.json."""
    with replacing(Path(directory) / "robustness.json", "w", encoding="utf-8") as file:
        json.dump(found, file, ensure_ascii=False)


def write(directory, found):
    """Writes all files. found: what robustness.json has."""
    directory, strongest = Path(directory), found["strengths"][-1]
    write_json(directory, found)
    with replacing(directory / "robustness.tsv", "w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in long_rows(found))
    total, shown = len(found["classes"]), classes_shown(found)
    page = PAGE.format(
        name=found["dataset"],
        measure=title_of(found["measure"]),
        rows=found["rows"],
        strengths=" / ".join(f"{strength:.0%}" for strength in found["strengths"]),
        table="\n".join(table(found)),
        by_class=measure_of_classes(found),
        strongest=f"{strongest:.0%}",
        cut=f"; the {len(shown)} of {total} classes that lose the most" if len(shown) < total else "",
        classes="\n".join(class_table(found, shown)),
    )
    with replacing(directory / "robustness.md", "w", encoding="utf-8", newline="\n") as file:
        file.write(page)
    draw(directory / "robustness.png", found)
    draw_classes(directory / "robustness_classes.png", found, shown)


def title_of_change(name):
    return MEAN if name == MEAN else PERTURBATIONS[name].title


def values_of(model, measure, name, strengths):
    """A model's measure at each strength of a perturbation, or the `MEAN` over all, (S,)."""
    names = model["perturbed"] if name == MEAN else [name]
    return np.mean([[model["perturbed"][each][str(s)][measure] for s in strengths] for each in names], axis=0)


def by_class(model, strength=None):
    """A model's measure of each class, (C,), or after each perturbation, (P, C); NaN for a class without rows."""
    of_clean = np.array(model["clean"]["by_class"], float)
    if strength is None:
        return of_clean
    return np.array([of[str(strength)]["by_class"] for of in model["perturbed"].values()], float)


def losses(found):
    """What each class loses after each perturbation of the largest strength, the mean over the models, (P, C)."""
    strongest, models = found["strengths"][-1], found["models"].values()
    return np.mean([by_class(model) - by_class(model, strongest) for model in models], axis=0)


def classes_shown(found):
    """The indices of the classes that are shown, in order."""
    lost = np.nan_to_num(losses(found).mean(axis=0), nan=-1)
    return np.sort(np.argsort(-lost, kind="stable")[:MOST_CLASSES])


def show(output, found):
    """Prints the table, and where the files are."""
    for line in table(found):
        echo(line)
    say(f"Robustness: {output / 'robustness.md'}, beside it .json, .tsv and .png")


def measure_of_classes(found):
    return "accuracy" if found["measure"] == "accuracy" else "F1"


def percents(values):
    return " / ".join(f"{100 * value:.2f}" for value in values)


def table(found):
    """The lines of a table: a row for each perturbation, a column for each model, the strengths between slashes."""
    measure, strengths, models = found["measure"], found["strengths"], found["models"]
    rows = [["change", "rows changed, %", *models]]
    rows.append(["none", "0", *(percents([model["clean"][measure]]) for model in models.values())])
    for name in (*found["perturbations"], MEAN):
        first = next(iter(models.values()))
        changed = " / ".join(f"{share:.0%}"[:-1] for share in values_of(first, "changed", name, strengths))
        values = [percents(values_of(model, measure, name, strengths)) for model in models.values()]
        rows.append([title_of_change(name), changed, *values])
    return markdown_table(rows, padded=True)


def class_table(found, shown):
    """The lines of a table: a row for each class that is shown, a column for each model."""
    clean = [by_class(model) for model in found["models"].values()]
    after = [by_class(model, found["strengths"][-1]).mean(axis=0) for model in found["models"].values()]
    rows = [["class", *found["models"]]]
    for i in shown:
        pairs = [(100 * before[i], 100 * now[i]) for before, now in zip(clean, after, strict=True)]
        rows.append([found["classes"][i], *("–" if np.isnan(a) else f"{a:.1f} → {b:.1f}" for a, b in pairs)])
    return markdown_table(rows, padded=True)


def long_rows(found):
    """The rows of robustness.tsv, the head first: one for each model, perturbation and strength."""
    measures = (found["measure"], "macro_f1")
    yield ["model", "change", "strength", *measures, *found["classes"]]
    for name, model in found["models"].items():
        results = [("none", 0, model["clean"])]
        results += [(change, s, result) for change, of in model["perturbed"].items() for s, result in of.items()]
        for change, strength, result in results:
            values = [*(result[measure] for measure in measures), *result["by_class"]]
            yield [name, change, strength, *("" if value is None else f"{value:.4f}" for value in values)]


def draw(path, found):
    """`robustness.png`: a panel for each perturbation, with a line for each model over the strengths."""
    measure, strengths, names = found["measure"], found["strengths"], [*found["perturbations"], MEAN]
    height = math.ceil(len(names) / COLUMNS)
    figure, panels = figure_and_axes((12, 2.7 * height + 0.5), height, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        for i, (model, result) in enumerate(found["models"].items()):
            values = [result["clean"][measure], *values_of(result, measure, name, strengths)]
            style = {"marker": MARKERS[i % len(MARKERS)], "markersize": 4, "linewidth": 1.2, "label": model}
            axes.plot([0, *strengths], 100 * np.array(values), **style)
        axes.set_title(title_of_change(name), fontsize=10)
        axes.grid(color="#e4e4e4")
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("share of the characters that are changed", fontsize=10)
    figure.supylabel(f"test {title_of(measure)}, %", fontsize=10)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6), frameon=False)
    save_figure(figure, path)


def draw_classes(path, found, shown):
    """`robustness_classes.png`: the points that each class loses after each perturbation of the largest strength."""
    lost = (100 * losses(found).T[shown]).round(1) + 0.0  # no -0.0
    titles = [title_of_change(name) for name in found["perturbations"]]
    figure, axes = figure_and_axes((3 + 0.62 * len(titles), 3 + 0.36 * len(shown)))
    most = np.nanmax(lost, initial=1)
    axes.imshow(lost, cmap="Oranges", vmin=0, vmax=most, aspect="auto")
    axes.set_xticks(range(len(titles)), titles, rotation=40, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(shown)), [found["classes"][i] for i in shown], fontsize=9)
    for (row, column), value in np.ndenumerate(lost):
        if not np.isnan(value):
            color = "white" if value > 0.6 * most else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=color)
    few = "the mean of the models" if len(found["models"]) > 1 else next(iter(found["models"]))
    axes.set_title(
        f"Points of {measure_of_classes(found)} lost at strength {found['strengths'][-1]}, {few}", fontsize=10
    )
    save_figure(figure, path)
