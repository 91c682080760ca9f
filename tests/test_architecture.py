"""What keeps the house in order beside the layers, which import-linter holds (pyproject.toml)."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import django_delayed
import pytest

PACKAGE = Path(django_delayed.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
LONGEST_MODULE = 250
LONGEST_FUNCTION = 25
# What is longer, and for which reason: {"module.py": lines, "module.py:function": lines}.
LONGER: dict[str, int] = {}
# A project's own models.py imports these, when no model can be imported yet.
FRONT = ["", ".jobs", ".calls", ".mail", ".enqueueing", ".signals", ".exceptions"]


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


each_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


def functions_of(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def lines_of(function):
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


def imports_of_ours(function):
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.split(".")[0] == "django_delayed"):
            yield node.lineno
        elif isinstance(node, ast.Import):
            yield from (node.lineno for name in node.names if name.name.split(".")[0] == "django_delayed")


# The app's ready() comes when there are models; its module is loaded before.
@pytest.mark.parametrize("path", [path for path in MODULES if path != PACKAGE / "apps.py"], ids=name_of)
def test_no_function_imports_what_its_module_may_not(path):
    late = [(function.name, line) for function in functions_of(path) for line in imports_of_ours(function)]
    assert late == []


@each_module
def test_a_module_is_short_enough_to_be_read_at_once(path):
    assert len(path.read_text().splitlines()) <= LONGER.get(name_of(path), LONGEST_MODULE)


@each_module
def test_a_function_does_one_thing(path):
    sizes = {f"{name_of(path)}:{function.name}": lines_of(function) for function in functions_of(path)}
    assert {name: lines for name, lines in sizes.items() if lines > LONGER.get(name, LONGEST_FUNCTION)} == {}


def test_what_may_be_longer_still_is():
    sizes = {name_of(path): len(path.read_text().splitlines()) - LONGEST_MODULE for path in MODULES} | {
        f"{name_of(path)}:{function.name}": lines_of(function) - LONGEST_FUNCTION
        for path in MODULES
        for function in functions_of(path)
    }
    assert [name for name in LONGER if sizes.get(name, 0) <= 0] == []


@pytest.mark.parametrize("module", FRONT)
def test_the_front_can_be_imported_before_there_are_models(module):
    subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"import sys, django_delayed{module}; sys.exit('django_delayed.models' in sys.modules)",
        ],
        check=True,
        cwd=PACKAGE.parent,
    )


def test_every_exported_name_is_there():
    assert [name for name in django_delayed.__all__ if not hasattr(django_delayed, name)] == []


def test_no_module_bears_the_name_of_something_exported():
    # `import django_delayed.delay as d` would give the function or the module, depending on who came first.
    modules = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    assert modules.isdisjoint(django_delayed.__all__)


def test_every_module_can_be_imported():
    for path in MODULES:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        importlib.import_module(name)
