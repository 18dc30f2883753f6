"""Which upstream a request goes to."""

from uuid import UUID

from gateway.catalog import ModelFacts, RouteFacts


class NoRoute(Exception):
    """The model is served by no usable upstream: staff must add a route or enable one."""


def first_usable(model: ModelFacts, upstream_id: UUID | None = None) -> RouteFacts:
    """The route to that upstream, where the model has one; else its first. One attempt is all that is made."""
    if not model.routes:
        raise NoRoute(model.name)
    there = (route for route in model.routes if route.upstream.id == upstream_id)
    return next(there, model.routes[0])
