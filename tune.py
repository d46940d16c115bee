"""Searches for the flags with which a model has the highest validation accuracy.

    python tune.py --model TextCNN --minutes 20
    python tune.py --model FastText --minutes 10 --max_mb 5 --dataset D
    python tune.py --model bert_CNN --minutes 120 -- --bert_path DIR      # after --: flags of every training

Each trial is a training in a process of its own; the first one has the default flags. Flags after -- are not searched.
The search ends after `--minutes`; the same command continues it. Writes the best flags to D/tuned/MODEL.json, where
`python run.py --model MODEL --tuned` finds them, the best checkpoint to D/saved_dict, and `search.png`, a picture of
the search, to D/tune/MODEL, where the output of each trial is, too. The test split has no influence.
With any number of labels a row, the macro F1 takes the place of the accuracy.
"""

from cli.start import run_script

import collections
import importlib
import shlex
import sys
from pathlib import Path

from optuna.trial import TrialState

from cli.console import Parser, UserError, echo, number, say, split_arguments
from cli.files import default_dataset, locked, shown
from evaluation.comparison import Comparison
from evaluation.search import Search, groups_of
from models import ENCODERS, NETWORKS, trainer
from utils import add_dataset_flag

OURS = ("model", "dataset", "output", "resume", "tuned")  # flags of a training that are set here


def parse_args():
    """The flags. Those after -- are `flags`, a list, and parsed as the training does, `training`."""
    ours, flags = split_arguments(sys.argv[1:])
    parser = Parser(__doc__)
    parser.add_argument("--model", choices=(*NETWORKS, *ENCODERS), default="TextCNN", help="model to search for")
    parser.add_argument("--minutes", type=number(float, 0, open_low=True), default=20.0, help="time of the search")
    parser.add_argument(
        "--trials", type=number(int, 1), help="end after this many trials (none: when the time is over)"
    )
    parser.add_argument("--max_mb", type=number(float, 0, open_low=True), help="largest size of a checkpoint, in MB")
    add_dataset_flag(parser)
    parser.add_argument("--output", type=Path, help="directory for tune, tuned and saved_dict (the dataset's)")
    args = parser.parse_args(ours)
    twice = [name for name in OURS if name in groups_of(flags)]
    if twice:
        parser.error(f"--{twice[0]} after --: it is set by tune.py")
    script = importlib.import_module(trainer([args.model]).removesuffix(".py"))
    args.flags, args.training = flags, script.parse_args(["--model", args.model, *flags])
    return args


def nothing_found(search, args):
    """Why no trial has completed, as a line."""
    trials = search.finished()
    if not trials:
        return f"--minutes {args.minutes:g} is shorter than one trial; the same command with more minutes continues it"
    errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
    if errors:
        return f"no trial has completed, {len(errors)} have failed; {errors[-1]}"
    sizes = [trial.user_attrs["mb"] for trial in trials if "mb" in trial.user_attrs]
    return f"no checkpoint has at most {args.max_mb:g} MB, the smallest has {min(sizes):.1f} MB; raise --max_mb"


def summary(search):
    """The trials that have ended, counted, and the gain over the default flags."""
    trials, best = search.finished(), search.best()
    states = collections.Counter(
        "failed" if "error" in t.user_attrs else "completed" if t.state == TrialState.COMPLETE else "stopped"
        for t in trials
    )
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    line = f"Trials: {counts}. Best: trial {best.number + 1}, validation {search.tally.title} {best.value:.2%}"
    default = next((t.value for t in trials if t.state == TrialState.COMPLETE and t.params == search.defaults), None)
    return line + (f" (default flags: {default:.2%})" if default is not None else "")


def report(search, where):
    """Draws the picture, copies the best checkpoint, and prints the command with the best flags. where: its dataset."""
    from evaluation import search_plot  # matplotlib and scikit-learn, which take a second to import

    picture = search.directory / "search.png"
    search_plot.draw(search, picture)
    say(summary(search))
    say(f"Picture: {shown(picture)}; flags for --tuned: {shown(search.tuned)}")
    say(search.copy_best())
    script = trainer([search.name])
    echo(shlex.join(["python", script, "--model", search.name, *where, *search.found()["flags"]]))


def main():
    args = parse_args()
    dataset = Path(args.dataset or default_dataset())
    output = args.output or dataset
    data = Comparison(dataset, output, args.flags)
    interrupted = False
    with locked(output / "tune" / args.model / "search.lock", "another search runs here"):
        search = Search(args.model, data, args.training, output, args.max_mb)
        try:
            search.run(60 * args.minutes, args.trials)
        except KeyboardInterrupt:
            interrupted = True
            say("Interrupted: the same command continues the search")
        if search.best():
            report(search, ["--dataset", args.dataset] if args.dataset else [])
        elif not interrupted:
            raise UserError(nothing_found(search, args))
    if interrupted:
        sys.exit(130)


if __name__ == "__main__":
    run_script(main)
