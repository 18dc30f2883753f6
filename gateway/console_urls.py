"""The console's pages, under /console/."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from billing import views

app_name = "console"
urlpatterns = [
    path("", views.today, name="today"),
    path(
        "login",
        LoginView.as_view(template_name="console/login.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("logout", LogoutView.as_view(), name="logout"),
]
