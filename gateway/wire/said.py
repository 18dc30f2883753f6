"""How much a plain answer says, for an estimate where it reports no usage. Pure."""

from gateway.wire.objects import Object

# What streams bring in deltas, of output items and of chat completions.
SAID = {"text", "refusal", "arguments", "input", "code", "content", "reasoning", "reasoning_content"}


def said_bytes(answer: Object) -> int:
    """UTF-8 bytes of the texts, refusals, arguments and summaries of reasoning in a response or chat completion."""
    total = 0
    rest: list[object] = [answer.get("output"), answer.get("choices")]
    while rest:
        part = rest.pop()
        if isinstance(part, list):
            rest.extend(part)
        elif isinstance(part, dict):
            for name, value in part.items():
                if not isinstance(value, str):
                    rest.append(value)
                elif name in SAID:
                    total += len(value.encode("utf-8", "replace"))
    return total
