"""The gateway's TCP socket: opened once, shared by all its processes, and the question whether they answer."""

import contextlib
import http.client
import socket

from gateway.local.processes import StartError

BACKLOG = 2048
ANSWER_SECONDS = 2.0


def listen(host: str, port: int) -> socket.socket:
    """Port 0 takes a free one. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartError(f"Cannot listen on {host} port {port} ({error.strerror}): choose another --port.") from error
    # What is accepted inherits it (Linux). A server that is handed the descriptor takes it for a Unix socket's and sets
    # nothing: each answer of two writes would then wait 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def answers(listener: socket.socket, path: str, host: str = "localhost") -> bool:
    """Does one of the processes answer `GET path` with 200? `host` goes into the Host header."""
    address, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - translated, not listened on
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(reachable, port, timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Host": host, "Connection": "close"})
            return connection.getresponse().status == http.HTTPStatus.OK
    return False
