import pytest
from django_delayed import enqueue
from django_delayed.models import DelayedJob, UniqueKey
from tests.blog.jobs import Plain
from tests.connections import in_thread

__all__ = ["in_thread"]


@pytest.fixture
def write():
    """Enqueue a job with these arguments, unique unless another option says otherwise."""
    return lambda *args, unique=True, **options: enqueue(Plain(*args), unique=unique, **options)


@pytest.fixture
def ids():
    """The ids of all rows, in their order."""
    return lambda: list(DelayedJob.objects.order_by("pk").values_list("pk", flat=True))


@pytest.fixture
def holders():
    """The ids of the jobs that took each key last."""
    return lambda: sorted(UniqueKey.objects.values_list("delayed_job_id", flat=True))
