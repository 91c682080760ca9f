import os
import random

import pytest
from tests.faults.form import IS_LONG, Figures
from tests.playground.hosts import Hosts
from tests.playground.network import Network
from tests.playground.processes import command, ledger, work

__all__ = ["command", "ledger", "work"]


@pytest.fixture
def rng():
    """The random choices of a run; SEED repeats them, as far as the order of the processes allows."""
    seed = int(os.environ.get("SEED") or random.randrange(10_000))
    print(f"SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def hosts(work, ledger, rng):
    return Hosts(work, ledger, rng)


@pytest.fixture
def network():
    network = Network()
    network.start()
    yield network
    network.close()


@pytest.fixture
def figures(request):
    """The figures of a row, for the table in docs/guarantees.md."""
    return Figures(request.node.get_closest_marker("fault").args[0])


def pytest_collection_modifyitems(config, items):
    """In the long form, run only the rows of the table."""
    if IS_LONG:
        chosen = [item for item in items if item.get_closest_marker("fault")]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
