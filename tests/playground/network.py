"""A network between workers and their database, which can fall silent or lose an answer."""

import re
import select
import socket
import threading
import time
from collections import Counter
from contextlib import suppress

from django.db import connection

TABLE = rb"django_delayed_(\w+)"
# A statement of ours in a request, in both protocols.
STATEMENT = re.compile(
    rb"(?:COMMIT|ROLLBACK|WITH RECURSIVE"
    rb"|(?:WITH (?:picked|removed|written)|SELECT|INSERT INTO|UPDATE|DELETE(?: job)? FROM)\b.*?"
    + TABLE
    + rb")",
    re.DOTALL,
)

# The COMMIT of an atomic job, after the move of its row.
COMMIT_OF_JOB = "COMMIT of a job"


def at_port(port):
    """The environment in which a project finds its database at this port."""
    host, variable = {"postgresql": ("PGHOST", "PGPORT"), "mysql": ("MYSQL_HOST", "MYSQL_TCP_PORT")}[
        connection.vendor
    ]
    return {host: "127.0.0.1", variable: str(port), "PGSSLMODE": "disable"}


def kind_of(request):
    """The verb and the table of the statement in a request; None without one of ours."""
    if not (found := STATEMENT.search(request)):
        return None
    verb = " ".join(found[0].decode().replace("DELETE job", "DELETE").split()[:2])
    table = found[1].decode() if found[1] else ""
    return " ".join(filter(None, [verb.split()[0] if verb.startswith(("SELECT", "UPDATE")) else verb, table]))


class Network(threading.Thread):
    """A proxy between a worker and its database.

    After `fall_silent`, nothing is passed on and no connection is closed. After `lose_answers`, a connection
    is closed when the server has answered a statement and the client does not have the answer yet: the first,
    the third, the fifth … of each kind, so many times.
    """

    def __init__(self):
        super().__init__(daemon=True)
        settings = connection.settings_dict
        self.server = settings["HOST"], int(settings["PORT"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.is_silent = self.is_closed = False
        self.peers = {}
        self.seen, self.lost = Counter(), Counter()
        self._to_lose, self._only = 0, ()
        self._last = {}  # the kind of the last request of a client
        self._losing = set()  # sockets of servers whose next answer is lost

    @property
    def environment(self):
        """The environment in which a project finds its database behind this network."""
        return at_port(self.port)

    def run(self):
        while not self.is_closed:
            for ready in select.select([self.listener, *self.peers], [], [], 0.05)[0]:
                if self.is_silent:
                    time.sleep(0.05)
                elif ready is self.listener:
                    self._accept()
                elif ready in self.peers:
                    self._pass_on(ready)

    def _accept(self):
        ours = self.listener.accept()[0]
        with suppress(OSError):
            theirs = socket.create_connection(self.server)
            self.peers |= {ours: theirs, theirs: ours}
            return
        ours.close()

    def _pass_on(self, ready):
        try:
            data = ready.recv(1 << 20)
            if data and ready not in self._losing:
                self._look_at(ready, data)
                self.peers[ready].sendall(data)
                return
        except OSError:
            pass
        self._losing.discard(ready)
        other = self.peers.pop(ready)
        self.peers.pop(other, None)
        other.close()
        ready.close()

    def _look_at(self, ready, data):
        if not self._to_lose or ready.getpeername() == self.server or not (kind := kind_of(data)):
            return
        last, self._last[ready] = self._last.get(ready), kind
        if (kind, last) == ("COMMIT", "DELETE FROM delayedjob"):
            kind = COMMIT_OF_JOB
        if self._only and kind not in self._only:
            return
        self.seen[kind] += 1
        if self.seen[kind] % 2 and self.lost[kind] < self._to_lose:
            self.lost[kind] += 1
            self._losing.add(self.peers[ready])

    def lose_answers(self, times, only=()):
        """Lose so many answers to statements of these kinds; without kinds, of every kind."""
        self._to_lose, self._only = times, only

    def fall_silent(self):
        self.is_silent = True

    def speak(self):
        """Pass on what has come meanwhile and what comes from now on."""
        self.is_silent = False

    def close(self):
        self.is_closed = True
        self.join()
        for peer in [self.listener, *self.peers]:
            peer.close()
