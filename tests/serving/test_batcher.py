"""The batcher: which texts are predicted together, and which requests wait or are refused."""

import asyncio
import json

import pytest

from served import Lengths, as_served, until
from serving import batcher as batchers
from serving.batcher import Batcher, Failed, Options, Refused
from serving.log import Log

HOUR = 3600.0


@pytest.fixture
def batches():
    """The arguments of `observe` of each batch."""
    return []


@pytest.fixture
def model(lengths):
    return as_served(lengths)


@pytest.fixture
def batcher(batches, monkeypatch):
    monkeypatch.setattr(batchers, "MOST_SECONDS", HOUR)  # however long a gate is closed
    found = Batcher(HOUR, 1000, 5000, lambda *arguments: batches.append(arguments), Log("off"))
    found.start(1)
    yield found
    found.close()


async def started(batcher, served, *requests):
    """A task for each list of texts, all of them in the queue."""
    tasks = [asyncio.create_task(batcher.predict(served, texts, Options())) for texts in requests]
    await asyncio.sleep(0)
    return tasks


def labels_of(rows):
    return [json.loads(row)["label"] for row in rows]


async def first_in_progress(batcher, model):
    """A task whose texts are being predicted, until the gate opens."""
    model.predictor.gate.clear()
    (task,) = await started(batcher, model, ["first"])
    await asyncio.to_thread(until, lambda: model.predictor.calls)
    return task


def test_a_client_that_is_alone_does_not_wait_for_others(batcher, model, lengths):
    async def ask():
        return [await batcher.predict(model, [text], Options()) for text in ("a", "bb")]

    assert list(map(labels_of, asyncio.run(ask()))) == [["odd"], ["even"]]
    assert lengths.calls == [["a"], ["bb"]]


def test_requests_that_arrive_together_are_predicted_together(batcher, batches, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        others = await started(batcher, model, ["a"], ["b", "cc"], ["dd"])
        lengths.gate.set()
        return await asyncio.gather(first, *others)

    assert list(map(labels_of, asyncio.run(ask()))) == [["odd"], ["odd"], ["odd", "even"], ["even"]]
    assert lengths.calls == [["first"], ["a", "b", "cc", "dd"]]
    assert [len(found) for _, found, *_ in batches] == [1, 4]
    assert [jobs for *_, jobs, _ in batches] == [1, 3]


def test_the_next_batch_waits_for_as_many_requests(batcher, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        others = await started(batcher, model, ["a"], ["b"])
        lengths.gate.set()
        await asyncio.gather(first, *others)
        (third,) = await started(batcher, model, ["c"])
        (fourth,) = await started(batcher, model, ["d"])
        await asyncio.gather(third, fourth)

    asyncio.run(ask())
    assert lengths.calls == [["first"], ["a", "b"], ["c", "d"]]


def test_the_window_ends_the_wait(batcher, model, lengths):
    batcher.window, batcher.expected = 0.001, 5
    assert labels_of(asyncio.run(batcher.predict(model, ["a"], Options()))) == ["odd"]


def test_other_requests_have_their_turn_between_the_parts_of_a_large_one(batcher, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        large = ["x" * 100 for _ in range(25)]
        others = await started(batcher, model, large, ["small"])
        lengths.gate.set()
        return await asyncio.gather(first, *others)

    _, large, small = asyncio.run(ask())
    assert labels_of(large) == ["even"] * 25
    assert labels_of(small) == ["odd"]
    calls = lengths.calls[1:]
    assert len(calls) > 2
    assert "small" in calls[1]


def test_the_parts_of_a_job_are_in_order_however_many_threads_predict_them(batcher, model, lengths):
    batcher.window, batcher.most_waiting = 0.001, 1_000_000
    batcher.start(3)

    async def ask():
        texts = ["x" * (i % 90) for i in range(400)]
        rows = await asyncio.gather(*(batcher.predict(model, texts[i:], Options()) for i in range(5)))
        return texts, [labels_of(own) for own in rows]

    texts, found = asyncio.run(ask())
    labels = [(["even", "odd"][len(text) % 2] if text else None) for text in texts]
    assert found == [labels[i:] for i in range(5)]
    assert batcher.waiting == 0


def test_texts_of_several_models_are_predicted_apart(batcher, model, lengths):
    other = Lengths(["even", "odd", "never"])

    async def ask():
        first = await first_in_progress(batcher, model)
        tasks = await started(batcher, model, ["a"], ["b"])
        tasks[1:1] = await started(batcher, as_served(other, "other"), ["cc"])
        lengths.gate.set()
        return await asyncio.gather(first, *tasks)

    assert list(map(labels_of, asyncio.run(ask()))) == [["odd"], ["odd"], ["even"], ["odd"]]
    assert lengths.calls == [["first"], ["a", "b"]]
    assert other.calls == [["cc"]]


def test_options_are_those_of_each_request(batcher, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        options = Options(), Options(top_k=1), Options(min_confidence=0.95), Options()
        tasks = [asyncio.create_task(batcher.predict(model, ["a"], own)) for own in options]
        await asyncio.sleep(0)
        lengths.gate.set()
        return [json.loads(row) for (row,) in (await asyncio.gather(first, *tasks))[1:]]

    plain = {"label": "odd", "probability": 0.9}
    assert asyncio.run(ask()) == [plain, plain | {"top_k": [plain]}, {"label": "?", "probability": 0.9}, plain]


def test_a_full_queue_refuses(batcher, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        (waiting,) = await started(batcher, model, ["x" * 4000])
        with pytest.raises(Refused, match="too many requests") as refused:
            await batcher.predict(model, ["y" * 2000], Options())
        batcher.speeds["lengths"] = 100
        assert batcher.seconds_left == 41
        lengths.gate.set()
        await asyncio.gather(first, waiting)
        await batcher.predict(model, ["y" * 9000], Options())  # alone, any request may wait
        return refused.value.seconds

    assert asyncio.run(ask()) == 1
    assert batcher.waiting == 0


def test_an_explanation_fills_the_queue_with_its_texts_alone(batcher, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        large = asyncio.create_task(batcher.predict(model, ["x" * 90] * 10, Options(explain=True)))
        await asyncio.sleep(0)
        assert (batcher.waiting, batcher.queue[-1].work) == (980, 10 * (8 + 90 * 91))
        (other,) = await started(batcher, model, ["y" * 3000])
        large.cancel()
        lengths.gate.set()
        await asyncio.gather(first, other)

    asyncio.run(ask())
    assert batcher.waiting == 0


def test_nobody_computes_what_nobody_waits_for(batcher, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        (gone, other) = await started(batcher, model, ["gone"], ["b"])
        gone.cancel()
        await asyncio.sleep(0)
        lengths.gate.set()
        await asyncio.gather(first, other)

    asyncio.run(ask())
    assert lengths.calls == [["first"], ["b"]]
    assert batcher.waiting == 0


def test_an_error_is_of_its_request_alone(batcher, model, lengths):
    async def ask():
        first = await first_in_progress(batcher, model)
        tasks = await started(batcher, model, ["a"], ["!"], ["b"])
        lengths.gate.set()
        return (await asyncio.gather(first, *tasks, return_exceptions=True))[1:]

    before, error, after = asyncio.run(ask())
    assert labels_of(before) == labels_of(after) == ["odd"]
    assert isinstance(error, Failed)


def test_the_work_of_an_explanation_is_that_of_its_texts():
    assert batchers.work_of("甲乙丙") == batchers.TEXT_WORK + 3
    assert batchers.work_of("甲乙丙", explain=True) == batchers.TEXT_WORK + 12
    assert batchers.work_of("甲" * 1000, explain=True) == batchers.TEXT_WORK + 129_000


def test_a_closed_batcher_finishes_and_refuses(batches, model, lengths):
    batcher = Batcher(0, 1000, 5000, lambda *arguments: batches.append(arguments), Log("off"))
    batcher.start(1)

    async def ask():
        first = await first_in_progress(batcher, model)
        (waiting,) = await started(batcher, model, ["a"])
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.to_thread(until, lambda: batcher.closed)
        with pytest.raises(Refused, match="stopping"):
            await batcher.predict(model, ["b"], Options())
        lengths.gate.set()
        await asyncio.gather(first, waiting, closing)

    asyncio.run(ask())
    assert lengths.calls == [["first"], ["a"]]
