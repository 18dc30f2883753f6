"""Bodies of create requests by a seed: from the types of the installed `openai` package, and broken in many ways."""

import json
import types
import typing
from random import Random

from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from typing_extensions import is_typeddict

MODELS = ["sim-ok", "sim-tool", "sim-reasoning-4", "sim-ok", "nonesuch", "sim-search-1"]
WORDS = [
    "hi",
    "",
    "你好",
    "\U0001f468\u200d\U0001f469",
    "a" * 300,
    '"\\',
    "resp_1",
    "auto",
    "low",
    "1e9",
    "\u0000",
    " ",
]
NUMBERS = [0, 1, -1, 16, 64, 0.5, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e308, -0.0]
KINDS = (ResponseCreateParamsNonStreaming, ResponseCreateParamsStreaming)


class Schema:
    """Values that fit the types of the package, made at random."""

    def __init__(self, random):
        self.random = random
        self._hints = {}

    def body(self):
        fields = self.typed(self.random.choice(KINDS), 0)
        if self.random.random() < 0.8:
            fields["model"] = self.random.choice(MODELS)
        if self.random.random() < 0.7:  # most that name stored objects are refused: others must be reached
            for name in ("background", "conversation", "previous_response_id", "prompt", "service_tier", "moderation"):
                fields.pop(name, None)
        fields.setdefault("input", "hi")
        return json.dumps(fields, ensure_ascii=self.random.random() < 0.5, default=str).encode()

    def typed(self, kind, depth):  # noqa: PLR0911 - one line for each form of type
        random, origin, inner = self.random, typing.get_origin(kind), typing.get_args(kind)
        if origin in {typing.Annotated, typing.Required, typing.NotRequired} or "Required" in str(origin):
            return self.typed(inner[0], depth)
        if origin in {typing.Union, types.UnionType}:
            return self.typed(random.choice(inner), depth)
        if origin is typing.Literal:
            return random.choice(inner)
        if kind is type(None):
            return None
        if is_typeddict(kind):
            return self._object(kind, depth)
        if isinstance(origin, type) and issubclass(origin, dict | typing.Mapping):
            return {random.choice(WORDS): self.typed(inner[1], depth + 1) for _ in range(random.randrange(3))}
        if origin is not None:  # lists and what else may be iterated
            return [self.typed(inner[0], depth + 1) for _ in range(random.randrange(3 if depth < 6 else 1))]
        return self._plain(kind)

    def _object(self, kind, depth):
        if kind not in self._hints:
            self._hints[kind] = typing.get_type_hints(kind, include_extras=True)
        chance = 0.25 if depth == 0 else 0.5 / (depth + 1)
        return {
            name: self.typed(hint, depth + 1)
            for name, hint in self._hints[kind].items()
            if name in kind.__required_keys__ or self.random.random() < chance
        }

    def _plain(self, kind):
        random = self.random
        if kind is bool:
            return random.random() < 0.5
        if kind in {int, float}:
            return random.choice(NUMBERS)
        return random.choice(WORDS) if kind is str else random.choice([*WORDS, *NUMBERS, None, [], {}])


def schema_driven(seed, count):
    schema = Schema(Random(seed))
    return (schema.body() for _ in range(count))


def mutated(seed, count):
    """Bodies of the schema, each broken once or more: in its bytes, its members, its depth, its numbers, its texts."""
    random = Random(seed)
    schema = Schema(random)
    stock = [schema.body() for _ in range(200)]
    for _ in range(count):
        body = bytearray(random.choice(stock))
        for _ in range(random.choice([1, 1, 1, 2, 5])):
            body = bytearray(random.choice(MUTATIONS)(random, body))
        yield bytes(body)


def _flip(random, body):
    for _ in range(random.choice([1, 1, 3, 20])):
        if body:
            body[random.randrange(len(body))] = random.randrange(256)
    return body


def _cut(random, body):
    start = random.randrange(len(body) + 1)
    return body[:start] if random.random() < 0.7 else body[start:]


def _repeat(random, body):
    start = random.randrange(len(body) + 1)
    end = min(len(body), start + random.randrange(1, 60))
    return body[:end] + body[start:end] * random.choice([1, 2, 50]) + body[end:]


def _inserted(*texts):
    def mutate(random, body):
        marks = [place for place, byte in enumerate(body) if byte in b":,[{"]
        place = random.choice(marks) + 1 if marks else 0
        return body[:place] + random.choice(texts) + body[place:]

    return mutate


def _member(random, body):
    name = random.choice([b"model", b"stream", b"store", b"input", b"tools", b"service_tier", b"\\u006dodel", b"x"])
    value = random.choice([b'"sim-ok"', b"true", b"null", b"[]", b"{}", b"1", b'"x"', b"[[[[]]]]"])
    return body.replace(b"{", b'{"' + name + b'":' + value + b",", 1)


def _deep(random, body):
    depth = random.choice([50, 199, 250, 5000])
    opening, closing = random.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return body.replace(b"{", b'{"deep":' + opening * depth + b"1" + closing * depth + b",", 1)


def _encoded(random, body):
    text = bytes(body).decode("utf-8", "replace")
    return text.encode(random.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1"]), "replace")


MUTATIONS = [
    _flip, _flip, _cut, _repeat, _member, _deep, _encoded,
    _inserted(b'"\\ud800"', b'"\\udc00\\ud800",', b'"\xed\xa0\x80",', b'"\\u0000",', b"\x00", b"\xff\xfe"),
    _inserted(b"1e999,", b"-1e-999,", b"9" * 500, b"9" * 5000, b"NaN,", b"Infinity,", b"-,", b"0x1,", b"1.,"),
    _inserted(b"null,", b"{},", b"[],", b'"",', b"[", b"}", b'"', b"\\", b"//", b"true"),
]  # fmt: skip
