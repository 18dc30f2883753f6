"""The Celery application. Tasks live in each app's tasks.py."""

import os

from celery import Celery
from django.conf import settings

from billing import faults

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")

app = Celery("tollgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
faults.arm(settings.FAULTS)
