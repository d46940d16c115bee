"""Classifiers on an encoder as a directory that `transformers` opens with `pipeline("text-classification")`.

A linear layer on the pooler output is a class of the library. Any other head, and n-gram evidence, is computed by
`modeling_text_classifier`, which is copied beside the weights.
"""

import json
import re
import shutil

import torch
from tokenizers import Tokenizer
from tokenizers.normalizers import Sequence
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSequenceClassification

from cli.console import UserError
from exporting.charsmap import normalizers_of
from exporting.modeling_text_classifier import TextClassifierConfig, TextClassifierForSequenceClassification
from exporting.plain_data import calibration_content, n_gram_tensors
from models.encoder_files import hush
from text.truncation import HEAD

PLAIN = ("bert", "ERNIE")  # models whose head is a linear layer on the pooler output
SIZES = ("filter_sizes", "num_filters", "rnn_hidden", "num_layers")  # fields of a `Config` that a head needs


def save_pretrained(classifier, directory):
    """Writes config.json, model.safetensors and the tokenizer's files; returns whether they need `trust_remote_code`.

    Raises UserError for what the library does not support: a text that is read in any other way than from its beginning
    on, or a single class.
    """
    name, long = classifier.name, classifier.config.long
    if long != HEAD:
        why = f"{name} was trained with --long {long}, which transformers does not support"
        raise UserError(f"{why}; use --format onnx, or train with --long {HEAD}")
    if len(classifier.classes) == 1 and not classifier.multi_label:
        raise UserError(f"{name} has one class, and transformers expects two or more; use --format onnx")
    hush()
    is_native = is_plain(classifier)
    model = native_model(classifier) if is_native else custom_model(classifier)
    model.save_pretrained(directory)
    shutil.copymode(
        directory / "config.json", directory / "model.safetensors"
    )  # safetensors makes it readable for the owner alone
    write_tokenizer(classifier, directory)
    return not is_native


def is_plain(classifier):
    """Whether the library has a class that computes the same. ELECTRA's has another head."""
    kind = classifier.encoder["model_type"]
    return classifier.name in PLAIN and not classifier.config.n_grams_per_token and kind != "electra"


def label_config(classifier):
    """What the library's config.json says of the classes."""
    problem = "multi_label_classification" if classifier.multi_label else "single_label_classification"
    labels = {"problem_type": problem, "id2label": dict(enumerate(classifier.classes))}
    labels |= {"label2id": {label: i for i, label in enumerate(classifier.classes)}}
    return labels | {"thresholds": calibration_content(classifier)["thresholds"]}


def native_model(classifier):
    """The library's model for classification, with logits that are divided by the temperature."""
    library_config = AutoConfig.for_model(**classifier.encoder, **label_config(classifier))
    model = AutoModelForSequenceClassification.from_config(library_config)
    weights, prefix = classifier.model.state_dict(), model.base_model_prefix
    weights = {name.replace("embedding.body.", f"{prefix}."): weight for name, weight in weights.items()}
    temperatures = torch.tensor(calibration_content(classifier)["temperatures"])  # (1,) or (C,)
    weights["classifier.weight"] = weights["classifier.weight"] / temperatures[:, None]
    weights["classifier.bias"] = weights["classifier.bias"] / temperatures
    model.load_state_dict(weights)
    return model


def custom_model(classifier):
    """The model of `modeling_text_classifier`."""
    config, tensors, n_grams = classifier.config, {}, None
    if config.n_grams_per_token:
        tensors, n_grams = n_gram_tensors(classifier.model)
    sizes = {name: getattr(config, name) for name in SIZES if hasattr(config, name)}
    if sizes.get("rnn_hidden") == 0:
        sizes["rnn_hidden"] = classifier.encoder["hidden_size"]
    TextClassifierConfig.register_for_auto_class()
    TextClassifierForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
    library_config = TextClassifierConfig(
        encoder=classifier.encoder,
        head=classifier.name,
        head_config=sizes,
        pad_size=config.pad_size,
        calibration_temperatures=calibration_content(classifier)["temperatures"],
        n_grams=n_grams,
        sep_token_id=classifier.vocabulary.sep,
        **label_config(classifier),
    )
    model = TextClassifierForSequenceClassification(library_config)
    weights = renamed(classifier.model.state_dict()) | {f"evidence.{name}": tensor for name, tensor in tensors.items()}
    for name, (filters, width, size) in shapes_of_convolutions(model):
        weights[name] = weights[name].view(filters, size, width).transpose(1, 2)
    model.load_state_dict(weights)
    return model


def shapes_of_convolutions(model):
    """The names and shapes, (filters, width, size), of the weights of convolutions."""
    return [(name, weight.shape) for name, weight in model.named_parameters() if weight.dim() == 3]


def renamed(weights):
    """The weights of a model by the names of `modeling_text_classifier`."""
    found = {}
    for name, weight in weights.items():
        name = name.removeprefix("model.")
        if name == "roots":
            found["evidence.factors"] = weight.square()
        elif name == "bias":
            found["evidence.bias"] = weight
        elif name.startswith("classifier."):
            found[name] = weight
        elif "pooler" in name:
            found[f"head.pooler.{name.split('.')[-1]}"] = weight
        elif name.startswith("embedding.body."):
            found[name.replace("embedding.body.", "encoder.")] = weight
        elif direction := re.fullmatch(r"lstm\.(forwards|backwards)\.(\d+)\.(\w+)0", name):
            end = "_reverse" if direction[1] == "backwards" else ""
            found[f"head.lstm.{direction[3]}{direction[2]}{end}"] = weight
        else:
            found[f"head.{name}"] = weight
    return found


def write_tokenizer(classifier, directory):
    """Writes the tokenizer's files: [CLS] before and [SEP] after a text, at most `pad_size` tokens if it is cut."""
    vocabulary = classifier.vocabulary
    tokenizer = Tokenizer.from_str(vocabulary.content["tokenizer"])
    if vocabulary.aliases:
        own = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = Sequence([*normalizers_of(vocabulary.aliases.pairs), *own])
    ids = {name: getattr(vocabulary, name) for name in ("cls", "sep", "pad", "unk", "mask")}
    names = {name: tokenizer.id_to_token(i) for name, i in ids.items()}
    tokenizer.post_processor = TemplateProcessing(
        single=f"{names['cls']} $A {names['sep']}",
        pair=f"{names['cls']} $A {names['sep']} $B:1 {names['sep']}:1",
        special_tokens=[(names[end], ids[end]) for end in ("cls", "sep")],
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": classifier.config.pad_size}
    config |= {"split_special_tokens": True}  # a "[SEP]" in a text is text
    config |= {"model_input_names": ["input_ids", "attention_mask"]}  # all tokens are of one segment
    config |= {f"{name}_token": token for name, token in names.items()}
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
