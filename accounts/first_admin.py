"""The first person of an empty database."""

import os
import secrets
from pathlib import Path

from accounts.models import User

NAME = "admin"


def create_first_admin(password_file: Path) -> str | None:
    """Makes the superuser `admin` where nobody is, and keeps the password in a file of mode 0600; else None."""
    if User.objects.exists():
        return None
    password = secrets.token_urlsafe(12)
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{password}\n")
    User.objects.create_superuser(NAME, password=password)
    return password
