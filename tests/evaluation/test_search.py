"""The search with trainings that are only played: their logs and checkpoints are written at once."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import run
from cli.console import UserError, in_range
from evaluation import search, search_plot
from evaluation.comparison import Comparison
from evaluation.search import Search, differences, groups_of
from models import ENCODERS, NETWORKS, model_module
from models.base import Range, describe


def open_search(dataset, output, flags=(), max_mb=None):
    training = run.parse_args(["--model", "FastText", *flags])
    return Search("FastText", Comparison(dataset, None, list(flags)), training, output, max_mb)


def play(monkeypatch, play_trial):
    """Replaces trainings by `play_trial(number)`, which returns percents of validations, an epoch each, and MB."""

    def call(command, log, what, watch):
        output = Path(command[command.index("--output") + 1])
        percents, mb = play_trial(int(output.name.removeprefix("trial-")))
        batch_size = int(command[command.index("--batch_size") + 1]) if "--batch_size" in command else 0
        batch_size = batch_size or model_module("FastText").Config.batch_size_for(90)
        for directory in ("saved_dict", "log"):
            (output / directory).mkdir(exist_ok=True)
        for epoch, percent in enumerate(percents, 1):
            (output / "saved_dict" / "FastText.ckpt").write_bytes(bytes(int(mb * 1e6)))
            with open(log, "a", encoding="utf-8") as file:
                step = epoch * -(-90 // batch_size)
                file.write(f"Iter: {step:>6},  Train Loss: 1.0,  Train Acc: 99.00%,  Val Loss: 1.0,  Val Acc: ")
                file.write(f"{percent:>6.2f}%,  Time: 0:00:01 *\n")
            watch()
        with open(log, "a", encoding="utf-8") as file:
            file.write("Test Loss:  1.0,  Test Acc: 99.99%\n")

    monkeypatch.setattr(search, "call", call)


def kept(found):
    """The trials that have a checkpoint."""
    return sorted(path.parent.parent.name for path in found.directory.rglob("*.ckpt"))


def test_the_best_trial_is_kept_and_the_first_of_equal_ones(tiny, tmp_path, monkeypatch, capsys):
    percents = [[50, 60], [70, 65], [80], [80], [40]]
    play(monkeypatch, lambda number: (percents[number - 1], 0.5))
    found = open_search(tiny, tmp_path)
    found.run(60, 5)
    lines = capsys.readouterr().out.splitlines()
    assert [re.match(r"Trial +(\d): +Val Acc: (.{6}),", line).groups() for line in lines] == [
        (str(n), f"{100 * max(p) / 100:>5.2f}%") for n, p in enumerate(percents, 1)
    ]
    assert [line.endswith(" *") for line in lines] == [True, True, True, False, False]
    assert re.fullmatch(r"Trial   1:  Val Acc: 60.00%,  Time: 0:00:00,  Size: 0.5 MB,  default flags \*", lines[0])
    assert found.best().number == 2
    assert kept(found) == ["trial-3"]
    content = json.loads((tmp_path / "tuned" / "FastText.json").read_text(encoding="utf-8"))
    assert content["flags"] == found.flags_of(found.best().params)
    assert " ".join(content["flags"]) in lines[2]
    assert content["dev_accuracy"] == 0.8
    assert run.parse_args(["--dataset", str(tiny), *content["flags"], "--model", "FastText"])
    search_plot.draw(found, tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000


def test_a_picture_of_trials_that_are_all_equal(tiny, tmp_path, monkeypatch):
    play(monkeypatch, lambda number: ([60], 0.5))
    found = open_search(tiny, tmp_path)
    found.run(60, 5)
    search_plot.draw(found, tmp_path / "search.png")


def test_a_trial_among_the_lowest_is_stopped(tiny, tmp_path, monkeypatch, capsys):
    seen = []

    def trial(number):
        seen.append(number)
        return ([80 + number, 81 + number, 82 + number] if number < 6 else [10, 11, 12]), 0.5

    play(monkeypatch, trial)
    found = open_search(tiny, tmp_path)
    found.run(60, 6)
    line = capsys.readouterr().out.splitlines()[-1]
    assert "Val Acc: 10.00%" in line
    assert "(stopped: among the lowest quarter)" in line
    assert found.best().number == 4


def test_checkpoints_that_are_too_large_do_not_count(tiny, tmp_path, monkeypatch, capsys):
    play(monkeypatch, lambda number: ([90, 91] if number == 1 else [70, 71], 3 if number < 3 else 1.5))
    found = open_search(tiny, tmp_path, max_mb=2)
    found.run(60, 3)
    lines = capsys.readouterr().out.splitlines()
    assert "Val Acc: 90.00%" in lines[0]  # ended at the first validation
    assert lines[0].endswith("(stopped: larger than --max_mb 2)")
    assert found.best().number == 2
    assert kept(found) == ["trial-3"]


def test_failed_trials_do_not_end_the_search_unless_all_fail(tiny, tmp_path, monkeypatch, capsys):
    def trial(number):
        if number != 2:
            raise UserError(f"trial {number}: failed with exit status 2; the end of run.log: out of memory")
        return [50], 0.5

    play(monkeypatch, trial)
    found = open_search(tiny, tmp_path / "a")
    found.run(60, 7)
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"default flags  \(failed with exit status 2; the end of run.log: out of memory\)$", lines[0])
    assert "Val Acc" not in lines[0]
    assert found.best().number == 1
    search_plot.draw(found, tmp_path / "search.png")
    play(monkeypatch, lambda number: trial(1))
    found = open_search(tiny, tmp_path / "b")
    with pytest.raises(UserError, match=r"all 5 trials failed; trial 1: .* out of memory"):
        found.run(60)
    again = open_search(tiny, tmp_path / "b")
    play(monkeypatch, lambda number: ([60], 0.5))
    again.run(60, 1)
    assert again.best().params == again.defaults  # the default flags have another trial


def test_a_trial_that_is_interrupted_is_continued_with_its_flags(tiny, tmp_path, monkeypatch):
    def trial(number):
        if number == 2:
            raise KeyboardInterrupt
        return [50], 0.5

    play(monkeypatch, trial)
    found = open_search(tiny, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        found.run(60)
    assert len(found.finished()) == 1
    begun = found.study.trials[1].params
    play(monkeypatch, lambda number: ([70], 0.5))
    again = open_search(tiny, tmp_path)
    again.run(60, 1)
    assert [trial.value for trial in again.finished()] == [0.5, 0.7]
    assert again.best().params == begun
    assert kept(again) == ["trial-2"]


def test_the_search_ends_at_its_time(tiny, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def trial(number):
        clock[0] += 10 if number == 2 else 0
        return [50], 0.5

    play(monkeypatch, trial)
    found = open_search(tiny, tmp_path)
    found.run(9, 20)
    assert [trial.state.name for trial in found.study.trials].count("RUNNING") == 1


def test_the_same_seed_proposes_the_same_flags(tiny, tmp_path, monkeypatch):
    play(monkeypatch, lambda number: ([50 + number], 0.5))
    searches = [open_search(tiny, tmp_path / name) for name in "ab"]
    for found in searches:
        found.run(60, 4)
    assert [trial.params for trial in searches[0].finished()] == [trial.params for trial in searches[1].finished()]
    assert searches[0].finished()[1].params != searches[0].defaults


def test_flags_that_are_given_are_not_searched_and_are_part_of_what_is_found(tiny, tmp_path, monkeypatch):
    play(monkeypatch, lambda number: ([50], 0.5))
    flags = ["--num_epochs", "3", "--dropout=0.4", "--word", "--device", "cpu", "--seed", "7"]
    found = open_search(tiny, tmp_path, flags)
    found.run(60, 1)
    assert not {"num_epochs", "dropout"} & found.ranges.keys()
    assert found.found()["flags"] == ["--num_epochs", "3", "--dropout=0.4", "--word"]


@pytest.mark.parametrize(
    ("flags", "max_mb", "message"),
    [
        (["--word"], None, "flags was none, is --word. Use"),
        ([], 5, "max_mb was None, is 5. Use"),
        (["--dropout", "0.1"], None, "range of dropout was .*, is None. Use"),
    ],
)
def test_a_search_with_other_flags_is_refused(tiny, tmp_path, flags, max_mb, message):
    open_search(tiny, tmp_path)
    with pytest.raises(UserError, match=f"is of a search with other data or flags: .*{message}"):
        open_search(tiny, tmp_path, flags, max_mb)


def test_a_damaged_study_is_reported(tiny, tmp_path):
    found = open_search(tiny, tmp_path)
    (found.directory / "study.log").write_text("{}\n[]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"study\.log is damaged"):
        open_search(tiny, tmp_path)


def test_flags_by_name_and_differences():
    assert groups_of(["--a", "1", "2", "--b=3"]) == {"a": ["--a", "1", "2"], "b": ["--b=3"]}
    assert differences({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "d": 3}}) == "c was 2, is 4"


@pytest.mark.parametrize("name", NETWORKS + ENCODERS)
def test_what_is_searched_holds_the_default_and_is_valid(name):
    config = model_module(name).Config
    fields = describe(config)
    assert {"learning_rate", "batch_size", "num_epochs", "dropout"} <= {n for n, f in fields.items() if f["search"]}
    for key, field in fields.items():
        searched, default = field["search"], field["default"]
        if isinstance(searched, Range):
            assert in_range(default, searched.low, searched.high), key
            values = searched[:2]
            steps = (default - searched.low) / (searched.step or 1)
            assert not searched.step or steps == pytest.approx(round(steps)), key
        else:
            values = searched or ()
            assert not searched or default in searched, key
        for value in values:
            assert getattr(config(**{key: value}), key) == value
