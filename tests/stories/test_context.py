"""The code of the page about CONTEXT does what the page says."""

import os
import subprocess
import sys

import pytest
from django.db import connection
from tests.stories.markdown import ROOT, blocks

PAGE = ROOT / "docs/context.md"
THREE_NOTES = """\
a note of blue, signed, signed
a note of red, signed
a note of green
0 jobs are left
"""


@pytest.fixture
def database_of_tenants(db):
    """The name of a new, empty database."""
    name = f"{connection.settings_dict['NAME']}_tenants"
    with connection.copy("tenants")._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    yield name
    with connection.copy("tenants")._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="django-tenants is for PostgreSQL")
def test_each_job_acts_in_the_schema_of_its_tenant(database_of_tenants, tmp_path):
    [provider] = blocks(PAGE, "The tenant of django-tenants")
    given = (ROOT / "tests/tenants/context.py").read_text()
    assert given.partition("\n\n")[2] == provider.text.partition("\n")[2]
    environment = os.environ | {
        "DATABASE_NAME": database_of_tenants,
        "DJANGO_SETTINGS_MODULE": "tests.tenants.settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'testproject'}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.tenants.work"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, THREE_NOTES), done.stderr


def test_the_provider_of_the_page_carries_the_id_of_a_request():
    provider, setting = blocks(PAGE, "The id of a request, in a context variable")
    names = {}
    exec(provider.text, names)
    exec(setting.text, names)
    assert names["DJANGO_DELAYED"] == {"CONTEXT": {"request_id": "shop.context.RequestId"}}
    request_id, carrier = names["request_id"], names["RequestId"]
    assert carrier.capture() is None
    with carrier.restore("r1"):
        assert carrier.capture() == "r1"
    assert request_id.get() is None
