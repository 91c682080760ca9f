"""The pairs of Python and Django, and what is tested on each: `nox -s tests-3.12`, say.

Every test runs on some pair for each database, and on some database for each pair. Beyond that, the tests
that make statements run on the oldest Django too, and with all features on SQLite as Django sets it up.
"""

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"

DJANGO = {"3.11": "5.2", "3.12": "6.0", "3.13": "6.1"}
ALL = ()
STATEMENTS = (
    *("tests/databases", "tests/execution", "tests/test_enqueueing.py", "tests/test_enqueue_many.py"),
    *("tests/test_migrations.py", "tests/test_models.py", "tests/test_operations.py", "tests/test_states.py"),
    *("tests/test_stats.py", "--ignore=tests/databases/test_crowd.py"),
)
FEATURES = ("tests/features", "tests/calls", "tests/mail")
# Many of these run on SQLite only: the admin in a browser, and the stories that a newcomer reads.
PAGES = ("tests/admin", "tests/stories")
# axe-core checks the pages of the newest Django, and the tests of themes those of the oldest and the newest.
FEWER_PAGES = (*PAGES, "--ignore=tests/admin/test_accessibility.py", "--ignore=tests/admin/test_themes.py")
# The database, the tests and the environment of each run. On SQLite, CI has `make test` for the oldest pair.
RUNS = {
    "3.11": [("postgresql", STATEMENTS, {}), ("mariadb", STATEMENTS, {})],
    "3.12": [
        ("mariadb", ALL, {"MARIADB_OPTIONS": "--default-time-zone=+09:00"}),
        ("sqlite", (*STATEMENTS, *FEATURES, *FEWER_PAGES), {"SQLITE_DEFAULTS": "1"}),
    ],
    "3.13": [("postgresql", ALL, {}), ("sqlite", (*PAGES, "tests/tasks/test_wagtail.py"), {})],
}


@nox.session(python=list(RUNS), allow_parallel=True)
def tests(session):
    """Run the tests on a pair of Python and Django."""
    install(session, "--group", "test", "--editable", ".", f"Django~={DJANGO[session.python]}.0")
    failed = []
    for database, arguments, variables in RUNS[session.python]:
        environment = {"PYTEST_ADDOPTS": " ".join(arguments), **variables}
        try:
            session.run("python", "scripts/test.py", database, env=environment)
        except nox.command.CommandFailed:
            # Goes on: the next database shows what else fails.
            failed.append(database)
    if failed:
        session.error(f"Tests failed on {', '.join(failed)}.")


@nox.session
def wheel(session):
    """Build the wheel, and compare what is in it with the sources."""
    install(session, "build", "check-wheel-contents")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", folder)
    session.run("check-wheel-contents", *folder.glob("*.whl"))


def install(session, *what):
    # An older pip knows no dependency groups.
    session.install("--upgrade", "pip>=25.1")
    session.install(*what)
