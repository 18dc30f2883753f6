#!/usr/bin/env python
"""Tollgate's command line: `manage.py demo`, `manage.py up`, and the commands for admins (README.md)."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # a sentence that says what to set
        sys.exit(str(error))
