"""What an answer says it used, in both shapes: the Responses form and the chat form (protocol.md 3). Pure.

Upstreams differ in small things, so numbers may be strings or whole floats and details may be missing or null; what is
absent is None and never zero.
"""

import msgspec

from billing.prices.tokens import AbsurdUsage, TokenUsage
from gateway.wire.objects import Object, object_in
from gateway.wire.spans import replaced, span_of
from gateway.wire.stream import data_of, events_of, with_data

RESPONSES_FORM = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
CHAT_FORM = ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
WEB_SEARCH = "web_search_call"
CONTAINER = "container"
MEMORY_LIMITS = ("4g", "16g", "64g")  # of a container, that cost more than the least
MOST_SEARCHES = 10_000  # in one request; a larger number is not believed


def read_usage(usage: object) -> TokenUsage | None:
    """Tokens of a usage object of either shape; None where it reports none. AbsurdUsage where it cannot be true."""
    if not isinstance(usage, dict):
        return None
    forms = (CHAT_FORM, RESPONSES_FORM) if is_chat_form(usage) else (RESPONSES_FORM, CHAT_FORM)
    read, written, inside, outside = (
        usage.get(other) if usage.get(key) is None else usage[key] for key, other in zip(*forms, strict=True)
    )
    if read is None and written is None:
        return None
    return TokenUsage(
        input=_count(read),
        cached=_detail(inside, "cached_tokens"),
        cache_write=_detail(inside, "cache_write_tokens"),
        output=_count(written),
        reasoning=_detail(outside, "reasoning_tokens"),
    )


def tool_calls_of(response: Object) -> dict[str, int]:
    """Calls by item type. Web searches as they are billed: the reported number, else the items that searched.

    Code is billed by the container it ran in, not by the call: each counts once, as `container`, or `container_4g` and
    so on where the tool was given more memory.
    """
    calls: dict[str, int] = {}
    containers: set[object] = set()
    for item in _objects_in(response.get("output")):
        kind = item.get("type")
        if isinstance(kind, str) and kind.endswith("_call") and _is_billed(item):
            calls[kind] = calls.get(kind, 0) + 1
            containers |= _containers_of(item)
    if containers:
        calls[container_kind(response.get("tools"))] = len(containers)
    reported = _reported_web_searches(response)
    if reported is not None:
        calls.pop(WEB_SEARCH, None)
        if reported:
            calls[WEB_SEARCH] = reported
    return calls


def with_responses_keys(document: bytes, usage: object, *path: str) -> bytes:
    """`document` with the Responses keys added to the chat-form usage object at `path`; else the same bytes.

    Real clients fail on chat keys alone (protocol.md 3.2). The upstream's own keys stay as they are, but for a null
    where one of ours belongs, and nothing beside is changed.
    """
    tokens = _tokens_in_chat_form(usage)
    if tokens is None or not isinstance(usage, dict):
        return document
    new = _responses_form(tokens)
    for key in [key for key in new if key in usage]:
        value = new.pop(key)
        if usage[key] is None and (span := span_of(document, *path, key)):
            document = replaced(document, span, msgspec.json.encode(value))
    span = span_of(document, *path)
    if span is None or not new:
        return document
    end = span[1] - 1
    return replaced(document, (end, end), b"," + msgspec.json.encode(new)[1:-1])


def events_with_responses_keys(block: bytes, mark: int | None) -> tuple[bytes, int | None]:
    """A block of events with the same done to each usage object in it, and where the offset `mark` has come to be."""
    if mark is None:
        return b"".join(map(_event_with_responses_keys, events_of(block))), None
    before, _ = events_with_responses_keys(block[:mark], None)
    after, _ = events_with_responses_keys(block[mark:], None)
    return before + after, len(before)


def _event_with_responses_keys(event: bytes) -> bytes:
    data = data_of(event)
    message = object_in(data)
    if message is None:
        return event
    response = message.get("response")
    if isinstance(response, dict):
        changed = with_responses_keys(data, response.get("usage"), "response", "usage")
    else:
        changed = with_responses_keys(data, message.get("usage"), "usage")
    return with_data(event, changed)


def _tokens_in_chat_form(usage: object) -> TokenUsage | None:
    try:
        return read_usage(usage) if is_chat_form(usage) else None
    except AbsurdUsage:
        return None


def _responses_form(tokens: TokenUsage) -> Object:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.cache_write},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.total,
    }


def is_chat_form(usage: object) -> bool:
    """Whether a usage object has the chat keys alone."""
    return isinstance(usage, dict) and not _is_responses_form(usage)


def _is_responses_form(usage: Object) -> bool:
    """Where both are there, the Responses keys count if they begin with a number."""
    return isinstance(usage.get("input_tokens"), int) or all(usage.get(key) is None for key in CHAT_FORM[:2])


def _count(value: object) -> int:
    if type(value) is int:  # nearly always
        return value
    if value is None:
        return 0
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    if not number.is_integer():  # nan and infinity are none either
        raise AbsurdUsage(f"{type(value).__name__} where a number of tokens belongs")
    return int(value) if isinstance(value, int) else int(number)


def _detail(details: object, key: str) -> int:
    return _count(details.get(key)) if isinstance(details, dict) else 0


def _is_billed(item: Object) -> bool:
    """Only the searches of a web search count, not the pages it opened."""
    action = item.get("action")
    return item["type"] != WEB_SEARCH or not isinstance(action, dict) or action.get("type", "search") == "search"


def _containers_of(item: Object) -> set[object]:
    """The container that a call ran code in, if it did; a call that does not name it had one all the same."""
    environment = item.get("environment")
    if item["type"] == "shell_call":
        container = environment.get("container_id") if isinstance(environment, dict) else None
        return {container} if isinstance(container, str) else set()
    if item["type"] != "code_interpreter_call":
        return set()
    container = item.get("container_id")
    return {container if isinstance(container, str) else ""}


def container_kind(tools: object) -> str:
    """By the memory that these tools name for their containers: the most, where they differ."""
    places = [tool.get(key) for tool in _objects_in(tools) for key in ("container", "environment")]
    limits = [place.get("memory_limit") for place in places if isinstance(place, dict)]
    dearest = [limit for limit in MEMORY_LIMITS if limit in limits]
    return f"{CONTAINER}_{dearest[-1]}" if dearest else CONTAINER


def _objects_in(values: object) -> list[Object]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _reported_web_searches(response: Object) -> int | None:
    usage = response.get("tool_usage")
    search = usage.get("web_search") if isinstance(usage, dict) else None
    number = search.get("num_requests") if isinstance(search, dict) else None
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MOST_SEARCHES:
        return number
    return None
