"""The app: it imports the `jobs` modules of the project, and the system checks."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class DjangoDelayedConfig(AppConfig):
    """Background jobs in the application's own database."""

    name = "django_delayed"
    verbose_name = _("Delayed jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Only now: these import models.
        from . import checks, enqueueing  # noqa: F401
        from .execution import inline

        enqueueing.inline = inline
        autodiscover_modules("jobs")
