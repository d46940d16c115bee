"""Sockets of servers."""

import pytest

from cli.console import UserError
from serving.sockets import BALANCED, bind, bind_beside, is_loopback


@pytest.mark.parametrize("shared", [False, True])
def test_an_address_in_use_is_a_line(shared):
    with bind("127.0.0.1", 0, shared=True) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"^127\.0\.0\.1:{port} is not available: .*; use another --host or --port$"
        ):
            bind("127.0.0.1", port, shared)


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host", "a" * 70 + ".example"])
def test_an_address_of_another_machine_is_a_line(host):
    with pytest.raises(UserError, match=r"is not available: [^\n]*; use another --host or --port$"):
        bind(host, 0)


def test_processes_have_sockets_with_the_same_address():
    with bind("127.0.0.1", 0, shared=True) as first, bind_beside(first) as second:
        assert first.getsockname() == second.getsockname()
        assert (first is not second) == BALANCED


def test_what_is_loopback():
    addresses = ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "localhost", None)
    assert [is_loopback((address, 1)) for address in addresses] == [True] * 3 + [False] * 5
    assert not is_loopback(None)
