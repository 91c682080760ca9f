"""The changes that a mutant may have, each at one place of a module's syntax tree."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
# Two moments are never exactly equal: for these, < and <= are the same.
MOMENT = re.compile(r"monotonic\(|\b(now|age|left|lived|due_in|since|end)\b|_for\b")
TURNED_ROUND: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
VERBS = {"send_robust": "send", "send": "send_robust", "min": "max", "max": "min", "any": "all", "all": "any"}
# Without these decorators nothing works, which any test notices.
KEPT_DECORATORS = ("property", "classmethod", "staticmethod", "contextmanager", "dataclass")


@dataclass(frozen=True)
class Mutation:
    """One change: `apply` makes it in the tree that it was found in."""

    line: int
    function: str
    before: str
    after: str
    apply: Callable[[], None]

    @property
    def change(self) -> str:
        return f"{self.before}  →  {self.after}"


def mutations(tree: ast.Module) -> Iterator[Mutation]:
    """All changes to this module, in an order that depends on nothing else."""
    for statement in tree.body:
        match statement:
            case ast.FunctionDef() | ast.ClassDef():
                yield from _in_definition(statement, statement.name)
            # Other values are numbers that somebody chose: no test can say that another number is wrong.
            case ast.Assign(value=ast.Dict() | ast.Call(func=ast.Name(id="Q")) as value):
                yield from _in_expression(value, "module")
            case ast.AnnAssign(value=ast.Dict() as value):
                yield from _in_expression(value, "module")


def _in_definition(node: ast.FunctionDef | ast.ClassDef, name: str) -> Iterator[Mutation]:
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                yield from _in_definition(child, f"{name}.{child.name}")
    else:
        yield from _without_decorators(node, name)
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            yield from _in_expression(default, name)
        yield from _in_block(node.body, name)


def _without_decorators(node: ast.FunctionDef, name: str) -> Iterator[Mutation]:
    for decorator in node.decorator_list:
        text = ast.unparse(decorator)
        if not text.startswith(KEPT_DECORATORS) and not text.endswith(".setter"):
            yield Mutation(
                decorator.lineno, name, f"@{text}", "", lambda one=decorator: node.decorator_list.remove(one)
            )


def _in_block(block: list[ast.stmt], name: str) -> Iterator[Mutation]:
    for place, statement in enumerate(block):
        if isinstance(statement, ast.FunctionDef):
            yield from _in_definition(statement, f"{name}.{statement.name}")
            continue
        if _is_removable(statement) and not _is_initial(statement, name):
            yield _replaced(block, place, ast.Pass(), name)
        if isinstance(statement, ast.With):
            yield from _without_contexts(block, place, statement, name)
        yield from _in_statement(statement, name)


def _is_removable(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call() | ast.Yield()):
            return not _is_log(statement.value)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
        case ast.Return(value=value):
            return value is None
        case ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue() | ast.Delete():
            return True
    return False


def _is_initial(statement: ast.stmt, name: str) -> bool:
    """Whether an object would lack an attribute without the statement, which any test notices."""
    return name.endswith(".__init__") and isinstance(statement, ast.Assign)


def _replaced(block: list[ast.stmt], place: int, new: ast.stmt, name: str) -> Mutation:
    old = block[place]

    def apply() -> None:
        block[place] = ast.copy_location(new, old)

    return Mutation(old.lineno, name, _head(old), _head(new), apply)


def _without_contexts(block: list[ast.stmt], place: int, node: ast.With, name: str) -> Iterator[Mutation]:
    for number, item in enumerate(node.items):
        if item.optional_vars is None:
            new: ast.stmt = ast.If(ast.Constant(True), node.body, [])
            if len(node.items) > 1:
                new = copy.copy(node)
                new.items = node.items[:number] + node.items[number + 1 :]
            yield _replaced(block, place, new, name)


def _in_statement(statement: ast.stmt, name: str) -> Iterator[Mutation]:
    if isinstance(statement, ast.If | ast.While):
        yield from _negated(statement, name)
    if isinstance(statement, ast.Try):
        for handler in statement.handlers:
            yield from _raised_again(handler, name)
    if isinstance(statement, ast.Raise):
        return
    for field, value in ast.iter_fields(statement):
        if field == "annotation":
            continue
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield from _in_block(value, name)
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.ExceptHandler | ast.match_case):
                yield from _in_block(part.body, name)
            elif isinstance(part, ast.AST):
                yield from _in_expression(part, name)


def _negated(node: ast.If | ast.While | ast.IfExp, name: str) -> Iterator[Mutation]:
    """Negate a condition that no other mutation turns round."""
    old = node.test
    if not isinstance(old, ast.Compare | ast.BoolOp | ast.Constant) and not _is_not(old):
        new = ast.UnaryOp(ast.Not(), old)
        yield Mutation(
            old.lineno, name, ast.unparse(old), ast.unparse(new), lambda: setattr(node, "test", new)
        )


def _raised_again(handler: ast.ExceptHandler, name: str) -> Iterator[Mutation]:
    if not isinstance(handler.body[0], ast.Raise):
        before = f"{_head(handler)} {_head(handler.body[0])}"
        new: list[ast.stmt] = [ast.Raise()]
        yield Mutation(
            handler.lineno, name, before, f"{_head(handler)} raise", lambda: setattr(handler, "body", new)
        )


def _in_expression(node: ast.AST, name: str) -> Iterator[Mutation]:
    if isinstance(node, ast.JoinedStr) or _is_log(node):
        return
    for before, after, apply in _changes(node):
        yield Mutation(getattr(node, "lineno", 0), name, before, after, apply)
    if isinstance(node, ast.IfExp):
        yield from _negated(node, name)
    for child in ast.iter_child_nodes(node):
        yield from _in_expression(child, name)


def _changes(node: ast.AST) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """The changes of this one expression, as (before, after, apply)."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            opposite = TURNED_ROUND if MOMENT.search(ast.unparse(node)) else COMPARISONS
            yield _set(node, "ops", [opposite.get(type(op), COMPARISONS[type(op)])()])
        case ast.BoolOp(op=op):
            yield _set(node, "op", ast.Or() if isinstance(op, ast.And) else ast.And())
            for place in range(len(node.values)):
                yield _set(node, "values", node.values[:place] + node.values[place + 1 :])
        case ast.UnaryOp(op=ast.Not()):
            yield _set(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
        case ast.UnaryOp(op=ast.USub()):
            yield _set(node, "op", ast.UAdd())
        case ast.BinOp(op=op) if type(op) in ARITHMETIC and not isinstance(node.left, ast.Constant):
            yield _set(node, "op", ARITHMETIC[type(op)]())
        case ast.Constant(value=bool() as value):
            yield _set(node, "value", not value)
        case ast.Constant(value=int() | float() as value):
            yield _set(node, "value", value + 1)
        case ast.Call():
            yield from _changes_of_call(node)


def _changes_of_call(call: ast.Call) -> Iterator[tuple[str, str, Callable[[], None]]]:
    if isinstance(call.func, ast.Attribute) and call.func.attr in VERBS:
        yield _set_in(call, call.func, "attr", VERBS[call.func.attr])
    if isinstance(call.func, ast.Name) and call.func.id in VERBS:
        yield _set_in(call, call.func, "id", VERBS[call.func.id])
    for place, keyword in enumerate(call.keywords):
        if keyword.arg:
            yield _set(call, "keywords", call.keywords[:place] + call.keywords[place + 1 :])


def _set(node: ast.AST, field: str, new: object) -> tuple[str, str, Callable[[], None]]:
    return _set_in(node, node, field, new)


def _set_in(shown: ast.AST, node: ast.AST, field: str, new: object) -> tuple[str, str, Callable[[], None]]:
    """Set a field of the node. It is tried here, to get the text of the shown expression with the change."""
    old, before = getattr(node, field), ast.unparse(shown)
    setattr(node, field, new)
    after = ast.unparse(shown)
    setattr(node, field, old)
    return before, after, lambda: setattr(node, field, new)


def _head(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def _is_not(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _is_log(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")
