"""Price lists with all that a price may have, and what an upstream may make of a request at each: the dearest too."""

import json
from itertools import product
from uuid import UUID

from billing.prices.pricing import PriceSheet, TokenPrice, cost
from billing.prices.tokens import TokenUsage
from gateway.upstream.outcome import settled
from gateway.wire.tap import read_answer

DOLLAR = 1_000_000  # pico-USD a token
CALL = 1_000_000_000  # pico-USD a call at 1 USD per thousand
# What a request may be served as that asked for a tier; any other one as anything, by the settings of its project.
MAY_BE_SERVED = {
    "default": ["default", ""], "flex": ["flex", "default"], "priority": ["priority", "default"],
    "fast": ["fast", "priority", "default"],
}  # fmt: skip


def price(*usd, reasoning=None):
    """Of input, cached input, cache write and output, in USD per million tokens."""
    return TokenPrice(*(round(each * DOLLAR) for each in usd), reasoning and round(reasoning * DOLLAR))


TOOLS = {
    "web_search": 10 * CALL, "file_search": 2_500_000_000, "image_generation": 40 * CALL, "mcp": CALL,
    "container": 30 * CALL, "container_16g": 480 * CALL,
}  # fmt: skip
SHEETS = [
    PriceSheet.of(
        price(2.5, 0.25, 2.5, 15),
        [
            ("default", 272_000, price(5, 0.5, 5, 22.5)), ("priority", 0, price(5, 0.5, 5, 30)),
            ("flex", 0, price(1.25, 0.125, 1.25, 7.5)), ("flex", 272_000, price(2.5, 0.25, 2.5, 11.25)),
        ],
        TOOLS,
    ),
    PriceSheet.of(  # reasoning is dearer, the priority tier has long requests of its own
        price(1.25, 0.125, 1.5625, 10, reasoning=12),
        [
            ("flex", 0, price(0.625, 0.0625, 0.78125, 5, reasoning=6)),
            ("priority", 0, price(2.5, 0.25, 3.125, 20, reasoning=24)),
            ("priority", 128_000, price(4, 0.4, 5, 30, reasoning=40)),
            ("ultrafast", 0, price(7.5, 0.75, 9, 60, reasoning=45)),
        ],
        TOOLS,
    ),
    PriceSheet.of(  # as nobody would: what is cheap elsewhere is dear here, and long requests are cheaper
        price(1, 3, 0.5, 2, reasoning=1),
        [
            ("default", 1_000, price(2, 0.1, 4, 3)), ("default", 50_000, price(0.7, 0.7, 0.7, 1)),
            ("flex", 0, price(9, 0, 0, 0.000001, reasoning=9)), ("priority", 300, price(0.1, 0.2, 0.3, 50)),
        ],
        {**TOOLS, "code_interpreter": CALL, "shell": 3 * CALL},
    ),
    PriceSheet(price(0.1, 0.1, 0.1, 0.3)),
]  # fmt: skip


def sheet_of(seed):
    return SHEETS[seed % len(SHEETS)]


def answer(request, used, served_tier):
    """The response object in which an upstream says what it `used` for a request; all code ran in new containers."""
    items = [{"type": kind} for kind, calls in used.calls.items() for _ in range(calls)]
    for number, item in enumerate(items):
        if item["type"] == "code_interpreter_call":
            item["container_id"] = f"cntr_{number}"
        elif item["type"] == "shell_call":
            item["environment"] = {"type": "container_reference", "container_id": f"cntr_{number}"}
    return {
        "id": "resp_1", "status": "completed", "model": request.model, "service_tier": served_tier, "output": items,
        "tools": request.fields.get("tools", []),
        "tool_usage": {"web_search": {"num_requests": used.calls.get("web_search_call", 0)}},
        "usage": {
            "input_tokens": used.input, "output_tokens": used.output,
            "input_tokens_details": {"cached_tokens": used.cached, "cache_write_tokens": used.cache_write},
            "output_tokens_details": {"reasoning_tokens": used.reasoning},
        },
    }  # fmt: skip


def bill(request, used, served_tier, sheet):
    """The settlement of such an answer, as the gateway reads and prices it."""
    reading = read_answer(json.dumps(answer(request, used, served_tier)).encode())
    return settled(UUID(int=0), reading, "reported", sheet)


def dearest_cost(used, calls, asked_tier, sheet):
    """Nano-USD of the dearest bill for that many tokens and calls: by any tier and split that there may be."""
    tiers = MAY_BE_SERVED.get(asked_tier, {"default", *sheet.tiers})
    reads = ((0, 0), (used.input, 0), (0, used.input))  # cached, written to the cache
    return max(
        cost(sheet.lines(tokens, service_tier=tier, tool_calls=calls))
        for tier, (cached, written), reasoning in product(tiers, reads, (0, used.output))
        for tokens in [TokenUsage(used.input, cached, written, used.output, reasoning)]
    )
