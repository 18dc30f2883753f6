import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.local.simulator.scenarios import DIRECTIVES
from gateway.local.simulator.usages import SHAPES
from tests.gateway.local.simulator.asking import KEY, TLS, asking

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]

ROOT = Path(__file__).parents[4]


def start_command(*arguments):
    process = subprocess.Popen(
        [sys.executable, "manage.py", "simulate_upstream", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    return process, re.search(r"http://\S+/v1", process.stdout.readline())[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_serves_until_it_is_told_to_stop(number):
    process, url = start_command("--port", "0", "--key", KEY)
    with process:
        try:
            async with httpx.AsyncClient(verify=TLS, base_url=url) as http:
                assert (await http.get("/models", headers={"authorization": "Bearer other"})).status_code == 401
                assert (await http.get("/models", headers={"authorization": f"Bearer {KEY}"})).status_code == 200
        finally:
            process.send_signal(number)
        assert process.wait(10) == 0


async def test_the_log_survives_a_kill(tmp_path):
    process, url = start_command("--log", str(tmp_path / "log"))
    with process:
        async with httpx.AsyncClient(verify=TLS, base_url=url, headers={"authorization": "Bearer any"}) as http:
            await http.post("/responses", json=asking("gpt-4.1"))
            async with http.stream("POST", "/responses", json=asking("sim-hold", stream=True)) as answer:
                await anext(answer.aiter_raw())
                process.kill()
                process.wait(10)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["kind"], line["number"]) for line in lines] == [("arrived", 1), ("ended", 1), ("arrived", 2)]


async def test_the_page_explains_every_scenario():
    page = (ROOT / "docs" / "simulator.md").read_text()
    explained = set(re.findall(r"^\| `([a-z]+)", page, re.MULTILINE))
    assert set(DIRECTIVES) <= explained
    assert all(f"`{shape}`" in page for shape in SHAPES)
