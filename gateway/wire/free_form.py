"""The parts of a request's body in which tenants and their tools write what they like; all others are judged. Pure."""

from gateway.wire.places import LONGEST_KEY

ANY = None
# (what holds it, the field): the key under which its object, or the list that its object is in, stands.
FREE_FORM: set[tuple[str | None, str]] = {
    (ANY, "metadata"),
    (ANY, "client_metadata"),
    (ANY, "arguments"),
    ("format", "schema"),
    ("json_schema", "schema"),
    ("tools", "parameters"),
    ("function", "parameters"),
    ("tools", "output_schema"),
    ("tools", "input_schema"),  # of an MCP server's tool
    ("tools", "annotations"),  # likewise
    ("tools", "headers"),
    ("tool_choice", "tools"),
    ("prompt", "variables"),
    ("results", "attributes"),
    ("action", "env"),
}
FREE_FORM_ENDING = "_passthrough"
LISTED = {field for _, field in FREE_FORM}


def is_free_form(holder: str, key: str) -> bool:
    """`holder`: the key of the object, or of the list that it is in."""
    is_listed = key in LISTED and ((holder, key) in FREE_FORM or (ANY, key) in FREE_FORM)
    return is_listed or (key.endswith(FREE_FORM_ENDING) and len(key) <= LONGEST_KEY)
