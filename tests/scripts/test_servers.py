import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.db import connection
from scripts import servers
from scripts.servers import NotInstalledError, PostgreSQLServer, server_for
from tests.playground.servers import answers

FILE = Path(servers.__file__)

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="asks no database of the tests")


def test_a_server_that_the_environment_names_is_left_alone(monkeypatch):
    monkeypatch.setenv("PGPORT", "5432")
    with server_for("postgresql") as environment:
        assert environment == {}


def test_a_server_that_is_not_installed_is_named_with_the_variable_for_another_one(monkeypatch):
    for variable in PostgreSQLServer.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(PostgreSQLServer, "is_installed", lambda: False)
    with pytest.raises(NotInstalledError, match="PGHOST"), server_for("postgresql"):
        pass


@pytest.fixture
def folder():
    """A folder with a path that is short enough for a socket, in which the users of the servers may write."""
    with tempfile.TemporaryDirectory(prefix="servers-") as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_servers_answer_at_the_printed_ports_and_end_with_the_process(signum, monkeypatch, folder):
    kinds = [kind for kind in servers.SERVERS.values() if kind.is_installed()]
    if not kinds:
        pytest.skip("no server is installed")
    for kind in kinds:
        for variable in kind.VARIABLES:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TMPDIR", str(folder))
    process = subprocess.Popen(
        [sys.executable, FILE],
        stdout=subprocess.PIPE,
        text=True,
        # A process that a shell starts in the background ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = []
    while not said or "Ctrl-C" not in said[-1]:
        said.append(process.stdout.readline() or pytest.fail(f"ended after saying {said}"))
    variables = dict(word.split("=") for line in said for word in line.split() if "=" in word)
    ports = [int(variables[kind.VARIABLES[1]]) for kind in kinds]
    assert all(answers(port) for port in ports)
    process.send_signal(signum)
    process.communicate()
    assert process.returncode == 0
    assert not any(answers(port) for port in ports)
    assert list(folder.iterdir()) == []
