"""What a client may do, in this process."""

import asyncio

import pytest

from served import client_of
from serving.limits import POLICY, Guard

KEY = "密key"


async def echo(scope, receive, send):
    """An application that answers with the body."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def asked(method="POST", path="/predict", key=None, headers=(), body=b"", address="127.0.0.1", **limits):
    """The answer of a Guard to a request."""

    async def ask():
        guard = Guard(echo, key, **{"max_bytes": 10, "seconds": 60} | limits)
        async with client_of(guard, address) as client:
            answer = await client.request(method, path, headers=headers, content=body)
        assert guard.held == 0
        return answer

    return asyncio.run(ask())


async def parts(*contents):
    for content in contents:
        yield content


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {KEY}".encode()}, 401),
        ({"X-API-Key": KEY.encode()[:-1]}, 401),
        ({"X-API-Key": KEY.encode()}, 200),
        ({"Authorization": f"Bearer {KEY}".encode()}, 200),
        ({"Authorization": f"bearer  {KEY}".encode()}, 200),
    ],
)
def test_the_key(headers, status):
    answer = asked(key=KEY, headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.json() == {"detail": "the key is missing or wrong"}
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_what_needs_no_key():
    paths = ("/", "/healthz", "/readyz", "/openapi.json", "/static/page.js")
    assert [asked("GET", path, KEY).status_code for path in paths] == [200] * 5
    assert [asked("GET", path, KEY).status_code for path in ("/metrics", "/models", "/reload")] == [401] * 3


@pytest.mark.parametrize("address, status", [("127.0.0.1", 200), ("::1", 200), ("10.0.0.1", 403)])
def test_only_this_machine_reloads_without_a_key(address, status):
    assert asked(path="/reload", address=address).status_code == status


def test_a_remote_client_reloads_with_the_key():
    assert asked(path="/reload", key=KEY, headers={"X-API-Key": KEY.encode()}, address="10.0.0.1").status_code == 200


def test_the_size_of_a_body():
    assert asked(body=b"0123456789").content == b"0123456789"
    assert asked(body=parts(b"01234", b"56789")).content == b"0123456789"
    for body in (b"0123456789a", parts(b"01234", b"567890", b"more")):
        answer = asked(body=body)
        assert (answer.status_code, answer.json()) == (413, {"detail": "the body has more than 10 bytes"})
        assert answer.headers["Connection"] == "close"


def test_the_time_of_a_body():
    async def slow():
        yield b"0"
        await asyncio.sleep(3600)

    answer = asked(body=slow(), seconds=0.01)
    assert (answer.status_code, answer.json()) == (408, {"detail": "the body did not arrive within 0.01 s"})


def test_the_bodies_of_all_requests_together(monkeypatch):
    monkeypatch.setattr("serving.limits.MOST_HELD", 15)

    async def ask():
        guard, arrived = Guard(echo, None, 10, 60), asyncio.Event()

        async def waiting():
            yield b"01234567"
            await arrived.wait()

        async with client_of(guard) as client:
            first = asyncio.create_task(client.post("/predict", content=waiting()))
            while not guard.held:
                await asyncio.sleep(0)
            refused = await client.post("/predict", content=b"01234567")
            arrived.set()
            return (await first).status_code, refused, guard.held

    first, refused, held = asyncio.run(ask())
    assert (first, refused.status_code, refused.headers["Retry-After"], held) == (200, 503, "1", 0)


def test_headers_of_security():
    headers = asked().headers
    assert headers["Content-Security-Policy"] == POLICY.decode()
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
