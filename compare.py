"""Trains models with several seeds each and compares them: the leaderboard of a dataset.

    python compare.py                                              # the seven networks, three seeds each
    python compare.py --models TextCNN NBSVM bert --seeds 5 --dataset D --baselines svm fasttext
    python compare.py --models TextCNN FastText NBSVM --ensemble                 # and the best of them together
    python compare.py --models TextCNN FastText SVM --rows 500 2000 10000        # and with fewer training rows
    python compare.py --models TextCNN DPCNN --paper                             # and as in their papers
    python compare.py --models TextCNN SVM --robustness                          # and with changed test texts
    python compare.py --models TextCNN DPCNN -- --num_epochs 3 --device cpu      # after --: flags of every training

Writes `leaderboard.md`, `.json` and `.png` to D/leaderboard, with --rows also `rows.md`, `.json` and `.png`, with
--robustness also the files of `evaluation.robustness`, and the files of each training to MODEL/seed-N there, with its
output in `run.log`. A training is a separate process; the .json has its command. Finished runs are not trained again:
after an interruption the same command continues, and with more models or seeds it trains only those. With other data,
vectors, encoder, flags or defaults a run is trained again, and the one before is kept in seed-N.before. A new version
of the code is not detected: remove the directory. A hyper-parameter after -- is given to the models that have it. If a
training fails, the others are compared, and the exit status is 1.
"""

from cli.start import run_script

import datetime
import shlex
import sys
from pathlib import Path

from cli.console import Parser, UserError, boolean, echo, number, say, split_arguments
from cli.files import default_dataset
from evaluation.baselines import BASELINES
from evaluation.comparison import Comparison, competitors
from evaluation.job import EnsembleJob, call, measure_of
from models import MODELS, NETWORKS
from text.files import read_json
from text.hierarchy import find_hierarchy
from text.perturbations import STRENGTHS, available
from utils import add_dataset_flag

OURS = ("model", "dataset", "seed", "output", "resume")  # flags of a training that are set here


def parse_args():
    """The flags. Those after -- are `flags`, a list, and parsed `known`, as far as a comparison needs them."""
    ours, flags = split_arguments(sys.argv[1:])
    parser = Parser(__doc__)
    parser.add_argument(
        "--models",
        nargs="*",
        metavar="MODEL",
        choices=MODELS,
        default=NETWORKS,
        help=f"models to train: {', '.join(MODELS)}",
    )
    parser.add_argument("--seeds", type=number(int, 1), default=3, help="number of runs of each model, seeds 1, 2, …")
    parser.add_argument("--baselines", nargs="+", choices=BASELINES, default=(), help="other programs to compare with")
    parser.add_argument("--paper", action="store_true", help="also train the networks as in their papers")
    parser.add_argument(
        "--rows", nargs="+", type=number(int, 1), default=(), help="also train on parts of the training split"
    )
    parser.add_argument("--ensemble", action="store_true", help="combine the runs into an ensemble, chosen on dev")
    parser.add_argument(
        "--robustness",
        nargs="*",
        metavar="STRENGTH",
        type=number(float, 0, 1, open_low=True),
        help="also test on changed texts, with these shares of changed characters "
        f"({' '.join(map(str, STRENGTHS))} if none is given)",
    )
    add_dataset_flag(parser)
    parser.add_argument("--output", type=Path, help="directory to write to (leaderboard in the dataset's)")
    args = parser.parse_args(ours)
    known = Parser(add_help=False)
    for name in ("scratch", "tuned"):
        known.add_argument(f"--{name}", action="store_true")
    known.add_argument("--hierarchy", type=boolean, nargs="?", const=True)
    known.add_argument("--device", default="auto")
    known.add_argument("--amp", default="auto")
    for name in ("embedding", "bert_path", *OURS):
        known.add_argument(f"--{name}", nargs="?", const="")
    known = known.parse_known_args(flags)[0]
    twice = [name for name in OURS if getattr(known, name) is not None]
    if twice:
        parser.error(f"--{twice[0]} after --: it is set by compare.py")
    args.flags, args.known = flags, known
    return args


def run_all(competitors, speed):
    """The records and the speed of each competitor, by name, and the reasons why others failed, by name.

    speed: returns that of a job.
    """
    results, failures = {}, {}
    count = sum(map(len, competitors))
    for i, jobs in enumerate(competitors):
        done = i * len(jobs)
        try:
            records = [job.run_or_load(f"{done + k} of {count}") for k, job in enumerate(jobs, 1)]
            records = [r | {"predictions": str(job.predictions())} for r, job in zip(records, jobs, strict=True)]
            results[jobs[0].name] = records, speed(jobs[0])
        except UserError as error:
            say(str(error))
            failures[jobs[0].name] = str(error)
    return results, failures


def combine(args, comparison, jobs, results, speed):
    """Adds an ensemble of the runs with results to the jobs; returns its results and failures as `run_all` does."""
    members = [job for each in jobs for job in each if job.name in results and job.kind != "baseline"]
    if len(members) < 2:
        say("--ensemble: no two runs to combine")
        return {}, {}
    jobs.append([EnsembleJob(members, comparison, args.known.device, args.known.amp)])
    return run_all(jobs[-1:], speed)


def run_parts(args, comparison, results):
    """Trains the competitors with results on parts of the training split too; returns the failures."""
    from evaluation import learning_curve  # matplotlib, which takes a second to import

    points = {name: {comparison.rows["train"]: runs} for name, (runs, _) in results.items()}
    failures = {}
    for count, part in learning_curve.parts(comparison, args.rows).items():
        found, failed = run_all(part.jobs(points, args.seeds, args.known), lambda job: None)
        for name, (runs, _) in found.items():
            points[name][count] = runs
        failures |= {f"{name} with {count} rows": why for name, why in failed.items()}
    learning_curve.write(comparison.output, comparison.directory.resolve().name, points)
    return failures


def measure_robustness(args, comparison, jobs):
    """Measures the robustness of these jobs' models, prints the table and writes the files."""
    from evaluation import robustness_report  # matplotlib, which takes a second to import

    output, log = comparison.output, comparison.output / "robustness.log"
    available()  # reports what is left out
    say(f"Robustness: its output is in {log}")
    files = {job.name: str(job.checkpoint) for job in jobs}
    command = ["-m", "evaluation.robustness", "--names", *files, "--checkpoints", *files.values()]
    command += ["--dataset", str(comparison.directory), "--output", str(output)]
    command += ["--strengths", *map(str, args.robustness or STRENGTHS)]
    call([*command, "--device", args.known.device, "--amp", args.known.amp], log, "robustness")
    robustness_report.show(output, read_json(output / "robustness.json"))


def about(args, comparison, rows, failures):
    """The part of a leaderboard besides its rows, as data."""
    runs = [run for row in rows for run in row["runs"]]
    devices = [row["speed"]["device"] for row in rows if row["kind"] != "baseline"] or [rows[0]["speed"]["device"]]
    versions = {}
    for name, version in (item for run in runs for item in run["versions"].items()):
        versions.setdefault(name, []).append(version)
    return {
        "dataset": {
            "name": comparison.directory.resolve().name,
            "rows": comparison.rows,
            "classes": len(comparison.classes),
            "digests": comparison.digests,
        },
        "command": shlex.join(["python", "compare.py", *sys.argv[1:]]),
        "seeds": list(range(1, args.seeds + 1)),
        "flags": args.flags,
        "failures": failures,
        "machines": list(dict.fromkeys(run["machine"] for run in runs)),
        "devices": list(dict.fromkeys(devices)),
        "versions": {name: " and ".join(sorted(set(found))) for name, found in versions.items()},
        "date": datetime.date.today().isoformat(),
    }


def hierarchy_of(comparison, wanted):
    """The Hierarchy of the classes if their names are paths and a row has one label, otherwise None."""
    if comparison.multi_label:
        return None
    hierarchy = find_hierarchy(comparison.classes, wanted)
    return hierarchy if hierarchy.num_levels > 1 else None


def main():
    args = parse_args()
    comparison = Comparison(args.dataset or default_dataset(), args.output, args.flags)
    hierarchy = hierarchy_of(comparison, args.known.hierarchy)
    jobs = comparison.jobs(competitors(args.models, args.baselines, args.paper), args.seeds, args.known)

    def speed(job):
        return job.speed(args.known.device, args.known.amp)

    try:
        results, failures = run_all(jobs, speed)
        if args.rows and results:
            failures |= run_parts(args, comparison, results)
        if args.ensemble:
            combined, failed = combine(args, comparison, jobs, results, speed)
            results, failures = results | combined, failures | failed
    except KeyboardInterrupt:
        say("Interrupted: the same command continues")
        sys.exit(130)
    if results:
        from evaluation import leaderboard  # matplotlib and scikit-learn, which take a second to import

        kinds = {competitor[0].name: competitor[0].kind for competitor in jobs}
        rows = [leaderboard.row_of(name, kinds[name], *result, hierarchy) for name, result in results.items()]
        rows = leaderboard.rank(rows)
        leaderboard.write(comparison.output, about(args, comparison, rows, failures), rows)
        for row in rows:
            score, p50 = leaderboard.percent(row[measure_of(row)]), leaderboard.milliseconds(row["speed"]["p50_ms"])
            echo(f"{row['model']:<12} {score} %, one headline {p50}{', Pareto front' if row['pareto'] else ''}")
        say(f"Leaderboard: {comparison.output / 'leaderboard.md'}, beside it .json and .png")
    if failures:
        say(f"Failed: {', '.join(failures)}")
    measurable = [job for job, *_ in jobs if job.name in results and job.kind != "baseline"]
    if args.robustness is not None and measurable:
        measure_robustness(args, comparison, measurable)
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
