"""Loopback ports: which are free, and which to choose."""

import errno
import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 15000
_HIGHEST = 32000


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do it: connections in TIME_WAIT do not hold the port, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose() -> int:
    """Return a free port below those that the system hands to outgoing connections.

    A port of that range could be an outgoing connection's (even one to itself) whenever its server is
    down, and the server could not come back on it.
    """
    highest = min(_HIGHEST, _first_ephemeral() - 1)
    lowest = min(_LOWEST, highest - 1000)
    while True:
        port = lowest + secrets.randbelow(highest - lowest + 1)
        if is_free(port):
            return port


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _HIGHEST + 1
    # A range that starts very low leaves no room below it; then any port is as good as another.
    return first if first > 4096 else _HIGHEST + 1
