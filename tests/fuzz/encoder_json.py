"""Changes to the configuration and to the tokenizer of an encoder, as trees of JSON."""

from tests.fuzz.mutations import ODD_TEXTS, WRONG_VALUES, short

HUGE = (0, -1, 10**6, 200_000, 2**31, 2**63, 10**12, 10**40, 1.5, True, None, "8", [], [8])
FIELDS = {
    "model_type": ("roberta", "gpt2", "t5", "", "Bert", "clip", "vision-encoder-decoder", "albert", "electra"),
    "hidden_act": ("xyz", "", "silu", "gelu_new", None, 1, ["gelu"]),
    "torch_dtype": ("float16", "bfloat16", "int8", "x", 1),
    "dtype": ("float16", "x", 1, {"a": "float16"}),
    "quantization_config": ({}, {"quant_method": "bitsandbytes", "load_in_8bit": True}, {"quant_method": "x"}, 1),
    "auto_map": ({"AutoModel": "x.Y"}, {"AutoConfig": "x.Y"}, 1),
    "architectures": (["X"], [], None, 1, ["BertForMaskedLM"]),
    "num_labels": HUGE,
    "id2label": ({"0": "a"}, {"x": "a"}, [], 1),
    "label2id": ({}, 1, {"a": "b"}),
    "pad_token_id": (-1, 10**6, None, "x", 3, 1.5),
    "position_embedding_type": ("relative_key", "x", None),
    "is_decoder": (True, 1, "x"),
    "add_cross_attention": (True,),
    "chunk_size_feed_forward": (-1, 1, 3, 10**9, "x"),
    "pruned_heads": ({"0": [0]}, {"0": [0, 1]}, {"9": [0]}, 1),
    "tie_word_embeddings": (False, "x"),
    "_attn_implementation": ("flash_attention_2", "x", 1),
    "attn_implementation": ("flash_attention_2", "x", 1),
    "experts_implementation": ("x", 1),
    "torchscript": (True,),
    "transformers_version": ("99", "x", 1, None),
    "layer_norm_eps": (0, -1, "x", None, 1e300),
    "initializer_range": (0, -1, "x", None, 1e300),
    "classifier_dropout": (2, "x", -1),
    "hidden_dropout_prob": (2, "x", None),
    "type_vocab_size": HUGE,
    "embedding_size": HUGE,
    "num_hidden_groups": HUGE,
    "inner_group_num": HUGE,
    "task_type_vocab_size": HUGE,
    "use_task_id": (True, "x"),
    "summary_type": ("x", 1),
    "_name_or_path": ("../x", "bert-base-chinese", 1),
    "output_hidden_states": (True,),
    "return_dict": (False,),
    "gradient_checkpointing": (True,),
    "vocab_size": HUGE,
    "hidden_size": HUGE,
    "num_hidden_layers": HUGE,
    "num_attention_heads": (*HUGE, 3),
    "intermediate_size": HUGE,
    "max_position_embeddings": (*HUGE, 8, 31, 1000),
}
TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
RULES = {
    "truncation": (
        {"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0},
        {"direction": "Left", "max_length": 2**62, "strategy": "OnlySecond", "stride": 5},
    ),
    "padding": (
        {"strategy": {"Fixed": 2**62}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
        | {"pad_token": "x"},
    ),
    "added_tokens": (
        [],
        [{"id": 3, "content": ""} | TOKEN],
        [{"id": 4_000_000_000, "content": "x"} | TOKEN],
        [{"id": 3, "content": "的"} | TOKEN | {"normalized": True}],
        [{"id": i, "content": "x" * i} | TOKEN for i in range(2000)],
    ),
    "normalizer": (
        None,
        {"type": "Replace", "pattern": {"Regex": "(.*)*x"}, "content": "xx"},
        {"type": "Replace", "pattern": {"Regex": "("}, "content": "x"},
        {"type": "Replace", "pattern": {"String": ""}, "content": "x"},
        {"type": "Prepend", "prepend": "x" * 10_000},
        {"type": "Sequence", "normalizers": []},
        {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
        {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
        {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False, "strip_accents": None}
        | {"lowercase": False},
    ),
    "pre_tokenizer": (
        None,
        {"type": "Whitespace"},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False},
        {"type": "Split", "pattern": {"Regex": ".*"}, "behavior": "Removed", "invert": False},
    ),
    "post_processor": (None, {"type": "RobertaProcessing", "sep": ["x", 9], "cls": ["x", 9]}),
    "decoder": (None, {"type": "ByteLevel"}),
    "model": (
        {"type": "WordLevel", "vocab": SPECIAL, "unk_token": "[UNK]"},
        {"type": "WordLevel", "vocab": SPECIAL, "unk_token": "x"},
        {"type": "BPE", "vocab": SPECIAL, "merges": []},
        {"type": "BPE", "vocab": SPECIAL, "merges": [["x", "y"]]},
        {"type": "Unigram", "unk_id": 99, "vocab": [["x", -1.0]]},
        {"type": "Unigram", "unk_id": 0, "vocab": [[name, 0.0] for name in SPECIAL]},
        {"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
        | {"max_input_chars_per_word": 100},
    ),
}
MODEL = {
    "unk_token": ("x", "", "[PAD]", "的"),
    "continuing_subword_prefix": ("", "字", "x" * 10_000),
    "max_input_chars_per_word": (0, 1, 2**62),
}


def change_config(rng, tree):
    """A config.json with other values in one or two of the fields that transformers knows."""
    done = []
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(list(FIELDS))
        tree[name] = rng.choice((*FIELDS[name], rng.choice(WRONG_VALUES)))
        done.append(f"{name} {short(tree[name])}")
    return tree, ", ".join(done)


def change_tokenizer(rng, tree):
    """A tokenizer.json with rules, pieces or ids that the library can read and BERT does not have."""
    part = rng.choice(("rules", "rules", "model", "id", "id", "piece"))
    if part == "rules":
        name = rng.choice(list(RULES))
        tree[name] = rng.choice(RULES[name])
        return tree, f"{name} {short(tree[name])}"
    if part == "model":
        name = rng.choice(list(MODEL))
        tree["model"][name] = rng.choice(MODEL[name])
        return tree, f"model.{name} {short(tree['model'][name])}"
    pieces = tree["model"]["vocab"]
    piece = rng.choice(list(pieces) if rng.random() < 0.5 else list(pieces)[:5])
    if part == "id":
        pieces[piece] = rng.choice((0, len(pieces), len(pieces) + 3, 10**9, 2**32 - 1))
        return tree, f"id {pieces[piece]} of {piece!r}"
    name = rng.choice(ODD_TEXTS)
    pieces[name] = pieces.pop(piece)
    return tree, f"{piece!r} renamed to {short(name)}"
