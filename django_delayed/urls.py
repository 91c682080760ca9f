"""The addresses for users of the project: `path("jobs/", include("django_delayed.urls"))`.

Those for monitoring are separate: `path("jobs/", include(metrics_urls))`.
"""

from __future__ import annotations

from django.urls import path

from .features.metrics.pages import metrics, metrics_json
from .features.progress.pages import progress_page, progress_url

__all__ = ["app_name", "metrics_urls", "progress_url", "urlpatterns"]

app_name = "django_delayed"
urlpatterns = [path("progress/<str:token>/", progress_page, name="progress")]
metrics_urls = (
    [path("metrics", metrics, name="metrics"), path("metrics.json", metrics_json, name="json")],
    "django_delayed_metrics",
)
