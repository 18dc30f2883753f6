import httpx
import pytest_asyncio
from openai import AsyncOpenAI

from gateway.local.simulator import Simulator
from tests.gateway.local.simulator.asking import KEY, TLS, account


@pytest_asyncio.fixture
async def simulator():
    async with Simulator(key=KEY) as running:
        yield running


@pytest_asyncio.fixture
async def client(simulator):
    async with httpx.AsyncClient(
        verify=TLS, base_url=simulator.url, headers={"authorization": f"Bearer {KEY}"}
    ) as http:
        yield http


@pytest_asyncio.fixture
async def sdk(simulator):
    http = httpx.AsyncClient(verify=TLS)
    async with AsyncOpenAI(base_url=simulator.url, api_key=KEY, max_retries=0, http_client=http) as openai:
        yield openai


@pytest_asyncio.fixture
async def accounts():
    """Two accounts of one upstream that takes any key."""
    async with Simulator() as simulator, account(simulator, "sk-one") as one, account(simulator, "sk-two") as two:
        yield one, two
