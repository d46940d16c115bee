"""A text classifier on a pre-trained encoder, with n-gram evidence: the code that `trust_remote_code=True` loads.

from transformers import pipeline
classify = pipeline("text-classification", model="DIRECTORY", trust_remote_code=True)

N-gram evidence is what the n-grams of a text say of its classes, by how many training rows of each class have them.
Shapes: B texts, T tokens, E the encoder's width, C classes, N the longest n-gram.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

FACTORS = (1, 14918087, 18408749, 22801763, 27644437)  # of a token and of those before it, in an n-gram's number
LEVELS = 6  # of the number of rows that have an n-gram: 1, 2 to 3, 4 to 7, …, and 32 or more


class TextClassifierConfig(PretrainedConfig):
    """The configuration of a `TextClassifierForSequenceClassification`.

    encoder: the content of the encoder's config.json. head: one of `HEADS`; head_config: its sizes. pad_size: tokens of
    a text that are read, including [CLS] and [SEP]. calibration_temperatures: of the logits, one for all classes or
    one for each. n_grams: None without evidence, otherwise `longest`, `smoothing`, `num_keys` and `num_rows` (of the
    counts), `total_rows` (of the training data), and `has_total` (whether the last column of the counts has all rows).
    """

    model_type = "text_classifier_with_n_grams"

    def __init__(
        self,
        encoder=None,
        head="bert",
        head_config=None,
        pad_size=32,
        calibration_temperatures=(1.0,),
        n_grams=None,
        **kwargs,
    ):
        self.encoder, self.head, self.head_config = encoder or {}, head, head_config or {}
        self.pad_size, self.calibration_temperatures, self.n_grams = pad_size, calibration_temperatures, n_grams
        super().__init__(**kwargs)


class FirstToken(nn.Module):
    """The [CLS] state after a pooler."""

    def __init__(self, config, width):
        super().__init__()
        self.pooler, self.width = nn.Linear(width, width), width

    def forward(self, layers, lengths):
        return torch.tanh(self.pooler(layers[-1][:, 0]))


class LayerAttention(nn.Module):
    """The [CLS] states of all layers, weighted by a learned softmax."""

    def __init__(self, config, width):
        super().__init__()
        self.scores, self.width = nn.Parameter(torch.zeros(config.encoder["num_hidden_layers"] + 1)), width

    def forward(self, layers, lengths):
        return sum(share * layer[:, 0] for share, layer in zip(self.scores.softmax(dim=0), layers, strict=True))


class CNN(nn.Module):
    """Convolutions of several sizes, and the maximum of each filter over the tokens."""

    def __init__(self, config, width):
        super().__init__()
        sizes, filters = config.head_config["filter_sizes"], config.head_config["num_filters"]
        self.convs, self.width = nn.ModuleList(nn.Conv1d(width, filters, size) for size in sizes), filters * len(sizes)

    def forward(self, layers, lengths):
        x, mask = layers[-1], mask_of(layers[-1], lengths)
        x = (x * mask).transpose(1, 2)  # (B, E, T)
        found = [conv(F.pad(x, (0, conv.kernel_size[0] - 1))).transpose(1, 2) for conv in self.convs]
        return torch.cat([max_over_tokens(x, mask).relu() for x in found], dim=1)


class DPCNN(nn.Module):
    """Blocks of two convolutions, each of which halves the number of tokens."""

    def __init__(self, config, width):
        super().__init__()
        self.width = config.head_config["num_filters"]
        self.blocks = (config.pad_size - 1).bit_length()
        self.region = nn.Conv1d(width, self.width, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv1d(self.width, self.width, 3, padding=1) for _ in range(2))

    def forward(self, layers, lengths):
        mask = mask_of(layers[-1], lengths)
        x, mask = self.region((layers[-1] * mask).transpose(1, 2)), mask.transpose(1, 2)  # (B, filters, T), (B, 1, T)
        x = x + self.convolve(x, mask)
        for _ in range(self.blocks):
            x = F.pad(x.masked_fill(~mask, float("-inf")), (0, 2), value=float("-inf"))
            x, mask = F.max_pool1d(x, 3, 2), mask[:, :, ::2]
            x = x + self.convolve(x, mask)
        return x[:, :, 0]

    def convolve(self, x, mask):
        for conv in self.convs:
            x = conv(x.relu() * mask)
        return x


class RNN(nn.Module):
    """The last states of both directions of an LSTM."""

    def __init__(self, config, width):
        super().__init__()
        hidden, layers = config.head_config["rnn_hidden"], config.head_config["num_layers"]
        self.lstm, self.width = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=True), 2 * hidden

    def forward(self, layers, lengths):
        packed = pack_padded_sequence(layers[-1], lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return torch.cat((last[-2], last[-1]), dim=1)


class RCNN(RNN):
    """The maximum over the tokens of the encoder's states and of those of an LSTM."""

    def __init__(self, config, width):
        super().__init__(config, width)
        self.width += width

    def forward(self, layers, lengths):
        x, mask = layers[-1], mask_of(layers[-1], lengths)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return torch.cat([max_over_tokens(each, mask) for each in (x, states)], dim=1).relu()


HEADS = {"bert": FirstToken, "ERNIE": FirstToken, "bert_LayerAtt": LayerAttention, "bert_CNN": CNN}
HEADS |= {"bert_DPCNN": DPCNN, "bert_RNN": RNN, "bert_RCNN": RCNN}


def mask_of(states, lengths):
    """Which of the states, (B, T, E), are of a text's own tokens, (B, T, 1)."""
    return (torch.arange(states.shape[1], device=states.device) < lengths[:, None])[:, :, None]


def max_over_tokens(x, mask):
    """The maximum over a text's own tokens, (B, T, E) -> (B, E)."""
    return x.masked_fill(~mask, float("-inf")).amax(dim=1)


class Evidence(nn.Module):
    """N-gram evidence: the weighted sum of the log-count ratios of a text's n-grams, (B, T) tokens -> (B, C) logits."""

    def __init__(self, config):
        super().__init__()
        self.longest, self.smoothing = config.n_grams["longest"], config.n_grams["smoothing"]
        self.total_rows, self.has_total = config.n_grams["total_rows"], config.n_grams["has_total"]
        keys, rows, classes = config.n_grams["num_keys"], config.n_grams["num_rows"], config.num_labels
        self.register_buffer("keys", torch.zeros(keys, dtype=torch.int64))  # of known n-grams, sorted; then 2**40
        self.register_buffer("rows", torch.zeros(keys, dtype=torch.int32))  # the row of `counts` that each has
        self.register_buffer("counts", torch.zeros(rows, classes + self.has_total, dtype=torch.int32))
        self.register_buffer("class_rows", torch.zeros(classes))
        self.factors = nn.Parameter(torch.zeros(self.longest, LEVELS))  # by the length of an n-gram and its level
        self.bias = nn.Parameter(torch.zeros(config.num_labels))

    def forward(self, tokens, lengths):
        keys = torch.stack([key_of(tokens, n) for n in range(1, self.longest + 1)], dim=2)  # (B, T, N)
        index = torch.searchsorted(self.keys, keys)
        known = (self.keys[index] == keys) & mask_of(keys, lengths)
        counts = self.counts[self.rows[index] * known].float()  # (B, T, N, C)
        total = counts.sum(dim=3, keepdim=True)
        if self.has_total:
            counts, total = counts[..., :-1], counts[..., -1:]
        a, own = self.smoothing, self.class_rows
        ratios = ((counts + a) / (total - counts + a)).log() - ((own + 1) / (self.total_rows - own + 1)).log()
        levels = total[..., 0].clamp(1, 2 ** (LEVELS - 1)).log2().long()  # (B, T, N)
        factors = self.factors[torch.arange(self.longest, device=levels.device), levels]
        evidence = ratios * (factors * known)[..., None]
        return self.bias + evidence.sum(dim=(1, 2)) / lengths[:, None].sqrt()


def key_of(tokens, n):
    """The keys of the n-grams that end at each token, (B, T): hashes below 2**40; products wrap around at 2**64."""
    number = sum(F.pad(tokens, (i, 0), value=-1)[:, : tokens.shape[1]] * FACTORS[i] for i in range(n))
    key = number * 8 + n
    key = (key ^ (key >> 29)) * -0x61C8864680B583EB
    key = (key ^ (key >> 32)) * -0x3B314601E57A13AD
    return (key >> 24) & (2**40 - 1)


class TextClassifierForSequenceClassification(PreTrainedModel):
    """An encoder, a head, a linear classifier, and n-gram evidence, which is added to the logits.

    Texts that are longer than `config.pad_size` are cut.
    """

    config_class = TextClassifierConfig
    base_model_prefix = "encoder"

    def __init__(self, config):
        super().__init__(config)
        encoder = AutoConfig.for_model(**config.encoder)
        pooler = {} if encoder.model_type == "electra" else {"add_pooling_layer": False}
        self.encoder = AutoModel.from_config(encoder, **pooler)
        self.head = HEADS[config.head](config, encoder.hidden_size)
        self.classifier = nn.Linear(self.head.width, config.num_labels)
        self.evidence = Evidence(config) if config.n_grams else None
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None):
        limit = self.config.pad_size
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        tokens, lengths = input_ids[:, :limit].clone(), mask.sum(dim=1)  # (B, T), (B,)
        tokens[lengths > limit, -1] = self.config.sep_token_id
        lengths = lengths.clamp(max=limit)
        output = self.encoder(tokens, attention_mask=mask[:, :limit], output_hidden_states=True, return_dict=True)
        logits = self.classifier(self.head(output.hidden_states, lengths))
        if self.evidence:
            logits = logits + self.evidence(tokens, lengths)
        logits = logits / torch.tensor(self.config.calibration_temperatures, device=logits.device)
        loss = None if labels is None else self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)
