"""docs/openapi.yaml says what the URLconf routes, and whom it allows."""

import re
from pathlib import Path

import pytest
import yaml
from django.urls import get_resolver
from drf_spectacular.validation import validate_schema

from gateway.upstream.lookup import RESPONSE_ID

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def described():
    return yaml.safe_load(DOCUMENT.read_text())


def operations(described):
    for path, item in described["paths"].items():
        yield from ((path, method, item[method], item) for method in METHODS if method in item)


def test_it_is_valid(described):
    validate_schema(described)


def test_it_describes_each_route_and_no_other_with_its_scope(described):
    routed = {
        (re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern)).removeprefix("v1"), method.lower(), view.scope.value)
        for pattern in get_resolver("gateway.v1_urls").url_patterns
        for method, view in pattern.callback.views.items()
    }
    assert {(path, method, *operation["tags"]) for path, method, operation, _ in operations(described)} == routed


def test_each_path_names_its_parameters_and_each_operation_is_for_keys_alone(described):
    shared = described["components"]["parameters"]
    assert described["security"] == [{"key": []}]
    for path, method, operation, item in operations(described):
        listed = [*item.get("parameters", []), *operation.get("parameters", [])]
        named = [shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in listed]
        assert {one["name"] for one in named if one["in"] == "path"} == set(re.findall(r"{(\w+)}", path)), path
        assert "security" not in operation, (path, method)
        assert "default" in operation["responses"]
    assert shared["response_id"]["schema"]["pattern"] == f"^{RESPONSE_ID.pattern}$"
