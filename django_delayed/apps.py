"""The app: it finds the jobs of the project and says what is set up wrongly."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class DjangoDelayedConfig(AppConfig):
    """Background jobs in the application's own database."""

    name = "django_delayed"
    verbose_name = _("Delayed jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, enqueueing, execution  # noqa: F401 - models are there only now

        enqueueing.runner = execution.perform_inline
        autodiscover_modules("jobs")
