"""`manage.py add_upstream`: a provider's account, and the models that are served there."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from django.db.models import Max

from gateway.management.admin_command import AdminCommand
from gateway.management.arguments import names
from gateway.management.table import details
from gateway.models import Model, Route, Upstream
from gateway.redaction import NO_SECRET, is_secret


class Command(AdminCommand):
    help = "Adds an upstream, and a model and a route to it for each name or pattern."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--name", required=True)
        parser.add_argument("--url", required=True, help="with the version, e.g. https://api.openai.com/v1")
        parser.add_argument(
            "--key", required=True, metavar="SECRET|-",
            help="the provider's key; - reads it from stdin, which keeps it out of process list and history",
        )  # fmt: skip
        parser.add_argument(
            "--models", type=names, default=[], metavar="'gpt-*'", help="names or patterns that are served there"
        )
        parser.add_argument("--allow-private", action="store_true", help="allow http and private addresses")

    def handle(self, *args: Any, **options: Any) -> None:
        secret = (sys.stdin.readline() if options["key"] == "-" else options["key"]).strip()
        if not secret:
            raise CommandError("The key is empty: give it as --key SECRET, or on stdin with --key -.")
        if not is_secret(secret):
            raise CommandError(NO_SECRET)
        if Upstream.objects.filter(name=options["name"]).exists():
            raise CommandError(f"There is an upstream {options['name']!r} already: choose another --name.")
        upstream = Upstream(name=options["name"], base_url=options["url"], allow_private=options["allow_private"])
        upstream.seal_key(secret)
        with transaction.atomic():
            upstream.full_clean()
            upstream.save()
            for name in options["models"]:
                _add_route(name, upstream)
        payload = {"id": upstream.id, "name": upstream.name, "url": upstream.base_url, "models": options["models"]}
        models = ", ".join(options["models"]) or "none yet: add models and routes in the admin"
        rows = [("id", upstream.id), ("url", upstream.base_url), ("models", models)]
        self.answer(payload, f"Added the upstream {upstream.name!r}:\n{details(rows)}")


def _add_route(name: str, upstream: Upstream) -> None:
    """The model of that name, new or not, is served at `upstream` too, after the upstreams that it has."""
    model = Model.objects.filter(name=name).first()
    if model is None:
        model = Model(name=name)
        model.full_clean()
        model.save()
    last = model.routes.aggregate(last=Max("position"))["last"]
    Route.objects.create(model=model, upstream=upstream, position=0 if last is None else last + 1)
