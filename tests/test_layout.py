"""The layout: which files are in the root, and that imports run one way."""

import ast
import subprocess
import sys

import pytest

from conftest import ROOT

ROOMS = ("cli", "text", "models", "engine", "evaluation", "checking", "exporting", "serving")
ORDER = (*ROOMS, "utils", "train_eval", "pretrain_eval")  # then the scripts
SCRIPTS = (
    "run",
    "pretrain_run",
    "pretrain_mlm",
    "predict",
    "pretrain_predict",
    "compare",
    "tune",
    "download",
    "prepare",
    "export",
    "serve",
)
FILES = sorted(path for room in ROOMS for path in (ROOT / room).glob("*.py"))


def imports(path):
    """The modules that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def level(module):
    name = module.split(".")[0]
    return ORDER.index(name) if name in ORDER else len(ORDER) if name in SCRIPTS else -1


@pytest.mark.parametrize(
    "path", [*FILES, *sorted(ROOT.glob("*.py"))], ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_imports_run_one_way(path):
    own = level(path.parent.name if path in FILES else path.stem)
    assert own >= 0, f"{path.name} is no script of the layout"
    back = [module for module in imports(path) if level(module) > own]
    assert back == []


def test_there_is_no_circle_within_a_room():
    graph = {}
    for path in FILES:
        name = f"{path.parent.name}.{path.stem}"
        found = [module.split(".")[:2] for module in imports(path) if module.split(".")[0] == path.parent.name]
        graph[name] = {".".join(parts) for parts in found} - {name}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


def test_a_model_imports_no_other_model():
    """Except a head that is a network on an encoder, and ERNIE, which is bert."""
    shared = {"base", "layers", "convolution", "tables", "counts", "evidence", "linear", "encoder", "encoder_files"}
    for path in (ROOT / "models").glob("*.py"):
        found = {module.split(".")[1] for module in imports(path) if module.startswith("models.")} - shared
        allowed = (
            {"bert"} if path.stem == "ERNIE" else {path.stem.replace("bert_", "Text"), path.stem.replace("bert_", "")}
        )
        assert found <= allowed, path


def test_the_rooms_below_the_models_work_without_torch():
    names = [f"{path.parent.name}.{path.stem}" for path in FILES if path.parent.name in ("cli", "text")]
    program = (
        f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    assert done.stdout == "False\n"


def test_a_package_is_empty_or_a_list_of_names():
    for room in ROOMS:
        body = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")).body
        assert room == "models" or body == []
