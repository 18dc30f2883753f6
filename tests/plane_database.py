"""A second database for the tests whose rows other processes read: what they commit is in no other test's way."""

import os
from contextlib import contextmanager

from django.core.management import call_command
from django.db import connection

NAME = f"tollgate_plane_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"


@contextmanager
def connected(blocker):
    """While it lasts, Django's connection is to this database and not blocked."""
    with blocker.unblock(), _connection_to(NAME):
        yield


@contextmanager
def made(blocker):
    """The database with all tables, for a whole run."""
    with blocker.unblock():
        _on_the_server(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)", f"CREATE DATABASE {NAME}")
        with _connection_to(NAME):
            call_command("migrate", verbosity=0)
    yield
    with blocker.unblock():
        _on_the_server(f"DROP DATABASE {NAME} WITH (FORCE)")


def url():
    """In the form that another process takes."""
    database = connection.settings_dict
    host = database.get("OPTIONS", {}).get("host") or database["HOST"]
    if host.startswith("/"):
        return f"postgres://{database['USER']}@/{NAME}?host={host}"
    login = f"{database['USER']}:{database['PASSWORD']}"
    return f"postgres://{login}@{host}:{database['PORT'] or 5432}/{NAME}"


@contextmanager
def _connection_to(name):
    usual = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = usual


def _on_the_server(*statements):
    with connection._nodb_cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
