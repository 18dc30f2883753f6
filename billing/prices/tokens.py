"""What a request used, in tokens. Pure."""

from msgspec import Struct

MOST_TOKENS = 10**9  # of a kind in one request: with the dearest price (pricing.py) the cost still fits 64 bits


class AbsurdUsage(ValueError):
    """Reported usage that cannot be true: it is never billed as it stands."""


class TokenUsage(Struct, frozen=True, gc=False):
    """Tokens of one request. Cached and cache-write tokens are inside `input`, reasoning inside `output`."""

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        kinds = (self.input, self.cached, self.cache_write, self.output, self.reasoning)
        if min(kinds) < 0:
            raise AbsurdUsage(f"negative tokens: {self}")
        if max(kinds) > MOST_TOKENS:
            raise AbsurdUsage(f"more tokens than there are: {self}")

    @property
    def uncached(self) -> int:
        """Input at the full price; never below zero, whatever an upstream says of its parts."""
        return max(0, self.input - self.cached - self.cache_write)

    @property
    def total(self) -> int:
        return self.input + self.output
