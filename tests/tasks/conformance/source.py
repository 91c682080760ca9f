"""Django's own tests of its tasks, from its source distribution, which is downloaded once."""

import hashlib
import subprocess
import sys
import tarfile

import django
from tests.stories.markdown import ROOT

# For each version of Django: the distribution that has its tests, and the SHA-256 of that.
SOURCES = {
    (6, 0): ("6.0.10", "6005d030df924f85088454c18bd35dcf082b058aa355ad3df520d8de9aef9f41"),
    (6, 1): ("6.1.3", "b5d2d9e35295065d13b1927b3f19a59bd119f737aa6299def14ccca1ae3c8c0d"),
}


PATIENCE = 240  # seconds


class Unavailable(Exception):
    """The tests are not available; the message says why."""


def unpack_tests(folder):
    """Put the package `tasks` with the tests into the folder. Raises Unavailable."""
    if django.VERSION[:2] not in SOURCES:
        raise Unavailable(f"Nobody has listed the source of Django {django.get_version()}.")
    version, digest = SOURCES[django.VERSION[:2]]
    archive = ROOT / ".cache" / f"django-{version}.tar.gz"
    if not archive.exists():
        _download(version, digest, archive.parent)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
        raise Unavailable(f"{archive} is not the file that is expected: remove it.")
    wanted = f"django-{version}/tests/tasks/"
    with tarfile.open(archive) as opened:
        for member in opened.getmembers():
            if member.name.startswith(wanted) and member.isfile():
                member.name = f"tasks/{member.name.removeprefix(wanted)}"
                opened.extract(member, folder, filter="data")


def _download(version, digest, folder):
    folder.mkdir(exist_ok=True)
    required = folder / "django.txt"
    required.write_text(f"Django=={version} --hash=sha256:{digest}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--timeout", "20"),
        *(
            "--disable-pip-version-check",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--require-hashes",
            "-r",
            required,
            "--dest",
            folder,
        ),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Django's source distribution was not downloaded within {PATIENCE} s.") from error
    if done.returncode:
        raise Unavailable(f"Django's source distribution cannot be downloaded: {done.stderr[-500:]}")
