"""The files of a pre-trained encoder: config.json and weights, read and checked."""

import hashlib
import json
import re
from pathlib import Path

import torch
import transformers

from cli.console import UserError
from text.wordpieces import absent

KINDS = ("bert", "ernie", "electra", "albert")  # RoBERTa-wwm and MacBERT are bert with other weights
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
SETTINGS = ("config.json", "bert_config.json")
WEIGHTS = tuple(f"{name}{end}" for name in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json"))
SHOWN = 10  # names in a message


def read_settings(directory):
    """What an encoder's config.json (or bert_config.json) says, with the kind of encoder as `model_type`.

    Raises UserError where there is none, or one that lacks a size (transformers would take base's in silence).
    """
    path = next((path for name in SETTINGS if (path := Path(directory) / name).exists()), None)
    if path is None:
        raise absent(directory, " or ".join(SETTINGS))
    try:
        settings = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    missing = [name for name in SIZES if not isinstance(settings, dict) or not isinstance(settings.get(name), int)]
    if missing:
        raise UserError(f"{path} does not say {', '.join(missing)}; expected the file that came with the encoder")
    for name in ("return_dict", "use_return_dict", "output_hidden_states", "output_attentions"):
        settings.pop(name, None)  # what a call gives back is decided here
    settings.setdefault("intermediate_size", 4 * settings["hidden_size"])  # Paddle's files do not say it
    kind = settings.setdefault("model_type", guess_kind(settings))
    if kind not in KINDS:
        raise UserError(f"{path}: an encoder of type {kind!r}; expected one of {', '.join(KINDS)}")
    return settings


def guess_kind(settings):
    """The kind of encoder of an old configuration, which does not say it."""
    if "num_hidden_groups" in settings or "inner_group_num" in settings:
        return "albert"
    if "embedding_size" in settings:
        return "electra"
    return "ernie" if "task_type_vocab_size" in settings or "use_task_id" in settings else "bert"


def weights_file(directory):
    """The file of an encoder's weights, or that which lists several."""
    path = next((path for name in WEIGHTS if (path := Path(directory) / name).exists()), None)
    if path is None:
        raise absent(directory, "model.safetensors (or pytorch_model.bin)")
    return path


def hush():
    """Lets `transformers` print no tables and no bars: what matters of them is told here, in a line."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def weights_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def load_weights(model, directory, optional):
    """Fills a model of transformers from an encoder's directory.

    Returns the names of weights that are not there and may be, those that begin with `optional`; they stay as they
    are. Raises UserError where others are not there, or have another shape.
    """
    hush()
    path = weights_file(directory)
    own = model.base_model_prefix
    renamed = {r"^module\.": ""}  # DataParallel's
    renamed |= {rf"^{kind}\.": f"{own}." for kind in KINDS if kind != own}  # ERNIE's weights are often called bert's
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
    except Exception as error:  # a damaged file makes the libraries raise whatever they like
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "weights_only" in str(error):  # torch's advice is to load it all the same
            reason = "it holds something else than weights, or is damaged"
        raise UserError(f"{path} cannot be read ({reason}); fetch it again") from error
    wrong = [f"{name} {tuple(there)}, expected {tuple(here)}" for name, there, here in found["mismatched_keys"]]
    if wrong:
        raise UserError(f"{path} does not fit the settings beside it: {listing(wrong)}")
    weights = model.state_dict()
    missing = [name for name in weights if name in found["missing_keys"]]
    lacking = [name for name in missing if not name.startswith(optional)]
    if lacking:
        there = listing(found["unexpected_keys"]) or "nothing else"
        raise UserError(f"{path} lacks {len(lacking)} weights of the encoder: {listing(lacking)}; it has {there}")
    counters = ("position_ids", "token_type_ids")  # which older versions saved
    unknown = [name for name in found["unexpected_keys"] if not name.endswith(counters)]
    surplus = [name for name in unknown if re.search(r"(^|\.)(encoder|embeddings)\.", name)]
    if surplus:
        raise UserError(f"{path} has weights that the settings beside it do not know: {listing(surplus)}")
    filled = loaded.state_dict()
    model.load_state_dict({name: weights[name] if name in missing else filled[name] for name in weights})
    return missing


def listing(names):
    names = sorted(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
