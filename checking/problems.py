"""The problems of a dataset, from the findings of a check: what is wrong, what to do, and examples."""

from typing import NamedTuple

import numpy as np

from checking.drift import LEAST
from checking.findings import rows_of
from text import hygiene
from text.labelled import SPLITS

SAME = 0.8  # similarity from which on a row counts as the same one in another split
SPOILT = 0.01  # share of rows from which on leaks or conflicts spoil an experiment
FEW = 10  # training rows of a class, at least
UNBALANCED = 20  # times as many rows of the largest class as of the smallest
APART = 0.6  # area under the ROC curve from which on two splits differ
SHIFTED = 0.1  # total variation distance of class shares from which on two splits differ
CHANCE = 0.001  # the p-value below which such a distance is not due to chance
SHOWN = 10  # examples of a problem


class Problem(NamedTuple):
    """Something that is wrong with a dataset."""

    name: str
    level: str  # "error" spoils an experiment, "warning" may, "note" need not
    text: str
    advice: str
    rows: int  # how many are concerned
    columns: tuple = ()  # of the examples
    examples: list = ()


def problems_of(findings):
    """The Problems, the most serious first."""
    parts = (_copies, _conflicts, _giveaways, _drift, _classes, _suspects, _dirty, _scripts, _repeated)
    found = [problem for part in parts for problem in part(findings)]
    return sorted(found, key=lambda problem: ("error", "warning", "note").index(problem.level))


def _percent(part, whole):
    share = part / whole
    return f"{part:,} of {whole:,} rows ({share:{'.1%' if share >= 0.001 else '.3%'}})"


def _copies(findings):
    splits = findings.splits
    for (name, source), copies in findings.copies.items():
        total, same = len(rows_of(splits, name)), int((copies.similarity >= SAME).sum())
        advice = f"--fix removes them from {source}.txt"
        for start, end in ((0, same), (same, len(copies.rows))):
            if start == end:
                continue
            shown = slice(start, min(end, start + SHOWN))
            pairs = zip(copies.rows[shown], copies.sources[shown], copies.similarity[shown], strict=True)
            columns, examples = _pairs(splits, name, source, pairs)
            what = f"{_percent(end - start, total)} of {name}.txt are "
            if start == 0 < same:
                kind, level, text = "leak", "error" if same > SPOILT * total else "warning", f"in {source}.txt too"
            else:
                kind, level, text = "similar", "note", f"similar to a row of {source}.txt"
            yield Problem(f"{kind}_{source}_{name}", level, what + text, advice, end - start, columns, examples)


def _conflicts(findings):
    splits, groups = findings.splits, findings.conflicts
    rows, total = sum(map(len, groups)), len(splits.labels)
    if rows:
        level = "error" if rows > SPOILT * total else "warning"
        text = f"{_percent(rows, total)} have the same text as another row, but another label"
        advice = "decide on a label; --fix removes those of train.txt"
        examples = [[splits.place(i), splits.class_of(i), splits.text(i)] for group in groups for i in group[:3]]
        yield Problem("conflicts", level, text, advice, rows, ("row", "label", "text"), examples[: 2 * SHOWN])


def _giveaways(findings):
    found, classes = findings.giveaways, findings.splits.names
    if found:
        names = sorted({classes[giveaway.label] for giveaway in found})
        text = f"{len(names)} classes have a token in nearly every row that no other class has: {', '.join(names[:5])}"
        advice = "remove it, unless the texts to predict have it too"
        columns = ("class", "token", "of its rows", "of other rows")
        examples = [[classes[g.label], g.token, f"{g.own_share:.1%}", f"{g.other_share:.1%}"] for g in found]
        yield Problem("giveaways", "warning", text, advice, len(found), columns, examples[: 2 * SHOWN])


def _drift(findings):
    for name, drift in findings.drift.items():
        if drift is None:
            text = f"train.txt and {name}.txt are not compared: one has fewer than {LEAST} rows"
            yield Problem(f"drift_{name}", "note", text, "use more rows", 0)
            continue
        rows = len(rows_of(findings.splits, name))
        if drift.auc >= max(APART, 0.5 + 3 * drift.error):
            text = f"a classifier tells {name}.txt from train.txt (area under the ROC curve {drift.auc:.2f}, not 0.5)"
            advice = "split the rows at random, unless the texts to predict differ from train.txt in the same way"
            examples = [list(pair) for pair in zip(drift.first, drift.second, strict=False)]
            columns = ("typical of train", f"typical of {name}")
            yield Problem(f"drift_{name}", "warning", text, advice, rows, columns, examples)
        if drift.distance >= SHIFTED and drift.p_value < CHANCE:
            text = f"{name}.txt has other shares of the classes than train.txt (distance {drift.distance:.2f})"
            yield Problem(f"shares_{name}", "warning", text, "split the rows stratified by class", rows)


def counts_of(splits):
    """The rows of each class in each split, (S, C)."""
    return np.stack([splits.counts(rows_of(splits, name)) for name in SPLITS])


def _classes(findings):
    counts, classes = counts_of(findings.splits), findings.splits.names
    few = np.flatnonzero(counts[0] < FEW)
    if len(few):
        text = f"{len(few)} classes have fewer than {FEW} rows in train.txt: {', '.join(classes[i] for i in few[:5])}"
        examples = [[classes[i], str(counts[0][i])] for i in few[:SHOWN]]
        yield Problem("few_rows", "warning", text, "add rows, or merge classes", len(few), ("class", "rows"), examples)
    absent = np.flatnonzero((counts[1:] == 0).any(axis=0))
    if len(absent):
        text = f"{len(absent)} classes have no row in dev.txt or test.txt: {', '.join(classes[i] for i in absent[:5])}"
        examples = [[classes[i], str(counts[1][i]), str(counts[2][i])] for i in absent[:SHOWN]]
        columns = ("class", "dev", "test")
        advice = "split the rows stratified by class"
        yield Problem("absent_classes", "warning", text, advice, len(absent), columns, examples)
    largest = counts[0].max()
    smallest = counts[0].min(where=counts[0] > 0, initial=largest)  # of the classes with rows, 0 if there are none
    if largest > UNBALANCED * smallest:
        text = f"the largest class has {largest / smallest:.0f} times as many rows in train.txt as the smallest"
        advice = "train with --class_weight balanced, and compare macro F1"
        yield Problem("unbalanced", "note", text, advice, int(smallest))


def _suspects(findings):
    found, splits = findings.suspects, findings.splits
    if found is None:
        text = f"the labels of the dataset are not checked: {findings.unchecked}"
        yield Problem("suspects", "note", text, "look at some rows of each class", 0)
    elif len(found.rows):
        rows = _percent(len(found.rows), len(splits.labels))
        what = "a label that looks" if splits.members is None else "labels that look"
        text = f"{rows} have {what} wrong to a linear model ({found.measure} {found.agreement:.0%})"
        columns = ("row", "text", *found.columns[:-2], "most similar training row")  # without the two of probabilities
        examples = []
        for number, (i, similar) in enumerate(zip(found.rows[: 2 * SHOWN], findings.evidence, strict=False)):
            evidence = f"{splits.class_of(similar[0])}: {splits.text(similar[0])}" if len(similar) else ""
            examples.append([splits.place(i), splits.text(i), *found.cells(number, splits)[:-2], evidence])
        advice = "read suspects.tsv from the top, and correct what is wrong"
        yield Problem("suspects", "warning", text, advice, len(found.rows), columns, examples)


def _dirty(findings):
    splits, total = findings.splits, len(findings.splits.labels)
    for name, kind in hygiene.KINDS.items():
        rows = findings.dirty[name]
        if len(rows):
            text = f"{_percent(len(rows), total)} have {kind.title}"
            examples = [[splits.place(i), splits.text(i)] for i in rows[:SHOWN]]
            yield Problem(name, "note", text, kind.advice, len(rows), ("row", "text"), examples)


def _scripts(findings):
    """Traditional characters in a dataset that is mostly simplified, or the reverse."""
    splits = findings.splits
    traditional, simplified = findings.dirty["traditional"], findings.dirty["simplified"]
    kind, rows = min(("traditional", traditional), ("simplified", simplified), key=lambda pair: len(pair[1]))
    if len(rows):
        text = f"{_percent(len(rows), len(splits.labels))} have {kind} characters, unlike most others"
        examples = [[splits.place(i), splits.text(i)] for i in rows[:SHOWN]]
        yield Problem("scripts", "note", text, hygiene.SCRIPTS, len(rows), ("row", "text"), examples)


def _repeated(findings):
    """Rows that are the same as, or similar to, another row of their split."""
    splits, near = findings.splits, findings.near
    for name in SPLITS:
        rows = rows_of(splits, name)
        groups = near.groups[rows]
        numbers, first = np.unique(groups, return_index=True)
        row_of = np.full(near.groups.max() + 1, -1)
        row_of[numbers] = rows[first]
        repeated = rows[np.setdiff1d(np.arange(len(rows)), first)]
        inside = np.flatnonzero((row_of[near.first] >= 0) & (row_of[near.second] >= 0))
        inside = inside[np.argsort(-near.similarity[inside], kind="stable")]
        pairs = row_of[np.stack((near.first[inside], near.second[inside]), axis=1)]
        concerned = np.union1d(repeated, rows[np.isin(groups, near.groups[pairs])])
        if len(concerned):
            text = (
                f"{_percent(len(concerned), len(rows))} of {name}.txt repeat another row of it, or are similar to one"
            )
            shown = [(row, row_of[near.groups[row]], 1.0) for row in repeated[: SHOWN // 2]]
            shown += [(*pair, value) for pair, value in zip(pairs[:SHOWN], near.similarity[inside], strict=False)]
            advice = "remove those that repeat, unless frequent texts are to count more"
            columns, examples = _pairs(splits, name, name, shown)
            yield Problem(f"repeated_{name}", "note", text, advice, len(concerned), columns, examples)


def _pairs(splits, name, other, pairs):
    """The columns and examples for similar pairs of rows. pairs: two rows, and their similarity."""
    columns = (name, "text", other, "most similar text", "similarity")
    return columns, [
        [splits.place(i), splits.text(i), splits.place(k), splits.text(k), f"{value:.2f}"] for i, k, value in pairs
    ]
