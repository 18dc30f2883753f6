"""Every place of a request where an id of something stored may stand, from the gateway's own table of references."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.wire.references import REFERENCES, Kind

MODEL = "gpt-4.1"
USER = {"role": "user", "content": "hi"}
SAID = {"type": "output_text", "text": "said"}
# Where a field of the table that stands anywhere is tried.
ANYWHERE = ("input", "content", "output", "tools", "environment", "container", "a_field_of_next_month")
UNCLASSIFIED = [("", "thread_id"), ("tools", "index_ids"), ("input", "recording_id"), ("content", "id")]


def under_input(thing):
    return {"input": [{"type": "message", **USER, **thing}]}


def under_content(thing):
    return {"input": [{"role": "user", "content": [{"type": "input_file", **thing}]}]}


def under_output(thing):
    return {"input": [{"type": "computer_call_output", "call_id": "call_1", "output": thing}]}


def under_annotations(thing):
    part = {**SAID, "annotations": [{"type": "file_citation", "index": 0, **thing}]}
    return {"input": [{"type": "message", "role": "assistant", "content": [part]}]}


def under_results(thing):
    return {"input": [{"type": "file_search_call", "queries": ["q"], "results": [{"text": "t", **thing}]}]}


def under_tools(thing):
    return {"tools": [{"type": "mcp", "server_label": "s", **thing}]}


def under_environment(thing):
    return {"tools": [{"type": "shell", "environment": {"type": "container_reference", **thing}}]}


def under_container(thing):
    return {"tools": [{"type": "code_interpreter", "container": {"type": "auto", **thing}}]}


UNDER: dict[str, Callable] = {
    "": lambda thing: thing,
    "input": under_input,
    "content": under_content,
    "output": under_output,
    "annotations": under_annotations,
    "results": under_results,
    "tools": under_tools,
    "environment": under_environment,
    "container": under_container,
}


@dataclass(frozen=True)
class Placement:
    """A place for an id. `kind`: what the gateway takes it for."""

    holder: str
    field: str
    kind: Kind

    @property
    def name(self):
        return f"{self.holder}.{self.field}"

    def body(self, name):
        value = [name] if self.field.endswith("_ids") else name
        thing = {self.field: value}
        placed = UNDER[self.holder](thing) if self.holder in UNDER else {self.holder: thing}
        return {"model": MODEL, "input": [USER], **placed}


@dataclass(frozen=True)
class Bare:
    """An item that is no more than its id: the upstream would read it from its store."""

    item: tuple[tuple[str, str], ...]
    kind: Kind = Kind.ITEM

    @property
    def name(self):
        return f"bare {dict(self.item)}"

    def body(self, name):
        return {"model": MODEL, "input": [USER, {**dict(self.item), "id": name}]}


BARE = [
    Bare(()), Bare((("type", "item_reference"),)), Bare((("type", "message"), ("role", "user"))),
    Bare((("type", "reasoning"),)), Bare((("type", "function_call"), ("status", "completed"))),
]  # fmt: skip
LISTED = [
    Placement(place, field, kind)
    for (holder, field), kind in REFERENCES.items()
    for place in (ANYWHERE if holder is None else (holder,))
]
ALL = [*LISTED, *BARE, *(Placement(holder, field, Kind.UNKNOWN) for holder, field in UNCLASSIFIED)]
IF_FOREIGN = (Kind.CARRIED, Kind.CITED, Kind.CONTENT)
# What must have been issued to whoever names it: what nobody has heard of is refused like what is another's.
REFUSED_UNLESS_OWN = [place for place in ALL if place.kind not in IF_FOREIGN]
# What clients make up themselves too: only what is known to be another's is refused.
REFUSED_IF_FOREIGN = {kind: [place for place in LISTED if place.kind is kind] for kind in IF_FOREIGN}
