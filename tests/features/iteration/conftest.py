import pytest
from django_delayed.execution.settle import settle
from django_delayed.features.iteration import cursors
from tests.blog.jobs import CALLS, Patient
from tests.blog.models import Post
from tests.blog.work import claim, perform


@pytest.fixture
def long(monkeypatch):
    """Enqueue a job that calls this function with itself. Returns its row."""

    def enqueue(function):
        monkeypatch.setitem(CALLS, "patient", function)
        return Patient.perform_later()

    return enqueue


@pytest.fixture
def posts():
    return [Post.objects.create(title=str(number)) for number in range(5)]


@pytest.fixture
def each_written(monkeypatch):
    """Write the cursor after each item."""
    monkeypatch.setattr(cursors, "WRITE_EVERY", 0)


@pytest.fixture
def settled():
    """Perform the next row, and settle its outcome. Returns the outcome."""

    def perform_next(**options):
        row = claim()
        outcome = perform(row, **options)
        assert settle([(row, outcome)]) == []
        return outcome

    return perform_next
