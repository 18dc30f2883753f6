"""Lists in pages, as OpenAI gives them: `limit`, `order` and `after` of a query, first_id, last_id and has_more."""

from typing import Any

from gateway.local.simulator import errors
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.request import Query

LARGEST_PAGE = 100
USUAL_PAGE = 20


def page(items: list[dict[str, Any]], query: Query) -> dict[str, Any]:
    """`items` oldest first; the newest come first unless `order` is `asc`. Refused."""
    limit, ordered = _limit(query), _ordered(items, query)
    after = query.one("after")
    if after is not None:
        ordered = ordered[_place_of(ordered, after) + 1 :]
    shown = ordered[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(ordered) > limit,
    }


def _limit(query: Query) -> int:
    given = query.one("limit")
    if given is None:
        return USUAL_PAGE
    try:
        limit = int(given)
    except ValueError:
        raise Refused(errors.wrong_type("limit", "an integer", "a string")) from None
    if limit < 1:
        raise Refused(errors.below_minimum("limit", 1, limit))
    if limit > LARGEST_PAGE:
        raise Refused(errors.above_maximum("limit", LARGEST_PAGE, limit))
    return limit


def _ordered(items: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    order = query.one("order") or "desc"
    if order not in ("asc", "desc"):
        raise Refused(errors.invalid_value("order", order, ["asc", "desc"]))
    return items if order == "asc" else items[::-1]


def _place_of(items: list[dict[str, Any]], item_id: str) -> int:
    place = next((number for number, item in enumerate(items) if item["id"] == item_id), None)
    if place is None:
        raise Refused(errors.unknown_item(item_id, param="after"))
    return place
