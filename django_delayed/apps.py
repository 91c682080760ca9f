"""The app: it imports the `jobs` modules of the project, the system checks, and the backend of TASKS."""

import logging
from contextlib import suppress

from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class DjangoDelayedConfig(AppConfig):
    """Background jobs in the application's own database."""

    name = "django_delayed"
    verbose_name = _("Delayed jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Only now: these import models.
        from . import checks  # noqa: F401
        from .enqueueing import writing
        from .execution import inline

        writing.inline = inline
        # Settings that import this package, for cron() for example, create the logger before LOGGING is
        # applied, which by default disables every logger that it does not name.
        logging.getLogger("django_delayed").disabled = False
        if settings.is_overridden("TASKS"):  # type: ignore[misc]
            # A worker has to know the jobs of tasks. On Django 5.2, TASKS may be something else.
            with suppress(ImportError):
                from . import tasks  # noqa: F401

        autodiscover_modules("jobs")
