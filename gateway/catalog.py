"""Which models there are, what they cost and which upstream serves them: read at once, looked up per request. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from accounts.patterns import matches_any, most_specific
from billing.prices.estimation import UNKNOWN, Ratio
from billing.prices.price_list import ListedPrice, PriceList
from gateway.addresses import Origin

MOST_REMEMBERED = 4096


class UnknownModel(Exception):
    """No model of that name is served."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


class ModelNotAllowed(UnknownModel):
    """The key may not use that model."""


class NotServedOnEndpoint(UnknownModel):
    """The model is served, but not on this endpoint."""

    def __init__(self, model: str, endpoints: tuple[str, ...]) -> None:
        super().__init__(model)
        self.endpoints = endpoints


@dataclass(frozen=True, slots=True)
class UpstreamFacts:
    """An upstream that may be called. `sealed_key` opens with the context of its id; None = it needs none.

    `organization_id`: whose it is alone; None = it is shared between tenants. `namespaces_cache_keys`: a tenant's
    prompt_cache_key is told apart from other tenants' there.
    """

    id: UUID
    name: str
    base_url: str
    origin: Origin
    sealed_key: bytes | None
    organization_id: UUID | None = None
    namespaces_cache_keys: bool = False

    def serves(self, organization_id: UUID | None) -> bool:
        return self.organization_id in {None, organization_id}


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """`upstream_model` is the model's name there, empty for the same."""

    upstream: UpstreamFacts
    upstream_model: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A name or pattern, the endpoints it is served on, and its usable routes in their order."""

    name: str
    endpoints: tuple[str, ...]
    context_window: int
    max_output_tokens: int
    routes: tuple[RouteFacts, ...]


@dataclass(slots=True)
class Catalog:
    """All models and prices of one revision."""

    models: dict[str, ModelFacts]
    prices: PriceList
    upstreams: dict[UUID, UpstreamFacts] = field(default_factory=dict)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    _remembered: dict[str, ModelFacts | None] = field(default_factory=dict)
    _seen_by: dict[UUID | None, "Catalog"] = field(default_factory=dict)
    _dedicated: set[UUID | None] = field(init=False)  # the organizations that have upstreams of their own

    def __post_init__(self) -> None:
        self._dedicated = {upstream.organization_id for upstream in self.upstreams.values()} - {None}

    def seen_by(self, organization_id: UUID) -> "Catalog":
        """The same without what is another organization's alone: for this one it does not exist."""
        viewer = organization_id if organization_id in self._dedicated else None
        if viewer not in self._seen_by:
            self._seen_by[viewer] = self._without_others(viewer) if self._dedicated else self
        return self._seen_by[viewer]

    def _without_others(self, organization_id: UUID | None) -> "Catalog":
        upstreams = {key: one for key, one in self.upstreams.items() if one.serves(organization_id)}
        models = {}
        for name, model in self.models.items():
            routes = tuple(route for route in model.routes if route.upstream.id in upstreams)
            if routes or not model.routes:
                models[name] = replace(model, routes=routes)
        return Catalog(models, self.prices, upstreams, self.ratios)

    def model_for(self, name: str, *, endpoint: str, allowed: Iterable[str]) -> ModelFacts:
        """The model that serves `name`; raises the refusal that fits where a key with `allowed` patterns may not."""
        model = self.serving(name)
        if model is None:
            raise UnknownModel(name)
        if not is_allowed(name, allowed):
            raise ModelNotAllowed(name)
        if endpoint not in model.endpoints:
            raise NotServedOnEndpoint(name, model.endpoints)
        return model

    def price_of(self, name: str, at: datetime) -> ListedPrice | None:
        return self.prices.price_of(name, at)

    def ratio_of(self, name: str) -> Ratio:
        """By what an answer of that model is estimated."""
        return self.ratios.get(name, UNKNOWN)

    def serving(self, name: str) -> ModelFacts | None:
        """The model that says most about `name`; None where none fits."""
        if name not in self._remembered:
            pattern = most_specific(self.models, name)
            if len(self._remembered) >= MOST_REMEMBERED:  # names come from outside
                self._remembered.clear()
            self._remembered[name] = self.models[pattern] if pattern is not None else None
        return self._remembered[name]


def is_allowed(name: str, allowed: Iterable[str]) -> bool:
    """Whether a key's list of patterns lets it use `name`; an empty list allows everything."""
    patterns = tuple(allowed)
    return not patterns or matches_any(patterns, name)
