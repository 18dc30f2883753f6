"""Which stored objects a request body names. Pure; gateway/ownership.py decides who may name them.

So far only the fields of the first release's refusals; the whole table of protocol.md 1.2 comes with ownership.
"""

from collections.abc import Iterator
from typing import Any

from gateway.wire.request import CreateRequest

FIELDS = ("conversation", "previous_response_id", "prompt")
ITEM_FIELDS = ("file_id", "container_id")
BARE_ITEM = {"id", "type", "status", "role"}  # an item with no more than these has no content of its own
TOOL_FIELDS = ("vector_store_ids", "connector_id")
TOOL_PARTS = ("container", "environment", "input_image_mask")
TOOL_PART_FIELDS = ("container_id", "file_id", "file_ids")


def references_of(request: CreateRequest) -> Iterator[str]:
    """The parameters that name a stored object, e.g. `previous_response_id`, `input[0].content[1].file_id`."""
    for name in FIELDS:
        if getattr(request, name) is not None:
            yield name
    for index, item in enumerate(request.input if isinstance(request.input, list) else ()):
        if isinstance(item, dict):
            yield from _of_item(item, f"input[{index}]")
    for index, tool in enumerate(request.tools if isinstance(request.tools, list) else ()):
        if isinstance(tool, dict):
            yield from _of_tool(tool, f"tools[{index}]")


def _of_item(item: dict[str, Any], place: str) -> Iterator[str]:
    if item.get("type") == "item_reference" or ("id" in item and item.keys() <= BARE_ITEM):
        yield f"{place}.id"
    for name in ITEM_FIELDS:
        if item.get(name) is not None:
            yield f"{place}.{name}"
    for field in ("content", "output"):
        parts = item.get(field)
        for index, part in enumerate(parts if isinstance(parts, list) else [parts]):
            if isinstance(part, dict) and part.get("file_id") is not None:
                yield f"{place}.{field}[{index}].file_id"


def _of_tool(tool: dict[str, Any], place: str) -> Iterator[str]:
    for name in TOOL_FIELDS:
        if tool.get(name):
            yield f"{place}.{name}"
    if isinstance(tool.get("container"), str):
        yield f"{place}.container"
    for name in TOOL_PARTS:
        part = tool.get(name)
        if isinstance(part, dict):
            yield from (f"{place}.{name}.{field}" for field in TOOL_PART_FIELDS if part.get(field))
