"""One response in the making: what the request asks, what has been said so far, and the object that shows both."""

import time
from typing import Any

from gateway.local.simulator.reported import Reported
from gateway.local.simulator.usages import ABSENT, Usage, true_usage

SNAPSHOTS = {
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "o3": "o3-2025-04-16",
    "o3-pro": "o3-pro-2025-06-10",
}
SERVED_TIERS = {"auto": "default", "fast": "priority"}
TOKENS_PER_SEARCH = 8_000


class Reply:
    """To be read are `read` tokens, `cached` of them cheaply. Said so far: `output` (finished items), `said` and
    `reasoned` (tokens), `searches`."""

    def __init__(self, body: dict[str, Any], reported: Reported, key: str) -> None:
        self.body = body
        self.reported = reported
        self.key = key
        self.id = reported.new_id()
        self.created_at = int(time.time())
        model = str(body["model"])
        self.model = reported.model or SNAPSHOTS.get(model, model)
        self.streamed = body.get("stream") is True
        self.obfuscated = (body.get("stream_options") or {}).get("include_obfuscation") is not False
        self.in_background = body.get("background") is True
        self.is_stored = body.get("store") is not False or self.in_background
        self.status = "queued" if self.in_background else "in_progress"
        self.read = 1
        self.cached = 0
        self.output: list[dict[str, Any]] = []
        self.said = 0
        self.reasoned = 0
        self.searches = 0
        self.cut_short = False

    def room(self) -> int:
        """Output tokens left under `max_output_tokens`."""
        limit = self.body.get("max_output_tokens")
        return 10**9 if limit is None else int(limit) - self.said - self.reasoned

    def true_usage(self) -> Usage:
        """What is said so far costs this: each search is one more turn, read again with what it found."""
        read = self.read + TOKENS_PER_SEARCH * self.searches
        return true_usage(read, self.said + self.reasoned, cached=min(self.cached, read), reasoning=self.reasoned)

    def reported_usage(self) -> object:
        return self.reported.usage(self.true_usage())

    def context_tokens(self) -> int:
        """What a response that continues this one has to read of it."""
        return int((self.reported.fixed or self.true_usage())["total_tokens"])

    def served_tier(self) -> str:
        asked = self.body.get("service_tier") or "auto"
        return self.reported.tier or SERVED_TIERS.get(asked, asked)

    def opening(self, status: str | None = None) -> dict[str, Any]:
        """The response object of the first events: nothing said, no usage, the tier that was asked."""
        return self._object(status or self.status)

    def ending(self, status: str, *, usage: object = None, error: dict[str, str] | None = None) -> dict[str, Any]:
        """The response object of a terminal event: what was said, the usage, the tier that served it."""
        ended = self._object(status)
        ended["error"] = error
        ended["incomplete_details"] = {"reason": "max_output_tokens"} if status == "incomplete" else None
        if status == "completed":
            ended["completed_at"] = int(time.time())
        if status != "failed":
            ended["output"] = self.output
            ended["service_tier"] = self.served_tier()
        ended["usage"] = usage
        ended["tool_usage"]["web_search"]["num_requests"] = self.searches
        if usage is ABSENT:
            del ended["usage"]
        return ended

    def _object(self, status: str) -> dict[str, Any]:
        asked = self.body
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": self.in_background,
            "billing": {"payer": "developer"},
            "completed_at": None,
            "error": None,
            "frequency_penalty": 0.0,
            "incomplete_details": None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "max_tool_calls": asked.get("max_tool_calls"),
            "model": self.model,
            "moderation": None,
            "output": [],
            "parallel_tool_calls": _or(asked, "parallel_tool_calls", True),
            "presence_penalty": 0.0,
            "previous_response_id": asked.get("previous_response_id"),
            "prompt_cache_key": asked.get("prompt_cache_key"),
            "prompt_cache_retention": asked.get("prompt_cache_retention"),
            "reasoning": {"effort": None, "summary": None, **(asked.get("reasoning") or {})},
            "safety_identifier": asked.get("safety_identifier"),
            "service_tier": asked.get("service_tier") or "auto",
            "store": _or(asked, "store", True),
            "temperature": _or(asked, "temperature", 1.0),
            "text": {"format": {"type": "text"}, "verbosity": "medium", **(asked.get("text") or {})},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tool_usage": _no_tool_usage(),
            "tools": [_echoed_tool(tool) for tool in asked.get("tools") or []],
            "top_logprobs": asked.get("top_logprobs") or 0,
            "top_p": _or(asked, "top_p", 1.0),
            "truncation": asked.get("truncation") or "disabled",
            "usage": None,
            "user": asked.get("user"),
            "metadata": asked.get("metadata") or {},
        }


def _or(asked: dict[str, Any], key: str, default: object) -> object:
    value = asked.get(key)
    return default if value is None else value


def _echoed_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Functions come back with their defaults filled in."""
    return {"description": None, "strict": True, **tool} if tool.get("type") == "function" else tool


def _no_tool_usage() -> dict[str, Any]:
    details = {"image_tokens": 0, "text_tokens": 0}
    return {
        "image_gen": {
            "input_tokens": 0,
            "input_tokens_details": details,
            "output_tokens": 0,
            "output_tokens_details": details,
            "total_tokens": 0,
        },
        "web_search": {"num_requests": 0},
    }
