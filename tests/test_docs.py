"""The documentation: its commands run, its flags are those of the scripts, its links and pairs of pages are right."""

import argparse
import bz2
import csv
import importlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata

import pytest

from conftest import ENVIRONMENT, ROOT, here, sample_rows, write_dataset
from models import ENCODERS, LINEAR, MODELS, NETWORKS

pytestmark = pytest.mark.timeout(300)  # the commands run in a fixture of the first test
READMES = [ROOT / "README.md", ROOT / "README.en.md"]
DIRECTORIES = [ROOT / name / "README.md" for name in ("THUCNews", "bert_pretrain", "ERNIE_pretrain")]
PAGES = READMES + sorted((ROOT / "docs").glob("*.md"), key=lambda path: (path.stem.startswith("encoders"), path.name))
PAIRS = [(path.with_name(path.name.replace(".en.md", ".md")), path) for path in PAGES if path.name.endswith(".en.md")]
SCRIPTS = {  # as the documentation names them: the module, and the models that decide its flags
    "run.py": ("run", NETWORKS + LINEAR),
    "pretrain_run.py": ("pretrain_run", ENCODERS),
    "pretrain_mlm.py": ("pretrain_mlm", ()),
    "predict.py": ("predict", ()),
    "pretrain_predict.py": ("pretrain_predict", ()),
    "compare.py": ("compare", ()),
    "tune.py": ("tune", ()),
    "download.py": ("download", ()),
    "utils.py": ("utils", ()),
    "evaluation.baselines": ("evaluation.baselines", ()),
    "evaluation.ensemble": ("evaluation.ensemble", ()),
    "evaluation.timing": ("evaluation.timing", ()),
    "benchmarks.networks": ("benchmarks.networks", ()),
    "benchmarks.encoders": ("benchmarks.encoders", ()),
}
OTHERS = {"tests.fuzz": ("tests.fuzz.__main__", ())}  # not on the flags page
NOT_RUN = {  # patterns of commands and programs, and why they are not run here; all others are
    r"^(pip|ruff|tensorboard) ": "another program",
    r"-m pytest": "these tests",
    r"^torchrun ": "several GPUs",
    r"download\.py": "the network",
    r"THUCNews": "a dataset that is not bundled",
    r"--init bert_pretrain|pretrain_run\.py --model bert$": "an encoder that is not bundled",
    r"ensemble\.ckpt": "checkpoints of several models; test_ensemble.py combines some",
    r"compare\.py": "minutes; test_compare.py runs it with fewer models",
    r"(^| )tune\.py": "minutes; test_tune.py runs it with fewer trials",
    r"--tuned": "the flags that tune.py finds",
    r"-m benchmarks\.": "minutes",
    r"-m tests\.fuzz": "minutes",
    r"import ray": "a package that is not required; test_ray.py runs it",
}
SMALLER = {  # flags that are added to a command, the last of which count
    "run.py": ["--num_epochs", "1", "--embed", "16", "--bigram_vocab", "99"],
    "pretrain_run.py": ["--num_epochs", "1", "--pad_size", "9"],
    "pretrain_mlm.py": ["--num_epochs", "1", "--pad_size", "9", "--size", "tiny"],
}
RUNNER = """\
import json, os, runpy, sys, traceback

for i, (argv, code) in enumerate(json.load(open("steps.json", encoding="utf-8"))):
    for name, mode, number in (("news.txt", os.O_RDONLY, 0), (f"{i}.out", os.O_WRONLY | os.O_CREAT, 1)):
        os.dup2(os.open(name, mode), number)
    os.dup2(1, 2)
    sys.stdin, sys.argv, status = open(0, encoding="utf-8", closefd=False), argv, 0
    try:
        if code:
            exec(code, {"__name__": "__main__"})
        elif argv[0] == "-m":
            sys.argv = argv[1:]
            runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    open(f"{i}.status", "w").write(str(status))
"""


def blocks_of(path):
    """The fenced blocks of a page as pairs of language and content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def without_comments(code):
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line) for line in code.splitlines()) if line]


def steps_of(paths):
    """The commands and Python programs of pages in their order, each once, without comments."""
    steps = []
    for language, content in (block for path in paths for block in blocks_of(path)):
        if language == "python":
            steps.append("\n".join(without_comments(content)))
        elif language in ("", "sh"):
            steps += [part for line in without_comments(content) for part in line.split(" && ")]
    return list(dict.fromkeys(steps))


def arguments_of(step):
    """A command's script and arguments, `-m` included; None if it is no script of this project."""
    found = re.search(r"\b(?:python|torchrun \S+) ((?:-m )?[\w./]+.*)", step)
    if "\n" in step or not found or "pytest" in step:
        return None
    return shlex.split(found[1])


STEPS = steps_of(PAGES + DIRECTORIES)
RUN = [step for step in STEPS if not any(re.search(pattern, step) for pattern in NOT_RUN)]
COMMANDS = [step for step in STEPS if arguments_of(step)]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The status and output of each step of `RUN`, in a copy of the project. All run in one process, to save time."""
    copy = tmp_path_factory.mktemp("docs") / "project"
    shutil.copytree(ROOT / "sample" / "data", copy / "sample" / "data", ignore=shutil.ignore_patterns("embedding_*"))
    for path in (*ROOT.glob("*.py"), *ROOT.glob("requirements*.txt")):
        shutil.copy(path, copy)
    for room in (path.parent.name for path in ROOT.glob("*/__init__.py")):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    write_inputs(copy)
    steps = []
    for step in RUN:
        arguments = arguments_of(step)
        if arguments:
            arguments += SMALLER.get(arguments[0], []) if not set(arguments) & set(LINEAR) else []
            arguments += ["--output", "resumed"] if "--resume" in arguments else []
        steps.append((arguments or [], None if arguments else step))
    (copy / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
    (copy / "runner.py").write_text(RUNNER, encoding="utf-8")
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "1"}  # faster for models that are this small
    process = subprocess.run([sys.executable, "runner.py"], cwd=copy, env=environment, capture_output=True)
    assert process.returncode == 0, process.stderr
    files = [(copy / f"{i}.status", copy / f"{i}.out") for i in range(len(RUN))]
    outputs = [(int(status.read_text()), out.read_text(encoding="utf-8")) for status, out in files]
    return dict(zip(RUN, outputs, strict=True))


def write_inputs(directory):
    """The files that the commands name."""
    splits = [sample_rows(name, set(range(10)), count) for name, count in (("train", 200), ("dev", 50), ("test", 50))]
    classes = (ROOT / "sample" / "data" / "class.txt").read_text(encoding="utf-8").split()
    write_dataset(directory / "mydata", classes, *splits)
    texts = [text for text, _ in splits[0]]
    for name in ("news.txt", "corpus.txt"):
        (directory / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    tables = {"news.csv": ["title"], "ChnSentiCorp_htl_all.csv": ["label", "review"]}
    for name, header in tables.items():
        with open(directory / name, "w", encoding="utf-8-sig", newline="") as file:
            rows = itertools.islice(itertools.cycle(texts), 2100)
            csv.writer(file).writerows([header, *([i % 2, text][-len(header) :] for i, text in enumerate(rows))])
    with bz2.open(directory / "sgns.sogou.char.bz2", "wt", encoding="utf-8") as file:
        characters = sorted(set("".join(texts)) - set(" \u3000"))
        file.writelines(f"{character}{' 0.1' * 16}\n" for character in characters)


@pytest.mark.parametrize("step", RUN)
def test_the_commands_and_programs_run(done, step):
    status, output = done[step]
    assert status == 0, output
    assert output or "\n" in step


def test_the_readmes_show_what_the_first_command_prints(done):
    def form(text):
        lines = [
            line for line in text.splitlines() if re.match("Loading|Vocab|Epoch|Iter|Test|Precision|Confusion", line)
        ]
        return [re.sub(r"(?<!Vocab size: )\d+", "N", re.sub(r"\d+\.\d+|(?<=\[)\d+/\d+", "N", line)) for line in lines]

    step = "python run.py --model TextCNN"
    printed = list(dict.fromkeys(re.sub(" +", " ", line).rstrip(" *") for line in form(done[step][1])))
    for readme in READMES:
        shown = next(content for language, content in blocks_of(readme) if content.startswith("Loading"))
        assert list(dict.fromkeys(re.sub(" +", " ", line).rstrip(" *") for line in form(shown))) == printed


def test_each_reason_not_to_run_a_command_is_needed():
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, step) for step in STEPS)] == []
    assert len(RUN) > 15


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
    if name in ("compare.py", "tune.py") and "--" in arguments:
        flags = arguments[arguments.index("--") + 1 :]
        arguments = arguments[: arguments.index("--")]
    model = arguments[arguments.index("--model") + 1] if "--model" in arguments else None
    parser = parsers.get((name, model)) or next(parser for key, parser in parsers.items() if key[0] == name)
    args = parser.parse_args(arguments)
    if flags:
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
    """The cells of a page's rows with an accuracy and its deviation."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "±" in line and line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [[re.split(r"[ （]", row[0])[0], *(row[column] for column in columns)] for row in rows]


def test_the_readmes_table_has_the_figures_of_the_leaderboard():
    page = ROOT / "docs" / "leaderboard.md"
    heads = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| model"))
    heads = [head.strip() for head in heads.strip("|").split("|")]
    columns = [heads.index(name) for name in ("accuracy, %", "training", "one headline: p50", "rows/s predicted")]
    for readme in READMES:
        assert rows_of(readme, [1, 2, 3, 4]) == rows_of(page, columns)


def test_the_leaderboard_has_the_form_that_compare_writes():
    from evaluation.leaderboard import PAGE

    form = re.sub(r"\\{\w+\\}", ".*", re.escape(PAGE))
    assert re.fullmatch(form, (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8"), re.DOTALL)
