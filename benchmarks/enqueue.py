"""Enqueue one delayed call, beside Django's own create() of a row as wide; and many, beside bulk_create().

    python benchmarks/enqueue.py [--database postgresql] [--rounds 3000] [--jobs 20000]

`post.delay().send_to_twitter()` and `Model.objects.create()` take turns in one run, on one database. The
model is DelayedJob itself, so that columns, values and indexes are the same; and once more a table of the
same columns without any index, which is what a create() costs at the least. Each is measured in one open
transaction, where nothing waits for the disk and the difference shows most, and committed by itself.

Many: `enqueue_many` of jobs that a generator makes, and `bulk_create` of the same rows, 1,000 a call, which
take turns.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql", "mariadb"])
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--jobs", type=int, default=20000)
    return parser.parse_args()


OPTIONS = options()
if OPTIONS.database:
    os.environ["DATABASE"] = OPTIONS.database

import django  # noqa: E402

django.setup()

from django.db import connection, models, transaction  # noqa: E402
from django_delayed import enqueue_many  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402
from workload import Numbered  # noqa: E402

from shop.models import Post, SocialAccount  # noqa: E402


class Wide(models.Model):
    """The columns of DelayedJob, without its indexes and constraints."""

    class Meta:
        app_label = "benchmarks"
        managed = False

    def __str__(self):
        return self.name


for field in DelayedJob._meta.concrete_fields:
    if not field.primary_key:
        field.clone().contribute_to_class(Wide, field.name)


def values_of(row):
    fields = [field for field in DelayedJob._meta.concrete_fields if not field.primary_key]
    return {field.attname: getattr(row, field.attname) for field in fields}


def contenders():
    account = SocialAccount.objects.create(name="shop", api_url="http://127.0.0.1/", access_token="t")
    post = Post.objects.create(account=account, title="A post", slug="a-post", body="…")
    values = values_of(post.delay().send_to_twitter())
    return {
        "post.delay().send_to_twitter()": lambda: post.delay().send_to_twitter(),
        "DelayedJob.objects.create(…)": lambda: DelayedJob.objects.create(**values),
        "the same without an index": lambda: Wide.objects.create(**values),
    }


def measure(ours, create, rounds):
    """The median seconds of both functions, which take turns; the one that begins changes each time."""
    times = {ours: [], create: []}
    for number in range(rounds + 100):
        for function in (ours, create) if number % 2 else (create, ours):
            began = time.perf_counter()
            function()
            if number >= 100:  # before that, both warm up
                times[function].append(time.perf_counter() - began)
    return statistics.median(times[ours]), statistics.median(times[create])


def report(title, functions, rounds):
    (name, ours), *others = functions.items()
    print(f"{connection.vendor}, {title}: {name}")
    for other, create in others:
        mine, theirs = measure(ours, create, rounds)
        print(f"  beside {other:30}{mine * 1e6:6.0f} µs : {theirs * 1e6:.0f} µs   ratio {mine / theirs:.2f}")


def report_many(jobs, rounds=5):
    """The median rates of both, which take turns and begin with an empty table."""
    values = values_of(Numbered.perform_later(0))
    payload = values.pop("payload")

    def ours():
        enqueue_many(Numbered(number) for number in range(jobs))

    def create():
        for first in range(0, jobs, 1000):
            numbers = range(first, min(first + 1000, jobs))
            payloads = [payload.replace("[0]", f"[{number}]") for number in numbers]
            DelayedJob.objects.bulk_create([DelayedJob(payload=text, **values) for text in payloads])

    rates = {ours: [], create: []}
    for number in range(rounds):
        for function in (ours, create) if number % 2 else (create, ours):
            DelayedJob.objects.all().delete()
            began = time.perf_counter()
            function()
            rates[function].append(jobs / (time.perf_counter() - began))
    mine, theirs = statistics.median(rates[ours]), statistics.median(rates[create])
    print(f"{connection.vendor}, {jobs:,} jobs: enqueue_many(…)")
    print(f"  beside bulk_create(…)  {mine:,.0f}/s : {theirs:,.0f}/s   ratio {mine / theirs:.2f}")


def main():
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        with connection.schema_editor() as editor:
            editor.create_model(Wide)
        functions = contenders()
        with transaction.atomic():
            report("in one transaction", functions, OPTIONS.rounds)
        report("each committed", functions, OPTIONS.rounds // 5)
        report_many(OPTIONS.jobs)
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


if __name__ == "__main__":
    main()
