"""What a body must have before a model is asked. Each check raises Refused with OpenAI's refusal."""

from typing import Any

from gateway.local.simulator import errors
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.kinds import check_kinds

Body = dict[str, Any]

SMALLEST_OUTPUT_LIMIT = 16
READ = ("input", "prompt", "previous_response_id", "conversation")
COUNTED_FIELDS = {
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "personality",
    "truncation", "previous_response_id", "conversation",
}  # fmt: skip


def check_create(body: Body) -> None:
    check_compact(body)
    limit, temperature = body.get("max_output_tokens"), body.get("temperature")
    if isinstance(limit, int) and limit < SMALLEST_OUTPUT_LIMIT:
        raise Refused(errors.below_minimum("max_output_tokens", SMALLEST_OUTPUT_LIMIT, limit))
    if isinstance(temperature, int | float) and temperature < 0:
        raise Refused(errors.below_minimum("temperature", 0, temperature, "decimal"))


def check_count(body: Body) -> None:
    unknown = next((name for name in body if name not in COUNTED_FIELDS), None)
    if unknown is not None:
        raise Refused(errors.unknown_parameter(unknown))
    check_compact(body)


def check_compact(body: Body) -> None:
    """A model, and something that it can read."""
    if not isinstance(body.get("model"), str):
        raise Refused(errors.missing_parameter("model"))
    if not any(body.get(name) for name in READ):
        raise Refused(errors.missing_parameter("input"))
    check_kinds(body)
