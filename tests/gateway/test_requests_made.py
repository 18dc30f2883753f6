"""The made requests, and that the simulator reports for them what the model of an upstream says."""

import httpx

from gateway.local.simulator import Simulator
from gateway.wire.request import with_model
from tests.gateway.requests_made import made


def test_a_seed_is_a_request():
    assert made(7).body == made(7).body != made(8).body
    assert made(7).used() == made(7).used()


async def test_the_simulator_reports_what_the_model_of_an_upstream_says():
    async with Simulator() as simulator, httpx.AsyncClient(base_url=simulator.url) as client:
        client.headers["authorization"] = "Bearer sk"
        for seed in range(40):
            request = made(seed, upstream_tools=seed % 2 == 0)
            request.fields["stream"] = False
            used = request.used()
            answer = await client.post("/responses", content=with_model(request.body, used.simulated_model))
            usage, tools = answer.json()["usage"], answer.json()["tool_usage"]
            assert (usage["input_tokens"], usage["output_tokens"]) == (used.input, used.output)
            assert usage["input_tokens_details"]["cached_tokens"] == used.cached
            assert tools["web_search"]["num_requests"] == used.calls.get("web_search_call", 0)
