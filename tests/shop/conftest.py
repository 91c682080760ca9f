import pytest

from shop import sample
from shop.loopback import LoopbackServers


@pytest.fixture
def servers():
    with LoopbackServers(files={"/board.txt": b"long and light"}, tokens={"good"}) as servers:
        yield servers


@pytest.fixture
def shop(db):
    sample.load()
