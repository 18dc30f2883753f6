"""What these tests ask of the simulator, and how they read its answers."""

import contextlib
import json
import ssl

import httpx
from openai import AsyncOpenAI

TLS = ssl.create_default_context()  # unused, and dear to make anew for every client
KEY = "sk-upstream-secret-0123456789"
CHINESE = "你好啊 world"
ECHO = f"You said: {CHINESE}"
ECHO_TOKENS = ["You", " said", ":", " ", "你", "好", "啊", " world"]


def asking(model, stream=False, **more):
    return {"model": model, "input": CHINESE, "stream": stream, **more}


def events_in(body):
    """What a reader that follows the SSE standard makes of the bytes: (event line, data) pairs."""
    text = body.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    frames = [frame for frame in text.split("\n\n") if frame.strip()]
    read = []
    for frame in frames:
        lines = [line for line in frame.strip("\n").split("\n") if not line.startswith(":")]
        names = [line[6:].strip() for line in lines if line.startswith("event:")]
        data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
        if data:
            read.append((names[0] if names else None, data))
    return read


async def stream(client, model, **more):
    answer = await client.post("/responses", json=asking(model, stream=True) | more)
    assert answer.status_code == 200, answer.text
    return [json.loads(data) for _, data in events_in(answer.content) if data != "[DONE]"]


def said(events):
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def leave_after(simulator, client, model, number_of_events, name):
    async with client.stream(
        "POST", "/responses", json=asking(model, stream=True), headers={"x-client-request-id": name}
    ) as answer:
        seen = 0
        async for line in answer.aiter_lines():
            seen += line.startswith("data:")
            if seen == number_of_events:
                break
    return await simulator.log.wait_for(lambda entry: entry["kind"] == "ended" and entry["client_request_id"] == name)


@contextlib.asynccontextmanager
async def account(simulator, key):
    """The official SDK with a key of its own: another account."""
    http = httpx.AsyncClient(verify=TLS)
    async with AsyncOpenAI(base_url=simulator.url, api_key=key, max_retries=0, http_client=http) as openai:
        yield openai
