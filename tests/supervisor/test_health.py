"""/live and /ready of a supervisor: what they answer, and that no client blocks another."""

import http.client
import signal
import socket
from contextlib import closing

import pytest
from django.db import transaction
from django_delayed.models import WorkerProcess
from django_delayed.supervisor import health as module
from django_delayed.supervisor.health import Health
from scripts.servers import free_port
from tests.playground.jobs import Gated
from tests.playground.processes import command, ledger, started, until, work
from tests.playground.waiting import PATIENCE

__all__ = ["command", "ledger", "work"]


def ask(port, path, method="GET", host="127.0.0.1"):
    """The status and the body of the answer; None if nobody listens."""
    with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE)) as connection:
        try:
            connection.request(method, path)
            response = connection.getresponse()
        except ConnectionError:
            return None
        return response.status, response.read().decode()


# In the process of the tests, which tell it what the main thread would tell. No test here asks a database.


@pytest.fixture
def health():
    with Health("127.0.0.1", 0) as listening, listening.serving():
        yield listening


def asked(health, path, method="GET"):
    return ask(health.server_address[1], path, method)


def test_before_the_first_round_it_is_live_and_not_ready(health):
    assert asked(health, "/live") == (200, "live\n")
    assert asked(health, "/ready") == (503, "0 of 0 workers are ready\n")


@pytest.mark.parametrize(
    ("workers", "ready", "is_stopping", "answer"),
    [
        (2, 2, False, (200, "2 of 2 workers are ready\n")),
        (2, 1, False, (503, "1 of 2 workers are ready\n")),
        (1, 0, False, (503, "0 of 1 workers are ready\n")),
        (2, 2, True, (503, "stopping\n")),
    ],
)
def test_it_is_ready_when_all_workers_are_and_no_stop_is_requested(
    health, workers, ready, is_stopping, answer
):
    health.tell(workers, ready, is_stopping)
    assert asked(health, "/ready") == answer
    assert asked(health, "/live") == (200, "live\n")


def test_it_is_neither_live_nor_ready_when_the_main_thread_makes_no_rounds(health, monkeypatch):
    health.tell(1, 1, False)
    assert asked(health, "/ready")[0] == 200
    monkeypatch.setattr(module, "HANGS_AFTER", -1.0)
    for path in ("/live", "/ready"):
        assert asked(health, path) == (503, "the supervisor's main thread has not reported for 0 s\n")


def test_after_half_a_minute_without_a_round_it_is_not_live(health, clock):
    health.tell(1, 1, False)
    clock.now += 30
    assert health.live() == (True, "live")
    clock.now += 1
    assert health.live() == (False, "the supervisor's main thread has not reported for 31 s")
    health.tell(1, 1, False)
    assert health.live() == (True, "live")


def test_a_query_string_is_ignored_and_other_paths_are_not_found(health):
    assert asked(health, "/live?x=1")[0] == 200
    for path in ("/", "/live/", "/metrics", "/../live", "*"):
        assert asked(health, path)[0] == 404


def test_head_has_no_body_and_other_methods_are_unknown(health):
    assert asked(health, "/live", "HEAD") == (200, "")
    assert asked(health, "/ready", "HEAD") == (503, "")
    for method in ("POST", "PUT", "DELETE", "X"):
        assert asked(health, "/live", method)[0] == 501


def test_a_client_that_sends_nothing_holds_up_no_other(health):
    silent = [socket.create_connection(health.server_address) for _ in range(20)]
    try:
        silent[0].send(b"GET /li")
        assert asked(health, "/live") == (200, "live\n")
    finally:
        for one in silent:
            one.close()


@pytest.mark.parametrize(
    "sent", [b"\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"x" * 70_000 + b"\n"]
)
def test_an_invalid_request_is_refused_and_not_logged(health, sent, capfd):
    with socket.create_connection(health.server_address, timeout=PATIENCE) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(4096):
                pass
        except ConnectionError:
            pass
    assert asked(health, "/live") == (200, "live\n")
    assert capfd.readouterr().err == ""


def test_a_client_that_disconnects_before_the_answer_is_not_logged(health, capfd, caplog, monkeypatch):
    def gone(self):
        raise ConnectionResetError

    monkeypatch.setattr(module._Probe, "do_GET", gone)
    caplog.set_level("INFO")
    caplog.clear()
    assert asked(health, "/live") is None
    assert (capfd.readouterr().err, caplog.messages) == ("", [])


def test_it_stops_listening_at_the_end_of_its_block():
    with Health("127.0.0.1", 0) as health:
        with health.serving():
            port = health.server_address[1]
            assert ask(port, "/live") is not None
        assert ask(port, "/live") is None


def test_it_listens_at_ipv6_addresses_too():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        health = Health("::1", 0)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with health, health.serving():
        assert ask(health.server_address[1], "/live", host="::1") == (200, "live\n")


# As a process


@pytest.mark.django_db(transaction=True)
def test_a_supervisor_is_ready_when_its_workers_are_up_and_live_until_it_ends(work, ledger):
    port = free_port()
    run = work("--processes", "2", "--health", str(port))
    started(run, 2)
    assert run.has_said(rf"INFO Answering /live and /ready at 127\.0\.0\.1:{port}$")
    until(lambda: ask(port, "/ready") == (200, "2 of 2 workers are ready\n"))
    row = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {row.pk}")
    assert ask(port, "/ready")[0] == 200
    run.send(signal.SIGTERM)
    until(lambda: ask(port, "/ready") == (503, "stopping\n"))
    assert ask(port, "/live") == (200, "live\n")
    ledger.open_gate()
    assert run.ends() == 0
    assert ask(port, "/live") is None


@pytest.mark.django_db(transaction=True)
def test_without_the_database_it_is_live_and_not_ready_until_that_is_back(work):
    port = free_port()
    run = work("--health", f"127.0.0.1:{port}", delayed={"LEASE": 2})
    started(run, 1)
    until(lambda: ask(port, "/ready") == (200, "1 of 1 workers are ready\n"))
    with transaction.atomic():
        # Its heartbeat waits for this transaction.
        WorkerProcess.objects.update(name="locked")
        until(lambda: ask(port, "/ready") == (503, "0 of 1 workers are ready\n"))
        assert ask(port, "/live") == (200, "live\n")
    until(lambda: ask(port, "/ready") == (200, "1 of 1 workers are ready\n"))
    assert run.stop() == 0
