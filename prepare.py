"""Makes a dataset of your own labelled rows, and checks it.

    python prepare.py reviews.csv --text review --label label --output hotel
    python prepare.py a.xlsx b.jsonl --text title body --group user --output D     # texts joined; no user in two splits
    python prepare.py all.tsv --split 90 5 5 --output D                            # columns found by their names
    python prepare.py a.csv --label level1 level2 --output D                       # labels joined: level1/level2
    python prepare.py tags.csv --multi_label --output D                            # any number of labels a row
    python prepare.py train.csv --dev dev.csv --test test.csv --output D           # a split of its own for each file
    python prepare.py --check D                  # checks a dataset: duplicates, leaks, wrong labels, dirty text
    python prepare.py --check D --fix            # and writes a cleaned copy beside it, D_fixed
    python prepare.py new.txt --label_next 100 --output next.tsv                   # texts worth labelling first

Reads .csv, .tsv, .jsonl, .json, .xlsx (and .xls, .xlsb, .ods), `text<TAB>label` and fastText's format, in UTF-8,
UTF-16, GB18030, Big5 or an --encoding. Writes class.txt, train.txt, dev.txt and test.txt to D/data, with --multi_label
also dataset.json. All rows of one text are in one split. Rejected rows are listed with the reason in D/rejected.tsv.
The report of the check is in D/log/check; the exit status is 1 if more than 1 % of the rows of dev or test are in
another split too, or if more than 1 % of all rows have the same text as another row with another label.
"""

from cli.start import run_script

import sys
import tempfile
from pathlib import Path

from cli.console import Parser, UserError, echo, number, reason, say
from cli.files import shown
from text.columns import choose_columns
from text.label_sets import MultiLabelPreparation
from text.labelled import SPLITS
from text.preparation import Preparation
from text.tables import open_table

# flags without use to --check and --label_next
OF_MAKING = ("dev", "test", "label", "multi_label", "group", "sheet", "encoding", "split", "seed", "overwrite")


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("files", nargs="*", help="files of labelled rows")
    parser.add_argument("--dev", nargs="+", metavar="FILE", help="files of dev.txt (rows of the others)")
    parser.add_argument("--test", nargs="+", metavar="FILE", help="files of test.txt (rows of the others)")
    parser.add_argument("--text", nargs="+", metavar="COLUMN", help="columns of the text, joined by spaces (by name)")
    parser.add_argument(
        "--label", nargs="+", metavar="COLUMN", help="column of the label, or of the levels of a path (by name)"
    )
    parser.add_argument(
        "--multi_label", action="store_true", help="rows have any number of labels, between commas or as a list"
    )
    parser.add_argument("--group", metavar="COLUMN", help="column of which no value is in two splits")
    parser.add_argument("--sheet", help="sheet of a workbook (the only one)")
    parser.add_argument("--encoding", metavar="NAME", help="encoding of the files, as Python calls it (found)")
    parser.add_argument(
        "--split", nargs=3, type=number(float, 0, 1e9, open_low=True), default=[80, 10, 10],
        metavar=("TRAIN", "DEV", "TEST"), help="sizes of the splits, as ratios",
    )  # fmt: skip
    parser.add_argument("--seed", type=number(int, 0), default=1, help="seed of the splits")
    parser.add_argument(
        "--output", type=Path, help="directory of the dataset; with --check of the report, with --label_next a file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the dataset that is there")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--no_check", action="store_true", help="do not check the dataset that is made")
    mode.add_argument("--check", type=Path, metavar="DATASET", help="check this dataset instead of making one")
    mode.add_argument(
        "--label_next", type=number(int, 1), metavar="N", help="pick texts of an unlabelled file worth labelling first"
    )
    parser.add_argument(
        "--fix",
        nargs="?",
        const=True,
        default=False,
        choices=("suspects",),
        help="with the check: write a cleaned copy, DATASET_fixed; suspects: without suspect training rows",
    )
    parser.add_argument("--checkpoint", type=Path, help="with --label_next: model, to pick what it is uncertain of")
    args = parser.parse_args()
    check_args(parser, args)
    return args


def check_args(parser, args):
    """Ends with a message if flags exclude each other."""
    if bool(args.files) == bool(args.check):
        what = "files and --check are both given" if args.check else "no files are given"
        parser.error(f"{what}, expected files of labelled rows, or --check DATASET")
    if args.files and not args.output and not args.label_next:
        parser.error("--output is missing, expected the directory of the dataset")
    if args.label_next and (len(args.files) > 1 or len(args.text or ()) > 1):
        parser.error("--label_next takes one file and one column")
    if args.multi_label and len(args.label or ()) > 1:
        parser.error("--multi_label takes one column of labels, --label names several")
    if args.checkpoint and not args.label_next:
        parser.error("--checkpoint is for --label_next: add the number of texts to pick")
    made_with = OF_MAKING + (("text",) if args.check else ())
    given = [f"--{name}" for name in made_with if getattr(args, name) != parser.get_default(name)]
    if given and (args.check or args.label_next):
        parser.error(f"{given[0]} is for making a dataset: leave it out with --check and --label_next")
    if args.fix and (args.label_next or args.no_check):
        parser.error("--fix needs the check: leave --label_next and --no_check out")


def check_output(args):
    """Raises UserError if there is a dataset that must stay."""
    names = [f"{name}.txt" for name in ("class", *SPLITS)]
    present = [name for name in names if (args.output / "data" / name).exists()]
    if present and not args.overwrite:
        raise UserError(f"{shown(args.output / 'data')} has {', '.join(present)}; --overwrite replaces this dataset")


def open_all(args):
    """The split that each file is for, its Table and its Columns."""
    command = ["python", "prepare.py", *sys.argv[1:]]
    sources = {None: args.files, "dev": args.dev, "test": args.test}
    for split, path in ((split, path) for split, paths in sources.items() for path in paths or ()):
        table = open_table(path, args.sheet, show=True, encoding=args.encoding)
        columns = choose_columns(table, args.text, args.label, args.group, command)
        say(f"{path}: {table.form}; {columns.description(table)}")
        yield split, table, columns


def main():
    args, status = parse_args(), 0
    if args.label_next:
        from checking.label_next import label_next  # scikit-learn, which takes a second to import

        label_next(args.files[0], args.text and args.text[0], args.label_next, args.checkpoint, args.output)
        return
    if not args.check:
        make(args)
    if not args.no_check:
        from checking.check import check

        status = check(args.check or args.output, args.check and args.output, args.fix)
    if not args.check:
        say(f"Next: python run.py --model TextCNN --dataset {shown(args.output)}")
    if status:
        sys.exit(status)


def make(args):
    """Makes the dataset."""
    check_output(args)
    parts = list(open_all(args))
    given = {"dev": args.dev, "test": args.test}
    shares = {name: share for name, share in zip(SPLITS, args.split, strict=True) if not given.get(name)}
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=args.output) as spool:
            rows = (MultiLabelPreparation if args.multi_label else Preparation)(spool, args.seed)
            for split, table, columns in parts:
                rows.add(table, columns, split)
            rows.divide(shares)
            rows.write(args.output)
    except OSError as error:
        raise UserError(f"{args.output} cannot be written: {reason(error)}") from error
    for message in rows.summary():
        say(message)
    sizes = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, rows.sizes, strict=True))
    echo(f"{shown(args.output)}: {rows.counts.any(axis=0).sum():,} classes; rows: {sizes}")


if __name__ == "__main__":
    run_script(main)
