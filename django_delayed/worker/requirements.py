"""What a worker needs of its platform and of its process."""

from __future__ import annotations

import os
import signal
import sys

from .activity import Activity

# Windows lacks these. What else a worker needs is there on every system that has them.
_OF_POSIX = {
    signal: ("SIGALRM", "SIGQUIT", "setitimer", "pthread_kill", "pthread_sigmask"),
    os: ("fork", "register_at_fork"),
}


def why_no_worker() -> str:
    """Why no worker can run in this process, and what to do; "" if one can."""
    if not all(hasattr(module, name) for module, names in _OF_POSIX.items() for name in names):
        return (
            f"A worker needs POSIX signals and processes, which {sys.platform} does not have. Run workers"
            " on Linux, macOS or another Unix, or in a container; everything else works here."
        )
    if library := _replaced_threads():
        return (
            f"{library} has replaced the threads of this process, so that a job would keep the worker from"
            f" receiving signals and sending heartbeats. Let {library} patch other processes only, as with"
            " `if 'jobs_work' not in str(sys.argv):` before it in manage.py."
        )
    try:
        Activity().close()
    except OSError as error:
        return (
            "A worker shares a page of memory with its supervisor, and no file can be made for it:"
            f" {error}. Let TMPDIR name a folder that can be written."
        )
    return ""


def _replaced_threads() -> str:
    """The library that has replaced Python's threads, sleeps and sockets with its own; "" if none has."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_anything_patched():
        return "gevent"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.already_patched:
        return "eventlet"
    return ""
