"""The socket of a server."""

import ipaddress
import os
import socket
import sys

from cli.console import UserError, reason

BALANCED = sys.platform == "linux"  # whether the system distributes connections among sockets with the same port


def bind(host, port, shared=False):
    """A socket with this address, which does not listen yet. Raises UserError if the address is not available.

    port: 0 for any that is free. shared: whether other sockets of `bind_beside` may have the same address.
    """
    try:
        found = _bound(host, port)
        if shared and BALANCED:
            port = found.getsockname()[1]
            found.close()  # it cannot share the address, but has made sure that no other program has it
            found = _bound(host, port, shared=True)
    except (OSError, UnicodeError) as error:
        message = f"{host}:{port} is not available: {reason(error)}; use another --host or --port"
        raise UserError(message) from error
    return found


def bind_beside(other):
    """Another socket with the address of one that `bind` has made as shared; the same one if that is not balanced."""
    return _bound(*other.getsockname()[:2], shared=True) if BALANCED else other


def allow_files(count):
    """Lets this process open so many files and connections, as far as the system permits."""
    if os.name != "nt":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_loopback(address):
    """Whether an address, whose first item is an IP address, is of this machine alone."""
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except (TypeError, ValueError):  # there is no address if the application is called without a socket
        return False


def _bound(host, port, shared=False):
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name != "nt":  # where this option would let two programs have the port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind((host, port))
    except BaseException:
        found.close()
        raise
    return found
