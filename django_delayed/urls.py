"""The addresses for users of the project: `path("jobs/", include("django_delayed.urls"))`."""

from __future__ import annotations

from django.urls import path

from .features.progress.pages import progress_page, progress_url

__all__ = ["app_name", "progress_url", "urlpatterns"]

app_name = "django_delayed"
urlpatterns = [path("progress/<str:token>/", progress_page, name="progress")]
