"""One of several processes that enqueue unique jobs at once. Its arguments say what it does:

enqueue NAME ROUNDS ON_DUPLICATE HOW: enqueue the keys that all have, a few at a time, in random order.
change NAME COUNT ON_DUPLICATE HOW: change the data, and enqueue a job about each change.
consume NAME: finish jobs until standard input ends and no job waits; print what each of them sees.
HOW is "atomic", for each round or change in a transaction, or "plain".
"""

import random
import select
import sys
from contextlib import nullcontext

import django

django.setup()

from django.db import transaction  # noqa: E402
from django_delayed import Unique, enqueue_all  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402
from tests.blog.jobs import Plain  # noqa: E402
from tests.blog.models import Word  # noqa: E402

KEYS = range(20)


def begin():
    print("ready", flush=True)
    sys.stdin.readline()


def enqueue(name, rounds, on_duplicate, how):
    begin()
    unique = Unique(until="finish", on_duplicate=on_duplicate)
    for _ in range(int(rounds)):
        keys = random.sample(KEYS, 5)
        with block(how):
            enqueue_all([Plain(key) for key in keys], unique=unique)


def change(name, count, on_duplicate, how):
    begin()
    unique = Unique(until="start", on_duplicate=on_duplicate)
    for number in range(int(count)):
        with block(how):
            Word.objects.create(text=f"{name} {number}")
            enqueue_all([Plain()], unique=unique)


def consume(name):
    begin()
    while True:
        rows = DelayedJob.objects.claim(name.rjust(32, "0"), 3)
        for row in rows:
            print(Word.objects.count())
            if not DelayedJob.objects.finish(row):
                raise SystemExit(f"{row} was lost")
        is_over = select.select([sys.stdin], [], [], 0 if rows else 0.02)[0]
        if is_over and not DelayedJob.objects.waiting().exists():
            break


def block(how):
    return {"atomic": transaction.atomic, "plain": nullcontext}[how]()


{"enqueue": enqueue, "change": change, "consume": consume}[sys.argv[1]](*sys.argv[2:])
