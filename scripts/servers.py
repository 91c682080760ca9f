"""PostgreSQL and MariaDB servers of our own, on loopback and without a password; their files are temporary.

`make servers` runs one of each until it is interrupted. The tests start those that the environment
does not name.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PATIENCE = 60  # seconds, for a server to start or to stop


class NotInstalledError(Exception):
    """The programs of a server are not on this machine."""


def program(name, *folders):
    """The path of a program; None when it is not installed."""
    return shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"], "/usr/sbin", "/sbin"]))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Server:
    """A server in a folder of its own; it does not run before `start`."""

    TITLE, OWNER, ADMINISTRATOR = "", "", ""
    # The environment variables in which the settings of testproject look for its host, port and user.
    VARIABLES = ()
    # The data need not survive a crash of the machine, so no commit waits for the disk.
    OPTIONS = ()

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.port = free_port()
        # A server refuses to run as root.
        self.owner = {"user": self.OWNER} if os.geteuid() == 0 else {}
        self.process = None

    @classmethod
    def is_named(cls):
        """Whether the environment says which server to use."""
        return any(variable in os.environ for variable in cls.VARIABLES[:2])

    @property
    def environment(self):
        """The environment variables by which the settings find the server."""
        return dict(zip(self.VARIABLES, ("127.0.0.1", str(self.port), self.ADMINISTRATOR), strict=True))

    def run(self, *command):
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **self.owner
        )
        if done.returncode:
            raise RuntimeError(f"{self.TITLE} cannot be set up:\n{done.stdout}")

    def create(self):
        """Write its files."""
        if self.owner:
            shutil.chown(self.folder, self.OWNER)
        self.run(*self.installation())

    def start(self):
        """Start, and wait until it answers, after its recovery if that is needed."""
        with (self.folder / "log").open("a") as log:
            # In a session of its own: Ctrl-C is for the process that uses the server, which then ends it.
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.owner,
            )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.TITLE} does not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.1)

    def answers(self):
        return subprocess.run(self.question(), capture_output=True).returncode == 0

    def stop(self, signum=signal.SIGINT):
        """Stop it without waiting for its clients."""
        self.process.send_signal(signum)
        self.process.wait(PATIENCE)

    def remove(self):
        if self.process and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgreSQLServer(Server):
    TITLE = "PostgreSQL"
    OWNER = ADMINISTRATOR = "postgres"
    VARIABLES = ("PGHOST", "PGPORT", "PGUSER")
    OPTIONS = ("fsync=off",)

    @staticmethod
    def bin():
        return [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]

    @classmethod
    def is_installed(cls):
        return bool(program("initdb", *cls.bin()))

    def installation(self):
        initdb = program("initdb", *self.bin())
        return [initdb, "--auth=trust", "--username=postgres", "--encoding=UTF8", f"--pgdata={self.data}"]

    def command(self):
        place = ("listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.folder}")
        options = [part for option in (*place, *self.OPTIONS) for part in ("-c", option)]
        return [program("postgres", *self.bin()), "-D", str(self.data), *options]

    def question(self):
        return [program("pg_isready", *self.bin()), "--host=127.0.0.1", f"--port={self.port}"]


class MariaDBServer(Server):
    TITLE, OWNER, ADMINISTRATOR = "MariaDB", "mysql", "root"
    VARIABLES = ("MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_USER")
    OPTIONS = ("--innodb-flush-log-at-trx-commit=2",)

    @classmethod
    def is_installed(cls):
        return bool(program("mariadbd") and program("mariadb-install-db"))

    def installation(self):
        return [
            *(program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        ]

    def command(self):
        return [
            *(program("mariadbd"), "--no-defaults", f"--datadir={self.data}", "--bind-address=127.0.0.1"),
            *(f"--port={self.port}", f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"),
            *self.OPTIONS,
            *shlex.split(os.environ.get("MARIADB_OPTIONS", "")),
        ]

    def question(self):
        return [
            *(program("mariadb-admin"), "--no-defaults", "--host=127.0.0.1", f"--port={self.port}"),
            *("--user=root", "ping"),
        ]

    def stop(self, signum=signal.SIGTERM):
        super().stop(signum)


SERVERS = {"postgresql": PostgreSQLServer, "mariadb": MariaDBServer}


@contextmanager
def server_for(database):
    """A block with a server of this kind; yields the environment variables by which the settings find it.

    These are none if the environment names a server already. Raises NotInstalledError if the server is not
    installed.
    """
    kind = SERVERS.get(database)
    if kind is None or kind.is_named():
        yield {}
        return
    if not kind.is_installed():
        raise NotInstalledError(f"it is not installed, and {kind.VARIABLES[0]} names no server")
    server = kind()
    try:
        server.create()
        server.start()
        yield server.environment
    finally:
        server.remove()


def main():
    """Run the servers that are installed, and print the variables that lead to them."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        for database, kind in SERVERS.items():
            try:
                environment = stack.enter_context(server_for(database))
            except NotInstalledError as reason:
                print(f"# {kind.TITLE}: {reason}")
            else:
                print("export", *(f"{name}={value}" for name, value in environment.items()))
        print("# Ctrl-C ends them.", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
