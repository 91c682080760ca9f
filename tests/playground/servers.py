"""Servers that tests start for themselves, to stop them, kill them or set them up oddly; on loopback only."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from django.core.management import call_command
from django.db import Error, OperationalError, connection
from tests.playground.waiting import PATIENCE, until

# Of the database, and of the user that workers are: one without the rights of an administrator.
NAME, USER = "faults", "worker"


def program(name, *folders):
    """The path of a program; None when it is not installed."""
    return shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"], "/usr/sbin", "/sbin"]))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """One in a folder of its own, which is a database of the tests' kind while `in_use`."""

    OWNER, ADMINISTRATOR = "", ""
    # What the user of the workers is given, once there are the tables.
    GRANTS = ()
    # The environment variables in which the settings look for it.
    VARIABLES = ()

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.port = free_port()
        # A server refuses to run as root.
        self.owner = {"user": self.OWNER} if os.geteuid() == 0 else {}
        self.process = None

    def run(self, *command):
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.owner
        )

    def start(self):
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.owner
            )
        until(lambda: answers(self.port))

    def stop(self, signum=signal.SIGINT):
        """Without waiting for its clients."""
        self.process.send_signal(signum)
        self.process.wait(PATIENCE)

    def remove(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environment(self):
        """In which a project finds it, as an ordinary user."""
        host, port, user = self.VARIABLES
        return {
            host: "127.0.0.1",
            port: str(self.port),
            user: USER,
            "DATABASE_NAME": NAME,
            "PGSSLMODE": "disable",
        }

    @contextmanager
    def in_use(self):
        """A block in which Django's connection of this process leads here, to the tables of the queue."""
        settings = connection.settings_dict
        before = {**settings}
        connection.close()
        settings |= {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": self.ADMINISTRATOR, "PASSWORD": ""}
        until(self.lets_us_in)
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {NAME}")
            cursor.execute(f"CREATE DATABASE {NAME}")
        settings["NAME"] = NAME
        try:
            call_command("migrate", "django_delayed", verbosity=0)
            self.execute(*self.GRANTS)
            yield self
        finally:
            connection.close()
            settings |= before

    def start_again(self):
        """Start, and wait until it has come up."""
        self.start()
        until(self.lets_us_in)

    def lets_us_in(self):
        """Whether the server has come up."""
        try:
            with connection._nodb_cursor() as cursor:
                cursor.execute("SELECT 1")
        except (Error, RuntimeWarning):
            # The warning is Django's, about a server that it cannot ask without a database.
            return False
        return True

    def take_all_connections(self):
        """Connections of the workers' user, until the server has no more; closed by the caller."""
        taken = []
        while True:
            one = connection.copy()
            one.settings_dict = {**connection.settings_dict, "USER": USER}
            try:
                one.ensure_connection()
            except OperationalError:
                return taken
            taken.append(one)

    def execute(self, *statements):
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class PostgreSQLServer(Server):
    OWNER = ADMINISTRATOR = "postgres"
    VARIABLES = ("PGHOST", "PGPORT", "PGUSER")
    GRANTS = (
        f"DROP ROLE IF EXISTS {USER}",
        f"CREATE ROLE {USER} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {USER}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {USER}",
    )

    @staticmethod
    def bin():
        return [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]

    @classmethod
    def is_installed(cls):
        return bool(program("initdb", *cls.bin()))

    def create(self):
        if self.owner:
            shutil.chown(self.folder, self.OWNER)
        initdb = program("initdb", *self.bin())
        self.run(initdb, "--auth=trust", "--username=postgres", "--encoding=UTF8", f"--pgdata={self.data}")

    def command(self):
        options = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
        ]
        settings = [part for option in [*options, "max_connections=30"] for part in ("-c", option)]
        return [program("postgres", *self.bin()), "-D", str(self.data), *settings]

    def crash(self):
        """As `pg_ctl stop -m immediate`: without a checkpoint, so that the next start is a recovery."""
        self.stop(signal.SIGQUIT)

    def refuse_writes(self, refuse):
        # The administrator may, as he says for his own session that he does.
        self.execute(
            "SET default_transaction_read_only = off",
            f"ALTER SYSTEM SET default_transaction_read_only = {'on' if refuse else 'off'}",
            "SELECT pg_reload_conf()",
        )


class MariaDBServer(Server):
    OWNER, ADMINISTRATOR = "mysql", "root"
    VARIABLES = ("MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_USER")
    GRANTS = tuple(
        f"GRANT ALL ON {NAME}.* TO {USER}@'{host}' IDENTIFIED BY ''" for host in ("localhost", "127.0.0.1")
    )

    @classmethod
    def is_installed(cls):
        return bool(program("mariadbd") and program("mariadb-install-db"))

    def create(self):
        if self.owner:
            shutil.chown(self.folder, self.OWNER)
        self.run(
            *(program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )

    def command(self):
        return [
            *(program("mariadbd"), "--no-defaults", f"--datadir={self.data}", "--bind-address=127.0.0.1"),
            *("--max-connections=24", f"--port={self.port}"),
            *(f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"),
        ]

    def stop(self, signum=signal.SIGTERM):
        super().stop(signum)

    def crash(self):
        self.stop(signal.SIGKILL)

    def refuse_writes(self, refuse):
        # Those of the administrator are accepted all the same.
        self.execute(f"SET GLOBAL read_only = {int(refuse)}")


OF_THE_VENDOR = {"postgresql": PostgreSQLServer, "mysql": MariaDBServer}.get(connection.vendor)
