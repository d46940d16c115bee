import os
import subprocess

import numpy as np
import pytest

from exporting import outputs
from text.hierarchy import Hierarchy


@pytest.mark.parametrize(
    ("classes", "hierarchical"),
    [
        (["a/b", "a/c", "d"], True),
        (["a", "a/b", "a/b/c", "b", "b/c"], True),
        (["a//b", "a /c", "/", "a"], True),
        (["x/y/z", "x/y/w", "x/v", "u/y/z"], True),
        (["a/b", "a/c", "d"], False),
        (["one"], False),
    ],
    ids=str,
)
def test_nodes_are_those_of_the_hierarchy(classes, hierarchical):
    probabilities = np.random.default_rng(4).dirichlet(np.full(len(classes), 0.6), 500).astype(np.float32)
    tree = Hierarchy(classes, hierarchical)
    for least in (0.01, 0.3, 0.6, 0.95, 1.0):
        nodes, confidences = tree.answer(probabilities, least)
        found, own = outputs.Hierarchy(classes, hierarchical).answer(probabilities, least)
        assert found.tolist() == [[*tree.names, "?"][i] for i in nodes]
        np.testing.assert_allclose(own, confidences, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_stays_and_so_does_a_link(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    with outputs.opened(tmp_path / "pipe") as file:
        file.write("a\n")
    assert reader.communicate()[0] == b"a\n"
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "link.tmp").write_bytes(b"mine")
    with outputs.opened(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "link.tmp", "pipe"]
