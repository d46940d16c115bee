import pytest

from cli.console import UserError
from conftest import build_encoder
from pretrain_eval import freeze, make_optimizers


def groups_of(optimizers):
    return [group for optimizer in optimizers for group in optimizer.param_groups]


def test_biases_and_layer_norm_do_not_decay(encoder):
    model = build_encoder("bert", encoder)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = {}
    for group in groups_of(make_optimizers(model, model_config(learning_rate=1e-4))):
        assert group["lr"] == group["initial_lr"] == 1e-4
        seen |= {names[id(parameter)]: group["weight_decay"] for parameter in group["params"]}
    assert seen.keys() == dict(model.named_parameters()).keys()
    for name, decay in seen.items():
        assert decay == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01), name


def model_config(**settings):
    from models.bert import Config

    return Config(**settings)


def test_lower_layers_learn_more_slowly(encoder):
    model = build_encoder("bert", encoder)
    rates = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups_of(make_optimizers(model, model_config(learning_rate=1.0), model.embedding.layers(), 0.5)):
        rates |= {names[id(parameter)]: group["lr"] for parameter in group["params"]}
    assert rates["classifier.weight"] == rates["embedding.body.pooler.dense.weight"] == 1.0
    assert [rates[f"embedding.body.encoder.layer.{i}.output.dense.bias"] for i in range(3)] == [0.125, 0.25, 0.5]
    assert rates["embedding.body.embeddings.word_embeddings.weight"] == 0.0625


def test_frozen_layers(encoder):
    model = build_encoder("bert", encoder)
    freeze(model.embedding, 0)
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze(model.embedding, 2)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".layer.")[-1][0] for name in frozen if ".layer." in name} == {"0", "1"}
    assert "embedding.body.embeddings.word_embeddings.weight" in frozen
    assert not any(name.startswith(("classifier", "embedding.body.pooler")) for name in frozen)
    learning = {id(weight) for group in groups_of(make_optimizers(model, model_config())) for weight in group["params"]}
    assert learning == {id(weight) for weight in model.parameters() if weight.requires_grad}
    with pytest.raises(UserError, match="--freeze 4 is out of range, the encoder has 3 layers"):
        freeze(model.embedding, 4)
