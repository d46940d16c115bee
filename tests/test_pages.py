"""The pages: their flags are those of the scripts; their links, pairs and figures are right."""

import argparse
import importlib
import re
import unicodedata

import pytest

from conftest import ROOT, here
from models import ENCODERS, LINEAR, MODELS, NETWORKS
from test_docs import (
    COMMANDS,
    DIRECTORIES,
    PAGES,
    READMES,
    arguments_of,
    blocks_of,
    without_comments,
)

SCRIPTS = {  # as the documentation names them: the module, and the models that decide its flags
    "run.py": ("run", NETWORKS + LINEAR),
    "pretrain_run.py": ("pretrain_run", ENCODERS),
    "pretrain_mlm.py": ("pretrain_mlm", ()),
    "predict.py": ("predict", ()),
    "pretrain_predict.py": ("pretrain_predict", ()),
    "export.py": ("export", ()),
    "compare.py": ("compare", ()),
    "tune.py": ("tune", ()),
    "download.py": ("download", ()),
    "serve.py": ("serve", ()),
    "prepare.py": ("prepare", ()),
    "utils.py": ("utils", ()),
    "evaluation.baselines": ("evaluation.baselines", ()),
    "evaluation.ensemble": ("evaluation.ensemble", ()),
    "evaluation.robustness": ("evaluation.robustness", ()),
    "evaluation.timing": ("evaluation.timing", ()),
    "benchmarks.networks": ("benchmarks.networks", ()),
    "benchmarks.encoders": ("benchmarks.encoders", ()),
    "benchmarks.extremes": ("benchmarks.extremes", ()),
    "benchmarks.order": ("benchmarks.order", ()),
    "benchmarks.serving": ("benchmarks.serving", ()),
    "benchmarks.check": ("benchmarks.check", ()),
    "benchmarks.corpus": ("benchmarks.corpus", ()),
    "benchmarks.label_next": ("benchmarks.label_next", ()),
    "benchmarks.aliases": ("benchmarks.aliases", ()),
}
OTHERS = {  # not on the flags page
    "tests.fuzz": ("tests.fuzz.__main__", ()),
    "textcnn_onnx/predict_onnx.py": ("exporting.predict_onnx", ()),
}
PAIRS = [(path.with_name(path.name.replace(".en.md", ".md")), path) for path in PAGES if path.name.endswith(".en.md")]


class Captured(Exception):
    """Carries the parser of a script."""


@pytest.fixture(scope="module")
def parsers():
    """The parser of a script, for one of its models or None."""

    def stop(parser, *_):
        raise Captured(parser)

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        for name, (module, models) in (SCRIPTS | OTHERS).items():
            for model in models or [None]:
                with pytest.raises(Captured) as captured:
                    here(patch, importlib.import_module(module).main, *(["--model", model] if model else []))
                found[name, model] = captured.value.args[0]
    return found


@pytest.fixture(scope="module")
def flags(parsers):
    """The flags and positional arguments that a script's `--help` prints, for one of its models or None."""
    pattern = re.compile(r"^  (?:-h, )?((?:--)?[a-zA-Z]\w*)", re.MULTILINE)
    return {key: set(pattern.findall(parser.format_help())) - {"--help"} for key, parser in parsers.items()}


def documented(path):
    """The flags page as data: the rows of each script and model, flag to the cells of its row."""
    found = {}
    for title, *content in (
        part.splitlines() for part in re.split("^## ", path.read_text(encoding="utf-8"), flags=re.M)
    ):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in content if line.startswith("|")]
        for name in (name for name in SCRIPTS if name in re.split(", | ", title)):
            for model in SCRIPTS[name][1] or [None]:
                flags, header = {}, []
                for row in rows:
                    header = row if not row[0].startswith(("`", "---")) else header
                    column = header.index(model) if model in header else 1
                    of_others = set(header) & set(MODELS) and model not in header
                    if row[0].startswith("`") and row[column] != "–" and not of_others:
                        flags[row[0].strip("`")] = [row[column], row[-1]]
                found[name, model] = flags
    return found


@pytest.mark.parametrize("page", ["flags.md", "flags.en.md"])
def test_the_flags_page_has_the_flags_of_help_with_their_defaults(parsers, flags, page):
    found = documented(ROOT / "docs" / page)
    assert found.keys() == {key for key in parsers if key[0] in SCRIPTS}
    for key, rows in found.items():
        assert rows.keys() == flags[key], key
        for flag, cells in rows.items():
            default = parsers[key].get_default(flag.removeprefix("--"))
            if default not in (None, False, ()):
                shown = " ".join(map(str, default)) if isinstance(default, (tuple, list)) else str(default)
                assert f"`{shown}`" in " ".join(cells), (key, flag)


@pytest.mark.parametrize("step", COMMANDS)
def test_the_arguments_of_commands_are_valid(parsers, step):
    """Those of commands that are not run too."""
    name, *arguments = arguments_of(step)
    if name == "-m":
        name, *arguments = arguments
    flags = []
    if name in ("compare.py", "tune.py", "benchmarks.serving") and "--" in arguments:
        flags = arguments[arguments.index("--") + 1 :]
        arguments = arguments[: arguments.index("--")]
    model = arguments[arguments.index("--model") + 1] if "--model" in arguments else None
    parser = parsers.get((name, model)) or next(parser for key, parser in parsers.items() if key[0] == name)
    args = parser.parse_args(arguments)
    if flags and name == "benchmarks.serving":
        parsers["serve.py", None].parse_args(flags)
    elif flags:
        parsers["run.py", args.models[0] if name == "compare.py" else args.model].parse_args(flags)


@pytest.mark.parametrize("path", PAGES + DIRECTORIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_in_the_text_exist(flags, path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for span in re.findall("`([^`]+)`", text):
        names = [name for name in SCRIPTS | OTHERS if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", span)]
        known = set().union(*(flags[key] for key in flags if not names or key[0] in names))
        assert set(re.findall(r"--[a-zA-Z]\w*", span)) <= known | {"--help"}, span


def test_the_readmes_are_short():
    for readme in READMES:
        assert len(readme.read_text(encoding="utf-8").splitlines()) <= 150


def anchors_of(path):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall("^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    kept = (
        "".join(c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LNM") for heading in headings
    )
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("path", PAGES + DIRECTORIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    for target, _, anchor in re.findall(r"\]\(((?!https?:)[^)#\s]*)(#([^)\s]*))?\)", path.read_text(encoding="utf-8")):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), f"{target}#{anchor}"


def test_the_readmes_link_to_each_page_of_their_language():
    for readme, end in zip(READMES, (".md", ".en.md"), strict=True):
        names = {path.name for pair in PAIRS for path in pair if path.parent.name == "docs"}
        pages = {name for name in names if name.endswith(end) and (end == ".en.md" or not name.endswith(".en.md"))}
        assert pages <= set(re.findall(r"\(docs/([\w.]+)\)", readme.read_text(encoding="utf-8")))


def test_each_page_is_there_in_both_languages():
    generated = ROOT / "docs" / "leaderboard.md"
    assert sorted(path for pair in PAIRS for path in pair) == sorted(set(PAGES) - {generated})


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].name)
def test_both_languages_have_the_same_blocks_and_figures(pair):
    blocks = [[(language, without_comments(content)) for language, content in blocks_of(path)] for path in pair]
    assert blocks[0] == blocks[1]
    tables = [[line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")] for path in pair]
    figures = [[re.findall(r"\d+(?:[.,]\d+)*", line) for line in table] for table in tables]
    assert figures[0] == figures[1]
    levels = [re.findall("^#+ ", path.read_text(encoding="utf-8"), re.MULTILINE) for path in pair]
    assert levels[0] == levels[1]


def rows_of(path, columns):
    """The cells of a page's rows with a time, by their first word."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\|.* ms \|", line)]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {re.split(r"[ （]", row[0])[0]: [row[column] for column in columns] for row in rows}


def test_the_readmes_table_has_figures_of_the_leaderboard():
    page = ROOT / "docs" / "leaderboard.md"
    heads = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| model"))
    heads = [head.strip() for head in heads.strip("|").split("|")]
    columns = [heads.index(name) for name in ("accuracy, %", "training", "one headline: p50", "rows/s predicted")]
    for readme in READMES:
        rows = rows_of(readme, [1, 2, 3, 4])
        assert len(rows) > 4
        assert rows.items() <= rows_of(page, columns).items()


def test_the_leaderboard_has_the_form_that_compare_writes():
    from evaluation.leaderboard import PAGE

    form = re.sub(r"\\{\w+\\}", ".*", re.escape(PAGE))
    assert re.fullmatch(form, (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8"), re.DOTALL)
