"""Messages and reasoning beyond plain text: refusals, speech, annotated text, reasoning that is shown."""

from typing import Any

from gateway.local.simulator.identity import random_id
from gateway.local.simulator.items import added, deltas, done, event, place_of, status, tokens
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.sealing import seal
from gateway.local.simulator.speech import answer_text, new_message
from gateway.local.simulator.steps import Steps

REFUSAL = "I'm sorry, 但我不能帮助你。"
THOUGHT = "The user says something in 中文 or English; "
AUDIO_BASE64 = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA"
ANNOTATIONS: list[dict[str, Any]] = [
    {"type": "url_citation", "start_index": 0, "end_index": 8, "title": "Où? 在哪里", "url": "https://example.com/a"},
    {"type": "file_citation", "file_id": "file-0123456789abcdef", "filename": "notes.pdf", "index": 3},
    {"type": "container_file_citation", "container_id": "cntr_0123456789abcdef", "file_id": "cfile_0123456789abcdef",
     "filename": "plot.png", "start_index": 0, "end_index": 4},
    {"type": "file_path", "file_id": "file-fedcba9876543210", "index": 5},
]  # fmt: skip


def refuse(reply: Reply) -> Steps:
    """The model will not: a refusal in place of text."""
    item = new_message()
    place = place_of(reply, item, content_index=0)
    yield added(reply, item)
    yield event("response.content_part.added", place, part={"type": "refusal", "refusal": ""})
    said: list[str] = []
    yield from deltas(reply, "response.refusal", tokens(REFUSAL), place, said)
    part = {"type": "refusal", "refusal": "".join(said)}
    yield event("response.refusal.done", place, refusal=part["refusal"])
    yield event("response.content_part.done", place, part=part)
    yield done(reply, {**item, "status": status(reply), "content": [part]})


def speak_aloud(reply: Reply) -> Steps:
    """The ordinary answer as sound, with its transcript; only the transcript's deltas are tokens."""
    item = new_message()
    yield added(reply, item)
    said: list[str] = []
    for step in deltas(reply, "response.audio.transcript", tokens(answer_text(reply.body)), {}, said):
        yield event("response.audio.delta", {}, delta=AUDIO_BASE64)
        yield step
    yield event("response.audio.done", {})
    yield event("response.audio.transcript.done", {})
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(said)}
    yield done(reply, {**item, "status": status(reply), "content": [part]})


def annotate(reply: Reply) -> Steps:
    """The ordinary answer with an annotation of each kind."""
    item = new_message()
    place = place_of(reply, item, content_index=0)
    yield added(reply, item)
    part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    yield event("response.content_part.added", place, part=part)
    said: list[str] = []
    words = tokens(answer_text(reply.body))
    yield from deltas(reply, "response.output_text", words, {**place, "logprobs": []}, said)
    for index, annotation in enumerate(ANNOTATIONS):
        yield event("response.output_text.annotation.added", place, annotation_index=index, annotation=annotation)
    part = {**part, "text": "".join(said), "annotations": ANNOTATIONS}
    yield event("response.output_text.done", place, text=part["text"], logprobs=[])
    yield event("response.content_part.done", place, part=part)
    yield done(reply, {**item, "status": status(reply), "content": [part]})


def think_aloud(reply: Reply, count: int) -> Steps:
    """`count` reasoning tokens, shown one by one as models with open weights do."""
    item = {"id": random_id("rs"), "type": "reasoning", "summary": [], "content": [], "status": "in_progress"}
    place = place_of(reply, item, content_index=0)
    yield added(reply, item)
    yield event("response.content_part.added", place, part={"type": "reasoning_text", "text": ""})
    words = (tokens(THOUGHT) * (count // 4 + 1))[: min(count, reply.room())]
    reply.cut_short = len(words) < count
    said: list[str] = []
    for step in deltas(reply, "response.reasoning_text", words, place, said):
        reply.said, reply.reasoned = reply.said - 1, reply.reasoned + 1
        yield step
    part = {"type": "reasoning_text", "text": "".join(said)}
    yield event("response.reasoning_text.done", place, text=part["text"])
    yield event("response.content_part.done", place, part=part)
    ended = {"content": [part], "status": status(reply), "encrypted_content": seal(reply.key, 45)}
    yield done(reply, {**item, **ended})
