"""The table of the keys that unique jobs hold."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class UniqueKey(models.Model):
    """A key, and the job that took it last.

    The job holds it as long as its state says so; from then on the key is free, and its row is removed some
    time later. So a move of a job needs no look at its key, and a job that is gone holds none.
    """

    key_hash = models.CharField(_("hash of the key"), max_length=64, primary_key=True)
    # No foreign key: the row of a job is removed without a look at other tables.
    delayed_job_id = models.BigIntegerField(_("delayed job"))
    until = models.CharField(_("until"), max_length=6)

    class Meta:
        verbose_name = _("unique key")
        verbose_name_plural = _("unique keys")

    def __str__(self) -> str:
        return f"{self.key_hash:.8} #{self.delayed_job_id}"
