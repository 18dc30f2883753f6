"""What in requests and answers names something that lies at the upstream: references to stored objects. Pure.

One table says what each id-like field is. Whatever else ends in `_id` or `_ids`, or is called `id`, is UNKNOWN, outside
of the parts where tenants write what they like. survey.py finds them in a body; who may name what, says
gateway/ownership/naming.py (protocol.md 1.2).
"""

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import blake2b
from string import ascii_letters, digits

from gateway.wire.free_form import ANY
from gateway.wire.objects import Object
from gateway.wire.places import Trail, param_of


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
# (what holds it, the field), as in the table of what is free-form.
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
# Fields that look like references and name nothing beyond the body itself.
HARMLESS: set[tuple[str | None, str]] = {
    (ANY, "call_id"),
    ("caller", "caller_id"),  # another item of the same input
    ("pending_safety_checks", "id"),
    ("acknowledged_safety_checks", "id"),
}
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
MCP_LISTING = "mcp_list_tools"  # an item that says what a server has; it opens none
EMPTY: tuple[object, ...] = (None, "", [], {})
TO_STANDARD = bytes.maketrans(b"-_", b"+/")
NO_BASE64 = bytes(set(range(256)) - set(ascii_letters.encode() + digits.encode() + b"+/-_"))
TAGS = {
    Kind.ITEM: b"item ", Kind.CARRIED: b"item ", Kind.CONTENT: b"content ", Kind.OBJECT: b"object ",
    Kind.CITED: b"object ",
}  # fmt: skip


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


def _objects_in(values: object) -> Iterable[Object]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else ()


def _texts(kind: Kind, *values: object) -> Iterator[tuple[Kind, str]]:
    for value in values:
        if isinstance(value, str) and value:
            yield kind, value
