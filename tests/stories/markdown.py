"""The fenced blocks of a page, and a story that follows them in a new project."""

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import django

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (?P<path>[\w/]+\.py)(?:, in the class (?P<class>\w+)|, (?P<when>.*))?\n")
_LEFT_OUT = "…"  # stands for any lines
_PATIENCE = 60  # seconds for one command

# Executes each statement as a console does, which prints the value of an expression.
_CONSOLE = """
import ast, sys
for statement in ast.parse(sys.stdin.read()).body:
    exec(compile(ast.Interactive([statement]), "<the page>", "single"), globals())
"""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks(page: Path, section: str = "") -> list[Block]:
    """The fenced blocks of a page, in order; only those below one heading, if its text is given."""
    text = page.read_text()
    start = text.index(f"## {section}\n") if section else 0
    end = text.find("\n## ", start) if section else -1
    found = _FENCE.finditer(text, start, len(text) if end < 0 else end)
    return [Block(block[2], dedent(block[3]), text.count("\n", 0, block.start()) + 2) for block in found]


# The first blocks: settings are the second, the model is the third, and the fourth makes its table.
QUICK_START = blocks(ROOT / "docs/quick_start.md")


class Story:
    """A new project, in which the blocks of a page are followed one by one, as a reader does."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        theirs = {
            name: value for name, value in os.environ.items() if not {"DJANGO", "PYTEST"} & {*name.split("_")}
        }
        self.environment = theirs | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error",
        }

    def tell(self, blocks: list[Block]) -> None:
        """Do what the blocks say. Raises AssertionError if the result is not the one that they show."""
        for block in blocks:
            try:
                self._tell(block)
            except Exception as error:
                error.add_note(f"in the block at line {block.line}: {block.text}")
                raise

    def _tell(self, block: Block) -> None:
        match block.language:
            case "python" if file := _FILE.match(block.text):
                self._write(file, block.text)
            case "python":
                self._execute(block.text)
            case "pycon":
                lines = [line for line in block.text.splitlines() if line]
                said = [line[4:] for line in lines if line.startswith((">>> ", "... "))]
                expected = [line for line in lines if not line.startswith((">>> ", "... ", _LEFT_OUT))]
                check(self._execute("\n".join(said)), expected)
            case "console":
                for command, *expected in _commands(block.text):
                    self._run(command, expected)

    def _write(self, file: re.Match[str], text: str) -> None:
        path = self.project / file["path"]
        if file["when"] == "at the top":
            path.write_text(text + path.read_text())
            return
        if (when := file["when"]) and not _is_for_us(when):
            return
        if file["class"]:
            [*_, last] = re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
            assert last == file["class"], f"{file['class']} is not the last class of {path}"
        with path.open("a") as opened:
            opened.write("\n" + indent(text, "    ") if file["class"] else f"\n\n{text}")

    def _execute(self, source: str) -> str:
        shell = [sys.executable, "manage.py", "shell", "-v", "0", "-c", _CONSOLE]
        done = subprocess.run(
            shell, input=source, cwd=self.project, env=self.environment, text=True, timeout=_PATIENCE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _run(self, command: str, expected: list[str]) -> None:
        if command.startswith("pip install") or command == "python manage.py shell":
            return  # it is installed; what is typed in the shell comes in the next block
        if command == "python manage.py jobs_work":
            self._run_until(command, expected)
        else:
            check(self._finish(command), expected)

    def _finish(self, command: str) -> str:
        done = subprocess.run(
            command.split(), cwd=self.project, env=self.environment, text=True, timeout=_PATIENCE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _run_until(self, command: str, expected: list[str]) -> None:
        """Run it until it has printed what the page shows, then press Ctrl-C; it must end with 0."""
        process = subprocess.Popen(
            command.split(), cwd=self.project, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        out_of_patience = threading.Timer(_PATIENCE, process.kill)
        out_of_patience.start()
        with process:
            try:
                waiting, said = [*expected], []
                while waiting:
                    line = process.stdout.readline()
                    assert line, f"It ended before it said {waiting[0]!r}: {''.join(said)}"
                    said.append(line)
                    if _pattern(waiting[0]).search(line):
                        del waiting[0]
                process.send_signal(signal.SIGINT)
                rest, _ = process.communicate(timeout=_PATIENCE)
                assert process.returncode == 0, rest
            finally:
                out_of_patience.cancel()
                process.kill()


def check(said: str, expected: list[str]) -> None:
    """Check that each expected line was printed, in this order; numbers may differ."""
    lines = iter(said.splitlines())
    for wanted in expected:
        assert any(_pattern(wanted).search(line) for line in lines), f"{wanted!r} is not in:\n{said}"


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(r"\d+".join(map(re.escape, re.split(r"\d+", line))))


def _commands(text: str) -> list[list[str]]:
    commands: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append([line[2:]])
        elif line and line != _LEFT_OUT:
            commands[-1].append(line)
    return commands


def _is_for_us(when: str) -> bool:
    if when.startswith("on Django"):
        return "{}.{}".format(*django.VERSION[:2]) in when.removeprefix("on Django ").split(" and ")
    if found := re.fullmatch(r"from Django (\d+)\.(\d+) on", when):
        return django.VERSION[:2] >= (int(found[1]), int(found[2]))
    raise ValueError(f"A block is for {when!r}, which no story knows.")
