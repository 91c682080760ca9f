"""The code that the stored rows name. If it changes, the stored databases have to be made anew."""

from datetime import timedelta

from django_delayed import Job, Unique
from tests.tasks.framework import task

DONE = []
broken = True  # while the rows are written


def note(*args, **kwargs):
    DONE.append([[str(arg) for arg in args], kwargs])


class Note(Job):
    def perform(self, word):
        note(word)


class Once(Note):
    unique = Unique()


class Kept(Note):
    keep_for = timedelta(days=36500)


class Fails(Note):
    """Fails while the rows are written, and not when they are worked off."""

    def perform(self, word):
        if broken:
            self.progress(1, 4, "as far as this")
            raise ConnectionError(f"{word} is 100 % broken:\n'\\' and \"ü\"")
        note(word)


class InSteps(Job):
    def perform(self):
        for number in range(3):
            with self.step(str(number)) as step:
                if not step.is_done:
                    if broken and number == 2:
                        raise ConnectionError("the last step")
                    note("step", number)


@task(queue_name="default", priority=5)
def add(first, second):
    if broken and second == 0:
        raise ZeroDivisionError("no")
    return first + second
