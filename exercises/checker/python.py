"""Reading a formula as a Python expression: parsed, and evaluated only if nothing but arithmetic and NumPy is in it."""

import ast
import builtins
import math
import operator
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .algebra import Unknown, Unreadable
from .core import Found
from .tokens import SYMBOLS, canonical, on_the_sheet

NUMPY = """abs add arange argmax array asarray atleast_2d average clip column_stack cosh cumsum diag diagflat
diagonal divide dot e einsum equal exp expand_dims eye float64 full heaviside hstack identity inner isclose kron log
logaddexp matmul maximum mean minimum multiply ndim negative newaxis not_equal ones ones_like outer pi power prod
reciprocal reshape shape sign sinh sqrt square squeeze stack std subtract sum swapaxes tanh tensordot trace
transpose var vdot vstack where zeros zeros_like"""
LINALG, MATH = (
    "det inv lstsq matrix_power multi_dot norm pinv solve",
    "cosh e exp fabs fsum log pi pow sinh sqrt tanh",
)
METHODS = """T astype copy diagonal dot flatten linalg max mean min ndim prod ravel reshape shape size squeeze std
sum trace transpose var"""
BUILTINS = "abs bool enumerate float int len list map max min pow range round sum tuple zip"
BARE = "array dot exp eye log mean multiply ones outer sqrt tanh trace where zeros"  # also without np.
NODES = """Expression BinOp UnaryOp BoolOp Compare IfExp Call Name Attribute Subscript Slice Tuple List Constant keyword
GeneratorExp ListComp comprehension Starred Load Store Add Sub Mult Div FloorDiv MatMult Pow Mod USub UAdd Not And Or Eq
NotEq Lt LtE Gt GtE"""


def picked(module: Any, names: str) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names.split()}


def few(size: Any) -> Any:
    """A size that a formula may have."""
    if np.prod(np.asarray(size, dtype=float)) > 1e5:
        raise Unreadable(f"an array or a sum of {size} entries")
    return size


def limited(make: Callable) -> Callable:
    return lambda size, *others, **named: make(few(size), *others, **named)


LIBRARY = SimpleNamespace(**picked(np, NUMPY), linalg=SimpleNamespace(**picked(np.linalg, LINALG)))
GIVEN = picked(builtins, BUILTINS) | {"np": LIBRARY, "numpy": LIBRARY, "math": SimpleNamespace(**picked(math, MATH))}
GIVEN |= picked(np, BARE) | picked(np.linalg, "inv norm pinv solve") | {"linalg": LIBRARY.linalg}
for name in "arange", "eye", "full", "identity", "ones", "zeros":
    setattr(LIBRARY, name, limited(getattr(np, name)))
    GIVEN |= {name: getattr(LIBRARY, name)} if name in GIVEN else {}
GIVEN |= {"range": lambda *ends: range(*map(few, ends)), "pow": lambda a, b: float(a) ** b}
GIVEN |= {"diag": lambda x: np.diag(np.ravel(x)) if np.ndim(x) == 1 else np.diag(np.diag(x))}
ATTRIBUTES = {*NUMPY.split(), *LINALG.split(), *MATH.split(), *METHODS.split()}
OPERATORS: dict[str, tuple[str, Callable]] = {
    "Add": ("+", operator.add),
    "Sub": ("-", operator.sub),
    "Mult": ("*", operator.mul),
    "Div": ("/", operator.truediv),
    "MatMult": ("@", operator.matmul),
    "Pow": ("**", lambda a, b: (float(a) if isinstance(a, int) else a) ** b),
}


class Arithmetic(ast.NodeTransformer):
    """Each operation is done by a function that knows what its two sides are called."""

    def __init__(self, source: str) -> None:
        self.source = source

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        sides = [ast.Constant(ast.get_source_segment(self.source, side)) for side in (node.left, node.right)]
        self.generic_visit(node)
        name = type(node.op).__name__
        if name not in OPERATORS:
            return node
        return ast.Call(ast.Name("_operate", ast.Load()), [ast.Constant(name), node.left, node.right, *sides], [])


def operate(name: str, a: Any, b: Any, left: str, right: str) -> Any:
    symbol, function = OPERATORS[name]
    try:
        return function(a, b)
    except ValueError:
        text = f"{left} has shape {np.shape(a)} and {right} has shape {np.shape(b)}: {symbol} does not fit them."
        raise Found("shapes", text) from None


def read(source: str, names: dict[str, Any]) -> tuple[Callable[[dict[str, int]], Any], set[str]]:
    """The expression as a function of the indices' values, and the names in it. Raises Unreadable."""
    text = re.sub(r"^lambda [\w, ]+: *", "", source.strip().strip("`").rstrip(";."))
    text = re.sub(r"\blambda(?= *(?:[*)+/@-]|$))", "lam", text)
    text = re.sub(r"\by_?hat(?![A-Za-z])|ŷ", "yh", text).replace("^", "**").replace("−", "-").replace("·", "*")
    text = right_side(re.sub("[γδλντφϕ]", lambda m: canonical(SYMBOLS[m[0]]), text))
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        offset = getattr(error, "offset", None) or 0
        where = f" at '{text[offset - 1 :][:12]}'" if 0 < offset <= len(text) else ""
        said = getattr(error, "msg", "") or ""
        if "never closed" in said or "unmatched" in said or "does not match" in said:
            raise Unreadable(f"its brackets do not match{where}: {said}") from None
        raise Unreadable(f"it is not Python{where}: a product needs *, one of matrices @, a power **") from None
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise Unreadable("it is more than one expression")
    tree = body[0].value
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        examine(node, text, names, bound)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - bound
    code = compile(ast.unparse(Arithmetic(text).visit(tree)), "<formula>", "eval")

    def value(index):
        copies = {name: np.copy(x) if np.ndim(x) else x for name, x in names.items()}  # that none is written into
        space = GIVEN | copies | index | {"__builtins__": {"__import__": __import__}, "_operate": operate}
        try:
            space |= {name: indexed(name, names, index) for name in used - space.keys()}
            return eval(code, space)
        except Found:
            raise
        except (KeyError, NameError) as error:
            letter = getattr(error, "name", None) or error.args[0]
            text = f"the index {letter} has no value: it is not one that is asked for, and no sum binds it."
            raise Found("free index", text) from None
        except (ValueError, np.linalg.LinAlgError) as error:
            raise Found("shapes", f"NumPy refuses these shapes: {error}.") from None
        except Exception as error:
            raise Unreadable(f"Python says {type(error).__name__}: {error}") from None

    return value, used


def right_side(text: str) -> str:
    """Without a left side, whatever it is."""
    depth = 0
    for n, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c == "=" and not depth and "=" not in text[n + 1 : n + 2] and text[n - 1] not in "=<>!":
            return right_side(text[n + 1 :].strip())
    return text


def examine(node: ast.AST, text: str, names: dict[str, Any], bound: set[str]) -> None:
    """Is this part of the expression arithmetic, with symbols that are known?"""
    part = ast.get_source_segment(text, node) if hasattr(node, "lineno") else ""
    if type(node).__name__ not in NODES.split():
        raise Unreadable(f"{part or type(node).__name__} does not belong into a formula")
    if isinstance(node, ast.keyword) and node.arg == "out":
        raise Unreadable("a formula writes into nothing: out= does not belong into it")
    if isinstance(node, ast.Call):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        value = names.get(function) if isinstance(node.func, ast.Name) else None
        if function in (None, "T") or np.ndim(value) or isinstance(value, float | int):
            part = ast.get_source_segment(text, node.func)
            raise Unreadable(f"between {part} and ( an operator is missing: @ for matrices, * for numbers")
    if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES:
        raise Unreadable(f".{node.attr} does not belong into a formula")
    if isinstance(node, ast.Name) and not (node.id in bound or node.id in GIVEN or known(node.id, names)):
        there = ", ".join(sorted(names.keys() - {"I", "one"}))
        kind = Unknown if on_the_sheet(node.id) else Unreadable
        raise kind(f"there is no {part} here; there are {there}, np, exp, log, sum, diag and the like")


def known(name: str, names: dict[str, Any]) -> bool:
    base, _, letters = name.rpartition("_")
    return name in names or name in "ijkln" or base + letters in names or (base in names and letters.isalpha())


def indexed(name: str, names: dict[str, Any], index: dict[str, int]) -> Any:
    """yh_i is yh[i], delta_1 is delta1."""
    base, _, letters = name.rpartition("_")
    if not base:
        raise KeyError(name)
    return names[base + letters] if base + letters in names else names[base][tuple(index[i] for i in letters)]
