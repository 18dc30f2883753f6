"""What is wrong with a request, in words for whoever sent it. Pure."""


class InvalidRequest(Exception):
    """A request that cannot be admitted as it stands. `param` names the field, `code` is one of OpenAI's."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
