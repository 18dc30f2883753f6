"""The cost of a day's hours as a picture: pure arithmetic, drawn by the template as SVG."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

HEIGHT = 100


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour: heights from 0 to HEIGHT, of today's cost and of the same hour a day before. Money is nano-USD."""

    number: int
    cost_nano_usd: int
    requests: int
    height: int
    cost_before_nano_usd: int
    height_before: int

    @property
    def top(self) -> int:
        return HEIGHT - self.height

    @property
    def top_before(self) -> int:
        return HEIGHT - self.height_before


def of_day(midnight: datetime, rows: Iterable[Mapping[str, Any]]) -> list[Hour]:
    """24 hours from the rows of `reports.usage(by=[Group.HOUR])`; the highest of both days fills the height."""
    by_hour = {datetime.fromisoformat(row["hour"]): row for row in rows}
    tallest = max((row["cost_nano_usd"] for row in by_hour.values()), default=0)

    def height(cost: int) -> int:
        return max(1, round(HEIGHT * cost / tallest)) if cost else 0

    hours = []
    for number in range(24):
        hour = midnight.astimezone(UTC) + timedelta(hours=number)
        now, before = by_hour.get(hour, {}), by_hour.get(hour - timedelta(days=1), {})
        cost, cost_before = now.get("cost_nano_usd", 0), before.get("cost_nano_usd", 0)
        hours.append(Hour(number, cost, now.get("requests", 0), height(cost), cost_before, height(cost_before)))
    return hours
