"""What a project does not allow is refused by its name, over a socket; what it allows is not touched."""

import json

import pytest

from accounts.models import Project
from tests.gateway.test_refusals import assert_envelope
from tests.quotas import set_quota
from tests.tenants import Tenant, until

GOOD = {"model": "sim-ok", "input": "hi"}
PICTURE = "data:image/png;base64,AAAA"
FUNCTION, DRAWING = {"type": "function", "name": "f"}, {"type": "image_generation"}


@pytest.fixture
def plain(gateway, committed):
    """A tenant whose project is as the admin makes it."""
    tenant = Tenant.make("plain", gateway.url)
    fresh = Project(organization=tenant.organization)
    allow(tenant, **{name: getattr(fresh, name) for name in ("allowed_service_tiers", "allowed_tools")})
    return tenant


def allow(tenant, **fields):
    Project.objects.filter(pk=tenant.project.pk).update(**fields)


def picture(url, **fields):
    return {
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": url, **fields}],
            }
        ]
    }


REFUSED = [
    ({"service_tier": "priority"}, "service_tier"), ({"service_tier": "fast"}, "service_tier"),
    ({"service_tier": "ultrafast"}, "service_tier"), ({"service_tier": "scale"}, "service_tier"),
    ({"service_tier": "Default"}, "service_tier"), ({"service_tier": ""}, "service_tier"),
    ({"tools": [FUNCTION, {"type": "web_search"}, DRAWING]}, "tools[2].type"),
    ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://example.com"}]}, "tools[0].server_url"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].server_url"),
    ({"tools": [{"type": "mcp", "tunnel_id": "x"}]}, "tools[0].tunnel_id"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"tools": [{"type": "web_search"}, {"type": "not_yet_invented"}]}, "tools[1].type"),
    ({"tools": [{"name": "f"}]}, "tools[0].type"), ({"tools": [{"type": 7}]}, "tools[0].type"),
    ({"tools": [{"type": "namespace", "tools": [FUNCTION, DRAWING]}]}, "tools[0].tools[1].type"),
    ({"input": [{"role": "user"}, {"type": "additional_tools", "tools": [DRAWING]}]}, "input[1].tools[0].type"),
    ({"input": [{"role": "user", "content": [{"tools": [DRAWING]}]}]}, "input[0].content[0].tools[0].type"),
    ({"input": [{"role": "user", "x": {"type": "mcp_list_tools", "tools": [DRAWING]}}]}, "input[0].x.tools[0].type"),
    ({"type": "mcp_list_tools", "tools": [DRAWING]}, "tools[0].type"),
    ({"multi_agent": {"agents": [{"tools": [DRAWING]}]}}, "multi_agent.agents[0].tools[0].type"),
]  # fmt: skip
PASSING = [
    {"service_tier": "auto"}, {"service_tier": "default"}, {"service_tier": "flex"}, {"service_tier": None},
    {"tools": [{"type": "web_search"}, {"type": "web_search_preview_2025_03_11"}, {"type": "function", "name": "f"}]},
    {"tools": [{"type": "custom"}, {"type": "namespace", "tools": [{"type": "function"}]}, {"type": "apply_patch"}]},
    {"tools": [{"type": "shell", "environment": {"type": "local"}}, {"type": "tool_search", "execution": "client"}]},
    {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}, {"type": "shell"}]},
    {"input": [{"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "x", "tools": [{"name": "f"}]}]},
    {"tools": []}, {"tools": None}, {"store": True}, {"store": False}, picture("https://example.com/a.png"),
    picture(PICTURE),
]  # fmt: skip


def test_a_new_project_refuses_what_is_dear_or_reaches_out(plain, upstream):
    for fields, param in REFUSED:
        response = until(lambda fields=fields: (found := plain.post({**GOOD, **fields})).status_code == 400 and found)
        code = None if param == "service_tier" else "invalid_value"
        message = assert_envelope(response, 400, code=code, param=param)
        assert "'website'" in message
        assert upstream.lines_of(response.headers["x-request-id"]) == []
    assert "Allowed: auto, default, flex." in plain.post({**GOOD, "service_tier": "fast"}).json()["error"]["message"]
    assert plain.records() == []


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tools": {"0": DRAWING}}, "invalid_type", "tools"), ({"tools": [[DRAWING]]}, "invalid_type", "tools[0]"),
        ({"tools": ["x"]}, "invalid_type", "tools[0]"), ({"tools": "x"}, "invalid_type", "tools"),
        ({"input": {"type": "additional_tools", "tools": [DRAWING]}}, "invalid_type", "input"),
        ({"input": [[{"type": "input_image"}]]}, "invalid_type", "input[0]"),
        ({"Tools": [DRAWING]}, "unknown_parameter", "Tools"),
        ({"maxOutputTokens": None}, "unknown_parameter", "maxOutputTokens"),
    ],
)  # fmt: skip
def test_what_readers_may_understand_differently_is_refused(acme, upstream, fields, code, param):
    response = acme.post({**GOOD, **fields})
    assert_envelope(response, 400, code=code, param=param)
    assert upstream.lines_of(response.headers["x-request-id"]) == []


def test_a_new_project_allows_what_clients_do(plain, upstream):
    for fields in PASSING:
        response = plain.post({**GOOD, **fields})
        assert response.status_code == 200, (fields, response.text)
        sent = json.dumps({**GOOD, **fields}, separators=(",", ":"), ensure_ascii=False)
        assert upstream.arrived(response.headers["x-request-id"])["body_bytes"] == len(sent.encode())


def test_what_is_allowed_by_name_passes_and_no_more(acme):
    allow(acme, allowed_service_tiers=["priority"], allowed_tools=["mcp", "other"])
    until(lambda: acme.post({**GOOD, "service_tier": "flex"}).status_code == 400)
    assert acme.post({**GOOD, "service_tier": "priority"}).status_code == 200
    assert acme.ask("sim-ok").status_code == 200
    for tool, status, param in [
        ({"type": "mcp", "server_label": "x", "server_url": "https://example.com"}, 200, None),
        ({"type": "mcp", "server_label": "x", "connector_id": "connector_gmail"}, 400, "tools[0].connector_id"),
        ({"type": "not_yet_invented"}, 200, None), ({"type": "web_search"}, 400, "tools[0].type"),
        ({"type": "mcp", "server_url": "https://a", "connector_id": None}, 200, None),
        ({"type": "mcp", "server_url": "https://a", "connector_id": []}, 400, "tools[0].connector_id"),
        ({"type": "mcp", "server_url": "https://a", "connector_id": "x"}, 400, "tools[0].connector_id"),
        ({"type": "mcp", "server_url": "https://a", "tunnel_id": ""}, 400, "tools[0].tunnel_id"),
        ({"type": "mcp", "server_url": ["https://a"]}, 400, "tools[0].server_url"),
        ({"type": "mcp", "connector_id": 0}, 400, "tools[0].connector_id"),
    ]:  # fmt: skip
        response = acme.post({**GOOD, "tools": [tool]})
        assert response.status_code == status, (tool, response.text)
        assert param is None or response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (picture("https://example.com/a.png"), "input[0].content[1].image_url"),
        (picture({"url": "HTTPS://example.com/a.png"}), "input[0].content[1].image_url.url"),
        ({"tools": [{**DRAWING, "input_image_mask": {"image_url": "a"}}]}, "tools[0].input_image_mask.image_url"),
        ({"prompt": {"id": "p", "variables": {"x": {"type": "input_image", "image_url": "http://a"}}}}, "prompt"),
        (picture("file:///etc/passwd"), "input[0].content[1].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "http://10.0.0.1/"}]}]},
         "input[0].content[0].file_url"),
        ({"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "http://a"}}]},
         "input[0].output.image_url"),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": "http://a"}]}]},
         "input[0].output[0].image_url"),
    ],
)  # fmt: skip
def test_addresses_are_refused_where_the_project_says_so(acme, fields, param):
    allow(acme, allows_urls=False)
    response = until(lambda: (found := acme.post({**GOOD, **fields})).status_code == 400 and found)
    assert_envelope(response, 400, code="invalid_value", param=param)
    assert acme.post({**GOOD, **picture(PICTURE)}).status_code == 200


def test_nothing_is_stored_where_the_project_says_so(acme, upstream):
    allow(acme, allows_store=False)
    response = until(lambda: (found := acme.post({**GOOD, "store": True})).status_code == 400 and found)
    assert_envelope(response, 400, code="invalid_value", param="store")
    for fields, said in [({}, b'{"store":false,'), ({"store": None}, b""), ({"store": False}, b"")]:
        response = acme.post({**GOOD, **fields})
        assert response.status_code == 200
        assert response.json()["store"] is False
        body = json.dumps({**GOOD, "store": False}, separators=(",", ":"))
        assert upstream.arrived(response.headers["x-request-id"])["body_bytes"] == len(body), said


def test_several_agents_pass_only_where_no_hard_quota_bounds_them(acme, upstream):
    beta = {"headers": {"OpenAI-Beta": "responses_multi_agent=v1, other=v2"}}
    body = {**GOOD, "multi_agent": {"enabled": True}}
    response = acme.post(body, **beta)
    assert response.status_code == 200
    sent = upstream.arrived(response.headers["x-request-id"])["headers"]
    assert sent["openai-beta"] == "responses_multi_agent=v1, other=v2"
    set_quota("cost", 10**12, organization=acme.organization)
    response = until(lambda: (found := acme.post(body, **beta)).status_code == 400 and found)
    assert_envelope(response, 400, code="invalid_value", param="multi_agent")
    response = acme.post(GOOD, **beta)
    assert response.status_code == 200
    assert upstream.arrived(response.headers["x-request-id"])["headers"]["openai-beta"].strip() == "other=v2"
    response = acme.post(GOOD, headers={"OpenAI-Beta": "Responses_Multi_Agent=v1"})
    assert "openai-beta" not in upstream.arrived(response.headers["x-request-id"])["headers"]
