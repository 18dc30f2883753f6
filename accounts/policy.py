"""What the requests of a project may ask for beside a model. Pure; docs/policy.md has the reasons of the defaults."""

from dataclasses import dataclass

SERVICE_TIERS = {
    "auto": "auto: whatever the upstream's account has as its own",
    "default": "default",
    "flex": "flex: slower, half the price",
    "priority": "priority: about twice the price",
    "fast": "fast: priority by another name",
    "ultrafast": "ultrafast: about six times the price",
    "scale": "scale: prepaid at the upstream",
}
# Tools that run upstream. Those that run at the client, functions among them, are its own affair.
TOOLS = {
    "web_search": "web_search",
    "file_search": "file_search",
    "code_interpreter": "code_interpreter: runs code in a container upstream",
    "shell": "shell: runs commands in a container upstream",
    "tool_search": "tool_search",
    "image_generation": "image_generation: its tokens are not in an answer's usage",
    "mcp": "mcp by server_url: the upstream sends data to any server that a request names",
    "connector": "mcp by connector_id: the upstream opens an account with a token that a request brings",
    "other": "any other, also those that do not exist yet",
}
DEFAULT_SERVICE_TIERS = ("auto", "default", "flex")
DEFAULT_TOOLS = ("web_search", "file_search", "code_interpreter", "shell", "tool_search")


@dataclass(frozen=True, slots=True)
class Policy:
    """`urls`: images and files at an address, which the upstream fetches. `store`: answers kept upstream."""

    service_tiers: frozenset[str] = frozenset(DEFAULT_SERVICE_TIERS)
    tools: frozenset[str] = frozenset(DEFAULT_TOOLS)
    store: bool = True
    urls: bool = True


DEFAULT = Policy()
