"""Whatever an upstream says, however it is written and cut: the client gets it so, whole events, at once."""

import asyncio
import json
import re

import pytest

from tests.raw_stream import RawStream

EVENT_TYPES = {
    *(f"response.{state}" for state in ("created", "queued", "in_progress", "completed", "incomplete", "failed")),
    *(f"response.{part}.{state}" for part in ("output_item", "content_part") for state in ("added", "done")),
    *(
        f"response.{text}.{state}"
        for text in (
            "output_text", "refusal", "audio", "audio.transcript", "reasoning_text", "reasoning_summary_text",
            "function_call_arguments", "custom_tool_call_input", "code_interpreter_call_code", "mcp_call_arguments",
            "shell_call_command", "shell_call_output_content",
        )
        for state in ("delta", "done")
    ),
    *(f"response.reasoning_summary_part.{state}" for state in ("added", "done")),
    *(f"response.{call}.{state}" for call in ("web_search_call", "file_search_call")
      for state in ("in_progress", "searching", "completed")),
    *(f"response.code_interpreter_call.{state}" for state in ("in_progress", "interpreting", "completed")),
    *(f"response.image_generation_call.{state}"
      for state in ("in_progress", "generating", "partial_image", "completed")),
    *(f"response.{call}.{state}" for call in ("mcp_call", "mcp_list_tools")
      for state in ("in_progress", "completed", "failed")),
    "response.output_text.annotation.added", "response.shell_call_command.added", "response.compaction.compacting",
    "error", "keepalive", "response.done", "[DONE]",
}  # fmt: skip

SAID = [
    "ok", "paced-30-1", "big-300", "reasoning", "thinking", "tool-2", "custom", "search-2", "filesearch", "code-2",
    "image-3-20", "mcp", "mcpfail", "shell", "compaction", "annotations", "audio", "refusal", "everything", "twice",
    "fail-nested-7", "fail-flat-7", "fail-plain-3", "fail-usage-9", "usage-absent", "usage-null",
    "usage-strings", "usage-more", "usage-both",
]  # fmt: skip
WRITTEN = [
    "crlf", "cr", "bom", "bom.crlf", "noblank", "noblank.cr", "noblank.crlf", "multiline", "multiline.crlf", "comments",
    "blanks", "dataonly", "nospace", "keepalive", "done", "done.noblank", "queued", "responsedone",
]  # fmt: skip
CUT = ["bytes", "split", "whole", "joined-5", "pieces-11", "pieces-12"]

SHAPES = [
    *(f"{said}.pieces-{seed}" for seed, said in enumerate(SAID, 100)),
    *(f"{said}.{written}.{cut}" for said, cut in (("reasoning-9.tool", "pieces-7"), ("annotations", "split"))
      for written in WRITTEN),
    *(f"everything.crlf.{cut}" for cut in CUT[1:]), *(f"refusal.multiline.noblank.cr.{cut}" for cut in CUT),
]  # fmt: skip
CHAT_USAGE = [f"{said}.{cut}" for said in ("usage-chat", "chat") for cut in CUT]
AT_ONCE = 12


@pytest.mark.slow
async def test_a_client_gets_the_bytes_that_the_upstream_sent_at_once_and_in_whole_events(acme, upstream):
    assert len(SHAPES) >= 60
    seen, limit = set(), asyncio.Semaphore(AT_ONCE)

    async def look(shape, **fields):
        async with limit:
            received = await received_of(acme, upstream, shape, **fields)
        sent = await asyncio.to_thread(upstream.sent, received.request_id)
        assert received.received == allowed(sent), shape
        seen.update(types_in(received.received))

    async with asyncio.TaskGroup() as looks:
        for shape in SHAPES:
            looks.create_task(look(shape))
        looks.create_task(look("paced-40-0.pieces-5", max_output_tokens=16))
    assert seen >= EVENT_TYPES


async def received_of(tenant, upstream, shape, **fields):
    """All of a stream; that its first event is here before the second has been sent is seen on the way."""
    model = f"sim-{shape}.hold-0-1"
    async with RawStream(tenant, model, "你好啊, où est l'été? 🌍", store=False, **fields) as stream:
        assert stream.status == 200, shape
        first = await stream.chunk()
        assert b"data:" in first, shape  # and the simulator waits to be told to go on
        await upstream.let_go(stream.request_id)
        await stream.read()
    assert [chunk for chunk in stream.chunks if not chunk.endswith(b"\n\n")] == [], shape
    return stream


@pytest.mark.parametrize("cut", ["pieces-3", "split", "bytes"])
async def test_each_event_arrives_while_the_next_is_withheld(acme, upstream, cut):
    async with RawStream(acme, f"sim-reasoning-9.code.refusal.stepwise.{cut}", "你好") as stream:
        events = 0
        while not b"".join(stream.chunks).count(b"event: response.completed"):
            assert await stream.chunk()
            events += 1
            assert len(types_in(stream.received)) == events
            await upstream.let_go(stream.request_id)
        assert await stream.chunk() == b""
    assert events > 40
    assert stream.received == await asyncio.to_thread(upstream.sent, stream.request_id)


async def test_usage_in_chat_form_gains_keys_and_nothing_else_changes(acme, upstream):
    async def look(shape):
        stream = await received_of(acme, upstream, shape)
        sent, received = await asyncio.to_thread(upstream.sent, stream.request_id), stream.received
        assert without_insertion(received, len(sent)) == sent, shape
        (usage,) = re.findall(rb'"usage":({"prompt.*?}.*?}.*?}.*?}.*?})', received)
        usage = json.loads(usage)
        assert usage["input_tokens"] == usage["prompt_tokens"], shape

    async with asyncio.TaskGroup() as looks:
        for shape in CHAT_USAGE:
            looks.create_task(look(shape))


def allowed(sent):
    """What may be changed of a stream beside usage: the byte order mark, line ends, the last blank line."""
    text = sent.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text if text.endswith(b"\n\n") else text + b"\n"


def types_in(received):
    """As a reader finds them who follows the standard: one for each event that has data."""
    types = []
    for block in received.decode().split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            data = "\n".join(lines)
            types.append(data if data == "[DONE]" else json.loads(data).get("type", "chunk"))
    return types


def without_insertion(received, length):
    """`received` without the one piece by which it is longer, taken out behind `cached_tokens` of the chat form."""
    start = received.index(b',"input_tokens"', received.index(b'"prompt_tokens"'))
    return received[:start] + received[start + len(received) - length :]
