"""The fixture that comes with the entry point for pytest."""

import subprocess
import sys
from importlib.metadata import entry_points

from django_delayed import pytest_plugin, testing
from tests.blog.jobs import Plain


def test_the_fixture_is_the_module_of_the_kit(delayed_jobs, diary):
    assert delayed_jobs is testing
    Plain.perform_later(1)
    delayed_jobs.assert_enqueued(Plain)
    assert delayed_jobs.work_off() == 1


def test_the_entry_point_leads_to_it():
    [point] = entry_points(group="pytest11", name="django_delayed")
    assert point.load() is pytest_plugin


def test_it_is_loaded_before_there_are_settings_and_models():
    code = "import sys, django_delayed.pytest_plugin; sys.exit('django_delayed.models' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env={})
