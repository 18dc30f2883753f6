"""What of a stream may leave behind its ending. That is settled and in the books, so nothing that is not read. Pure."""

from gateway.wire.objects import Object, object_in
from gateway.wire.stream import BORDER, DONE, data_of, events_of
from gateway.wire.tap import TERMINAL, Tap, is_whole

AGAIN = {*TERMINAL, "response.done"}  # some relays say the ending once more, or by another name
KEEPALIVE = {"type", "sequence_number"}


def up_to_ending(block: bytes, start: int, tap: Tap) -> bytes:
    """A block of whole events with the ending at `start`, and behind that but what says nothing new."""
    end = block.index(BORDER, start) + len(BORDER)
    return block if end == len(block) else block[:end] + nothing_new_of(block[end:], tap)


def nothing_new_of(block: bytes, tap: Tap) -> bytes:
    """The comments, the [DONE], and what repeats the response of the ending, which `tap` has read."""
    response = tap.response
    return b"".join([event for event in events_of(block) if _says_nothing_new(event, response)])


def _says_nothing_new(event: bytes, response: Object | None) -> bool:
    data = data_of(event).strip()
    if not data or data == DONE:
        return is_whole(event)
    message = object_in(data) or {}
    kind, again = message.get("type"), message.get("response")
    if kind == "keepalive":
        return message.keys() <= KEEPALIVE
    if response is None or not isinstance(again, dict) or not isinstance(kind, str):
        return False
    return kind in AGAIN and all(again.get(key) == response.get(key) for key in ("id", "output"))
