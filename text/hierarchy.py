"""Classes whose names are paths, such as `finance/stocks`, and the tree that they make.

The parts of a path are between slashes. The prefixes of the paths are the nodes of the tree: `finance` and
`finance/stocks`. Paths may have different lengths, and a class may be a prefix of another. A name with an empty part,
such as `a//b`, is not a path: the class is a top node.
"""

import itertools

import numpy as np

from cli.console import UserError, listing, say

SEPARATOR = "/"


class Hierarchy:
    """The tree of C classes.

    hierarchical: whether names are paths; otherwise each class is a top node. `names` are those of the nodes, first of
    the classes. `paths`, (C, L) int32, are the nodes from the top to each class, -1 after it, for L levels.
    """

    def __init__(self, classes, hierarchical=False):
        self.names, ids = list(classes), {name: i for i, name in enumerate(classes)}
        paths = [nodes_of(name) if hierarchical else [name] for name in classes]
        self.paths = np.full((len(classes), max(map(len, paths))), -1, np.int32)
        for row, path in zip(self.paths, paths, strict=True):
            for level, name in enumerate(path):
                if name not in ids:
                    ids[name] = len(self.names)
                    self.names.append(name)
                row[level] = ids[name]
        self._order = np.lexsort(self.paths.T[::-1])  # so that the classes below a node are neighbours
        self._sorted = self.paths[self._order]
        differ = np.logical_or.accumulate(self._sorted[1:] != self._sorted[:-1], axis=1)
        self._starts = [np.append(0, np.flatnonzero(new) + 1) for new in differ.T]  # of the nodes of each level

    @property
    def classes(self):
        return self.names[: len(self.paths)]

    @property
    def num_levels(self):
        return self.paths.shape[1]

    @property
    def num_top_nodes(self):
        return len(self._starts[0])

    @property
    def shares_prefixes(self):
        """Whether a prefix is that of two classes: `a` is that of `a/b` and `a/c`, and that of `a` and `a/b`."""
        return self.num_top_nodes < len(self.paths)

    @property
    def description(self):
        """The size of the tree, for a message."""
        return f"{self.num_top_nodes} top nodes, {len(self.paths)} classes, {self.num_levels} levels"

    def descend(self, probabilities):
        """The nodes from the top down that are the most probable, and their probabilities: two arrays (N, L).

        The probability of a node is the sum of those of the classes at and below it. Each node after the first is the
        most probable one below the node before. The path ends at a class that is more probable than each node below it;
        after it the nodes are -1 and the probabilities 0. probabilities: of the classes, (N, C).
        """
        ordered = probabilities[:, self._order]
        nodes = np.full((len(ordered), self.num_levels), -1, np.int32)
        sums = np.zeros(nodes.shape, np.float32)
        chosen, above = np.zeros(len(ordered), int), np.zeros(self.num_top_nodes, int)
        for level, starts in enumerate(self._starts):
            of_nodes = np.add.reduceat(ordered, starts, axis=1)
            chosen = np.where(above == chosen[:, None], of_nodes, -1).argmax(axis=1)
            nodes[:, level] = self._sorted[starts[chosen], level]
            sums[:, level] = np.take_along_axis(of_nodes, chosen[:, None], axis=1)[:, 0]
            if level + 1 < self.num_levels:
                above = np.searchsorted(starts, self._starts[level + 1], side="right") - 1
        sums[nodes < 0] = 0
        return nodes, np.minimum.accumulate(np.minimum(sums, 1), axis=1)  # sums are rounded

    def answer(self, probabilities, threshold):
        """The deepest node of each path of `descend` with at least this probability, and its probability, (N,) each.

        The node is -1, with the probability of the top node, if there is none. threshold: above 0.
        """
        nodes, sums = self.descend(probabilities)
        levels = np.maximum((sums >= threshold).sum(axis=1) - 1, 0)[:, None]
        found, confidences = (np.take_along_axis(part, levels, axis=1)[:, 0] for part in (nodes, sums))
        return np.where(confidences >= threshold, found, -1), confidences

    def agreeing(self, nodes, labels):
        """How many of the nodes of `descend`, (N, L), are those of the path of the label, from the top down, (N,)."""
        own = self.paths[labels]
        return np.logical_and.accumulate((nodes == own) & (own >= 0), axis=1).sum(axis=1)


def nodes_of(name):
    """The nodes on the path of a class, from the top down, itself the last."""
    parts = name.split(SEPARATOR)
    if not all(part.strip() for part in parts):
        return [name]
    return [prefix.strip() for prefix in itertools.accumulate(parts, "{}/{}".format)]


def find_hierarchy(classes, wanted=None):
    """The Hierarchy of these classes, for the value of `--hierarchy`; reports it if names are paths.

    Without the flag, names are paths if the tree `shares_prefixes`. Raises UserError if they should be paths and none
    has a slash.
    """
    tree = Hierarchy(classes, wanted is not False)
    if wanted and tree.num_levels == 1:
        raise UserError(f"--hierarchy: no class has a slash between two parts of its name: {listing(classes, 3)}")
    if wanted is None and not tree.shares_prefixes:
        return Hierarchy(classes)
    if tree.num_levels > 1:
        say(f"Hierarchy: {tree.description} (--hierarchy False: names are not paths)")
        odd = [name for name in classes if SEPARATOR in name and len(nodes_of(name)) == 1]
        if odd:
            say(f"{len(odd)} classes have an empty part in the name and are top nodes: {listing(odd, 3)}")
    return tree
