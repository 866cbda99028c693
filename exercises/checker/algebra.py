"""The algebra of formulas: numbers, vectors as columns, matrices, indices. What does not fit is quoted as typed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from .core import Found


class Unreadable(Exception):
    """What was typed cannot be read: a sentence on it."""


class Unknown(Unreadable):
    """A symbol that has no value here."""


class Unbound(Exception):
    """An index without a value: its letter, and the number of its values if what it indexes is known."""

    def __init__(self, letter: str, size: int | None) -> None:
        super().__init__(letter)
        self.letter, self.size = letter, size


@dataclass
class Values:
    """What the symbols are (numbers, arrays of one or two dimensions, functions), and the indices' values, from 0.

    mean: what the symbols are inside of an expectation. size: the range of an index that indexes nothing.
    """

    names: dict[str, Any]
    size: int = 0
    mean: dict[str, Any] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)

    def bind(self, **index: int) -> "Values":
        return replace(self, index=self.index | index)


class Node(NamedTuple):
    value: Callable[[Values], np.ndarray]
    text: str  # as typed


def column(x: Any) -> np.ndarray:
    """A vector as a column, and what has one entry as a number."""
    if np.asarray(x).dtype.kind not in "biuf":
        got = "a function: is () missing?" if callable(x) else f"{type(x).__name__}."
        raise Found("no number", f"its value is no number or array of numbers, but {got}")
    x = np.asarray(x, dtype=float)
    return x.reshape(()) if x.size == 1 else x[:, None] if x.ndim == 1 else x


def flat(x: np.ndarray) -> np.ndarray:
    """A column as an array of one dimension."""
    return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x


def shape(x: np.ndarray) -> str:
    if not x.ndim:
        return "a number"
    return f"a vector of {len(x)} entries" if x.shape[1:] == (1,) else f"of shape {x.shape}"


def multiply(operator: str, a: Node, b: Node, v: Values) -> np.ndarray:
    x, y = a.value(v), b.value(v)
    if not x.ndim or not y.ndim:
        return x * y
    vectors = x.shape[1] == y.shape[1] == 1
    if operator in (r"\odot", r"\circ") and x.shape == y.shape:
        return x * y
    if operator == "*" and vectors and x.shape == y.shape:
        return x * y
    if operator == r"\otimes" and vectors:
        return x @ y.T
    if operator == r"\cdot" and vectors and x.shape == y.shape:
        return column(x.T @ y)
    if operator not in (r"\odot", r"\circ", r"\otimes") and x.shape[1] == y.shape[0]:
        return column(x @ y)
    raise Found("shapes", f"{a.text} is {shape(x)}, and {b.text} is {shape(y)}: they cannot be multiplied so.")


def add(terms: list[tuple[int, Node]], v: Values) -> np.ndarray:
    total, before = None, ""
    for sign, node in terms:
        x = sign * node.value(v)
        if total is not None and not total.ndim and x.ndim and before == "1":  # 1 for a vector of ones
            total = np.full_like(x, total)
        if total is not None and total.ndim and not x.ndim and node.text == "1":
            x = np.full_like(total, x)
        if total is not None and total.shape != x.shape:
            kind = "shapes" if total.ndim and x.ndim else "number and vector"
            raise Found(
                kind, f"{before} is {shape(total)}, and {node.text} is {shape(x)}: they cannot be added or subtracted."
            )
        total, before = (x if total is None else total + x), node.text
    return total


def divide(a: Node, b: Node, v: Values) -> np.ndarray:
    x, y = a.value(v), b.value(v)
    if y.ndim:
        raise Found("division by a vector", f"{b.text}, by which {a.text} is divided, is {shape(y)}, and no number.")
    return x / y


def power(base: Node, exponent: Node, v: Values) -> np.ndarray:
    x, n = base.value(v), exponent.value(v)
    if n.ndim:
        raise Found("shapes", f"the exponent {exponent.text} is {shape(n)}, and no number.")
    if not x.ndim:
        return x**n
    if n == 0.5 and x.shape == x.T.shape and np.allclose(x, x.T) and (np.linalg.eigvalsh(x) >= 0).all():
        values, vectors = np.linalg.eigh(x)
        return vectors * values**0.5 @ vectors.T
    if x.shape[0] != x.shape[1] or n != int(n):
        raise Found("power of a vector", f"{base.text} is {shape(x)}, and has no power {exponent.text}.")
    return np.linalg.matrix_power(x, int(n))


def entry(x: Any, indices: list[str], v: Values, text: str) -> np.ndarray:
    """x_i, x_{ij}, a row of a matrix as a column; a number is the same for all indices."""
    x = np.asarray(x, dtype=float)
    if not x.ndim:
        return x
    if not indices:
        return column(x)
    x = flat(x) if len(indices) == 1 else x
    if len(indices) > x.ndim:
        raise Unreadable(f"{text} has {len(indices)} indices, where there is {shape(column(x))}")
    places = []
    for axis, i in enumerate(indices):
        if i == ":":
            places.append(slice(None))
            continue
        if i not in v.index and not i.isdigit():
            raise Unbound(i, x.shape[axis])
        place = int(i) - 1 if i.isdigit() else v.index[i]
        if not 0 <= place < x.shape[axis]:
            where = "before the first" if place < 0 else "past the last"
            raise Found("sum bounds", f"in {text} the index {i} goes {where} of {x.shape[axis]} entries.")
        places.append(place)
    return column(x[tuple(places)])


def unbound(node: Node, v: Values) -> Iterator[tuple[str, int]]:
    """The indices that nobody has bound, and how many values each has: as many as what it indexes has entries."""
    while True:
        try:
            node.value(v)
            return
        except Unbound as free:
            yield free.letter, free.size or v.size
            v = v.bind(**{free.letter: 0})


def extent(body: Node, v: Values, letter: str) -> int:
    """How many values has this index in the body?"""
    others = {i: n for i, n in v.index.items() if i != letter}
    return next((size for i, size in unbound(body, replace(v, index=others)) if i == letter), v.size)


def values_of(node: Node, v: Values) -> tuple[np.ndarray, list[str]]:
    """The value, and the indices that nobody has bound: an array with an axis for each, in alphabetical order."""
    free = dict(unbound(node, v))
    letters = sorted(free)
    sizes = [free[i] for i in letters]
    entries = [node.value(v.bind(**dict(zip(letters, places, strict=True)))) for places in np.ndindex(*sizes)]
    return np.reshape(entries, (*sizes, *np.shape(entries[0]))), letters
