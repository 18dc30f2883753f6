#!/usr/bin/env python
"""Tollgate's command line: `manage.py demo`, `manage.py up`, and the commands for admins (README.md)."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
    execute_from_command_line(sys.argv)
