"""Django's admin under Tollgate's name."""

from django.contrib.admin import AdminSite


class TollgateAdminSite(AdminSite):
    site_header = "Tollgate"
    site_title = "Tollgate"
    index_title = "Administration"
