"""Which upstream a request goes to."""

from gateway.catalog import ModelFacts, RouteFacts


class NoRoute(Exception):
    """The model is served by no usable upstream: staff must add a route or enable one."""


def first_usable(model: ModelFacts) -> RouteFacts:
    """The first of the model's usable routes; one attempt is all that is made."""
    if not model.routes:
        raise NoRoute(model.name)
    return model.routes[0]
