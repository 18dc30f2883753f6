"""The reconciler: silent over books that balance, and names each of the faults that are planted in them."""

import pytest
from django.core.management import call_command
from django.db import connection

from billing.reconcile import reconcile
from tests import plane_database
from tests.billing import balanced

NAME = f"{plane_database.NAME}_books"


@pytest.fixture(scope="module")
def books(django_test_environment, django_db_blocker):
    """The name of a database with balanced books, to be copied."""
    with django_db_blocker.unblock(), balanced.database(NAME):
        call_command("migrate", verbosity=0)
        balanced.make_books()
        connection.close()
        yield NAME


@pytest.fixture
def copy(books, django_db_blocker):
    """A connection to a copy of the books; Django's is to the same."""
    with django_db_blocker.unblock(), balanced.database(f"{books}_copy", books), balanced.connect() as copy:
        yield copy


def breaches(checks):
    return {check.name: [str(breach) for breach in check.breaches] for check in checks if not check.ok}


def test_books_that_balance_have_no_breach_and_every_check_had_something_to_look_at(copy):
    checks = reconcile()
    assert breaches(checks) == {}
    assert min((check.checked, check.name) for check in checks) >= (10, "")
