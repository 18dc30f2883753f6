"""Requests in the shapes that people's clients send, every word of them our own.

Each maker takes the items said before, so that the same client's next turn is made of the last answer's output.
"""

import json
import uuid
from dataclasses import dataclass, field

USER = {"role": "user", "content": "Which tests fail?"}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42m"
    "Nk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
STAINLESS_JS = {
    "accept": "application/json", "accept-language": "*", "sec-fetch-mode": "cors", "accept-encoding": "gzip, deflate",
    "x-stainless-retry-count": "0", "x-stainless-lang": "js", "x-stainless-package-version": "6.49.0",
    "x-stainless-os": "Linux", "x-stainless-arch": "x64", "x-stainless-runtime": "node",
    "x-stainless-runtime-version": "v20.20.2",
}  # fmt: skip
STAINLESS_PY = {
    "accept": "application/json", "accept-encoding": "gzip, deflate", "x-stainless-lang": "python",
    "x-stainless-package-version": "3.54.0", "x-stainless-os": "Linux", "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython", "x-stainless-runtime-version": "3.11.7", "x-stainless-async": "async:asyncio",
    "x-stainless-retry-count": "0", "x-stainless-read-timeout": "600",
}  # fmt: skip
FETCH = {"accept": "*/*", "accept-language": "*", "sec-fetch-mode": "cors", "accept-encoding": "gzip, deflate"}


@dataclass(frozen=True)
class Sent:
    """`body` as text, so that what arrives can be held against it byte for byte."""

    client: str
    headers: dict[str, str]
    body: str
    items: list = field(default_factory=list)
    is_compressed: bool = False

    @property
    def is_stream(self):
        return json.loads(self.body).get("stream") is True


def compact(body):
    """As JavaScript writes it, and the Python SDK."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def function(name, *, strict=False, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    tool = {"type": "function", "name": name, "description": f"Does {name}.", "strict": strict}
    return {**tool, "parameters": {**parameters, "additionalProperties": False}}


def message(role, *texts, kind="input_text", **more):
    parts = [{"type": kind, "text": text} for text in texts]
    return {"type": "message", "id": f"msg_{uuid.uuid4()}", "role": role, "content": parts, **more}


def codex(before, *, compressed=False):
    thread, turn = str(uuid.uuid4()), str(uuid.uuid4())
    notes = {}
    if compressed:
        kinds = {"turn_id": turn, "create_time": 1795334776.98, "content_item_kinds": ["user.text"]}
        notes = {"internal_chat_message_metadata_passthrough": kinds}
    items = before or [
        message("developer", "You work in a terminal. 你好", **notes),
        message("developer", "Skills: none.", "The sandbox may only read.", **notes),
        message("user", "<cwd>/home/dev</cwd>", **notes),
    ]
    items = [*items, message("user", "Which tests fail?", **notes)]
    about = json.dumps({"session_id": thread, "turn_id": turn, "sandbox": "seccomp", "window_number": 0})
    tools = [
        function("exec_command", cmd={"type": "string"}, session_id={"type": "number"}),
        function("resume_agent", id={"type": "string", "description": "Which agent."}),
        {"type": "custom", "name": "apply_patch", "description": "Edits files.",
         "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF'}},
        {"type": "namespace", "name": "agents", "description": "More agents.",
         "tools": [function("send_input", target={"type": "string"}, items={"type": "array", "items": {}})]},
        {"type": "web_search", "external_web_access": False},
    ]  # fmt: skip
    body = {
        "model": "gpt-5.6", "stream": True, "input": items, "tools": tools, "tool_choice": "auto",
        "parallel_tool_calls": True, "reasoning": {"effort": "high", "summary": "auto"}, "store": False,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": thread, "text": {"verbosity": "low"},
        "client_metadata": {
            "thread_id": thread, "turn_id": turn, "session_id": thread, "x-codex-turn-metadata": about,
            "x-codex-installation-id": thread,
        },
    }  # fmt: skip
    headers = {
        "accept": "text/event-stream", "originator": "codex_exec", "session-id": thread, "thread-id": thread,
        "x-client-request-id": thread, "x-codex-beta-features": "remote_compaction_v2",
        "x-codex-window-id": f"{thread}:0", "x-codex-turn-metadata": about,
        "user-agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.169.0)",
    }  # fmt: skip
    if compressed:
        headers |= {"content-encoding": "zstd", "chatgpt-account-id": "acc_tenants_own", "version": "0.169.0"}
    return Sent("codex", headers, compact(body), items, compressed)


def codex_compressed(before):
    return codex(before, compressed=True)


def agents_python(before):
    items = [*before, USER]
    tools = [function("get_weather", strict=True, location={"type": "string", "title": "Location"})]
    body = {"model": "sim-reasoning.tool", "include": [], "input": items, "instructions": "Be brief", "tools": tools}
    return Sent("agents-python", {**STAINLESS_PY, "user-agent": "Agents/Python 0.24.0"}, compact(body), items)


def agents_js(before):
    items = [*before, USER]
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    body = {
        "model": "sim-tool", "instructions": "x", "input": items, "include": ["reasoning.encrypted_content"],
        "tools": [function("lookup", user_id={"type": "string"})], "stream": True, "store": False,
        "text": {"format": {"type": "json_schema", "name": "found", "strict": False, "schema": schema}},
        "metadata": {"user_id": "u-1", "file_id": "not a file"}, "parallel_tool_calls": False,
    }  # fmt: skip
    return Sent("agents-js", {**STAINLESS_JS, "user-agent": "Agents/JavaScript 0.20.0"}, compact(body), items)


def langchain_js(before):
    items = [*before, {"type": "message", **USER}]
    body = {"input": items, "model": "gpt-4.1", "stream": False, "text": {}, "user": "user-17"}
    agent = "langchainjs-openai/1.0.0 ((node/v20.20.2; linux; x64))"
    return Sent("langchain-js", {**STAINLESS_JS, "user-agent": agent}, compact(body), items)


def langchain_python(before):
    image = {"type": "input_image", "image_url": PIXEL, "detail": "low"}
    items = [*before, {"role": "user", "content": [{"type": "input_text", "text": "What is this?"}, image]}]
    body = {
        "input": items, "model": "gpt-4.1", "stream": True, "temperature": 0.2, "max_output_tokens": 256,
        "metadata": {"run_id": str(uuid.uuid4())}, "truncation": "auto", "safety_identifier": "person-1",
    }  # fmt: skip
    return Sent("langchain-python", {**STAINLESS_PY, "user-agent": "OpenAI/Python 3.54.0"}, compact(body), items)


def litellm(before):
    items = [*before, USER]
    body = {"model": "gpt-4.1", "input": items, "reasoning": {"effort": "low"}, "metadata": {"trace_id": "t-1"}}
    headers = {"accept": "*/*", "accept-encoding": "gzip, deflate, zstd", "user-agent": "litellm/1.106.2"}
    return Sent("litellm", headers, json.dumps(body), items)


def vercel(before):
    """It names the answers that are stored by their ids alone."""
    named = [{"type": "item_reference", "id": item["id"]} if item.get("id") else item for item in before]
    items = [*named, {"role": "user", "content": [{"type": "input_text", "text": "Which tests fail?"}]}]
    agent = "ai-sdk/openai/3.0.141 ai-sdk/provider-utils/4.0.66 runtime/node.js/v20.20.2"
    return Sent(
        "vercel", {**FETCH, "user-agent": agent}, compact({"model": "gpt-4.1", "input": items, "stream": True}), items
    )


def openai_node(before):
    items = [*before, USER]
    body = {"model": "gpt-4.1", "input": items, "stream": True, "stream_options": {"include_obfuscation": False}}
    return Sent("openai-node", {**STAINLESS_JS, "user-agent": "OpenAI/JS 7.57.0"}, compact(body), items)


def curl(before):
    """Typed by hand: spaces, line ends, escapes, a field that nobody knows, and a service tier."""
    items = [*before, {"role": "user", "content": "caf\u00e9 \u4f60\u597d"}]
    body = {"model": "gpt-4.1", "input": items, "service_tier": "auto", "a_field_of_next_month": {"on": True}}
    return Sent("curl", {"accept": "*/*", "user-agent": "curl/8.14.1"}, json.dumps(body, indent=2) + "\r\n", items)


MAKERS = [
    codex, codex_compressed, agents_python, agents_js, langchain_js, langchain_python, litellm, vercel, openai_node,
    curl,
]  # fmt: skip
