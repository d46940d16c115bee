"""The files of a pre-trained encoder: config.json and weights, read and checked."""

import re
from pathlib import Path

import torch
import transformers

from cli.console import UserError, listing, reason
from cli.files import digest_of
from models.base import at_most
from text.files import read_json
from text.wordpiece_files import absent

MODEL_TYPES = ("bert", "ernie", "electra", "albert")  # RoBERTa-wwm and MacBERT are bert with other weights
SIZES = {"vocab_size": 10**7, "hidden_size": 10**5, "num_hidden_layers": 1000, "num_attention_heads": 10**4}  # at most
OTHERS = {"num_hidden_groups": 1000, "inner_group_num": 1000, "max_position_embeddings": 10**6}  # if they are there
CONFIG_FILES = ("config.json", "bert_config.json")
WEIGHTS = tuple(f"{name}{end}" for name in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json"))
IGNORED = (  # what a call returns, and the classes, are decided in this project
    *("return_dict", "use_return_dict", "output_hidden_states", "output_attentions", "chunk_size_feed_forward"),
    *("num_labels", "id2label", "label2id"),
)
SLACK = 10**7  # weights that a model may have beyond those of a file: a pooler, for example


def read_config(directory):
    """The content of an encoder's config.json (or bert_config.json), with the type of encoder as `model_type`.

    Raises UserError if there is none, or if it lacks a size (transformers would silently use that of BERT base).
    """
    path = next((path for name in CONFIG_FILES if (path := Path(directory) / name).exists()), None)
    if path is None:
        raise absent(directory, " or ".join(CONFIG_FILES))
    config = read_json(path)
    most = SIZES | {name: bound for name, bound in OTHERS.items() if isinstance(config, dict) and name in config}
    found = {name: config.get(name) if isinstance(config, dict) else None for name in most}
    wrong = [name for name, bound in most.items() if type(found[name]) is not int or not 0 < found[name] <= bound]
    if wrong:
        raise UserError(
            f"{path} does not have {', '.join(wrong)}, or not in range; expected the file that came with the encoder"
        )
    for name in IGNORED:
        config.pop(name, None)
    config.setdefault("intermediate_size", 4 * config["hidden_size"])  # absent in Paddle's files
    model_type = config.setdefault("model_type", guess_model_type(config))
    if model_type not in MODEL_TYPES:
        raise UserError(f"{path}: an encoder of type {model_type!r}; expected one of {', '.join(MODEL_TYPES)}")
    return config


def guess_model_type(config):
    """The type of encoder of an old configuration, which does not name it."""
    if "num_hidden_groups" in config or "inner_group_num" in config:
        return "albert"
    if "embedding_size" in config:
        return "electra"
    return "ernie" if "task_type_vocab_size" in config or "use_task_id" in config else "bert"


def weights_file(directory):
    """The file of an encoder's weights, or the index of several files, which must be in the directory too."""
    path = next((path for name in WEIGHTS if (path := Path(directory) / name).exists()), None)
    if path is None:
        raise absent(directory, "model.safetensors (or pytorch_model.bin)")
    for name in _parts(path):
        if not path.with_name(name).is_file():
            raise UserError(f"{path} names {name}, which is not beside it; fetch the encoder again")
    return path


def _parts(path):
    """The names of the files with the weights."""
    if path.suffix != ".json":
        return [path.name]
    index = read_json(path)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()) or not names:
        raise UserError(f"{path} has no `weight_map` from weights to files; fetch it again")
    outside = [name for name in names.values() if not 0 < len(name) < 256 or Path(name).name != name or "\\" in name]
    if outside:
        raise UserError(f"{path} names {outside[0]!r}; expected files in the same directory")
    return sorted(set(names.values()))


def fits_weights(directory):
    """The context in which a model for an encoder's weights is built: it may not be much larger than their files."""
    path = weights_file(directory)
    size = sum(path.with_name(name).stat().st_size for name in _parts(path))
    return at_most(size // 2 + SLACK, Path(directory) / CONFIG_FILES[0])  # a weight has at least two bytes


def hush():
    """Turns off the tables and progress bars of `transformers`. This project reports what matters in a line."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def digest_of_weights(path):
    return digest_of(path)[:16]


def load_weights(model, directory, optional):
    """Loads an encoder's directory into a model of transformers.

    Returns the names of missing weights that begin with `optional`, which stay as they are. Raises UserError if others
    are missing, or have another shape.
    """
    hush()
    path = weights_file(directory)
    own = model.base_model_prefix
    renamed = {r"^module\.": ""}  # DataParallel's
    renamed |= {rf"^{name}\.": f"{own}." for name in MODEL_TYPES if name != own}  # ERNIE's weights may be called bert's
    try:
        loaded, found = type(model).from_pretrained(
            directory,
            config=model.config,
            dtype=torch.float32,
            key_mapping=renamed,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            local_files_only=True,
            weights_only=True,  # a hostile file runs nothing
        )
    except Exception as error:  # a damaged file can make the libraries raise anything
        why = reason(error)
        if "weights_only" in str(error):  # torch's advice would be to load it without that protection
            why = "it holds something else than weights, or is damaged"
        raise UserError(f"{path} cannot be read ({why}); fetch it again") from error
    wrong = [f"{name} {tuple(there)}, expected {tuple(here)}" for name, there, here in found["mismatched_keys"]]
    if wrong:
        raise UserError(f"{path} does not fit the config.json beside it: {listing(sorted(wrong))}")
    weights = model.state_dict()
    missing = [name for name in weights if name in found["missing_keys"]]
    lacking = [name for name in missing if not name.startswith(optional)]
    if lacking:
        there = listing(sorted(found["unexpected_keys"])) or "nothing else"
        raise UserError(
            f"{path} lacks {len(lacking)} weights of the encoder: {listing(sorted(lacking))}; it has {there}"
        )
    counters = ("position_ids", "token_type_ids")  # saved by older versions
    unknown = [name for name in found["unexpected_keys"] if not name.endswith(counters)]
    surplus = [name for name in unknown if re.search(r"(^|\.)(encoder|embeddings)\.", name)]
    if surplus:
        raise UserError(
            f"{path} has weights that the config.json beside it does not describe: {listing(sorted(surplus))}"
        )
    filled = loaded.state_dict()
    if not all(weight.isfinite().all() for weight in filled.values()):
        raise UserError(f"{path} has weights that are not finite numbers; fetch it again")
    model.load_state_dict({name: weights[name] if name in missing else filled[name] for name in weights})
    return missing
