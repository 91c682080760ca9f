"""scripts/test.py [DATABASE ...]: run the tests on SQLite, PostgreSQL and MariaDB, or on those named.

A server is the one that the environment names (PGHOST, MYSQL_HOST), or one of our own while the tests run.
What was not run is printed last. PYTEST_ADDOPTS goes to pytest, MARIADB_OPTIONS to a MariaDB of our own.
Up to three tests that fail are run once more, and named even when they pass then: the tests with processes
wait for real events, which may come late on a busy machine.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from servers import SERVERS, NotInstalledError, server_for

ROOT = Path(__file__).resolve().parent.parent
DATABASES = ("sqlite", *SERVERS)
DRIVERS = {"postgresql": ("psycopg", "postgresql"), "mariadb": ("MySQLdb", "mysql")}
FEW = 3  # failed tests that are run again
# All tests on one database took 44 in CI, on two processors and beside two other runs.
MINUTES = 45


def main(asked):
    # The servers have to end with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if unknown := set(asked) - set(DATABASES):
        sys.exit(f"{', '.join(sorted(unknown))}: none of {', '.join(DATABASES)}")
    databases = asked or DATABASES
    print(f"The tests take up to {MINUTES} minutes on each of: {', '.join(databases)}.", flush=True)
    lines, failed = [], False
    for database in databases:
        began = time.monotonic()
        try:
            with server_for(database) as environment:
                install_driver(database)
                result = run_on(database, environment)
        except NotInstalledError as reason:
            result = f"NOT RUN: {reason}"
            failed |= bool(asked)
        failed |= result == "FAILED"
        lines.append(f"{database:12} {result}, {time.monotonic() - began:.0f} s")
    print("", *lines, sep="\n")
    return int(failed)


def install_driver(database):
    driver, extra = DRIVERS.get(database, ("sqlite3", ""))
    if importlib.util.find_spec(driver):
        return
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--editable", f".[{extra}]"]
    done = subprocess.run(install, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr)
        raise NotInstalledError(
            "its driver could not be installed, as said above (mysqlclient is compiled: it wants gcc,"
            " pkg-config, libmariadb-dev and Python's headers)"
        )


def run_on(database, environment):
    """Run the tests; returns their result in words."""
    print(f"\n=== {database} ===", flush=True)
    # A cache of its own: another pair of Python and Django may be tested beside this one.
    cache = ROOT / ".cache" / "pytest" / Path(sys.prefix).name / database
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-m", "pytest", "--durations=20", "-o", f"cache_dir={cache}"]
    environment = {**os.environ, **environment, "DATABASE": database}
    if database == "sqlite":
        # The given name is that of a database on a server.
        environment["DATABASE_NAME"] = "db.sqlite3"
    else:
        command += ["-m", "not browser"]

    def passes(*more):
        done = subprocess.run([*command, *more], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
        return done.returncode == 0

    if passes():
        return "passed"
    failures = cache / "v/cache/lastfailed"
    few = list(json.loads(failures.read_text())) if failures.exists() else []
    if 1 <= len(few) <= FEW and passes("--last-failed"):
        return f"passed, but not at first: {', '.join(few)}"
    return "FAILED"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
