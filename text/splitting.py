"""Rows divided into splits: stratified by class, with all rows of a text or of a group in one split."""

import numpy as np

from text.rows import offsets_of


def units_of(texts, groups=None):
    """A number for each row, (N,): the same for rows that must be in one split, in random order.

    texts: a hash of each row's text, (N,); groups: of its group. Rows are connected through either.
    """
    units = np.unique(texts, return_inverse=True)[1]
    if groups is None:
        return units
    from scipy import sparse  # takes a while to import

    groups = np.unique(groups, return_inverse=True)[1]
    size = units.max() + groups.max() + 2
    edges = np.ones(len(units), np.int8), (units, units.max() + 1 + groups)
    return sparse.csgraph.connected_components(sparse.coo_array(edges, (size, size)), directed=False)[1][units]


def assign(units, labels, shares):
    """The split of each row, (N,) int8.

    units: `units_of`; labels: class indices, (N,); shares: of each split, positive numbers. The largest units come
    first, each to the split that lacks the largest part of its rows of the unit's classes.
    """
    sizes = np.bincount(units)
    offsets = offsets_of(sizes).tolist()
    of_unit = labels[np.argsort(units, kind="stable")].tolist()  # the labels, unit by unit
    counts = np.bincount(labels).clip(min=1)[:, None]
    wanted = (counts * np.array(shares) / sum(shares)).tolist()  # rows of a class in a split
    taken = np.zeros_like(wanted).tolist()
    lacking = np.ones_like(wanted).tolist()  # the part of `wanted`; half a row less, which rounds it to the nearest
    splits = np.zeros(len(sizes), np.int8)
    for unit in np.argsort(-sizes, kind="stable").tolist():
        members = of_unit[offsets[unit] : offsets[unit + 1]]
        if len(members) == 1:
            lacks = lacking[members[0]]
        else:
            lacks = [sum(parts) for parts in zip(*(lacking[label] for label in members), strict=True)]
        split = lacks.index(max(lacks))
        splits[unit] = split
        for label in members:
            taken[label][split] += 1
            lacking[label][split] = 1 - (taken[label][split] + 0.5) / wanted[label][split]
    return splits[units]
