"""What an upstream reports for a request: an honest model of one, which shares nothing with gateway/wire.

It reads the parsed body. Its tokens are at worst a byte each; images follow the published rules with the sizes they
really have; files have pages; framing and hidden instructions cost tokens; each call of a tool that runs upstream makes
the model read more, in `GREEDY` of the requests more than anybody expects.
"""

import json
import math
from dataclasses import dataclass, field

GREEDY = 0.006  # of the requests with tools of the upstream
EXPECTED_TOOL_INPUT = 32_000
SERVED = {"auto": "default", "default": "default", "flex": "flex", "priority": "priority", "fast": "priority"}


@dataclass
class Used:
    """What the upstream reports. `counted`: what it would have said before, by its count of the input."""

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    counted: int
    served_tier: str
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def simulated_model(self):
        """The simulator's name that reports this."""
        searches = self.calls.get("web_search_call", 0)
        said = f"search-{searches}." if searches else ""
        return f"sim-{said}usage-{self.input}-{self.cached}-{self.cache_write}-{self.output}-{self.reasoning}"


class UpstreamModel:
    """Reads a body and says what it took. Nothing here is shared with gateway/wire."""

    def __init__(self, request):
        self.request = request
        self.random = request.random
        self.bytes_per_token = self.random.choice([1.0, 1.0, 1.3, 2.0, 4.0])
        self.tokens = 3
        self.grown = 0  # what at an address became larger after the count

    def used(self, most_output, tool_calls):
        asked, random = self.request.fields, self.random
        self.read_request(asked)
        window = self.request.context_window
        total = self.tokens + self.grown
        if total > window and asked.get("truncation") != "auto":
            return Used(0, 0, 0, 0, 0, min(self.tokens, window), "default")  # refused
        total = min(total, window)
        calls, reread = self.tool_calls(asked, tool_calls)
        read = total + reread
        most = asked.get("max_output_tokens") or most_output
        output = most if random.random() < 0.5 else random.randint(0, most)
        cached = random.randint(0, read) if random.random() < 0.3 else 0
        written = random.randint(0, read - cached) if random.random() < 0.3 else 0
        reasoning = random.randint(0, output)
        served = SERVED.get(asked.get("service_tier") or "auto")
        counted = min(self.tokens, window)
        return Used(read, cached, written, output, reasoning, counted, random.choice([served, "default"]), calls)

    def read_request(self, asked):
        self.read(asked.get("instructions"))
        if asked.get("instructions"):
            self.tokens += 4
        given = asked["input"]
        for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
            self.tokens += 5  # start, role, separator, end
            self.read_item(item)
        for tool in asked.get("tools", ()):
            self.read_tool(tool)
        schema = asked.get("text", {}).get("format", {}).get("schema")
        if schema is not None:
            self.tokens += 20
            self.read(json.dumps(schema, ensure_ascii=False, separators=(",", ":")))

    def read(self, text):
        """Tokens of a text: of an adversary's a byte each."""
        self.tokens += math.ceil(len((text or "").encode()) / self.bytes_per_token)

    def read_item(self, item):
        if item.get("type") == "image_generation_call":
            self.tokens += self.picture(self.request.sizes[item["result"]], "auto")
            return
        self.read(item.get("name"))
        self.read(item.get("arguments"))
        for content in (item.get("content"), item.get("output")):
            for part in content if isinstance(content, list) else [{"type": "input_text", "text": content}]:
                self.read_part(part)

    def read_part(self, part):
        if part["type"] == "input_text":
            self.read(part["text"])
        elif part["type"] == "input_image":
            url, detail = part["image_url"], part.get("detail", "auto")
            self.tokens += self.picture(self.request.sizes[url], detail)
            if url.startswith("https:") and self.random.random() < 0.3:  # swapped after the count
                self.grown += self.picture((6000, 8000), detail) - self.picture(self.request.sizes[url], detail)
        else:
            where = part.get("file_data") or part["file_url"]
            for _ in range(self.request.pages[where]):
                self.tokens += self.random.randint(0, 1500) + self.picture((1224, 1584), "high")
            self.grown += self.random.randint(0, 5000) if "file_url" in part else 0

    def read_tool(self, tool):
        if tool["type"] == "namespace":
            self.tokens += 10
            self.read(tool["description"])
            for inside in tool["tools"]:
                self.read_tool(inside)
        elif tool["type"] == "function":
            self.tokens += 12
            self.read(tool["name"] + json.dumps(tool.get("parameters"), ensure_ascii=False, separators=(",", ":")))
        else:
            self.tokens += self.random.randint(50, 2000)  # instructions that the body does not show
            if tool["type"] == "mcp":
                self.grown += self.random.randint(0, 30_000)  # its list of tools

    def tool_calls(self, asked, most):
        tools = [tool for tool in asked.get("tools", ()) if _runs_upstream(tool)]
        stated = asked.get("max_tool_calls")
        most = most if stated is None else stated
        if not tools or not most:
            return {}, 0
        is_greedy = self.random.random() < GREEDY
        calls, read = {}, 0
        for _ in range(self.random.randint(1, most)):
            kind = self.random.choice(tools)["type"].removesuffix("_preview") + "_call"
            calls[kind] = calls.get(kind, 0) + 1
            read += min(EXPECTED_TOOL_INPUT, int(self.random.lognormvariate(9, 0.7)))
            read += 2 * self.request.context_window if is_greedy else 0
        return calls, read

    def picture(self, size, detail):
        """The published formulas, for the sizes that images really have."""
        model = self.request.model
        if model in {"gpt-4o-mini", "o3", "gpt-4.1"}:
            base, tile = {"gpt-4o-mini": (2833, 5667), "o3": (75, 150), "gpt-4.1": (85, 170)}[model]
            return base if detail == "low" else base + tile * tiles(*size)
        multiplier, high, original = {
            "gpt-4.1-nano": (2.46, 1536, 1536), "gpt-5-mini": (1.62, 1536, 1536), "gpt-5.2": (1.2, 1536, 1536),
            "gpt-5.4": (1.2, 2500, 10_000), "gpt-5.5": (1.2, 2500, 10_000), "gpt-5.6-sol": (1.2, 2500, math.inf),
            "llama-vision": (2.0, math.inf, math.inf),
        }[model]  # fmt: skip
        if detail == "low":
            return math.ceil(256 * multiplier)
        return math.ceil(patches(*size, original if detail in {"original", "auto"} else high) * multiplier)


def _runs_upstream(tool):
    return tool["type"] not in {"function", "namespace", "apply_patch", "local_shell"} and (
        tool.get("environment", {}).get("type") != "local"
    )


def tiles(width, height):
    """Fitted into 2048 x 2048, then the shorter side to 768; 512 px squares."""
    scale = min(1, 2048 / max(width, height))
    width, height = width * scale, height * scale
    scale = min(1, 768 / min(width, height))
    return math.ceil(int(width * scale) / 512 or 1) * math.ceil(int(height * scale) / 512 or 1)


def patches(width, height, budget):
    """32 px squares; a picture that needs more than the budget is shrunk until it does not."""
    needed = math.ceil(width / 32) * math.ceil(height / 32)
    if needed <= budget:
        return needed
    shrink = math.sqrt(budget * 32**2 / (width * height))
    across, down = width * shrink / 32, height * shrink / 32
    shrink *= min(math.floor(across) / across or 1, math.floor(down) / down or 1)
    return min(budget, math.ceil(width * shrink / 32) * math.ceil(height * shrink / 32))
