"""Move the rows of the other queue, work them off, and print what the tests compare, as a line of JSON."""

import io
import json

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django_delayed.models import DelayedJob
from tests.imported.work import DONE


def move(source, theirs):
    """Print what `jobs_import_from` has said and done; `theirs` is the model of the rows."""
    before = rows_of(theirs)
    said = {"dry run": said_by(source, dry_run=True), "broken": broken(source)}
    assert (rows_of(theirs), DelayedJob.objects.count()) == (before, 0)
    said["moved"] = said_by(source, interactive=False)
    said["again"] = said_by(source, interactive=False)
    columns = ("name", "queue", "priority", "run_at")
    ours = [
        dict(zip(columns, map(str, row), strict=True)) for row in DelayedJob.objects.values_list(*columns)
    ]
    DelayedJob.objects.run_now()
    call_command("jobs_workoff", quiet=True, verbosity=0)
    print(json.dumps({"said": said, "ours": ours, "theirs": rows_of(theirs), "done": DONE}))


def rows_of(model):
    return sorted(map(str, model.objects.values_list("pk", flat=True)))


def said_by(source, **options):
    output = io.StringIO()
    call_command("jobs_import_from", source, stdout=output, no_color=True, **options)
    return output.getvalue().splitlines()


def broken(source):
    """The error of a move that meets an unavailable database at its second row."""
    from django_delayed.management.imports import importer

    enqueue, left = importer.enqueue_in_transaction, [2]

    def fail_at_last(job):
        left[0] -= 1
        if not left[0]:
            raise OperationalError("the disk is full")
        return enqueue(job)

    importer.enqueue_in_transaction = fail_at_last
    try:
        said_by(source, interactive=False)
    except CommandError as error:
        return str(error)
    finally:
        importer.enqueue_in_transaction = enqueue
