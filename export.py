"""Exports a trained model to a directory that numpy and onnxruntime run, without torch.

    python export.py --model TextCNN --output textcnn_onnx                    # default: the newest checkpoint
    python export.py --model TextCNN --quantize int8 --output textcnn_int8    # a quarter of the size
    python export.py --checkpoint D/saved_dict/ensemble.ckpt --dataset D --output ensemble_onnx
    python export.py --model bert --format safetensors --output bert_hf       # for transformers
    python textcnn_onnx/predict_onnx.py 一条新闻

The export is compared with the checkpoint on the dev split of the dataset; one that predicts something else is refused.
"""

from cli.start import run_script

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

import numpy as np

from cli.console import Parser, UserError, echo, listing, reason, say
from cli.files import shown
from cli.installation import REQUIREMENTS, problem
from engine.predictor import Predict, find_checkpoint, labelled_rows
from models import ENCODERS, MODELS
from text.rows import sample_of

FORMATS = ("onnx", "safetensors")
QUANTIZED = ("int8",)
ROWS, ROWS_OF_ENCODERS = 20_000, 1000  # that are compared, at most
MARK = re.compile(r"^Versions: python ", re.MULTILINE)  # is in the README.md of each export
WRITTEN = re.compile(  # files of an export
    r"README\.md|model\.json|model(_\d+)?\.onnx|n_grams(_\d+)?\.npz|(predict_onnx|features|outputs)\.py|__pycache__|"
    r"model\.safetensors|(config|vocabulary|ensemble|tokenizer|tokenizer_config)\.json|modeling_text_classifier\.py|"
    r"\d+_\w+"
)


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("--model", choices=MODELS, help="model (the one with the newest checkpoint)")
    parser.add_argument("--dataset", help="directory of the dataset, to which training wrote the checkpoint")
    parser.add_argument("--checkpoint", help="checkpoint file, instead of --model; --dataset has its dev split then")
    parser.add_argument("--output", type=Path, required=True, help="directory to write; an earlier export is replaced")
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="format of the weights")
    parser.add_argument("--quantize", choices=QUANTIZED, help="store weights in 8 bits (float32)")
    parser.add_argument("--force", action="store_true", help="write an int8 export that predicts much worse, too")
    args = parser.parse_args()
    if args.checkpoint and args.model:
        parser.error("--checkpoint and --model are both given, expected one of them")
    if args.format != "onnx" and args.quantize:
        parser.error(f"--quantize is for --format onnx, not for {args.format}")
    if args.force and not args.quantize:
        parser.error("--force needs --quantize")
    return args


def main():
    args = parse_args()
    if missing := problem(REQUIREMENTS.with_name("requirements-export.txt")):
        raise UserError(missing)
    check_output(args.output)
    path = args.checkpoint or find_checkpoint([args.model] if args.model else MODELS, args.dataset)
    predict = Predict(checkpoint=path, device="cpu", amp="off")
    say(f"Checkpoint: {shown(predict.path)} ({predict.saved.name}, {len(predict.classes)} classes)")
    with replacing_directory(args.output) as directory:
        if args.format == "safetensors":
            from exporting.safetensors_format import save_safetensors  # onnx is not loaded for it

            save_safetensors(predict.saved, directory)
        else:
            export(predict, directory, args)
    say(f"Export: {shown(args.output)}")


def export(predict, directory, args):
    """Writes an ONNX export into the directory, and prints how it compares with the checkpoint."""
    from exporting import predict_onnx, verification  # with packages that training does not need
    from exporting.content import write_export

    dataset = Path(args.dataset or predict.path.parent.parent)
    train, _ = labelled_rows(predict, dataset, "train") if args.quantize else ((), None)
    texts, labels = labelled_rows(predict, dataset, "dev")
    on_encoder = any(member.name in ENCODERS for member in predict.saved.members)
    row_ids = sample_of(np.arange(len(texts)), ROWS_OF_ENCODERS if on_encoder else ROWS)
    if len(row_ids) < len(texts):
        say(f"{len(row_ids):,} of the {len(texts):,} rows of dev are compared")
        texts, labels = [texts[i] for i in row_ids], labels[row_ids]
    if not texts and args.checkpoint and args.dataset:
        raise UserError(f"{dataset} has no data/dev.txt to compare the export on; leave out --dataset to do without")
    if not texts:
        say("The export is compared on random texts of the vocabulary, which show no accuracy; --dataset names rows")
        texts, labels = verification.generated_texts(predict.saved), None
    write_export(predict.saved, directory, args.quantize, train)
    comparison = verification.compare(predict, predict_onnx.Predict(directory), texts, labels)
    for line in comparison.table:
        echo(line)
    comparison.check(args.quantize, args.force)


def check_output(output):
    """Raises UserError if `output` exists and is no directory, or has files that no export wrote."""
    try:
        if output.is_file():
            raise UserError(f"{output} is a file, expected a directory to write")
        names = sorted(path.name for path in output.iterdir())
        readme = (output / "README.md").read_text(encoding="utf-8", errors="replace") if "README.md" in names else ""
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{output} cannot be written: {reason(error)}") from error
    if names and not MARK.search(readme):
        raise UserError(f"{output} is no earlier export; use another --output")
    if others := [name for name in names if not WRITTEN.fullmatch(name)]:
        raise UserError(f"{output} has files that are no export's: {listing(others, 3)}; use another --output")


@contextlib.contextmanager
def replacing_directory(output):
    """A new directory beside `output` that takes its place at the end, or is removed after an error."""
    output = output.resolve()
    missing = [parent for parent in output.parents if not parent.exists()]
    new, old = (output.with_name(f"{output.name}.{secrets.token_hex(4)}.{end}") for end in ("tmp", "old"))
    try:
        new.mkdir(parents=True)
        yield new
        with contextlib.suppress(FileNotFoundError):
            os.replace(output, old)
        os.replace(new, output)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {reason(error)}") from error
    finally:
        if old.exists() and not output.exists():
            os.replace(old, output)
        for directory in (new, old):
            shutil.rmtree(directory, ignore_errors=True)
        for parent in missing if not output.exists() else ():
            with contextlib.suppress(OSError):
                parent.rmdir()


if __name__ == "__main__":
    run_script(main)
