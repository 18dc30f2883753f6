"""The socket that all gateway processes share."""

import socket

from gateway.local.listener import listen


def test_what_is_accepted_sends_small_writes_at_once():
    """uvicorn takes a descriptor for a Unix socket's, and sets nothing on what it accepts there."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        taken = socket.fromfd(listener.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
        with taken, taken.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
