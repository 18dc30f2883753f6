"""The exact bodies that were sent lately, by X-Client-Request-Id and by response id."""

from collections import OrderedDict

KEPT_BODIES = 512
KEPT_BYTES = 64 * 1024 * 1024


class Sent:
    """Bounded by number and by bytes; the oldest go first, the last one always stays."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[int, tuple[bytes, list[str]]] = OrderedDict()
        self._numbers: dict[str, int] = {}
        self._bytes = 0

    def keep(self, number: int, body: bytes, names: list[str]) -> None:
        """Keep the body sent for request `number` under `names`; a name used again means the newest."""
        self._bodies[number] = (body, names)
        self._bytes += len(body)
        for name in names:
            self._numbers[name] = number
        while len(self._bodies) > KEPT_BODIES or (self._bytes > KEPT_BYTES and len(self._bodies) > 1):
            self._forget_oldest()

    def find(self, name: str) -> bytes | None:
        number = self._numbers.get(name)
        return None if number is None else self._bodies[number][0]

    def _forget_oldest(self) -> None:
        number, (body, names) = self._bodies.popitem(last=False)
        self._bytes -= len(body)
        for name in names:
            if self._numbers.get(name) == number:
                del self._numbers[name]
