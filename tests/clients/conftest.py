"""A gateway and a simulator for the whole folder; every test may point its client at either."""

import uuid
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.sdk import Place, client_of, done


def pytest_collection_modifyitems(items):
    """One Python is enough for what other people's clients do."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


@pytest.fixture(params=["simulator", "gateway"])
def place(request):
    """The simulator is an upstream to each client too: what it answers directly, the gateway must pass on."""
    if request.param == "simulator":
        return Place("simulator", request.getfixturevalue("upstream").url, f"sk-{uuid.uuid4().hex}")
    acme = request.getfixturevalue("acme")
    return Place("gateway", acme.url, acme.secret)


@pytest_asyncio.fixture(params=["sync", "async"])
async def sdk(request, place):
    client = client_of(request.param, place)
    yield client
    await done(client.close())


@pytest.fixture(params=["v1", "beta"])
def responses(request, sdk):
    """`client.responses` and its beta twin."""
    return sdk.responses if request.param == "v1" else sdk.beta.responses
