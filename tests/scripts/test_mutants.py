"""The changes of `make mutants`."""

import ast
import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "scripts" / "mutants" / "mutations.py"


@pytest.fixture(scope="module")
def mutations():
    spec = importlib.util.spec_from_file_location("mutations_of_the_core", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module.mutations
    del sys.modules[spec.name]


def changes(mutations, *lines):
    """The bodies that a function with this body may have after one change."""
    source = "def function():\n" + "".join(f"    {line}\n" for line in lines)
    found = []
    for number, _ in enumerate(mutations(ast.parse(source))):
        tree = ast.parse(source)
        list(mutations(tree))[number].apply()
        text = ast.unparse(ast.fix_missing_locations(tree))
        compile(text, "a mutant", "exec")
        found.append([line.removeprefix("    ") for line in text.splitlines()[1:] if line])
    assert list(lines) not in found
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a == b", ["return a != b"]),
        ("return a < b", ["return a <= b"]),
        ("return a is None", ["return a is not None"]),
        ("return a not in b", ["return a in b"]),
        ("return time.monotonic() < b", ["return time.monotonic() >= b"]),
        ("return age >= b", ["return age < b"]),
        ("return a and b", ["return a or b", "return b", "return a"]),
        ("return not a", ["return not not a"]),
        ("return -a", ["return +a"]),
        ("return a + b", ["return a - b"]),
        ("return a / b", ["return a * b"]),
        ("return True", ["return False"]),
        ("return 3", ["return 4"]),
        ("return min(a, b)", ["return max(a, b)"]),
        ("return f(a, b=c)", ["return f(a)"]),
        ("return 1 if a else b", ["return 1 if not a else b", "return 2 if a else b"]),
        ("signal.send_robust(a)", ["pass", "signal.send(a)"]),
        ("a.b = c", ["pass"]),
        ("a += b", ["pass"]),
        ("raise a", ["pass"]),
        ("return", ["pass"]),
        ("yield", ["pass"]),
        ("a = b", []),
        ("return f'{a < b}'", []),
        ("logger.warning('%s', a, extra=b)", []),
    ],
)
def test_a_statement_is_changed_in_these_ways(mutations, line, expected):
    assert changes(mutations, line) == [[one] for one in expected]


def test_a_block_is_changed_in_these_ways(mutations):
    assert changes(mutations, "with a:", "    b = c") == [["if True:", "    b = c"]]
    assert changes(mutations, "with a as b, c:", "    b = d") == [["with a as b:", "    b = d"]]
    assert changes(mutations, "with a as b:", "    c = b") == []
    assert changes(mutations, "if a:", "    b = c") == [["if not a:", "    b = c"]]
    assert changes(mutations, "try:", "    a = b", "except C:", "    d = e") == [
        ["try:", "    a = b", "except C:", "    raise"]
    ]
    assert changes(mutations, "try:", "    a = b", "finally:", "    c()") == [
        ["try:", "    a = b", "finally:", "    pass"]
    ]


def test_a_nested_function_is_changed_once(mutations):
    assert changes(mutations, "def inner(a=False):", "    return a", "return inner") == [
        ["def inner(a=True):", "    return a", "return inner"]
    ]


def test_the_methods_of_a_class_and_the_conditions_of_a_module_are_changed(mutations):
    source = (
        "LIMIT = 5\nCONDITION = Q(a=1, b=2)\n"
        "class A:\n    b = 1\n    @property\n    @cached\n    def c(self):\n        return 1\n"
        "    def __init__(self):\n        self.d = e\n"
    )
    found = [(one.function, one.change) for one in mutations(ast.parse(source))]
    assert found == [
        ("module", "Q(a=1, b=2)  →  Q(b=2)"),
        ("module", "Q(a=1, b=2)  →  Q(a=1)"),
        ("module", "1  →  2"),
        ("module", "2  →  3"),
        ("A.c", "@cached  →  "),
        ("A.c", "1  →  2"),
    ]


def test_each_change_that_is_listed_as_equivalent_can_still_be_made(mutations):
    listed = tomllib.loads(FILE.with_name("equivalent.toml").read_text())["equivalent"]
    sources = {one["module"]: ROOT / "django_delayed" / f"{one['module']}.py" for one in listed}
    found = {
        (module, one.function, one.change)
        for module, path in sources.items()
        for one in mutations(ast.parse(path.read_text()))
    }
    assert {(one["module"], one["function"], one["change"]) for one in listed} - found == set()
