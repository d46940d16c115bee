"""Weights, configuration and vocabulary for programs that load them without this toolkit.

A classifier on an encoder becomes a directory that `transformers` opens, see `transformers_format`. A network or a
linear model becomes model.safetensors, config.json and vocabulary.json.
"""

import dataclasses
import json
from pathlib import Path

from safetensors.torch import save

from cli.console import UserError, reason
from cli.files import replacing
from cli.installation import versions
from engine.checkpoint import ENSEMBLE, PACKAGES
from exporting.plain_data import calibration_content, n_gram_tensors
from models import ENCODERS, LINEAR

FORMAT = 1
README = """# {model}

Versions: {versions}.

{what}

```python
{code}```
"""
PIPELINE = """from transformers import pipeline

classify = pipeline("text-classification", model=".", {trust}truncation=True)
print(classify("一条新闻", top_k=None))
"""
OF_PIPELINE = (
    "`transformers` opens this directory. The scores are calibrated; a text is read up to {limit} tokens. {code}"
)
TRUSTED = (
    "The model is in modeling_text_classifier.py, since the library has none that is the same: `trust_remote_code` "
    "executes that file."
)
LOAD = """import json

from safetensors.torch import load_file

weights = load_file("model.safetensors")
with open("config.json", encoding="utf-8") as config, open("vocabulary.json", encoding="utf-8") as vocabulary:
    config, vocabulary = json.load(config), json.load(vocabulary)
print(config["classes"], len(vocabulary["tokens"]), {name: tuple(weight.shape) for name, weight in weights.items()})
"""
OF_LOAD = (
    "model.safetensors has the weights, by the names in models/{model}.py; config.json hyper-parameters, classes and "
    "calibration; vocabulary.json the token of each id. `n_grams.…` are the counts of n-grams, whose keys `keys_of` in "
    "models/tables.py computes. To predict without the toolkit, export with --format onnx."
)
OF_ENSEMBLE = "Each member has a directory; ensemble.json has their shares in the mean of the probabilities."
LOAD_ENSEMBLE = """import json

with open("ensemble.json", encoding="utf-8") as file:
    ensemble = json.load(file)
print([(member["directory"], member["share"]) for member in ensemble["members"]])
"""


def save_safetensors(saved, directory):
    """Writes a Classifier or an Ensemble of `engine.checkpoint` to a directory.

    Raises UserError if it cannot be written, or if the format does not support the model.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if saved.name == ENSEMBLE:
            save_ensemble(saved, directory)
        elif saved.name in ENCODERS:
            save_encoder(saved, directory)
        else:
            save_network(saved, directory)
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {reason(error)}") from error


def save_ensemble(ensemble, directory):
    """Writes a directory for each member, and ensemble.json."""
    names = [f"{i}_{member.name}" for i, member in enumerate(ensemble.members, 1)]
    for name, member in zip(names, ensemble.members, strict=True):
        save_safetensors(member, directory / name)
    members = [{"directory": name, "share": share} for name, share in zip(names, ensemble.shares, strict=True)]
    write_json(directory / "ensemble.json", described(ensemble) | {"members": members})
    write_readme(directory, ensemble.name, OF_ENSEMBLE, LOAD_ENSEMBLE)


def save_encoder(classifier, directory):
    """Writes the files that `transformers` reads, and README.md."""
    from exporting import transformers_format  # loads transformers, which takes seconds

    needs_code = transformers_format.save_pretrained(classifier, directory)
    what = OF_PIPELINE.format(limit=classifier.config.pad_size, code=TRUSTED if needs_code else "")
    code = PIPELINE.format(trust="trust_remote_code=True, " if needs_code else "")
    write_readme(directory, classifier.name, what.strip(), code)


def save_network(classifier, directory):
    """Writes model.safetensors, config.json, vocabulary.json and README.md."""
    model, vocabulary = classifier.model, classifier.vocabulary
    tensors, n_grams = {}, {}
    if classifier.name in LINEAR:
        tensors = {"keys": model.find.keys[: len(model.table.weight) - 1]}
        n_grams = {"longest": model.longest, "words": model.words}
    elif classifier.config.n_grams_per_token:
        tensors, n_grams = n_gram_tensors(model)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    weights |= {f"n_grams.{name}": tensor for name, tensor in tensors.items()}
    content = described(classifier) | {"config": dataclasses.asdict(classifier.config), "n_grams": n_grams}
    with replacing(directory / "model.safetensors") as file:
        file.write(save(weights, metadata={"format": "pt"}))
    write_json(directory / "config.json", content | {"num_tokens": len(vocabulary)})
    tokens = {"tokens": vocabulary.tokens, "unk": vocabulary.unk, "pad": vocabulary.pad}
    tokens |= {"segmenter": vocabulary.segmenter, "marks_words": vocabulary.marks_words}
    tokens |= {"aliases": vocabulary.aliases.pairs} if vocabulary.aliases else {}
    write_json(directory / "vocabulary.json", tokens)
    write_readme(directory, classifier.name, OF_LOAD.format(model=classifier.name), LOAD)


def described(saved):
    """What config.json or ensemble.json has of a Classifier or an Ensemble: its classes, calibration and versions."""
    content = {"format": FORMAT, "model": saved.name, "versions": versions(*PACKAGES), "classes": list(saved.classes)}
    content |= {"multi_label": saved.multi_label, "hierarchical": saved.calibration.hierarchical}
    return content | calibration_content(saved)


def write_json(path, content):
    with replacing(path, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=2)


def write_readme(directory, model, what, code):
    found = ", ".join(f"{name} {version}" for name, version in versions(*PACKAGES).items())
    with replacing(directory / "README.md", "w", encoding="utf-8") as file:
        file.write(README.format(model=model, versions=found, what=what, code=code))
