"""The patches of `make faults-mutants`, and the table of `make faults`."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load(monkeypatch, path):
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(f"script_{path.parent.name}_{path.stem.strip('_')}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def patches(monkeypatch):
    return load(monkeypatch, ROOT / "scripts" / "mutants" / "faults.py").PATCHES


def test_the_text_of_each_patch_is_found_once_and_the_patched_code_compiles(patches):
    for patch in patches:
        for file, text, instead in patch.places:
            source = (ROOT / "django_delayed" / file).read_text()
            assert source.count(text) == 1, (patch.name, text)
            compile(source.replace(text, instead), file, "exec")


def test_each_patch_names_a_test(patches):
    for patch in patches:
        file, name = patch.test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_the_figures_of_all_databases_become_one_table(monkeypatch):
    module = load(monkeypatch, ROOT / "scripts" / "faults" / "__main__.py")
    lines = [
        {"row": "kills", "database": "SQLite", "jobs": 10000, "lost": 0},
        {"row": "kills", "database": "MariaDB", "jobs": 10000, "lost": 0},
        {"row": "read-only", "database": "MariaDB", "jobs": 5},
    ]
    assert module.table("\n".join(map(json.dumps, lines))).splitlines() == [
        "| fault | SQLite | MariaDB |",
        "| --- | --- | --- |",
        "| kills | jobs 10,000, lost 0 | jobs 10,000, lost 0 |",
        "| read-only | - | jobs 5 |",
    ]
