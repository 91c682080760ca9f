"""How many workers a supervisor starts, for which queues, and how long each of them lives."""

import re
from argparse import ArgumentTypeError

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django_delayed.databases import Filters
from django_delayed.management.commands.jobs_work import Command
from django_delayed.management.workers import Pool, configurations, pool


def workers(*flags, **given):
    """The filters of each worker that these flags ask for."""
    command = Command()
    options = {**vars(command.create_parser("manage.py", "jobs_work").parse_args(flags)), **given}
    return [one.filters for one in all_of(command, options)]


def all_of(command, options):
    return configurations(command.configuration(options), options)


def limits(*flags):
    command = Command()
    [one] = all_of(command, vars(command.create_parser("manage.py", "jobs_work").parse_args(flags)))
    return one.max_jobs, one.max_memory


def name_from(*flags, **given):
    command = Command()
    options = {**vars(command.create_parser("manage.py", "jobs_work").parse_args(flags)), **given}
    [name] = {one.name for one in all_of(command, options)}
    return name


def test_all_workers_have_the_name_that_was_given():
    assert name_from("--processes", "2") == ""
    assert name_from("--processes", "2", "--name", " mailer of Zürich ") == "mailer of Zürich"
    assert name_from("--pool", "a:2", "--pool", "b", "--name", "x" * 255) == "x" * 255
    assert name_from(name="mailer") == "mailer"
    assert name_from(name=7) == "7"


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "a\nb", "a\0b", "\x1b[31m", "\udcff"])
def test_an_invalid_name_is_refused(name, capsys):
    with pytest.raises(SystemExit) as ended:
        call_command_line("--name", name)
    assert ended.value.code == 2
    assert "is not a valid name" in capsys.readouterr().err
    with pytest.raises(CommandError, match="is not a valid name") as refused:
        name_from(name=name)
    assert refused.value.returncode == 2


def call_command_line(*flags):
    parser = Command().create_parser("manage.py", "jobs_work")
    parser.called_from_command_line = True
    return parser.parse_args(flags)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail:2", Pool(("mail",), 2)),
        ("mail, index:3", Pool(("mail", "index"), 3)),
        ("mail", Pool(("mail",), 1)),
        ("*:1", Pool(("*",), 1)),
        ("mail_*,!slow:4", Pool(("mail_*", "!slow"), 4)),
        ("a:b:2", Pool(("a:b",), 2)),
    ],
)
def test_a_pool_is_queues_and_a_number(text, expected):
    assert pool(text) == expected


@pytest.mark.parametrize("text", ["", ":2", "mail:", "mail:0", "mail:-1", "mail:two", ",:2", "!:1", "a:b"])
def test_an_invalid_pool_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="is not a pool"):
        pool(text)


def test_without_a_number_there_is_one_worker():
    assert workers() == [Filters()]


def test_there_are_as_many_workers_as_processes():
    assert workers("--processes", "3", "--queues", "mail") == [Filters(("mail",))] * 3


def test_each_pool_has_its_workers():
    assert workers("--pool", "mail,mail:2", "--pool", "*", "--max-priority", "5") == [
        Filters(("mail",), None, 5),
        Filters(("mail",), None, 5),
        Filters(("*",), None, 5),
    ]


def test_the_workers_of_each_pool_may_serve_its_queues_in_their_order():
    assert workers("--pool", "mail,index", "--pool", "*", "--in-order") == [
        Filters(("mail", "index"), in_order=True),
        Filters(("*",), in_order=True),
    ]


def test_pools_override_the_environment(monkeypatch):
    monkeypatch.setenv("QUEUES", "index")
    assert workers("--pool", "mail:1") == [Filters(("mail",))]


def test_call_command_accepts_pools_and_processes():
    assert workers(pools=["mail:2"]) == [Filters(("mail",))] * 2
    assert workers(pools="mail:2") == [Filters(("mail",))] * 2
    assert workers(pools=[]) == [Filters()]
    assert workers(processes=2) == [Filters()] * 2


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--processes", "0"], "'0' is not a whole number of at least 1"),
        (["--processes", "many"], "'many' is not a whole number of at least 1"),
        (["--processes", "2", "--processes", "3"], "give it once"),
        (["--pool", ":2"], "':2' is not a pool"),
        (["--threads", "0"], "'0' is not a whole number of at least 1"),
        (["--threads", "2", "--threads", "3"], "give it once"),
        (["--threads", "2", "--queues", "mail", "--in-order"], "leave --threads out, or --in-order"),
        (["--threads", "2", "--pool", "mail", "--in-order"], "leave --threads out, or --in-order"),
        (["--max-jobs", "0"], "'0' is not a whole number of at least 1"),
        (["--max-memory", "much"], "'much' is not a whole number of at least 1"),
        (["--max-memory", "1"], "--max-memory 1 is not more than the"),
        (["--pool", "mail:2", "--processes", "2"], "leave --queues and --processes out"),
        (["--pool", "mail:2", "--queues", "index"], "leave --queues and --processes out"),
        (["--pool", "mail", "--pool", "!mail", "--in-order"], "--in-order needs queues"),
        (["--in-order"], "--in-order needs queues"),
        (["--min-priority", "5", "--max-priority", "1"], "is above the highest"),
        (["--processes", "1001"], "at most 1,000 jobs at the same time (processes times threads), not 1,001"),
        (["--processes", "9" * 15], "at most 1,000 jobs"),
        (["--threads", "1001"], "at most 1,000 jobs"),
        (["--processes", "50", "--threads", "21"], "not 1,050"),
        (["--pool", "*:600", "--pool", "mail:401"], "not 1,001"),
    ],
)
def test_an_invalid_value_is_refused(flags, complaint):
    with pytest.raises(CommandError, match=re.escape(complaint)):
        call_command("jobs_work", *flags)
    with pytest.raises((SystemExit, CommandError)) as ended:
        all_of(Command(), vars(call_command_line(*flags)))
    error = ended.value
    assert (error.code if isinstance(error, SystemExit) else error.returncode) == 2


def test_a_thousand_jobs_may_be_performed_at_the_same_time():
    assert len(workers("--processes", "1000")) == 1000
    assert len(workers("--pool", "*:250", "--threads", "4")) == 250


@pytest.mark.parametrize(
    "given",
    [
        *({"processes": 0}, {"processes": "two"}, {"pools": ["mail:0"]}, {"pools": [":1"]}),
        *({"max_jobs": -1}, {"max_memory": 0}, {"threads": 0}),
    ],
    ids=str,
)
def test_an_invalid_value_from_call_command_is_refused(given):
    with pytest.raises(CommandError, match=r"must be a number of at least 1|is not a pool"):
        call_command("jobs_work", **given)


def test_a_worker_has_no_limits_unless_they_are_given():
    assert limits() == (None, None)
    assert limits("--max-jobs", "7", "--max-memory", "9000") == (7, 9000 * 1024 * 1024)


def test_each_worker_has_the_given_number_of_threads():
    def threads(*flags):
        command = Command()
        options = vars(command.create_parser("manage.py", "jobs_work").parse_args(flags))
        return [one.threads for one in all_of(command, options)]

    assert threads() == [1]
    assert threads("--threads", "1", "--queues", "mail", "--in-order") == [1]
    assert threads("--threads", "4", "--processes", "2") == [4, 4]
    assert threads("--threads", "4", "--pool", "mail:2", "--pool", "*") == [4, 4, 4]


@pytest.mark.parametrize(
    "flags",
    [
        ["--threads", "0"],
        ["--threads", "2", "--queues", "mail", "--in-order"],
        ["--threads", "2", "--isolate"],
    ],
)
def test_invalid_threads_make_it_exit_with_an_error(command, flags):
    run = command("jobs_work", *flags)
    assert run.ends() == 2
    assert run.said("--threads")


def test_isolated_jobs_are_claimed_one_by_one_in_each_worker():
    command = Command()
    parser = command.create_parser("manage.py", "jobs_work")

    def of(*flags):
        found = all_of(command, vars(parser.parse_args(flags)))
        return [(one.isolate, one.read_ahead) for one in found]

    assert of("--read-ahead", "9") == [(False, 9)]
    assert of("--read-ahead", "9", "--isolate") == [(True, 1)]
    assert of("--pool", "mail:2", "--pool", "*", "--isolate") == [(True, 1)] * 3


def test_too_little_memory_makes_it_exit_with_an_error(command):
    run = command("jobs_work", "--max-memory", "5")
    assert run.ends() == 2
    assert run.said("--max-memory 5 is not more than the")
