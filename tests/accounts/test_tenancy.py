"""What was used stays whose it was."""

import pytest
from django.db import IntegrityError, transaction

from accounts.models import APIKey, Organization, Project
from tests.accounts.rows import issued_key


def test_no_project_and_no_key_goes_to_others(db):
    key, _ = issued_key("acme")
    globex = Organization.objects.create(name="globex")
    for move in (
        lambda: Project.objects.update(organization=globex),
        lambda: APIKey.objects.update(project=Project.objects.create(organization=globex, name="website")),
    ):
        with pytest.raises(IntegrityError, match="stays where it was made"), transaction.atomic():
            move()
    Project.objects.update(organization=key.project.organization, name="renamed")
