"""What the data plane and its views refuse by themselves; errors.py says how it is answered."""


class UnknownPath(Exception):
    """No such route."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(path)
        self.method = method
        self.path = path


class MethodNotAllowed(UnknownPath):
    """The route exists, but not for this method."""

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(method, path)
        self.allowed = allowed


class ResponseNotFound(Exception):
    """The caller's project has no response of that id, whoever else may."""

    def __init__(self, response_id: str) -> None:
        super().__init__(response_id)
        self.response_id = response_id


class WebSocketRefused(Exception):
    """An upgrade was asked for. 426 sends Codex to POST at once (protocol.md 1.3)."""


class BodyTooLarge(Exception):
    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class UnsupportedMediaType(Exception):
    """A content type that is not read."""


class ClientLeft(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


class Stopping(Exception):
    """The server stops before there is an answer."""
