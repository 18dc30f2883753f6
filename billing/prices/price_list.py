"""Which price a model has at a time. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.patterns import matches, specificity
from billing.prices.pricing import PriceSheet


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """A price and from when on the models that match `model` have it."""

    id: UUID
    model: str
    effective_from: datetime
    sheet: PriceSheet


MOST_REMEMBERED = 4096


class PriceList:
    """All prices. The most specific pattern that has a price at the time decides, and its newest price then."""

    def __init__(self, prices: Iterable[ListedPrice]) -> None:
        self._of_pattern: dict[str, list[ListedPrice]] = {}
        self._of_id: dict[UUID, ListedPrice] = {}
        for price in sorted(prices, key=lambda price: price.effective_from, reverse=True):
            self._of_pattern.setdefault(price.model, []).append(price)
            self._of_id[price.id] = price
        self._of_model: dict[str, list[list[ListedPrice]]] = {}

    def sheet(self, price_id: UUID | None) -> PriceSheet | None:
        """The price that a request was held at, whatever the model costs by now."""
        price = self._of_id.get(price_id) if price_id else None
        return price.sheet if price else None

    def price_of(self, model: str, at: datetime) -> ListedPrice | None:
        """None where the model is unpriced at that time."""
        effective = (price for prices in self._fitting(model) for price in prices if price.effective_from <= at)
        return next(effective, None)

    def _fitting(self, model: str) -> list[list[ListedPrice]]:
        """The prices of each pattern that the name matches, the most specific pattern first."""
        if model not in self._of_model:
            if len(self._of_model) >= MOST_REMEMBERED:  # names come from outside
                self._of_model.clear()
            patterns = (pattern for pattern in self._of_pattern if matches(pattern, model))
            sorted_patterns = sorted(patterns, key=specificity, reverse=True)
            self._of_model[model] = [self._of_pattern[pattern] for pattern in sorted_patterns]
        return self._of_model[model]
