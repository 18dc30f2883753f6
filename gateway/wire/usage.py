"""What an answer says it used, in both shapes: the Responses form and the chat form (protocol.md 3). Pure.

Upstreams differ in small things, so numbers may be strings or whole floats and details may be missing or null; what is
absent is None and never zero.
"""

from typing import Any

import msgspec

from billing.tokens import AbsurdUsage, TokenUsage
from gateway.wire.spans import replaced, span_of
from gateway.wire.stream import data_of, events_of, with_data

Object = dict[str, Any]

WEB_SEARCH = "web_search_call"


def read_usage(usage: object) -> TokenUsage | None:
    """Tokens of a usage object of either shape; None where it reports none. AbsurdUsage where it cannot be true."""
    if not isinstance(usage, dict):
        return None
    if _is_responses_form(usage):
        inside, outside = usage.get("input_tokens_details"), usage.get("output_tokens_details")
        read, written = usage.get("input_tokens"), usage.get("output_tokens")
    else:
        inside, outside = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
        read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
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
    """Calls by item type. Web searches as they are billed: the reported number, else the items that searched."""
    calls: dict[str, int] = {}
    items = response.get("output")
    for item in items if isinstance(items, list) else ():
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind.endswith("_call") and _is_billed(item):
            calls[kind] = calls.get(kind, 0) + 1
    reported = _reported_web_searches(response)
    if reported is not None:
        calls.pop(WEB_SEARCH, None)
        if reported:
            calls[WEB_SEARCH] = reported
    return calls


def with_responses_keys(document: bytes, usage: object, *path: str) -> bytes:
    """`document` with the Responses keys added to the chat-form usage object at `path`; else the same bytes.

    Real clients fail on chat keys alone (protocol.md 3.2). The chat keys stay, and nothing else is changed.
    """
    if not isinstance(usage, dict) or not is_chat_form(usage):
        return document
    try:
        tokens = read_usage(usage)
    except AbsurdUsage:
        return document
    span = span_of(document, *path)
    if tokens is None or span is None:
        return document
    added: Object = {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.cache_write},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.total,
    }
    # An upstream's own key stays as it is, unless it is a null that stands where a number belongs.
    new = {key: value for key, value in added.items() if key not in usage}
    body = document[span[0] : span[1]].rstrip().removesuffix(b"}").rstrip()
    extended = body + b"," + msgspec.json.encode(new)[1:]
    return replaced(document, span, extended)


def events_with_responses_keys(block: bytes, mark: int | None) -> tuple[bytes, int | None]:
    """A block of events with the same done to each usage object in it, and where the offset `mark` has come to be."""
    events: list[bytes] = []
    old_offset = new_offset = 0
    for event in events_of(block):
        if old_offset == mark:
            mark, old_offset = new_offset, -len(block)  # found: never equal again
        changed = _event_with_responses_keys(event)
        events.append(changed)
        old_offset, new_offset = old_offset + len(event), new_offset + len(changed)
    return b"".join(events), mark


def _event_with_responses_keys(event: bytes) -> bytes:
    data = data_of(event)
    try:
        message = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return event
    if not isinstance(message, dict):
        return event
    response = message.get("response")
    if isinstance(response, dict):
        changed = with_responses_keys(data, response.get("usage"), "response", "usage")
    else:
        changed = with_responses_keys(data, message.get("usage"), "usage")
    return event if changed == data else with_data(event, changed)


def is_chat_form(usage: object) -> bool:
    """Whether a usage object has the chat keys alone."""
    return isinstance(usage, dict) and not _is_responses_form(usage)


def _is_responses_form(usage: Object) -> bool:
    if isinstance(usage.get("input_tokens"), int):
        return True
    return "prompt_tokens" not in usage and "completion_tokens" not in usage


def _count(value: object) -> int:
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


def _reported_web_searches(response: Object) -> int | None:
    usage = response.get("tool_usage")
    search = usage.get("web_search") if isinstance(usage, dict) else None
    number = search.get("num_requests") if isinstance(search, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None
