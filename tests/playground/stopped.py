"""A worker that is told to stop in the middle of a job, for jobs that tests perform in their own process."""

from django_delayed.execution.stopping import Stop


class StopAfter(Stop):
    """A worker that is told to stop when its job has asked so many times whether to stop."""

    def __init__(self, asked, **how):
        self.asked = asked
        super().__init__(is_worker_stopping=self.is_enough, **how)

    def is_enough(self):
        self.asked -= 1
        return self.asked < 0
