"""The effects of atomic jobs, in the database: committed together with the end of their rows."""

from django.db import models
from django.db.models import Count


class Effect(models.Model):
    job = models.BigIntegerField()

    @classmethod
    def lost(cls, rows):
        """The ids of the rows whose jobs have had no effect."""
        return {row.pk for row in rows} - {*cls.objects.values_list("job", flat=True)}

    @classmethod
    def doubled(cls):
        """The ids of the jobs that have had more than one effect."""
        counted = cls.objects.values("job").annotate(effects=Count("pk"))
        return [one["job"] for one in counted.filter(effects__gt=1)]


class Item(models.Model):
    """A row for long jobs to go through."""
