"""How much output a request may have that states no limit, under a hard quota: the request is clamped, never the hold.

Pure. The client's own limit is never changed, however small.
"""

from billing.prices.pricing import PICO_PER_NANO
from gateway.wire.bound import Bound
from gateway.wire.request import MOST_OUTPUT_TOKENS

PROJECT_DEFAULT = 16_384
LEAST_INJECTED = 256  # an answer that is cut off sooner is of no use to anyone, unless the model never writes more


class TooLittleLeft(Exception):
    """What would be injected is less than an answer needs. `tokens`: what it would have been."""

    def __init__(self, tokens: int) -> None:
        super().__init__(f"{tokens} output tokens are less than the {LEAST_INJECTED} that an answer needs")
        self.tokens = tokens


def clamped(
    bound: Bound, *, model_cap: int, left_tokens: int | None = None, project_default: int = PROJECT_DEFAULT
) -> int | None:
    """The `max_output_tokens` to inject, None where the client stated one; TooLittleLeft where it would be under 256.

    The least of the project's default, the model's cap (0: none is known) and half of the output tokens that are left
    (None: that is not known yet).
    """
    if bound.output_tokens is not None:
        return None
    limits = [project_default]
    if model_cap:
        limits.append(model_cap)
    if left_tokens is not None:
        limits.append(left_tokens // 2)
    tokens = max(0, min(limits))
    if tokens < min(LEAST_INJECTED, model_cap or LEAST_INJECTED):
        raise TooLittleLeft(tokens)
    return tokens


def affordable_output(left_nano: int, fixed_nano: int, output_pico: int) -> int:
    """Output tokens that fit into what is left: nano-USD, beside what is `fixed` for input and tools; pico a token."""
    if fixed_nano > left_nano:
        return 0
    pico = (left_nano - fixed_nano) * PICO_PER_NANO
    return min(pico // output_pico, MOST_OUTPUT_TOKENS) if output_pico else MOST_OUTPUT_TOKENS
