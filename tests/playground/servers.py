"""Servers that tests start for themselves, so that they can stop, kill or misconfigure them."""

import signal
import socket
from contextlib import contextmanager

from django.core.management import call_command
from django.db import OperationalError, connection
from scripts import servers

# The names of the database and of the user of the workers, who has no rights of an administrator.
NAME, USER = "faults", "worker"


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class InUse:
    """A server of the same kind as that of the tests; they use it while `in_use`."""

    # The statements that give the user of the workers its rights, once there are the tables.
    GRANTS = ()

    @property
    def environment(self):
        """The environment in which a project finds the server, as an ordinary user."""
        user = self.VARIABLES[2]
        return super().environment | {user: USER, "DATABASE_NAME": NAME, "PGSSLMODE": "disable"}

    @contextmanager
    def in_use(self):
        """A block in which Django's connection of this process leads here, to the tables of the queue."""
        settings = connection.settings_dict
        before = {**settings}
        connection.close()
        settings |= {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": self.ADMINISTRATOR, "PASSWORD": ""}
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

    def take_all_connections(self):
        """Open connections as the workers' user until the server has no more; the caller closes them."""
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


class PostgreSQLServer(InUse, servers.PostgreSQLServer):
    OPTIONS = ("max_connections=30",)
    GRANTS = (
        f"DROP ROLE IF EXISTS {USER}",
        f"CREATE ROLE {USER} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {USER}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {USER}",
    )

    def crash(self):
        """Stop as `pg_ctl stop -m immediate` does: without a checkpoint, so that the next start recovers."""
        self.stop(signal.SIGQUIT)

    def refuse_writes(self, refuse):
        # The administrator may still write, because this session sets that for itself.
        self.execute(
            "SET default_transaction_read_only = off",
            f"ALTER SYSTEM SET default_transaction_read_only = {'on' if refuse else 'off'}",
            "SELECT pg_reload_conf()",
        )


class MariaDBServer(InUse, servers.MariaDBServer):
    OPTIONS = ("--max-connections=24",)
    GRANTS = tuple(
        f"GRANT ALL ON {NAME}.* TO {USER}@'{host}' IDENTIFIED BY ''" for host in ("localhost", "127.0.0.1")
    )

    def crash(self):
        self.stop(signal.SIGKILL)

    def refuse_writes(self, refuse):
        # The administrator may still write.
        self.execute(f"SET GLOBAL read_only = {int(refuse)}")


OF_THE_VENDOR = {"postgresql": PostgreSQLServer, "mysql": MariaDBServer}.get(connection.vendor)
