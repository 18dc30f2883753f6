"""Calls of tools beyond functions and web searches: custom ones, and those that run at the upstream."""

import base64
import secrets
from typing import Any

from gateway.local.simulator.identity import random_id
from gateway.local.simulator.items import Item, added, deltas, done, event, place_of, states, status, tokens
from gateway.local.simulator.prompt import last_user_text
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.sealing import seal
from gateway.local.simulator.speech import ECHOED_CHARACTERS, call_id
from gateway.local.simulator.steps import Steps

CODE = 'print("你好, " + str(6 * 7))\n'
COMMAND = "ls -l /mnt/data | grep 'é'"
LISTED_TOOL = {
    "name": "roll",
    "description": "Rolls dice.",
    "input_schema": {"type": "object", "properties": {"dice": {"type": "string"}}, "required": ["dice"]},
    "annotations": {"read_only": True},
}
ARGUMENTS = '{"dice":"2d6"}'
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + secrets.token_bytes(3 * 1024 - 8)).decode()


def call_custom_tool(reply: Reply) -> Steps:
    """A tool that takes text instead of JSON."""
    item = {"id": random_id("ctc"), "type": "custom_tool_call", "status": "in_progress", "input": ""}
    item |= {"call_id": call_id(), "name": "apply_patch"}
    place = place_of(reply, item)
    yield added(reply, item)
    said: list[str] = []
    text = "*** Begin Patch\n" + last_user_text(reply.body)[:ECHOED_CHARACTERS]
    yield from deltas(reply, "response.custom_tool_call_input", tokens(text), place, said)
    yield event("response.custom_tool_call_input.done", place, input="".join(said))
    yield done(reply, {**item, "status": status(reply), "input": "".join(said)})


def search_files(reply: Reply) -> Steps:
    item: Item = {"id": random_id("fs"), "type": "file_search_call", "status": "in_progress"}
    item |= {"queries": [], "results": None}
    yield added(reply, item)
    yield from states("file_search_call", place_of(reply, item), "in_progress", "searching", "completed")
    queries = [last_user_text(reply.body)[:ECHOED_CHARACTERS]]
    result = {
        "file_id": "file-0123456789abcdef",
        "filename": "résumé.pdf",
        "score": 0.87,
        "text": "…",
        "attributes": {},
    }
    yield done(reply, {**item, "status": "completed", "queries": queries, "results": [result]})


def run_code(reply: Reply, count: int) -> Steps:
    """`count` calls of the code interpreter in one container."""
    container = random_id("cntr")
    for _ in range(count):
        item: Item = {"id": random_id("ci"), "type": "code_interpreter_call", "status": "in_progress", "code": ""}
        item |= {"container_id": container, "outputs": None}
        place = place_of(reply, item)
        yield added(reply, item)
        yield from states("code_interpreter_call", place, "in_progress")
        said: list[str] = []
        yield from deltas(reply, "response.code_interpreter_call_code", tokens(CODE), place, said)
        yield event("response.code_interpreter_call_code.done", place, code="".join(said))
        yield from states("code_interpreter_call", place, "interpreting", "completed")
        ran = {"code": "".join(said), "outputs": [{"type": "logs", "logs": "你好, 42\n"}]}
        yield done(reply, {**item, "status": status(reply), **ran})


def draw(reply: Reply, count: int, size: int) -> Steps:
    """An image of `size` base64 characters, and before it `count` partial ones as large."""
    item = {"id": random_id("ig"), "type": "image_generation_call", "status": "in_progress", "result": None}
    place = place_of(reply, item)
    yield added(reply, item)
    yield from states("image_generation_call", place, "in_progress", "generating")
    shown = {"background": "opaque", "output_format": "png", "quality": "medium", "size": "1024x1024"}
    picture = (PICTURE * (size // len(PICTURE) + 1))[:size]
    for index in range(count):
        partial = {"partial_image_index": index, "partial_image_b64": picture, **shown}
        yield event("response.image_generation_call.partial_image", place, **partial)
    yield from states("image_generation_call", place, "completed")
    yield done(reply, {**item, "status": "completed", **shown, "revised_prompt": "A tollgate", "result": picture})


def call_mcp(reply: Reply) -> Steps:
    """A server's tools are listed and one of them is called."""
    yield from _list_mcp(reply, "completed", tools=[LISTED_TOOL])
    yield from _call_mcp(reply, "completed", output="5 and 2: 七", error=None)


def fail_mcp(reply: Reply) -> Steps:
    """A server that lists nothing, and a call that fails."""
    yield from _list_mcp(reply, "failed", tools=[], error="Could not list tools.")
    problem = {"type": "http_error", "code": 502, "message": "Bad gateway"}
    yield from _call_mcp(reply, "failed", output=None, error=problem)


def _list_mcp(reply: Reply, end: str, **result: Any) -> Steps:
    item: Item = {"id": random_id("mcpl"), "type": "mcp_list_tools", "server_label": "dice", "tools": []}
    yield added(reply, item)
    yield from states("mcp_list_tools", place_of(reply, item), "in_progress", end)
    yield done(reply, {**item, **result})


def _call_mcp(reply: Reply, end: str, **result: Any) -> Steps:
    item: Item = {"id": random_id("mcp"), "type": "mcp_call", "status": "in_progress", "approval_request_id": None}
    item |= {"arguments": "", "error": None, "name": "roll", "output": None, "server_label": "dice"}
    place = place_of(reply, item)
    yield added(reply, item)
    yield from states("mcp_call", place, "in_progress")
    said: list[str] = []
    yield from deltas(reply, "response.mcp_call_arguments", tokens(ARGUMENTS), place, said)
    yield event("response.mcp_call_arguments.done", place, arguments="".join(said))
    yield from states("mcp_call", place, end)
    yield done(reply, {**item, "status": end, "arguments": "".join(said), **result})


def run_in_shell(reply: Reply) -> Steps:
    """A command in a container of the upstream's, and what it printed."""
    environment = {"type": "container_reference", "container_id": random_id("cntr")}
    item: Item = {"id": random_id("sh"), "type": "shell_call", "status": "in_progress", "call_id": call_id()}
    item |= {"environment": environment, "action": {"commands": [], "timeout_ms": None, "max_output_length": None}}
    place = {"output_index": len(reply.output), "command_index": 0}
    yield added(reply, item)
    yield event("response.shell_call_command.added", place, command="")
    said: list[str] = []
    yield from deltas(reply, "response.shell_call_command", tokens(COMMAND), place, said)
    command = "".join(said)
    yield event("response.shell_call_command.done", place, command=command)
    yield done(reply, {**item, "status": status(reply), "action": {**item["action"], "commands": [command]}})
    yield from _print(reply, item["call_id"])


def _print(reply: Reply, call: str) -> Steps:
    item: Item = {"id": random_id("sho"), "type": "shell_call_output", "status": "in_progress", "call_id": call}
    item |= {"output": [], "max_output_length": None}
    place = place_of(reply, item, command_index=0)
    yield added(reply, item)
    yield event("response.shell_call_output_content.delta", place, delta={"stdout": "é.csv\n"})
    output = [{"stdout": "é.csv\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
    yield event("response.shell_call_output_content.done", place, output=output)
    yield done(reply, {**item, "status": "completed", "output": output})


def compact(reply: Reply) -> Steps:
    """The upstream shortens what was said before (`context_management`)."""
    item: Item = {"id": random_id("cmp"), "type": "compaction", "encrypted_content": ""}
    yield added(reply, item)
    yield event("response.compaction.compacting", place_of(reply, item))
    yield done(reply, {**item, "encrypted_content": seal(reply.key)})
