"""Requests as clients make them, by a seed, each with what an upstream reports for it (upstream_model.py)."""

import base64
import json
import struct
from dataclasses import dataclass
from random import Random

from tests.gateway.upstream_model import UpstreamModel

MODELS = {  # name at the upstream -> context window, most output
    "gpt-4o-mini": (128_000, 16_384), "gpt-4.1": (1_047_576, 32_768), "gpt-4.1-nano": (1_047_576, 32_768),
    "o3": (200_000, 100_000), "gpt-5-mini": (400_000, 128_000), "gpt-5.2": (400_000, 128_000),
    "gpt-5.4": (1_050_000, 128_000), "gpt-5.5": (1_050_000, 128_000), "gpt-5.6-sol": (1_050_000, 128_000),
    "llama-vision": (128_000, 8_192),
}  # fmt: skip
TIERS = ["auto", "default", "flex", "priority", "fast", None]
WORDS = [
    "the quick brown fox", "def f(x):\n\treturn x", '{"a": [1, 2]}', "你好，世界", "漢字仮名交じり文",
    "\U0001f469\u200d\U0001f467\U0001f3f3\ufe0f\u200d\U0001f308", "naïve Zoë", "\u200b\u0301", "zzxqj", "   ",
    "<|im_start|>", '\\n"quoted"', "مرحبا", "\U0001d518",
]  # fmt: skip
UPSTREAM_TOOLS = [
    {"type": "web_search"}, {"type": "web_search_preview", "search_context_size": "high"},
    {"type": "file_search", "vector_store_ids": ["vs_1"]}, {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "image_generation"}, {"type": "shell", "environment": {"type": "container_auto"}},
    {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp", "require_approval": "never"},
]  # fmt: skip
CLIENT_TOOLS = [{"type": "apply_patch"}, {"type": "local_shell"}, {"type": "shell", "environment": {"type": "local"}}]


@dataclass
class Made:
    """A request. `model` is the upstream's name for it, whatever the body says."""

    model: str
    context_window: int
    model_cap: int
    fields: dict
    asks_upstream_tools: bool
    sizes: dict  # of images by their URL, result or file
    pages: dict  # of files by their content
    random: Random

    @property
    def body(self):
        return json.dumps(self.fields, ensure_ascii=self.sizes.get("escaped", False)).encode()

    def used(self, *, most_output=None, tool_calls=8):
        """Where the body states no limits, these are in force: what was injected, or else the model's cap."""
        return UpstreamModel(self).used(most_output or self.model_cap, tool_calls)


def made(seed, *, upstream_tools=None):
    """The request of a seed, with tools that run upstream or without; by default one in five has some."""
    random = Random(seed)
    maker = _Maker(random, random.random() < 0.2 if upstream_tools is None else upstream_tools)
    return maker.made()


class _Maker:
    def __init__(self, random, upstream_tools):
        self.random = random
        self.upstream_tools = upstream_tools
        self.sizes = {"escaped": random.random() < 0.3}
        self.pages = {}

    def made(self):
        random = self.random
        model = random.choice(list(MODELS))
        fields = {"model": model, "input": self.input(), "stream": random.random() < 0.5}
        if random.random() < 0.5:
            fields["instructions"] = self.text(600)
        if random.random() < 0.4:
            fields["max_output_tokens"] = random.choice([16, 100, 512, 4096, 60_000, None])
        if random.random() < 0.5:
            fields["service_tier"] = random.choice(TIERS)
        if random.random() < 0.2:
            fields["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": self.schema(2)}}
        if random.random() < 0.2:
            fields["truncation"] = random.choice(["auto", "disabled"])
        tools = [self.function() for _ in range(random.choice([0, 0, 1, 3, 12]))]
        tools += random.sample(CLIENT_TOOLS, random.choice([0, 0, 0, 1]))
        if self.upstream_tools:
            tools += random.sample(UPSTREAM_TOOLS, random.choice([1, 1, 2, 3]))
        if self.upstream_tools and random.random() < 0.5:
            fields["max_tool_calls"] = random.choice([0, 1, 2, 5, 20, None])
        if tools:
            random.shuffle(tools)
            fields["tools"] = tools
        return Made(model, *MODELS[model], fields, self.upstream_tools, self.sizes, self.pages, random)

    def text(self, most):
        """Of one kind or of all, up to so many words."""
        words = [self.random.choice(WORDS)] if self.random.random() < 0.5 else WORDS
        return " ".join(self.random.choices(words, k=int(most ** self.random.random())))

    def schema(self, depth):
        names = self.random.sample(["city", "unit", "größe", "名前", "x", "items"], self.random.randint(1, 4))
        leaf = {"type": "string", "description": self.text(30)}
        return {
            "type": "object",
            "properties": {name: self.schema(depth - 1) if depth and name == "x" else leaf for name in names},
            "required": names,
            "additionalProperties": False,
        }

    def function(self):
        function = {"type": "function", "name": f"f{self.random.randint(0, 99)}", "parameters": self.schema(1)}
        if self.random.random() < 0.1:
            return {"type": "namespace", "name": "n", "description": self.text(10), "tools": [function, function]}
        return {"type": "function", "name": "f"} if self.random.random() < 0.1 else function

    def input(self):
        random = self.random
        if random.random() < 0.3:
            return self.text(3000)
        return [item for _ in range(random.choice([1, 1, 2, 5, 20])) for item in self.items()]

    def items(self):
        random, kind = self.random, self.random.random()
        if kind < 0.5:
            return [{"role": random.choice(["user", "developer", "assistant"]), "content": self.text(400)}]
        if kind < 0.75:
            parts = [self.part() for _ in range(random.choice([1, 2, 3]))]
            return [{"type": "message", "id": "msg_1", "role": "user", "content": parts}]
        if kind < 0.95:
            call = {"call_id": "c", "id": "fc_1"}
            output = self.text(300) if random.random() < 0.7 else [self.part()]
            return [
                {"type": "function_call", "name": "f1", "arguments": json.dumps({"q": self.text(20)}), **call},
                {"type": "function_call_output", "output": output, "call_id": "c"},
            ]
        picture = self.picture()
        result = picture.partition(",")[2]
        self.sizes[result] = self.sizes[picture]
        return [{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result}]

    def part(self):
        random, kind = self.random, self.random.random()
        if kind < 0.6:
            return {"type": "input_text", "text": self.text(400)}
        if kind < 0.95:
            where = self.picture() if random.random() < 0.7 else self.address()
            part = {"type": "input_image", "image_url": where}
            if random.random() < 0.5:
                part["detail"] = random.choice(["low", "high", "auto", "original"])
            return part
        content = "data:application/pdf;base64," + base64.b64encode(random.randbytes(300)).decode()
        key = random.choice(["file_data", "file_url"])
        value = content if key == "file_data" else f"https://example.com/{random.getrandbits(40)}.pdf"
        self.pages[value] = random.choice([1, 3, 40])
        return {"type": "input_file", "filename": "a.pdf", key: value}

    def address(self):
        url = f"https://example.com/{self.random.getrandbits(40)}.png"
        self.sizes[url] = self.size()
        return url

    def size(self):
        longest = int(2 ** self.random.uniform(0, 13))
        return self.random.choice([(longest, longest), (longest, 1 + longest // 3), (1 + longest // 20, longest)])

    def picture(self):
        size, random = self.size(), self.random
        kind, write = random.choice([("png", png), ("jpeg", jpeg), ("webp", webp), ("gif", gif)])
        content = write(*size, random) + random.randbytes(int(2 ** random.uniform(4, 12)))
        url = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        self.sizes[url] = size
        return url


def png(width, height, random):
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


def jpeg(width, height, random):
    exif = random.randbytes(random.choice([6, 60, 5000]))
    segments = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + b"\xff\xdb\0\x04ab"
    return b"\xff\xd8" + segments + b"\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + b"\3" + bytes(9)


def webp(width, height, random):
    extended = b"VP8X\x0a\0\0\0\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    lossless = b"VP8L\x20\0\0\0\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    lossy = b"VP8 \x20\0\0\0abc\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF\xff\0\0\0WEBP" + random.choice([extended, lossless, lossy]) + bytes(20)


def gif(width, height, random):
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"
