"""GET /v1/models: a few are listed, and every name that would be answered can be shown."""

from typing import Any

from gateway.local.simulator import errors
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.scenarios import MODELS, UnknownModelError, scenario_of

CREATED = 1_744_316_542


async def list_models(exchange: Exchange, _: str) -> None:
    await exchange.show({"object": "list", "data": [_model(name) for name in MODELS]})


async def show_model(exchange: Exchange, name: str) -> None:
    try:
        scenario_of(name)
    except UnknownModelError as unknown:
        raise Refused(errors.unknown_model(name, str(unknown))) from None
    await exchange.show(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "openai"}
