"""The flag --health: the addresses that it accepts, and those that it refuses."""

import socket
from argparse import ArgumentTypeError

import pytest
from django.core.management.base import CommandError
from django_delayed.management.commands.jobs_work import Command
from django_delayed.management.health import Address, address, health


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", Address("127.0.0.1", 8080)),
        ("1", Address("127.0.0.1", 1)),
        ("65535", Address("127.0.0.1", 65535)),
        ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
        ("localhost:80", Address("localhost", 80)),
        ("[::1]:8080", Address("::1", 8080)),
        ("::1:8080", Address("::1", 8080)),
    ],
)
def test_an_address_is_a_port_with_an_optional_host(text, expected):
    assert address(text) == expected


WRONG = [
    "",
    "0",
    "-1",
    "65536",
    "80.0",
    "x",
    "localhost",
    "localhost:",
    ":8080",
    "[]:80",
    "a:b",
    "²",
    "8 080",
]


@pytest.mark.parametrize("text", WRONG)
def test_an_invalid_address_is_refused(text, capsys):
    with pytest.raises(ArgumentTypeError, match="is not an address: give a port from 1 to 65535"):
        address(text)
    parser = Command().create_parser("manage.py", "jobs_work")
    parser.called_from_command_line = True
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--health", text])
    assert ended.value.code == 2
    assert "is not an address" in capsys.readouterr().err
    with pytest.raises(CommandError, match=r"^--health: .* is not an address") as refused:
        health({"health": text})
    assert refused.value.returncode == 2


@pytest.fixture
def taken():
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_call_command_accepts_a_port_as_a_number(taken):
    assert health({"health": None}) is None
    with pytest.raises(
        CommandError, match=f"cannot listen at 127.0.0.1, port {taken}: Address already in use"
    ):
        health({"health": taken})


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 70 + ".invalid"])
def test_a_host_that_is_not_this_one_is_refused(host):
    with pytest.raises(
        CommandError, match=f"^--health: this process cannot listen at {host}, port 80"
    ) as error:
        health({"health": Address(host, 8080)})
    assert error.value.returncode == 2


@pytest.mark.django_db(transaction=True)
def test_a_port_that_is_taken_ends_the_command_before_it_starts_a_worker(command, taken):
    run = command("jobs_work", "--health", str(taken))
    assert run.ends() == 2
    [line] = run.lines
    assert line.startswith("CommandError: --health: this process cannot listen at 127.0.0.1, port")
