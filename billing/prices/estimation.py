"""What a request used where nobody said: unbiased guesses, never the bound. Pure."""

from dataclasses import dataclass

from billing.prices.tokens import MOST_TOKENS, TokenUsage


@dataclass(frozen=True, slots=True)
class Ratio:
    """What a model's own reported streams add up to (billing/books/ratios.py); until there are some, 4 bytes are a
    token, and so is a delta.
    """

    request_bytes: int = 4
    input_tokens: int = 1
    delta_events: int = 1
    output_tokens: int = 1

    def usage(self, *, request_bytes: int, delta_events: int, most: int = MOST_TOKENS) -> TokenUsage:
        """Input by the size of the body, output by the deltas seen, both rounded up; in all at `most` so many."""
        tokens = min(most, -(-request_bytes * self.input_tokens // self.request_bytes))
        return TokenUsage(
            input=tokens, output=min(most - tokens, -(-delta_events * self.output_tokens // self.delta_events))
        )


UNKNOWN = Ratio()
