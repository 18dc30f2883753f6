"""The most that a request may use, read off its body: what is held before it goes upstream (money.md). Pure.

Every token is at least a byte of the body, so the body's bytes bound it; images and whatever the body only names count
by table or as the model's whole context window. An upstream reads no more than that window in one go.
"""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.wire.images import DATA_URL, ImageRule, image_rule_of, size_in, size_of
from gateway.wire.objects import Object
from gateway.wire.references import MCP_LISTING, is_pure_reference
from gateway.wire.request import CreateRequest
from gateway.wire.usage import CONTAINER, container_kind

LARGEST_WINDOW = 2_000_000  # where nobody said: twice what any model of 2026 has
LEAST_OUTPUT_TOKENS = 16  # an upstream that takes less of the client's than the API does may round up to this
# Framing has tokens and no bytes: start, role and end of an item, the signature of a function, hidden instructions.
REQUEST_TOKENS = 64
ITEM_TOKENS = 8
FUNCTION_TOKENS = 32
INSTRUCTIONS_TOKENS = 2_048  # that come with a tool of OpenAI's own, or with a personality
READINGS_WITH_COMPACTION = 2  # the input is read once more to compact it

# Tools that the client runs itself; every other one is taken to run upstream, new kinds too.
FUNCTIONS = {"function", "custom", "namespace"}
CLIENT_TOOLS = {*FUNCTIONS, "local_shell", "apply_patch", "computer", "computer_use_preview"}
SHOWN_PARTS = {
    "input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal", "input_audio", "logs",
}  # fmt: skip
IMAGE_PARTS = {"input_image", "computer_screenshot", "image", "image_url"}
NAMING = {"image_url", "url", "file_id", "file_url", "file_data"}  # a part without a type that has these is no text


class Terms(Struct, frozen=True):
    """What a bound goes by. `model` is its name at the upstream; a window of 0 is one that nobody stated.

    `tool_calls` are counted where the body states none, `tool_input_tokens` for what a call makes the model read.
    """

    model: str
    context_window: int
    tool_calls: int = 8
    tool_input_tokens: int = 32_000

    @property
    def window(self) -> int:
        return self.context_window or LARGEST_WINDOW


class Bound(Struct, frozen=True):
    """The most of each; `output_tokens` is None where the body does not say.

    `tool_kinds`: the item types under which calls may be billed, as `tool_calls_of` counts them; `any` is every kind.
    `tool_input_tokens`: of all calls together, beside `input_tokens`. It is a bet; the other numbers are none.
    `uncounted_tokens`: the part of `input_tokens` that an upstream's own count beforehand does not settle.
    `readings`: how often the input is read; a count is of one.
    """

    input_tokens: int
    output_tokens: int | None
    tool_calls: int = 0
    tool_kinds: frozenset[str] = frozenset()
    tool_input_tokens: int = 0
    uncounted_tokens: int = 0
    readings: int = 1

    @property
    def all_input_tokens(self) -> int:
        return self.input_tokens + self.tool_input_tokens

    @property
    def is_worth_counting(self) -> bool:
        return self.uncounted_tokens < self.input_tokens

    def counted(self, tokens: int) -> "Bound":
        """The bound once the upstream has counted the input."""
        return replace(self, input_tokens=min(self.input_tokens, tokens * self.readings + self.uncounted_tokens))


def bound_of(call: CreateRequest, request_bytes: int, terms: Terms, *, previous_tokens: int | None = None) -> Bound:
    """The bound of `call`, whose body has `request_bytes` as sent; both were parsed by `parse_create`.

    `previous_tokens`: input and output of the record of `previous_response_id`, None where it is not known.
    """
    seen = _Seen(image_rule_of(terms.model), terms.window)
    seen.tokens = request_bytes + REQUEST_TOKENS
    seen.see_request(call, previous_tokens)
    calls = 0
    if seen.tool_kinds:
        calls = terms.tool_calls if call.max_tool_calls is None else call.max_tool_calls
    return Bound(
        input_tokens=min(seen.tokens, terms.window) * seen.readings,
        output_tokens=_stated_output(call),
        tool_calls=calls,
        tool_kinds=frozenset(seen.tool_kinds),
        tool_input_tokens=calls * terms.tool_input_tokens,
        uncounted_tokens=min(seen.uncounted, terms.window) * seen.readings,
        readings=seen.readings,
    )


def _stated_output(call: CreateRequest) -> int | None:
    stated = call.max_output_tokens
    return None if stated is None or stated <= 0 else max(stated, LEAST_OUTPUT_TOKENS)


class _Seen:
    """What is added up while the request is gone through once."""

    def __init__(self, rule: ImageRule, window: int) -> None:
        self._rule = rule
        self._window = window
        self.tokens = 0
        self.uncounted = 0
        self.readings = 1
        self.tool_kinds: set[str] = set()

    def see_request(self, call: CreateRequest, previous_tokens: int | None) -> None:
        if call.previous_response_id is not None:
            self.tokens += self._window if previous_tokens is None else previous_tokens
        if call.conversation is not None:
            self.tokens += self._window
        if call.prompt is not None:  # its text, its variables and its tools
            self._see_hidden()
            self.tool_kinds.add("any")
        if call.personality is not None:
            self.tokens += INSTRUCTIONS_TOKENS
        if call.context_management:
            self._see_compaction()
        self._see_tools(call.tools)
        if isinstance(call.input, list):
            self.tokens += ITEM_TOKENS * len(call.input)
            for item in call.input:
                if isinstance(item, dict):
                    self._see_item(item)

    def _see_item(self, item: Object) -> None:
        kind = _kind_of(item)
        for field in ("content", "output", "outputs"):
            parts = item.get(field)
            if isinstance(parts, list | dict):
                self._see_parts(parts if isinstance(parts, list) else [parts])
        if kind != MCP_LISTING:
            self._see_tools(item.get("tools"))
        if kind == "item_reference" or ("id" in item and is_pure_reference(item)):
            self.tokens += self._window
        elif kind not in {"", "message"}:
            self._see_item_of(kind, item)

    def _see_item_of(self, kind: str, item: Object) -> None:
        """Of a kind of its own: what was made before, what stands alone."""
        if kind == "image_generation_call":
            self._see_image(item.get("result"), None, is_url=False)
        elif kind == "compaction_trigger":
            self._see_compaction()
        elif kind in IMAGE_PARTS or kind == "input_file":
            self._see_parts([item])

    def _see_parts(self, parts: list[Any]) -> None:
        for part in parts:
            if not isinstance(part, dict):
                continue
            kind = _kind_of(part)
            if kind in SHOWN_PARTS or not (kind or part.keys() & NAMING):
                continue
            if kind in IMAGE_PARTS:
                self._see_image(_url_of(part), part.get("detail"), is_url=True)
            elif kind == "input_file" and part.get("file_url") is None:
                self.tokens += self._window
            else:  # at an address its content may change; a kind that is not known may hold anything
                self._see_hidden()

    def _see_image(self, content: object, detail: object, *, is_url: bool) -> None:
        """An image's own bytes do not count; one that stands elsewhere is as large as the rule lets it be."""
        size, is_here = None, False
        if isinstance(content, str):
            is_here = not is_url or DATA_URL.match(content) is not None
            size = size_of(content) if is_url else size_in(content)
        most = self._rule.most_tokens(size, detail)
        tokens = self._window if most is None else min(most, self._window)
        self.tokens += tokens
        if is_here and isinstance(content, str):
            self.tokens -= len(content)
        elif content is not None:  # at an address: what is there may change between the count and the request
            self.uncounted += tokens

    def _see_tools(self, tools: object, *, untyped: str = "") -> None:
        for tool in tools if isinstance(tools, list) else ():
            if not isinstance(tool, dict):
                continue
            kind = _kind_of(tool) or untyped
            if kind in FUNCTIONS:
                self.tokens += FUNCTION_TOKENS
                self._see_tools(tool.get("tools"), untyped="function")
            else:
                self._see_tool_of_openai(kind, tool)

    def _see_tool_of_openai(self, kind: str, tool: Object) -> None:
        self.tokens += INSTRUCTIONS_TOKENS
        if not _runs_at_the_client(kind, tool):
            self.tool_kinds.add(_billed_kind(kind))
            if (container := container_kind([tool])) != CONTAINER:
                self.tool_kinds.add(container)
        if kind == "mcp" or _has_skills(tool):  # the server's list of tools, the texts of skills
            self._see_hidden()

    def _see_hidden(self) -> None:
        self.tokens += self._window
        self.uncounted += self._window

    def _see_compaction(self) -> None:
        self.readings = READINGS_WITH_COMPACTION


def _kind_of(item: Object) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _url_of(part: Object) -> object:
    """Of an image in any of its forms: a string, {"url": ...} as in chats, or the url itself."""
    url = part.get("image_url") or part.get("url")
    return url.get("url") if isinstance(url, dict) else url


def _runs_at_the_client(kind: str, tool: Object) -> bool:
    if kind == "shell":
        environment = tool.get("environment")
        return isinstance(environment, dict) and environment.get("type") == "local"
    return kind in CLIENT_TOOLS or (kind == "tool_search" and tool.get("execution") == "client")


def _billed_kind(tool: str) -> str:
    """`web_search_preview_2025_03_11` calls are `web_search_call` items."""
    return "web_search_call" if tool.startswith("web_search") else f"{tool}_call"


def _has_skills(tool: Object) -> bool:
    environment = tool.get("environment")
    return isinstance(environment, dict) and bool(environment.get("skills"))
