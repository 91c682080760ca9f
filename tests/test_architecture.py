"""The rules of the code apart from its layers; import-linter checks those (pyproject.toml)."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import django_delayed
import pytest

PACKAGE = Path(django_delayed.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
LONGEST_MODULE = 250
LONGEST_FUNCTION = 25
# What is longer, and why: {"module.py": lines, "module.py:function": lines}.
LONGER: dict[str, int] = {
    # One file holds the states and every move between them, so that nothing else changes a row.
    "states.py": 547,
    # One class has everything that a project writes, calls and reads of a job.
    "jobs/job.py": 385,
}
MOST_ENTRIES = 32  # modules and packages at the top, so that the folder can be read aloud
# Words that the package gave up for those of CONTRIBUTING.md: coined ones, or ones with two meanings.
RETIRED = {
    *("bury", "buries", "buried", "chore", "chores", "housekeeping", "in_surroundings", "keeper", "keepers"),
    *("check_policy", "let_go", "life_line", "lifeline", "lookout", "orders", "patience", "patiently"),
    *("pipeline", "registry", "subject_of", "surrounded", "surroundings", "tracebacks", "upkeep"),
    *("verdict", "verdicts", "written_down", "write_down", "in_vain", "beats", "beaten", "rescue", "rescues"),
}
# The models.py of a project imports these when no model can be imported yet.
FRONT = ["", ".jobs", ".calls", ".mail", ".tasks", ".enqueueing", ".signals", ".exceptions"]


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


# The app's ready() and the fixture of pytest run when there are models, but their modules are loaded before.
@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name not in ("apps.py", "pytest_plugin.py")], ids=name_of
)
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


def test_every_exception_to_the_lengths_is_still_needed():
    sizes = {name_of(path): len(path.read_text().splitlines()) - LONGEST_MODULE for path in MODULES} | {
        f"{name_of(path)}:{function.name}": lines_of(function) - LONGEST_FUNCTION
        for path in MODULES
        for function in functions_of(path)
    }
    assert [name for name in LONGER if sizes.get(name, 0) <= 0] == []


@each_module
def test_a_retired_word_does_not_come_back(path):
    # This finds them inside names too: LifeLine, in_vain, rescue_workers.
    text = re.sub(r"([a-z])([A-Z])", r"\1_\2", path.read_text()).lower()
    words = set(re.findall(r"[a-z]+", text))
    pairs = set(re.findall(r"(?=\b_?([a-z]+_[a-z]+))", text))
    assert (words | pairs) & RETIRED == set()


@each_module
def test_a_job_is_a_job_and_a_row_is_a_row(path):
    tree = ast.parse(path.read_text())
    named = [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation]
    assert [
        node.arg for node in named if node.arg == "job" and "DelayedJob" in ast.dump(node.annotation)
    ] == []
    assert [
        node.arg for node in named if node.arg == "jobs" and "QuerySet" in ast.dump(node.annotation)
    ] == []


def test_the_top_folder_is_short():
    entries = {path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert len(entries) <= MOST_ENTRIES


def test_there_is_one_migration_and_it_imports_only_the_fields():
    [migration] = [path for path in PACKAGE.glob("migrations/*.py") if path.stem != "__init__"]
    assert set(re.findall(r"^import (django_delayed.*)", migration.read_text(), re.M)) == {
        "django_delayed.fields"
    }


def test_the_fields_of_migrations_import_nothing_of_ours():
    tree = ast.parse((PACKAGE / "fields.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in imports if node.level or node.module.startswith("django_delayed")] == []
    assert {node.name for node in tree.body if isinstance(node, ast.ClassDef)} == {
        "QueueField",
        "ClaimableField",
        "PartialIndex",
        "StorageParameters",
    }


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
    # `import django_delayed.delay as d` would give the function or the module, depending on earlier imports.
    modules = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    assert modules.isdisjoint(django_delayed.__all__)


def test_every_module_can_be_imported():
    for path in MODULES:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        importlib.import_module(name)
