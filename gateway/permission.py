"""Whether a project lets its requests ask for this. Pure; what may be allowed is in accounts/policy.py."""

from collections.abc import Iterator, Mapping
from typing import Any

from accounts.authentication import KeyFacts
from accounts.policy import Policy
from gateway.wire.objects import Object
from gateway.wire.request import CreateRequest, InvalidRequest

AT_THE_CLIENT = {"function", "custom", "namespace", "local_shell", "apply_patch", "computer", "computer_use_preview"}
PARTS = ("content", "output", "outputs")
MULTI_AGENT = "responses_multi_agent"


def permit(asked: CreateRequest, key: KeyFacts) -> Mapping[str, object]:
    """The fields that must be set in its body; InvalidRequest, naming the parameter, where it may not ask for that."""
    policy = key.policy
    if asked.service_tier is not None and asked.service_tier not in policy.service_tiers:
        allowed = ", ".join(sorted(policy.service_tiers)) or "none"
        message = f"Invalid service_tier argument: {asked.service_tier[:50]!r} is not allowed in project"
        raise InvalidRequest(f"{message} {key.project!r}. Allowed: {allowed}.", param="service_tier")
    if asked.multi_agent is not None and key.hard_metrics:
        raise _refusal("multi_agent", "without a bound in money, several agents under a hard quota are", key)
    for param, kind in _tools_of(asked):
        if kind not in policy.tools:
            raise _refusal(param, "this tool is", key)
    if not policy.urls and (place := next(_urls_of(asked.input), None)) is not None:
        raise _refusal(place, "images and files by URL are", key)
    return _kept_out_of_store(asked, policy, key)


def betas(header: str, key: KeyFacts) -> str:
    """The `OpenAI-Beta` header as it may go upstream: without several agents where `permit` refuses them."""
    if not key.hard_metrics or MULTI_AGENT not in header:
        return header
    return ",".join(beta for beta in header.split(",") if MULTI_AGENT not in beta)


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


def _tools_of(asked: CreateRequest) -> Iterator[tuple[str, str]]:
    """Parameter and kind, as policies name it, of each tool that runs upstream."""
    yield from _tools_in(asked.tools, "tools")
    for index, item in enumerate(asked.input if isinstance(asked.input, list) else ()):
        if isinstance(item, dict) and "tools" in item:
            yield from _tools_in(item["tools"], f"input[{index}].tools")


def _tools_in(tools: object, place: str) -> Iterator[tuple[str, str]]:
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict):
            name, kind = _kind_of(tool)
            if kind is not None:
                yield f"{place}[{index}].{name}", kind
            if "tools" in tool:  # those of a namespace
                yield from _tools_in(tool["tools"], f"{place}[{index}].tools")


def _kind_of(tool: Object) -> tuple[str, str | None]:
    """The field that says what it is, and its kind; None where it runs at the client."""
    kind = tool.get("type")
    if not isinstance(kind, str):
        return "type", "other"
    if kind == "mcp":
        return ("connector_id", "connector") if tool.get("connector_id") is not None else ("server_url", "mcp")
    if kind in AT_THE_CLIENT or (kind == "tool_search" and tool.get("execution") == "client"):
        return "type", None
    if kind == "shell":
        environment = tool.get("environment")
        is_local = isinstance(environment, dict) and environment.get("type") == "local"
        return "type", None if is_local else "shell"
    family = "web_search" if kind.startswith("web_search") else kind
    return "type", family if family in UPSTREAM_KINDS else "other"


UPSTREAM_KINDS = {"web_search", "file_search", "code_interpreter", "tool_search", "image_generation"}


def _urls_of(items: object) -> Iterator[str]:
    """Parameters of images and files that stand at an address."""
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if not isinstance(item, dict):
            continue
        yield from _urls_in(item, f"input[{index}]")
        for field in PARTS:
            parts = item.get(field)
            if isinstance(parts, dict):
                yield from _urls_in(parts, f"input[{index}].{field}")
            for number, part in enumerate(parts if isinstance(parts, list) else ()):
                if isinstance(part, dict):
                    yield from _urls_in(part, f"input[{index}].{field}[{number}]")


def _urls_in(part: dict[str, Any], place: str) -> Iterator[str]:
    for field in ("image_url", "file_url"):
        value = part.get(field)
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(url, str) and not url.lstrip().lower().startswith("data:"):
            yield f"{place}.{field}"
