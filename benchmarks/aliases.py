"""Measures what a checkpoint predicts of the dev texts in other forms, with aliases of characters and without.

    python -m pip install -r requirements-robustness.txt
    python -m benchmarks.aliases --dataset D --checkpoint D/saved_dict/TextCNN.ckpt D/saved_dict/NBSVM.ckpt

The texts are changed to traditional characters (OpenCC, also with the words of Taiwan) and to full-width forms, and get
zero-width characters at a tenth of the places. The table has the accuracy without and with aliases, and how many texts
get other probabilities with them.
"""

from cli.start import run_script

from cli.console import Parser, echo
from engine.predictor import Predict
from text.labelled import read_split
from text.perturbations import perturb

SHARE = 0.1  # of characters with a zero-width one after them


def variants_of(texts):
    """The texts in several forms, by name. Raises UserError if OpenCC is not installed."""
    forms = {"as they are": texts, "traditional": perturb(texts, "traditional", 1)}
    from opencc import OpenCC  # of requirements-robustness.txt

    forms |= {"Taiwan": list(map(OpenCC("s2twp").convert, texts)), "full-width": perturb(texts, "full_width", 1)}
    return forms | {"zero-width": perturb(texts, "zero_width", SHARE)}


def without_aliases(vocabulary):
    """The vocabulary without aliases, to which the other forms are unknown characters."""
    return type(vocabulary)(**{name: value for name, value in vocabulary.content.items() if name != "aliases"})


def main():
    parser = Parser(__doc__)
    parser.add_argument("--dataset", required=True, help="directory of the dataset")
    parser.add_argument("--checkpoint", nargs="+", required=True, help="checkpoints of models of that dataset")
    args = parser.parse_args()
    texts, labels = read_split(args.dataset, "dev")
    variants = variants_of(texts)
    echo("| model | texts | accuracy without | with | texts with other probabilities |")
    echo("| --- | --- | --- | --- | --- |")
    for path in args.checkpoint:
        predictors = [Predict(checkpoint=path), Predict(checkpoint=path)]
        predictors[0].vocabularies = list(map(without_aliases, predictors[0].vocabularies))
        for name, own in variants.items():
            before, after = (predictor.predict_proba(own) for predictor in predictors)
            scores = [f"{(found.argmax(axis=1) == labels).mean():.2%}" for found in (before, after)]
            changed = (before != after).any(axis=1).sum()
            echo(f"| {predictors[0].saved.name} | {name} | {scores[0]} | {scores[1]} | {changed} |")


if __name__ == "__main__":
    run_script(main)
