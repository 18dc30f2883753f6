"""Values on a command line, for argparse's `type`: what they refuse is shown beside the option's name."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from billing.pricing import pico_per_token


def moment(text: str) -> datetime:
    """An ISO 8601 date or time, in UTC. Without a zone it is UTC, a date is its first moment."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no ISO date or time, e.g. 2027-01-31 or 2027-01-31T12:00:00Z") from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def names(text: str) -> list[str]:
    """Names or patterns between commas, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def price(text: str) -> int:
    """USD per million tokens, exactly, as pico-USD per token."""
    try:
        return pico_per_token(Decimal(text))
    except InvalidOperation:
        raise ArgumentTypeError(f"{text!r} is no number of USD per million tokens, e.g. 1.25") from None
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
