"""A function that is still decorated with the other queue's decorator."""

from background_task import background


@background(queue="mail")
def greet(name):
    """Never performed."""
