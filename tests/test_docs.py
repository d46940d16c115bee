"""The documentation: its commands run, its flags are those of the scripts, its links and pairs of pages are right."""

import bz2
import csv
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from conftest import ENVIRONMENT, ROOT, sample_rows, write_dataset
from models import LINEAR, NETWORKS

pytestmark = pytest.mark.timeout(300)  # the commands run in a fixture of the first test
READMES = [ROOT / "README.md", ROOT / "README.en.md"]
DIRECTORIES = [ROOT / name / "README.md" for name in ("THUCNews", "bert_pretrain", "ERNIE_pretrain")]
PAGES = READMES + sorted((ROOT / "docs").glob("*.md"), key=lambda path: (path.stem.startswith("encoders"), path.name))
NOT_RUN = {  # patterns of commands and programs, and why they are not run here; all others are
    r"^(pip|ruff|tensorboard|curl|docker|kill|time) ": "another program",
    r"serve\.py|127\.0\.0\.1:8000": "a server; the tests of serving run some",
    r"-m pytest": "these tests",
    r"^torchrun ": "several GPUs",
    r"download\.py": "the network",
    r"THUCNews": "a dataset that is not bundled",
    r"--init bert_pretrain|pretrain_run\.py --model bert$": "an encoder that is not bundled",
    r"--init A\.ckpt": "a checkpoint of an encoder; test_warm_start.py trains on from one",
    r"ensemble\.ckpt": "checkpoints of several models; test_ensemble.py combines some",
    r"--min_precision 0\.9 --dataset tagged": "more validation rows than these texts",
    r"compare\.py": "minutes; test_compare.py runs it with fewer models",
    r"(^| )tune\.py": "minutes; test_tune.py runs it with fewer trials",
    r"--tuned": "the flags that tune.py finds",
    r"--folds 5": "a training for each fold; test_distillation.py runs some",
    r"-m benchmarks\.": "minutes",
    r"-m tests\.fuzz": "minutes",
    r"export\.py|predict_onnx|bert_safetensors": "packages of its own; test_export.py and tests/exporting run them",
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
    columns = ["label", "review"], ["user", "category", "content", "title"]
    tables = {
        "news.csv": ["title"],
        "ChnSentiCorp_htl_all.csv": columns[0],
        "train.csv": columns[1],
        "test.csv": columns[1],
    }
    for name, header in tables.items():
        with open(directory / name, "w", encoding="utf-8-sig", newline="") as file:
            part = texts[:20] if name == "test.csv" else texts
            rows = [[i % 30, i % 2, text[4:], text] for i, text in enumerate(part)]
            csv.writer(file).writerows(
                [header, *(row[-len(header) :] if len(header) != 2 else row[1::2] for row in rows)]
            )
    with open(directory / "tags.csv", "w", encoding="utf-8", newline="") as file:
        labels = ["房产", "股票", "房产,股票", ""]
        csv.writer(file).writerows([["text", "labels"], *([text, labels[i % 4]] for i, text in enumerate(texts))])
    with open(directory / "levels.csv", "w", encoding="utf-8", newline="") as file:
        levels = [["财经", "股票"], ["财经", "基金"], ["教育", ""]]
        csv.writer(file).writerows(
            [["text", "level1", "level2"], *([text, *levels[i % 3]] for i, text in enumerate(texts))]
        )
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
        lines = [re.sub(r"(?<!Vocab size: )\d+", "N", re.sub(r"\d+\.\d+|(?<=\[)\d+/\d+", "N", line)) for line in lines]
        return list(dict.fromkeys(re.sub(" +", " ", line).rstrip(" *") for line in lines))  # of the first epoch

    step = "python run.py --model TextCNN"
    for readme in READMES:
        printed = iter(form(done[step][1]))
        shown = next(content for language, content in blocks_of(readme) if content.startswith("Loading"))
        assert form(shown)[-1].startswith("Test Loss")
        assert all(line in printed for line in form(shown))  # in this order; what the README omits lies between


def test_each_reason_not_to_run_a_command_is_needed():
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, step) for step in STEPS)] == []
    assert len(RUN) > 15


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_the_readmes_name_every_script_and_network(path):
    text = path.read_text(encoding="utf-8")
    assert all(name in text for name in ("run.py", "predict.py", "utils.py", *NETWORKS))
