"""What a request body names that may lie at the upstream: references to stored objects. Pure.

One table says what each id-like field is. Whatever else ends in `_id` or `_ids`, or is called `id`, is UNKNOWN, outside
of the parts where tenants write what they like. gateway/ownership/naming.py says who may name what (protocol.md 1.2).
"""

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from hashlib import blake2b
from string import ascii_letters, digits
from typing import Any

from gateway.wire.objects import Object
from gateway.wire.places import LONGEST_KEY, Trail, param_of


class Kind(Enum):
    RESPONSE = auto()
    ITEM = auto()  # a pure reference: the upstream is to read the item from its store
    CARRIED = auto()  # the id of what is there with its content
    CITED = auto()  # an object that an answer, carried along, has named
    CONTENT = auto()  # encrypted, and bound to the upstream's account
    OBJECT = auto()  # a file, container, vector store, prompt, skill, connector, ...
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Reference:
    """`id` is empty where no text stands there."""

    trail: Trail
    id: str
    kind: Kind

    @property
    def field(self) -> str:
        return str(self.trail[1])

    @property
    def param(self) -> str:
        return param_of(self.trail)


# Of keys read backwards: they are as long as a body, and their end is what tells.
ID_LIKE = re.compile(r"[^A-Za-z0-9]*+(?:(?i:s?di)(?:\Z|[^A-Za-z])|s?[dD]I[a-z0-9])")
ANY = None
# (what holds it, the field): the key under which its object, or the list that its object is in, stands.
REFERENCES: dict[tuple[str | None, str], Kind] = {
    ("", "previous_response_id"): Kind.RESPONSE,
    ("prompt_cache_options", "comparison_response_id"): Kind.RESPONSE,
    ("", "conversation"): Kind.OBJECT,
    ("conversation", "id"): Kind.OBJECT,
    ("", "prompt"): Kind.OBJECT,
    ("prompt", "id"): Kind.OBJECT,
    ("background_options", "continuation_id"): Kind.OBJECT,
    ("input", "id"): Kind.CARRIED,  # or ITEM
    ("input", "approval_request_id"): Kind.CARRIED,
    ("annotations", "container_id"): Kind.CITED,
    ("annotations", "file_id"): Kind.CITED,
    ("results", "file_id"): Kind.CITED,
    (ANY, "encrypted_content"): Kind.CONTENT,
    (ANY, "file_id"): Kind.OBJECT,
    (ANY, "file_ids"): Kind.OBJECT,
    (ANY, "container_id"): Kind.OBJECT,
    ("tools", "container"): Kind.OBJECT,
    (ANY, "vector_store_id"): Kind.OBJECT,
    (ANY, "vector_store_ids"): Kind.OBJECT,
    (ANY, "skill_id"): Kind.OBJECT,
    ("tools", "connector_id"): Kind.OBJECT,
    ("tools", "tunnel_id"): Kind.OBJECT,
}
# References only where a text stands there; an object is gone through like any other.
NAMES_OR_OBJECTS = {"conversation", "prompt", "container"}
# Fields that look like references and name nothing beyond the body itself.
HARMLESS: set[tuple[str | None, str]] = {
    (ANY, "call_id"),
    ("caller", "caller_id"),  # another item of the same input
    ("pending_safety_checks", "id"),
    ("acknowledged_safety_checks", "id"),
}
# Where tenants and their tools write what they like.
FREE_FORM: set[tuple[str | None, str]] = {
    (ANY, "metadata"),
    (ANY, "client_metadata"),
    (ANY, "arguments"),
    ("format", "schema"),
    ("json_schema", "schema"),
    ("tools", "parameters"),
    ("function", "parameters"),
    ("tools", "output_schema"),
    ("tools", "input_schema"),  # of an MCP server's tool
    ("tools", "annotations"),  # likewise
    ("tools", "headers"),
    ("tool_choice", "tools"),
    ("prompt", "variables"),
    ("results", "attributes"),
    ("action", "env"),
}
FREE_FORM_ENDING = "_passthrough"
OUTPUT = "output"  # of a tool: what is known there is a reference, what is not known is a tool's own
# By type of item the fields that are its content: an item without any is read by the upstream from its store, whatever
# else it says. A summary is not the reasoning. What a client's tool said may be empty: the call that it answers counts.
CONTENT_FIELDS: dict[str, set[str]] = {
    "message": {"content"},
    "agent_message": {"content"},
    "reasoning": {"content", "encrypted_content"},
    "compaction": {"encrypted_content"},
    "function_call": {"name", "arguments"},
    "function_call_output": {"call_id", "output"},
    "custom_tool_call": {"name", "input"},
    "custom_tool_call_output": {"call_id", "output"},
    "computer_call": {"action", "actions"},
    "computer_call_output": {"call_id", "output"},
    "local_shell_call": {"action"},
    "local_shell_call_output": {"output"},
    "shell_call": {"action"},
    "shell_call_output": {"call_id", "output"},
    "apply_patch_call": {"operation"},
    "apply_patch_call_output": {"call_id", "output"},
    "multi_agent_call": {"arguments"},
    "multi_agent_call_output": {"call_id", "output"},
    "tool_search_call": {"arguments"},
    "tool_search_output": {"call_id", "tools"},
    "additional_tools": {"tools"},
    "configuration_update": {"reasoning", "text"},
    "file_search_call": {"queries", "results"},
    "web_search_call": {"action"},
    "image_generation_call": {"result"},
    "code_interpreter_call": {"code", "outputs"},
    "mcp_list_tools": {"tools", "error"},
    "mcp_approval_request": {"name", "arguments"},
    "mcp_approval_response": {"approval_request_id"},
    "mcp_call": {"name", "arguments"},
    "program": {"code"},
    "program_output": {"call_id", "result"},
    "compaction_trigger": set(),
    "item_reference": set(),
}
EMPTY: tuple[object, ...] = (None, "", [], {})
TO_STANDARD = bytes.maketrans(b"-_", b"+/")
NO_BASE64 = bytes(set(range(256)) - set(ascii_letters.encode() + digits.encode() + b"+/-_"))
TAGS = {
    Kind.ITEM: b"item ", Kind.CARRIED: b"item ", Kind.CONTENT: b"content ", Kind.OBJECT: b"object ",
    Kind.CITED: b"object ",
}  # fmt: skip


_Place = tuple[Any, Trail | None, str, bool]  # an object or list, where, what holds it, whether it is a tool's output


def references_of(body: Mapping[str, Any]) -> Iterator[Reference]:
    """All that `body` names, whatever the nesting. An id in a list is one reference, like one that stands alone."""
    places: list[_Place] = [(body, None, "", False)]
    while places:
        node, trail, holder, is_output = places.pop()
        if isinstance(node, list):
            for index, value in enumerate(node):
                if isinstance(value, dict | list):
                    places.append((value, (trail, index), holder, is_output))
            continue
        for key, value in node.items():
            is_nested = isinstance(value, dict | list)
            is_free, kind = _rule_of(holder, key) if len(key) <= LONGEST_KEY else (False, _unknown(key))
            if is_nested and not is_free:
                places.append((value, (trail, key), key[: LONGEST_KEY + 1], is_output or key == OUTPUT))  # cached
            if kind is not None and value is not None:
                yield from _named(node, (trail, key), kind, is_output)


def is_id_like(key: str) -> bool:
    """`id`, `file_ids`, `fileId`, and whatever is padded so that another reader may take it for one of these."""
    return ID_LIKE.match(key[::-1]) is not None


def is_pure_reference(item: Object) -> bool:
    """Whether the upstream would have to read the item from its store: it says which, and nothing of what is in it.

    Of a type that nobody knows, nobody knows what its content is. Without a type it is a message, if it says whose.
    """
    kind = item.get("type", "message" if "role" in item else None)
    fields = CONTENT_FIELDS.get(kind, ()) if isinstance(kind, str) else ()
    return all(item.get(field) in EMPTY for field in fields) and not _is_silent_shell(item)


def _is_silent_shell(item: Object) -> bool:
    """A client's shell that said nothing: its `id` is the call's, and is all that it says beside the empty output."""
    return item.get("type") == "local_shell_call_output" and isinstance(item.get("output"), str)


def issued_in(output: object) -> Iterator[tuple[Kind, str]]:
    """What the output items of an answer give away that may be named later; no text of a model or a tool is read."""
    for item in _objects_in(output):
        yield from _texts(Kind.ITEM, item.get("id"))
        yield from _texts(Kind.CONTENT, item.get("encrypted_content"))
        yield from _texts(Kind.OBJECT, item.get("container_id"))
        environment = item.get("environment")
        if isinstance(environment, dict):
            yield from _texts(Kind.OBJECT, environment.get("container_id"))
        for found in _objects_in(item.get("results")):
            yield from _texts(Kind.OBJECT, found.get("file_id"))
        for part in _objects_in(item.get("content")):
            yield from _texts(Kind.CONTENT, part.get("encrypted_content"))
            for note in _objects_in(part.get("annotations")):
                yield from _texts(Kind.OBJECT, note.get("container_id"), note.get("file_id"))


def digest_of(kind: Kind, name: str) -> int:
    """64 bits, signed, by which what was issued is known again."""
    text = name.encode(errors="surrogatepass")
    digest = blake2b(TAGS[kind], digest_size=8)
    digest.update(_unspelled(text) if kind is Kind.CONTENT else text)
    return int.from_bytes(digest.digest(), "big", signed=True)


def _unspelled(text: bytes) -> bytes:
    """What decoders make of encrypted content, in whichever of the many spellings of base64; else as it is written."""
    letters = text.translate(TO_STANDARD, NO_BASE64)
    whole = letters[:-1] if len(letters) % 4 == 1 else letters  # a last letter alone is less than a byte
    return a2b_base64(whole + b"==") or text


def is_free_form(holder: str, key: str) -> bool:
    """Whether tenants write what they like there. `holder`: the key of the object, or of the list that it is in."""
    is_listed = (holder, key) in FREE_FORM or (ANY, key) in FREE_FORM
    return is_listed or (key.endswith(FREE_FORM_ENDING) and len(key) <= LONGEST_KEY)


@lru_cache(maxsize=4096)
def _rule_of(holder: str, key: str) -> tuple[bool, Kind | None]:
    """Whether a field is free-form, and what it is as a reference; None for one that is none."""
    is_free = is_free_form(holder, key)
    kind = REFERENCES.get((holder, key)) or REFERENCES.get((ANY, key))
    if kind is None and not is_free and (holder, key) not in HARMLESS and (ANY, key) not in HARMLESS:
        kind = _unknown(key)
    return is_free, kind


def _unknown(key: str) -> Kind | None:
    return Kind.UNKNOWN if is_id_like(key) else None


def _named(node: Object, trail: Trail, kind: Kind, is_output: bool) -> Iterator[Reference]:
    key = str(trail[1])
    value = node[key]
    if (is_output and kind is Kind.UNKNOWN) or (key in NAMES_OR_OBJECTS and isinstance(value, dict)):
        return
    if kind is Kind.CARRIED and key == "id" and is_pure_reference(node):
        kind = Kind.ITEM
    if value == "" and kind in {Kind.CARRIED, Kind.CONTENT, Kind.CITED}:
        return  # it names nothing, and what it would name stands beside it
    for name in value if isinstance(value, list) else (value,):
        yield Reference(trail, str(name) if isinstance(name, str | int | float) else "", kind)


def _objects_in(values: object) -> Iterable[Object]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else ()


def _texts(kind: Kind, *values: object) -> Iterator[tuple[Kind, str]]:
    for value in values:
        if isinstance(value, str) and value:
            yield kind, value
