"""The code of the tasks after the change to this queue."""

from django_delayed import Job

DONE = []


def note(*args, **kwargs):
    DONE.append([args, kwargs])


class Remind(Job):
    def before_enqueue(self):
        return self.args != ("nobody",)

    def perform(self, whom):
        DONE.append(["remind", whom])
