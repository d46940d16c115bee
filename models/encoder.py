"""What the models on a pre-trained encoder share: the fields of every `Config`, and the encoder itself.

The encoders are those of `transformers`; this file finds and checks the files that people have of them.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import transformers
from torch import nn
from transformers import AttentionInterface, AutoConfig, AutoModel

from cli.console import UserError, say
from models import base
from text.wordpieces import absent

KINDS = ("bert", "ernie", "electra", "albert")  # RoBERTa-wwm and MacBERT are bert with other weights
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
SETTINGS = ("config.json", "bert_config.json")
WEIGHTS = tuple(f"{name}{end}" for name in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json"))
SHOWN = 10  # names in a message


@dataclass
class Config(base.Config):
    """The hyper-parameters that all models on an encoder have."""

    num_epochs: int = 3
    pad_size: int = base.flag(32, "tokens at which a row is cut, [CLS] and [SEP] among them", low=3)
    learning_rate: float = 5e-5
    dropout: float = base.flag(
        0.1, "share of the features that a step drops, in the encoder and before the classifier", low=0, high=0.95
    )
    weight_decay: float = base.flag(0.01, "of AdamW, except for biases and LayerNorm", low=0)
    warmup: float = base.flag(0.05, "share of the steps in which the learning rate rises", low=0, high=1)
    max_norm: float = base.flag(1.0, "norm at which gradients are clipped", low=0, open_low=True)

    directory: ClassVar[str] = "bert_pretrain"  # where the encoder's files lie by default

    @property
    def embed(self):
        """The width of the encoder's states."""
        return self.encoder["hidden_size"]


class Encoder(nn.Module):
    """A pre-trained encoder in place of `base.Embedding`: a Batch's states, (B, T) -> (B, T, E), zeros at padding.

    config: a model's `Config` whose `encoder` is what `read_settings` returned. pooler: whether `pooled` is wanted.
    The weights are random until `load`.
    """

    def __init__(self, config, pooler=False):
        super().__init__()
        own = {} if config.encoder["model_type"] == "electra" else {"add_pooling_layer": pooler}
        self.body = build(AutoModel, config, **own)
        self.pooler = None
        if pooler and not own:  # ELECTRA comes without one
            self.pooler = nn.Sequential(nn.Linear(config.embed, config.embed), nn.Tanh())

    def forward(self, batch):
        return run(self.body, batch).last_hidden_state.masked_fill(~batch.mask[:, :, None], 0)

    def pooled(self, batch):
        """The [CLS] state after the pooler, (B, E)."""
        out = run(self.body, batch)
        return self.pooler(out.last_hidden_state[:, 0]) if self.pooler else out.pooler_output

    def all_layers(self, batch):
        """The [CLS] states of the embedding layer and of each layer above, (B, L + 1, E)."""
        layers = run(self.body, batch, output_hidden_states=True).hidden_states
        return torch.stack([states[:, 0] for states in layers], dim=1)

    def layers(self):
        """The encoder's parameters from the bottom up, a list a layer, the embedding's first."""
        body = self.body
        bottom = [body.embeddings, getattr(body, "embeddings_project", None)]
        bottom.append(getattr(body.encoder, "embedding_hidden_mapping_in", None))
        above = body.encoder.albert_layer_groups if hasattr(body.encoder, "albert_layer_groups") else body.encoder.layer
        modules = [nn.ModuleList(module for module in bottom if module), *above]
        return [list(module.parameters()) for module in modules]

    def load(self, directory):
        """Takes the weights in an encoder's directory. Raises UserError where others than the pooler's are missing."""
        if load_weights(self.body, directory, optional="pooler."):
            say(f"{directory} has no pooler (the encoder was trained on masked words alone): it starts random")
        elif self.pooler:
            say("ELECTRA has no pooler: it starts random")


def build(kind, config, **options):
    """The model of an automatic class of `transformers` for a model's `Config`, with random weights.

    Raises UserError where the library refuses the encoder's settings, or `pad_size` is beyond its positions.
    """
    dropout = {"hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout}
    try:
        settings = AutoConfig.for_model(**config.encoder | dropout)
        body = kind.from_config(settings, dtype=torch.float32, attn_implementation="toolkit", **options)
    except Exception as error:  # the library raises whatever it likes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the encoder's config.json does not do: {reason}") from error
    places = settings.max_position_embeddings
    if config.pad_size > places:
        raise UserError(f"--pad_size {config.pad_size} is more than the {places} positions that the encoder has")
    cheapen_dropout(body)
    return body


def run(body, batch, **options):
    """What an encoder of `transformers` makes of a Batch."""
    tokens = batch.tokens
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    # places and segments are given, since the encoder's own are in no checkpoint
    ids = {"position_ids": places, "token_type_ids": torch.zeros_like(tokens)}
    mask = batch.mask[:, None, None]  # of four axes the library takes it as it is; else it waits for the GPU to look
    return body(tokens, attention_mask=mask, return_dict=True, **ids, **options)


def attend(module, query, key, value, attention_mask, dropout=0.0, **_):
    """`base.attention` in the form in which `transformers` calls it."""
    states = base.attention(query, key, value, attention_mask, dropout if module.training else 0.0)
    return states.transpose(1, 2).contiguous(), None


AttentionInterface.register("toolkit", attend)


def cheapen_dropout(module):
    """Puts `base.Dropout` in the place of torch's."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, base.Dropout(child.p))
        else:
            cheapen_dropout(child)


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
