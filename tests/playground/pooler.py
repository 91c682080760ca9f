"""PgBouncer in transaction mode in front of the database of the tests."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from django.db import connection
from scripts.servers import free_port, program
from tests.playground.servers import answers
from tests.playground.waiting import until


class PgBouncer:
    """A PgBouncer that runs for a block; its clients share so many connections to the server."""

    def __init__(self, pool_size=20):
        self.port = free_port()
        self._pool_size = pool_size

    @staticmethod
    def is_installed():
        return bool(program("pgbouncer"))

    def __enter__(self):
        given = connection.settings_dict
        self._folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        self._folder.chmod(0o755)
        path = self._folder / "pgbouncer.ini"
        path.write_text(
            f"[databases]\n{given['NAME']} = host={given['HOST']} port={given['PORT']} user={given['USER']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nauth_type = any\n"
            f"unix_socket_dir =\npool_mode = transaction\ndefault_pool_size = {self._pool_size}\n"
        )
        path.chmod(0o644)
        as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [program("pgbouncer"), "-q", *as_user, str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: answers(self.port))
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder)
