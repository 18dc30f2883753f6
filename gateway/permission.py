"""Whether a project lets its requests ask for this. Pure; what may be allowed is in accounts/policy.py."""

from collections.abc import Iterator, Mapping

from accounts.authentication import KeyFacts
from accounts.policy import TOOLS, Policy
from gateway.wire.fetched import fetched_in
from gateway.wire.objects import Object
from gateway.wire.places import Trail, param_of
from gateway.wire.references import MCP_LISTING
from gateway.wire.request import CreateRequest, InvalidRequest
from gateway.wire.survey import Survey, Tools

AT_THE_CLIENT = {"function", "custom", "namespace", "local_shell", "apply_patch", "computer", "computer_use_preview"}
# What an MCP tool opens, and what that is called in policies; it says one of them.
SERVERS = {"server_url": "mcp", "tunnel_id": "mcp", "connector_id": "connector"}
MULTI_AGENT = "responses_multi_agent"


def permit(asked: CreateRequest, found: Survey, key: KeyFacts) -> Mapping[str, object]:
    """The fields that must be set in its body, where that was `found`; InvalidRequest, naming the parameter, where it
    may not ask for that.
    """
    policy = key.policy
    if asked.service_tier is not None and asked.service_tier not in policy.service_tiers:
        allowed = ", ".join(sorted(policy.service_tiers)) or "none"
        message = f"Invalid service_tier argument: {asked.service_tier[:50]!r} is not allowed in project"
        raise InvalidRequest(f"{message} {key.project!r}. Allowed: {allowed}.", param="service_tier")
    if asked.multi_agent is not None and key.hard_metrics:
        raise _refusal("multi_agent", "without a bound in money, several agents under a hard quota are", key)
    for place, kind in _kinds_of(found):
        if kind not in policy.tools:
            raise _refusal(param_of(place), "this tool is", key)
    if asked.prompt is not None and not (policy.urls and policy.tools >= TOOLS.keys()):
        raise _refusal(
            "prompt", "where not all tools and addresses are, stored prompts, which may bring them, are", key
        )
    if not policy.urls and (fetched := next(fetched_in(found.body), None)) is not None:
        raise _refusal(fetched, "images and files by URL are", key)
    return _kept_out_of_store(asked, policy, key)


def betas(header: str, key: KeyFacts) -> str:
    """The `OpenAI-Beta` header as it may go upstream: without several agents where `permit` refuses them."""
    if not key.hard_metrics or MULTI_AGENT not in header.lower():
        return header
    return ",".join(beta for beta in header.split(",") if MULTI_AGENT not in beta.lower())


def _refusal(param: str, what: str, key: KeyFacts) -> InvalidRequest:
    message = f"Invalid value for '{param}': {what} not allowed in project {key.project!r}."
    return InvalidRequest(f"{message} Ask the gateway's administrators.", param=param, code="invalid_value")


def _kept_out_of_store(asked: CreateRequest, policy: Policy, key: KeyFacts) -> Mapping[str, object]:
    if policy.store or asked.store is False:
        return {}
    if asked.store:
        raise _refusal("store", "stored answers are", key)
    asked.store = False  # the API stores what does not say so
    return {"store": False}


def _kinds_of(found: Survey) -> Iterator[tuple[Trail, str]]:
    """Place and kind, as policies name it, of each tool that runs upstream, wherever it stands."""
    for tools in found.tools:
        if not _is_listing(tools):
            yield from _kinds_in(tools)


def _is_listing(tools: Tools) -> bool:
    """Of an answer that is sent back; elsewhere than as an item nobody knows what calls itself so."""
    item, _ = tools.trail
    return tools.holder.get("type") == MCP_LISTING and item is not None and item[0] == (None, "input")


def _kinds_in(tools: Tools) -> Iterator[tuple[Trail, str]]:
    stated = tools.holder["tools"]
    if not isinstance(stated, list):
        raise _no(tools.trail, "an array of objects")
    for index, tool in enumerate(stated):
        place = (tools.trail, index)
        if not isinstance(tool, dict):
            raise _no(place, "an object")
        if tool.get("type") == "mcp":
            yield _server_of(tool, place)
        elif (kind := _kind_of(tool)) is not None:
            yield (place, "type"), kind


def _no(place: Trail, expected: str) -> InvalidRequest:
    param = param_of(place)
    return InvalidRequest(f"Invalid type for '{param}': expected {expected}.", param=param, code="invalid_type")


def _server_of(tool: Object, place: Trail) -> tuple[Trail, str]:
    """Of an MCP tool. InvalidRequest where upstreams might differ in what it opens."""
    said = [name for name in SERVERS if tool.get(name) is not None] or ["server_url"]
    stated = (place, said[-1])
    if len(said) > 1:
        param = param_of(stated)
        names = " and ".join(repr(name) for name in said)
        message = f"Invalid value for '{param}': {names} may not be set together."
        raise InvalidRequest(message, param=param, code="invalid_value")
    if not isinstance(tool.get(said[0], ""), str | None):
        raise _no(stated, "a string")
    return stated, SERVERS[said[0]]


def _kind_of(tool: Object) -> str | None:
    """Its kind; None where it runs at the client."""
    kind = tool.get("type")
    if not isinstance(kind, str):
        return "other"
    if kind in AT_THE_CLIENT or (kind == "tool_search" and tool.get("execution") == "client"):
        return None
    if kind == "shell":
        environment = tool.get("environment")
        is_local = isinstance(environment, dict) and environment.get("type") == "local"
        return None if is_local else "shell"
    family = "web_search" if kind.startswith("web_search") else kind
    return family if family in UPSTREAM_KINDS else "other"


UPSTREAM_KINDS = {"web_search", "file_search", "code_interpreter", "tool_search", "image_generation"}
