"""Copies of the checkout, in which the package is changed and tested."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

ROOT = Path(__file__).resolve().parents[2]
FAST = "not browser and not slow"
LONGEST_TEST = 60  # seconds; one that hangs has noticed the change too


@dataclass(frozen=True)
class Copy:
    """A copy of the checkout, in which one mutant at a time is tested."""

    folder: Path
    database_suffix: str

    @classmethod
    def make(cls, folder: Path) -> Copy:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        # By content: a mutant may have the size of the one before it, and be written in the same second.
        compileall.compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        return cls(folder, f"mutants_{os.getpid()}_{folder.name}")

    def test(
        self,
        tests: list[str],
        database: str,
        limit: float | None,
        select: str = FAST,
        longest: float = LONGEST_TEST,
        **environment: str,
    ) -> str:
        """Run the selected tests. Returns "" if they pass, else their output, or "time limit"."""
        name = f"{self.folder}/db.sqlite3" if database == "sqlite" else f"dd_{self.database_suffix}"
        options = ["-q", "-x", "-p", "no:cacheprovider", "-m", select]
        options += ["-o", f"faulthandler_timeout={longest}"]
        output = self.folder / "output"
        # Not a pipe: what a mutant leaves running would hold it open.
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=self.folder,
                env={**os.environ, "DATABASE": database, "DATABASE_NAME": name, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return output.read_text(errors="replace") if process.wait(limit) else ""
        except subprocess.TimeoutExpired:
            return "time limit"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._clean_up()

    def _clean_up(self) -> None:
        """End the processes that the tests of a mutant have left, and remove its databases."""
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if Path(os.readlink(link)).is_relative_to(self.folder):
                    os.kill(int(link.parent.name), signal.SIGKILL)
        for file in self.folder.rglob("*.sqlite3*"):
            file.unlink(missing_ok=True)
