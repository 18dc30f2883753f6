from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class GatewayConfig(AppConfig):
    name = "gateway"
    default_auto_field = "django.db.models.BigAutoField"


class AdminConfig(DjangoAdminConfig):
    """Django's admin with Tollgate's index."""

    default_site = "gateway.admin_site.TollgateAdminSite"
