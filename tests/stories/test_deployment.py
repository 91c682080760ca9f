"""The configurations of the page on deployment that start workers: units, containers, Procfiles."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from django_delayed import conf
from django_delayed.management.commands.jobs_work import Command
from tests.stories.markdown import ROOT, blocks

PAGE = ROOT / "docs/deployment.md"
BLOCKS = [block.text for block in blocks(PAGE, "Platforms")]
GRACE = re.compile(
    r"^ *(?:TimeoutStopSec|stopwaitsecs|stop_grace_period|terminationGracePeriodSeconds)\W+(\d+)",
    re.MULTILINE,
)


def containing(text):
    [block] = [block for block in BLOCKS if text in block]
    return block


def commands():
    """The arguments of each jobs_work that the page shows, as a list."""
    for block in BLOCKS:
        for line in block.splitlines():
            # A list of YAML, or a line of a shell.
            words = re.findall(r'"([^"]*)"', line) if "[" in line else shlex.split(line)
            if "jobs_work" in words:
                yield words[words.index("jobs_work") + 1 :]


def test_jobs_work_accepts_the_commands_of_the_page():
    shown = list(commands())
    assert len(shown) == 7
    for arguments in shown:
        Command().create_parser("manage.py", "jobs_work").parse_args(arguments)


def test_each_platform_waits_longer_than_a_worker_takes_to_stop():
    graces = [int(grace) for block in BLOCKS for grace in GRACE.findall(block)]
    assert len(graces) == 4
    assert min(graces) > conf.Settings().SHUTDOWN_TIMEOUT.total_seconds()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = containing("[Service]").replace("/srv/mysite/venv/bin/python", sys.executable)
    file = tmp_path / "jobs.service"
    file.write_text(unit)
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    # systemd-analyze also reports problems of the units that it names, as they are on this machine.
    assert [line for line in done.stderr.splitlines() if file.name in line] == []


def test_the_configuration_of_supervisord_names_a_program():
    parser = configparser.RawConfigParser()
    parser.read_string(containing("[program:jobs]"))
    assert parser["program:jobs"]["stopwaitsecs"] == "35"


def test_compose_and_kubernetes_start_the_command_and_probe_its_address():
    services = yaml.safe_load(containing("services:"))["services"]
    assert services["worker"]["command"][:3] == ["python", "manage.py", "jobs_work"]
    assert ":8080/live" in services["worker"]["healthcheck"]["test"][-1]
    assert services["worker"]["depends_on"].keys() <= services.keys()
    deployment = yaml.safe_load(containing("kind: Deployment"))["spec"]
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    [container] = deployment["template"]["spec"]["containers"]
    assert container["command"][-1] == "0.0.0.0:8080"
    probes = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert probes == [{"path": "/live", "port": 8080}, {"path": "/ready", "port": 8080}]
