"""The first request to make with a key, as a line for the shell."""

import json
import shlex

from django import template
from django.conf import settings

from accounts.models import APIKey
from accounts.patterns import matches_any
from gateway.models import Model

USUAL_MODEL = "gpt-4.1"

register = template.Library()


@register.simple_tag
def first_request(key: APIKey | None = None, secret: str = "") -> str:
    """A curl line for `POST /v1/responses`: with the secret, or with $TOLLGATE_KEY where it is not at hand."""
    bearer = f"'Authorization: Bearer {secret}'" if secret else '"Authorization: Bearer $TOLLGATE_KEY"'
    body = json.dumps({"model": model_for(key.allowed_models if key else []), "input": "Say hello."})
    return (
        f"curl {shlex.quote(settings.PUBLIC_URL + '/v1/responses')} \\\n"
        f"  -H {bearer} \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )


def model_for(allowed: list[str]) -> str:
    """A model that is served and that a key with these patterns (none: every) may use, as well as can be told."""
    routed = Model.objects.filter(disabled_at=None, routes__isnull=False, routes__upstream__disabled_at=None)
    served = list(routed.values_list("name", flat=True))
    names = [name for name in (USUAL_MODEL, *served, *allowed) if "*" not in name]
    for name in names:
        if matches_any(served, name) and (not allowed or matches_any(allowed, name)):
            return name
    return USUAL_MODEL
