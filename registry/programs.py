"""What stands in the graph of an exported program, before torch reads it.

The graph is JSON, and still no mere data: torch 2.15 gives `expr_str` to sympy, which evaluates it as Python; it
executes `guards_code`; it looks operators up from `torch` down (`torch.os.system` is found so); and it writes names
into Python code. All four are held to what an export of a network needs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from streams.errors import ClientFault

EXPRESSION_MAX = 4_096  # characters
POWER_MAX = 16
_NAME = re.compile(r"[\w.+-]{0,500}")
_IN_SPEC = re.compile(r'[\w\s\[\]{}:,."]{0,100000}')
_OUT_SPEC = re.compile(r'[\w\s\[\]{}:,."\\]{0,100000}')
_VALUES = {"as_string", "as_strings"}  # arguments of operators, which torch writes by repr
_NOT_READ = {"metadata"}  # where a node came from; only looked up, never called

_OPERATORS = re.compile(
    r"torch\.ops\.(?:aten|quantized|quantized_decomposed)\.(?P<name>(?!__)\w+|__i?(?:and|or|xor|[lr]shift)__)"
    r"(?:\.[A-Za-z]\w*)?"
    r"|torch\.ops\.higher_order\.(?:cond|while_loop|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.[a-z0-9]+|torch\.sym_(?:int|float|max|min|not|ite|sum)|torch\._sym_sqrt"
)
_FORBIDDEN = {"from_file", "save", "_print"}  # aten's that touch files or the terminal
_FUNCTIONS = frozenset({
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "Eq", "Ne", "Lt", "Le", "Gt",
    "Ge", "And", "Or", "Not", "floor", "ceiling", "min", "max", "abs", "Equality", "Unequality", "StrictLessThan",
    "LessThan", "StrictGreaterThan", "GreaterThan",
    # torch's own, from `sympy_functions` of its deserializer
    "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv", "LShift",
    "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "IsNonOverlappingAndDenseIndicator",
    "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity",
})  # fmt: skip
_SYMBOLS = re.compile(r"(?:s|u|z|zf|f)\d+|oo|int_oo|true|false|L|args|math|inf|torch|s\d+_\d+")
_ATTRIBUTES = frozenset({
    "size", "shape", "stride", "storage_offset", "dim", "isnan", "inf", "sym_max", "sym_min", "sym_not", "sym_ite",
    "sym_int", "sym_float", "sym_sum",
})  # fmt: skip
_ALLOWED = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.BoolOp,
    ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Subscript, ast.Attribute,
)  # fmt: skip


class UnsafeArtifact(ClientFault):
    """Loading the artifact could run code of whoever made it; the message says what in it, and what to do."""

    code = "unsafe_artifact"


def check(graph: object, artifact: str) -> None:
    """Refuse a program (the JSON of `models/model.json`) that is more than operators on tensors.

    Raises: UnsafeArtifact.
    """
    pending: list[tuple[str, object]] = [("", graph)]
    while pending:  # a loop, since a hostile nesting is as deep as it likes
        key, value = pending.pop()
        if isinstance(value, dict):
            for name, inner in value.items():
                if name in _NOT_READ:
                    continue
                _check_text("a name", name, artifact)
                pending.append((name, inner))
        elif isinstance(value, list):
            pending += [(key, inner) for inner in value]
        elif isinstance(value, str):
            _check_text(key, value, artifact)


def _check_text(key: str, text: str, artifact: str) -> None:
    match key:
        case "target" | "as_operator":
            found = _OPERATORS.fullmatch(text)
            sound = found is not None and (found["name"] or "").removesuffix("_") not in _FORBIDDEN
        case "expr_str" | "guards_code":
            sound = harmless(text)
        case "in_spec":
            sound = _IN_SPEC.fullmatch(text) is not None and "__" not in text
        case "out_spec":
            sound = _OUT_SPEC.fullmatch(text) is not None and "__" not in text
        case _ if key in _VALUES:
            sound = True
        case _:
            sound = _NAME.fullmatch(text) is not None
    if not sound:
        raise UnsafeArtifact(
            f"{artifact}: {key} {text[:120]!r} of its graph is nothing that an export of a network needs; "
            "export it from source with torch.export.export, without operators of your own"
        )


def harmless(text: str) -> bool:
    """Whether an expression only computes with sizes: no names but symbols and known functions, no attributes else."""
    if len(text) > EXPRESSION_MAX or "__" in text:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_harmless(node) for node in nodes)


def _harmless(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args):
            return name in _FUNCTIONS and (name not in ("Pow", "PowByNatural", "FloatPow") or _small(args[1:]))
        case ast.Call(func=ast.Attribute()):
            return True  # the attribute itself is looked at below
        case ast.Call():
            return False
        case ast.BinOp(op=ast.Pow(), right=right):
            return _small([right])
        case ast.BinOp(op=ast.LShift() | ast.MatMult()):
            return False
        case ast.Name(id=name):
            return name in _FUNCTIONS or _SYMBOLS.fullmatch(name) is not None
        case ast.Attribute(attr=name):
            return name in _ATTRIBUTES
        case ast.Constant(value=str(text)):
            return _NAME.fullmatch(text) is not None
        case ast.Constant(value=value):
            return value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 63)
    return isinstance(node, _ALLOWED)


def _small(exponents: Iterable[ast.expr]) -> bool:
    """Numbers up to `POWER_MAX`: a tower of powers takes longer than anybody waits."""
    found = list(exponents)
    numbers = [node.value for outer in found for node in ast.walk(outer) if isinstance(node, ast.Constant)]
    return len(numbers) == 1 == len(found) and isinstance(numbers[0], int) and abs(numbers[0]) <= POWER_MAX
