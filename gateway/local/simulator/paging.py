"""Which part a query asks for: pages of a list, as OpenAI gives them, and a stream from one event on."""

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


def starting_after(query: Query) -> int:
    """The sequence number after which a stream begins: -1 for the whole of it. Refused."""
    return _number(query, "starting_after", -1, smallest=0)


def _limit(query: Query) -> int:
    limit = _number(query, "limit", USUAL_PAGE, smallest=1)
    if limit > LARGEST_PAGE:
        raise Refused(errors.above_maximum("limit", LARGEST_PAGE, limit))
    return limit


def _number(query: Query, name: str, usual: int, *, smallest: int) -> int:
    given = query.one(name)
    if given is None:
        return usual
    try:
        number = int(given)
    except ValueError:
        raise Refused(errors.wrong_type(name, "an integer", "a string")) from None
    if number < smallest:
        raise Refused(errors.below_minimum(name, smallest, number))
    return number


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
