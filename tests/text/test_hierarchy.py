"""Class names that are paths: the tree, the descent in it, and when it is found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.console import UserError
from text.hierarchy import Hierarchy, find_hierarchy, nodes_of

CLASSES = ["finance/stocks", "sports", "finance", "finance/funds/bonds", "finance/funds/cash"]
NAMES = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join)
TREES = st.tuples(st.lists(NAMES, min_size=1, max_size=9, unique=True), st.integers(0, 1000))


def drawn(classes, seed, rows=20):
    """Probabilities, (N, C), some of them equal."""
    weights = np.random.default_rng(seed).integers(1, 9, (rows, len(classes))) ** 2
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def prefixes(name):
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts) + 1)]


def below(node, classes):
    return [i for i, name in enumerate(classes) if node in prefixes(name)]


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("a/b/c", ["a", "a/b", "a/b/c"]),
        ("财经 / 股票", ["财经", "财经 / 股票"]),
        *((name, [name]) for name in ("a", "a//b", "/a", "a/", "a/ /b", "/")),
    ],
)
def test_the_nodes_on_a_path(name, nodes):
    assert nodes_of(name) == nodes


def test_paths_of_different_lengths_and_a_class_above_others():
    tree = Hierarchy(CLASSES, True)
    assert tree.names == [*CLASSES, "finance/funds"]
    assert tree.classes == CLASSES
    assert tree.paths.tolist() == [[2, 0, -1], [1, -1, -1], [2, -1, -1], [2, 5, 3], [2, 5, 4]]
    assert tree.description == "2 top nodes, 5 classes, 3 levels"
    flat = Hierarchy(CLASSES)
    assert (flat.names, flat.paths.tolist()) == (CLASSES, [[0], [1], [2], [3], [4]])


@pytest.mark.parametrize(
    ("probabilities", "threshold", "name", "probability"),
    [
        ([0.1, 0.1, 0.1, 0.6, 0.1], 0.6, "finance/funds/bonds", 0.6),
        ([0.1, 0.1, 0.1, 0.4, 0.3], 0.6, "finance/funds", 0.7),
        ([0.5, 0.1, 0.2, 0.1, 0.1], 0.6, "finance", 0.9),
        ([0.1, 0.2, 0.6, 0.05, 0.05], 0.3, "finance", 0.8),  # more probable than a node below
        ([0.2, 0.4, 0.1, 0.2, 0.1], 0.7, None, 0.6),
        ([0.0, 0.9, 0.0, 0.1, 0.0], 0.05, "sports", 0.9),
    ],
)
def test_the_answer_is_the_deepest_node_that_is_probable_enough(probabilities, threshold, name, probability):
    tree = Hierarchy(CLASSES, True)
    (node,), (found,) = tree.answer(np.array([probabilities], np.float32), threshold - 1e-6)
    assert (tree.names[node] if node >= 0 else None) == name
    assert found == pytest.approx(probability)


@given(TREES, st.sampled_from([0.51, 0.7, 0.9]))
def test_above_one_half_the_answer_is_that_of_the_definition(tree, threshold):
    classes, seed = tree
    probabilities, tree = drawn(classes, seed), Hierarchy(classes, True)
    for row, node in zip(probabilities, tree.answer(probabilities, threshold)[0], strict=True):
        sums = {name: row[below(name, classes)].sum() for name in tree.names}
        enough = [name for name in tree.names if sums[name] >= threshold]
        expected = max(enough, key=lambda name: name.count("/"), default=None)
        assert (tree.names[node] if node >= 0 else None) == expected


@given(TREES)
def test_a_lower_threshold_gives_the_same_node_or_one_below(tree):
    classes, seed = tree
    probabilities, tree = drawn(classes, seed), Hierarchy(classes, True)
    before = [None] * len(probabilities)
    for threshold in (0.9, 0.6, 0.3, 0.01):
        names = [tree.names[i] if i >= 0 else None for i in tree.answer(probabilities, threshold)[0]]
        assert all(old is None or old in prefixes(name) for old, name in zip(before, names, strict=True))
        before = names
    assert set(before) <= set(classes)


@given(TREES)
def test_without_paths_the_descent_is_the_most_probable_class(tree):
    classes, seed = tree
    probabilities = drawn(classes, seed)
    nodes, sums = Hierarchy(classes).descend(probabilities)
    assert (nodes[:, 0] == probabilities.argmax(axis=1)).all()
    assert (sums[:, 0] == probabilities.max(axis=1)).all()


def test_how_far_a_descent_agrees_with_labels():
    tree = Hierarchy(CLASSES, True)
    nodes = np.array([[2, 5, 3], [2, 5, 3], [2, -1, -1], [1, -1, -1], [2, 0, -1]])
    assert tree.agreeing(nodes, np.array([3, 4, 0, 2, 2])).tolist() == [3, 2, 1, 0, 1]


@pytest.mark.parametrize(
    ("classes", "wanted", "levels"),
    [
        (["a/b", "a/c", "d"], None, 2),
        (["a", "a/b"], None, 2),
        (["AC/DC", "Abba"], None, 1),
        (["a//b", "a//c"], None, 1),
        (["a", "b"], None, 1),
        (["a/b", "a/c", "d"], False, 1),
        (["AC/DC", "Abba"], True, 2),
        (["a/b/c"], True, 3),
    ],
)
def test_when_names_are_paths(classes, wanted, levels, capsys):
    assert find_hierarchy(classes, wanted).num_levels == levels
    said = capsys.readouterr().err
    assert said.count("\n") == (levels > 1)
    assert levels == 1 or f"{len(classes)} classes, {levels} levels (--hierarchy False: names are not paths)" in said


def test_names_with_an_empty_part_are_reported(capsys):
    tree = find_hierarchy(["a/b", "a/c", "/a", "d//e"])
    assert tree.paths.tolist() == [[4, 0], [4, 1], [2, -1], [3, -1]]
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "2 classes have an empty part in the name and are top nodes: /a, d//e"


def test_names_without_a_slash_are_no_paths():
    with pytest.raises(UserError, match="--hierarchy: no class has a slash between two parts of its name: a, b/"):
        find_hierarchy(["a", "b/"], True)
