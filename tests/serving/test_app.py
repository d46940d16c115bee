"""The routes, in this process."""

import asyncio
import contextlib
import itertools
import json
import shutil

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from engine.predictor import Predict
from served import Lengths, app_of, as_served, client_of, until
from serving.service import LOADING, STOPPING, Service

TEXTS = ["体验2D巅峰", "", " 国足2比1 ", "股票" * 20]


def asked(app, *requests):
    """The answers to requests of a method, a path and a body."""

    async def ask():
        async with client_of(app) as client:
            return [await client.request(method, path, content=body) for method, path, body in requests]

    return asyncio.run(ask())


def predicted(app, **query):
    """The status and content of the answer to a request for predictions."""
    (answer,) = asked(app, ("POST", "/predict", json.dumps(query)))
    return answer.status_code, answer.json()


def of_files(service, **paths):
    """A Service of files by name, which are loaded, in the place of `service`."""
    found = Service(paths, service.batcher, service.log, device="cpu")
    found.metrics = service.metrics
    found.load()
    return found


def test_a_class_with_the_name_of_an_unsure_answer_is_refused(service):
    service.models["lengths"] = as_served(Lengths(("?", "odd")))
    assert predicted(app_of(service), text="ab")[1]["predictions"] == [{"label": "?", "probability": 0.9}]
    status, content = predicted(app_of(service), text="ab", min_confidence=0.1)
    assert (status, content["detail"][:21]) == (422, "a class is called ?, ")


def test_a_text_and_several(app):
    odd, even = {"label": "odd", "probability": 0.9}, {"label": "even", "probability": 0.9}
    assert predicted(app, text="a") == (200, {"model": "lengths", "predictions": [odd]})
    assert predicted(app, texts=["a", "bb"]) == (200, {"model": "lengths", "predictions": [odd, even]})
    assert predicted(app, texts=[]) == (200, {"model": "lengths", "predictions": []})
    assert predicted(app, text="a", model="lengths", top_k=1)[1]["predictions"] == [odd | {"top_k": [odd]}]
    assert predicted(app, text="a", min_confidence=0.95)[1]["predictions"][0]["label"] == "?"


@pytest.mark.parametrize(
    "body, detail",
    [
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b'{"text": "\xff"}', "Invalid JSON: invalid unicode code point at line 1 column 11"),
        ('{"text": "\\ud800"}', "Invalid JSON: unexpected end of hex escape at line 1 column 17"),
        ("[]", "Input should be an object"),
        ("{}", 'expected exactly one of "text" and "texts"'),
        ('{"text": "a", "texts": []}', 'expected exactly one of "text" and "texts"'),
        ('{"text": 1}', "text: Input should be a valid string"),
        ('{"texts": ["a", null]}', "texts[1]: Input should be a valid string"),
        ('{"text": "a", "topk": 1}', "topk: Extra inputs are not permitted"),
        ('{"text": "a", "top_k": 0}', "top_k: Input should be greater than or equal to 1"),
        ('{"text": "a", "min_confidence": NaN}', "min_confidence: Input should be less than or equal to 1"),
        ('{"text": "a", "explain": 1}', "explain: Input should be a valid boolean"),
        (json.dumps({"text": "a" * 51}), "text: String should have at most 50 characters"),
        (json.dumps({"texts": ["a"] * 101}), "texts: List should have at most 100 items after validation, not 101"),
    ],
)
def test_a_request_that_is_not_valid(app, body, detail):
    (answer,) = asked(app, ("POST", "/predict", body))
    assert (answer.status_code, answer.json()) == (422, {"detail": detail})


def test_many_fields_that_are_not_permitted_are_counted(app):
    body = json.dumps({f"k{i}": 1 for i in range(1000)})
    (answer,) = asked(app, ("POST", "/predict", body))
    assert (answer.status_code, answer.json()) == (422, {"detail": "1000 fields are not permitted or not valid"})


def test_other_paths_methods_and_models(app):
    assert predicted(app, text="a", model="x") == (404, {"detail": "there is no model 'x'; there are: lengths"})
    assert len(predicted(app, text="a", model="x" * 5000)[1]["detail"]) < 100
    answers = asked(app, ("GET", "/predict", None), ("GET", "/docs", None), ("GET", "/redoc", None))
    assert [answer.status_code for answer in answers] == [405, 404, 404]


def test_the_models_and_limits(app):
    (answer,) = asked(app, ("GET", "/models", None))
    model = {"name": "lengths", "model": "Lengths", "classes": ["even", "odd"], "multi_label": False, "levels": 1}
    model |= {"limit": 32, "loaded": "2026-01-01T00:00:00+00:00", "version": "0123"}
    assert answer.json() == {"models": [model], "limits": {"bytes": 10_000, "texts": 100, "characters": 50}}


@pytest.mark.parametrize("state", [LOADING, STOPPING])
def test_a_server_that_is_not_ready(app, service, state):
    service.state = state
    answers = asked(app, ("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/models", None))
    assert [answer.status_code for answer in answers] == [200, 503, 503]
    assert answers[1].json() == {"detail": f"the server is {state}"}
    assert answers[1].headers["Retry-After"] == "1"
    assert predicted(app, text="a")[0] == 503


def test_a_full_queue_says_when_to_try_again(app, service, lengths):
    lengths.gate.clear()

    async def ask():
        async with client_of(app) as client:
            first = asyncio.create_task(client.post("/predict", json={"text": "a"}))
            await asyncio.to_thread(until, lambda: lengths.calls)
            waiting = asyncio.create_task(client.post("/predict", json={"texts": ["x" * 50] * 80}))
            await asyncio.to_thread(until, lambda: service.batcher.waiting)
            refused = await client.post("/predict", json={"texts": ["x" * 50] * 80})
            lengths.gate.set()
            return refused, [(await task).status_code for task in (first, waiting)]

    refused, others = asyncio.run(ask())
    assert (refused.status_code, refused.json()) == (503, {"detail": "too many requests are waiting"})
    assert int(refused.headers["Retry-After"]) >= 1
    assert others == [200, 200]


def test_predictions_for_a_client_that_has_gone_are_not_computed(app, service, lengths, monkeypatch):
    monkeypatch.setattr("serving.app.UNWATCHED", 0)
    lengths.gate.clear()

    async def ask():
        async with client_of(app) as client:
            first = asyncio.create_task(client.post("/predict", json={"text": "first"}))
            await asyncio.to_thread(until, lambda: lengths.calls)
            body = [{"type": "http.request", "body": b'{"text": "gone"}', "more_body": False}]
            gone = {"type": "http.disconnect"}
            scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], "client": None}
            sent = []

            async def receive():
                return body.pop() if body else gone

            async def send(message):
                sent.append(message)

            await app(scope | {"query_string": b"", "http_version": "1.1"}, receive, send)
            lengths.gate.set()
            return sent[0]["status"], (await first).status_code

    assert asyncio.run(ask()) == (499, 200)
    assert predicted(app, text="a")[0] == 200
    assert lengths.calls == [["first"], ["a"]]


def test_predictions_that_take_too_long_and_an_error(app, lengths, monkeypatch):
    monkeypatch.setattr("served.LIMITS.timeout", 0.01)
    lengths.gate.clear()
    assert predicted(app, text="a") == (503, {"detail": "the predictions took too long"})
    lengths.gate.set()
    monkeypatch.setattr("served.LIMITS.timeout", 60)
    assert predicted(app, text="!") == (500, {"detail": "the model failed; the log says why"})
    assert predicted(app, text="a")[0] == 200


@pytest.mark.parametrize("trained", ["trained_svm", "trained_tree", "several_svm"])
def test_predictions_are_those_of_predict_py(service, request, trained, exported_svm):
    found = request.getfixturevalue(trained)
    path = (found[0] if trained == "trained_tree" else found) / "saved_dict" / "SVM.ckpt"
    paths = {"own": path} | ({"export": exported_svm} if trained == "trained_svm" else {})
    app, predictor = app_of(of_files(service, **paths)), Predict(checkpoint=path, device="cpu")
    probabilities = predictor.predict_proba(TEXTS)
    for name, least in itertools.product(paths, (0.0, 0.6)):
        status, content = predicted(app, texts=TEXTS, min_confidence=least, top_k=2, model=name)
        assert status == 200
        rows, labels = content["predictions"], predictor.predict_list(TEXTS, least)
        if "labels" in rows[0]:
            assert [[pair["label"] for pair in row["labels"]] for row in rows] == labels
        else:
            assert [row["label"] for row in rows] == labels
        for row, own in zip(rows, probabilities, strict=True):
            order = np.argsort(-own, kind="stable")[:2] if own.any() else []
            assert [pair["label"] for pair in row["top_k"]] == [predictor.classes[i] for i in order]
            assert [pair["probability"] for pair in row["top_k"]] == pytest.approx(own[list(order)].tolist(), abs=2e-4)


def test_weights_of_a_checkpoint_and_of_its_export(service, trained_svm, exported_svm):
    app = app_of(of_files(service, own=trained_svm / "saved_dict" / "SVM.ckpt", export=exported_svm))
    rows = [predicted(app, texts=TEXTS, explain=True, model=name)[1]["predictions"] for name in ("own", "export")]
    for text, own, other in zip(TEXTS, *rows, strict=True):
        assert len(own["weights"]) == len(text)
        assert own["weights"] == pytest.approx(other["weights"], abs=1e-2)
    assert any(rows[0][0]["weights"])


def test_a_reload_takes_a_changed_file_over_and_refuses_a_bad_one(service, trained_svm, trained_tree, tmp_path):
    path = tmp_path / "SVM.ckpt"
    shutil.copy(trained_svm / "saved_dict" / "SVM.ckpt", path)
    loaded = of_files(service, svm=path)
    app, first = app_of(loaded), loaded.models["svm"]
    (same,) = asked(app, ("POST", "/reload", None))
    assert (same.status_code, same.json()) == (200, {"models": {"svm": first.version}})
    assert loaded.models["svm"] is first
    path.write_bytes(b"no checkpoint")
    (bad,) = asked(app, ("POST", "/reload", None))
    assert (bad.status_code, bad.json()) == (422, {"detail": f"{path} is damaged or no checkpoint"})
    assert loaded.models["svm"] is first
    shutil.copy(trained_tree[0] / "saved_dict" / "SVM.ckpt", path)
    (other,) = asked(app, ("POST", "/reload", None))
    assert other.json()["models"]["svm"] == loaded.models["svm"].version != first.version
    assert "教育" in asked(app, ("GET", "/models", None))[0].text


def test_the_metrics_count_requests_and_answers(app):
    predicted(app, texts=["a", "b", "cc", "", "x" * 40])
    predicted(app, text=1)
    asked(app, ("GET", "/secret/path", None))
    lines = asked(app, ("GET", "/metrics", None))[0].text.splitlines()
    assert {
        'classifier_requests_total{path="/predict",status="200"} 1.0',
        'classifier_requests_total{path="/predict",status="422"} 1.0',
        'classifier_requests_total{path="other",status="404"} 1.0',
        "classifier_request_seconds_count 2.0",
        'classifier_rows_total{model="lengths"} 5.0',
        'classifier_cut_rows_total{model="lengths"} 1.0',
        "classifier_batch_rows_sum 5.0",
        "classifier_batch_requests_sum 1.0",
        'classifier_predictions_total{label="odd",model="lengths"} 2.0',
        'classifier_predictions_total{label="even",model="lengths"} 2.0',
        'classifier_confidences_total{at_least="0.9",model="lengths"} 4.0',
    } <= set(lines)


@pytest.mark.parametrize("mode", GenerationMode, ids=str)
def test_generated_requests_get_answers_that_openapi_describes(app, mode):
    """Requests that are valid, and others."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(max_examples=20, suppress_health_check=list(HealthCheck), database=None)
        @given(operation.as_strategy(generation_mode=mode))
        def check(case):
            case.call_and_validate(checks=[not_a_server_error, response_schema_conformance])

        with contextlib.suppress(Unsatisfiable):  # some operations have no requests that are not valid
            check()


def test_openapi_describes_all_routes(app):
    content = asked(app, ("GET", "/openapi.json", None))[0].json()
    assert set(content["paths"]) >= {"/predict", "/models", "/reload", "/healthz", "/readyz", "/metrics"}
    operation = content["paths"]["/predict"]["post"]
    assert set(operation["responses"]) == {"200", "401", "404", "408", "413", "422", "500", "503"}
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["texts"]["anyOf"][0]["maxItems"] == 100
    assert schema["examples"][0]["text"]
