"""How the formulas of the theory are checked: by their values on random numbers.

A formula that is wrong, and not by a mistake that its question knows, is changed in one place after the other: if then
it is right, that kind of place is the mistake.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from . import latex, python
from .algebra import Node, Unknown, Unreadable, Values, column, shape, values_of
from .compare import Case, Mistakes, judge, same
from .core import TASKS, Found, need
from .tokens import spelled

CASES = 8


@dataclass
class Problem:
    """One random instance: the symbols' values, the answer (with an axis for each index that is asked for, else a
    number, a column or a matrix), what known mistakes would give, and what the symbols are inside of an expectation."""

    names: dict[str, Any]
    truth: Any
    wrong: Mistakes = field(default_factory=dict)
    mean: dict[str, Any] = field(default_factory=dict)
    needs: str = ""  # the symbols without which no formula is right, as many as there are

    def __post_init__(self) -> None:
        sizes = [len(x) for x in self.names.values() if np.ndim(x)]
        self.size = int(self.names.get("N", self.names.get("K", sizes[0] if sizes else 1)))
        self.names = {"I": np.eye(self.size), "one": np.ones(self.size)} | self.names


class Function:
    """A function that a formula may use, and how it is printed in a counterexample."""

    def __init__(self, text: str, call: Callable) -> None:
        self.text, self.call = text, call

    def __call__(self, x: Any) -> Any:
        return self.call(x)


def formulas(labels: dict[str, str]) -> Callable:
    """Register theory tasks, whose problems one function draws: by label, the indices that are asked for, in the order
    of the answer's axes."""

    def register(draw: Callable) -> Callable:
        for number, (label, free) in enumerate(labels.items()):
            problems = partial(drawn, draw, number)
            TASKS[label] = partial(check_formula, problems, free)
        return draw

    return register


def drawn(draw: Callable, number: int) -> list[Problem]:
    rng = np.random.default_rng(0)
    return [draw(rng)[number] for _ in range(CASES)]


def check_formula(problems: Callable[[], list[Problem]], free: str, text: Any) -> str:
    need(isinstance(text, str), "no formula", f"expected a formula in a string, got {type(text).__name__}.")
    if not text.strip(" .$"):
        raise NotImplementedError
    need(len(text) < 2000, "unreadable", "a formula of more than 2,000 characters is not read.")
    drawn = problems()
    cases = [case_of(text, problem, free) for problem in drawn]
    try:
        judge(cases)
    except Found as found:
        if found.kind == "shape" and not free:
            ours, truth = cases[0].ours, cases[0].truth
            raise Found("shape", f"it is {shape(ours)}, and should be {shape(truth)}.") from None
        if found.kind in ("wrong", "only sometimes"):
            something_missing(text, drawn[0], free)
            one_change_away(text, drawn, free)
        raise
    return f"right, on {len(drawn)} random inputs."


def something_missing(text: str, problem: Problem, free: str) -> None:
    _, used = value_of(text, problem, free)
    need(used, "constant", "this is a number: none of the symbols occurs in it.")
    used |= {letter for name in used for letter in name.partition("_")[2]}
    for name in [*problem.needs.split(), *free]:
        what = f"the index {name}" if name in free else spelled(name)
        need(name in used, f"{name} missing", f"{what} does not occur in it, and the answer depends on it.")


def case_of(text: str, problem: Problem, free: str) -> Case:
    ours, used = value_of(text, problem, free)
    truth = np.asarray(problem.truth, dtype=float) if free else column(problem.truth)
    shapes = [column(x) if not free else np.asarray(x, dtype=float) for x, _ in problem.wrong.values()]
    wrong = {kind: (x, said) for (kind, (_, said)), x in zip(problem.wrong.items(), shapes, strict=True)}
    inputs = {name: getattr(x, "text", x) for name, x in problem.names.items() if name in used}
    sizes = {name: n for name, n in problem.names.items() if name in ("N", "K", "D")}
    scales = {"2": 2.0, "1/2": 0.5} | sizes | {f"1/{name}": 1 / n for name, n in sizes.items()}
    return Case("the formula", ours, truth, inputs, wrong, scales)


def value_of(text: str, problem: Problem, free: str) -> tuple[np.ndarray, set[str]]:
    """The value of a formula, an axis for each index that is asked for, and the symbols that occur in it."""
    in_numpy = text.isascii() and "\\" not in text and re.search(r"\bnp\.|@|\*\*|\.T\b|\b(?:sum|inv|dot|outer)\(", text)
    in_tex = not in_numpy and re.search(r"\\|_\{|\^|[a-zA-Z]'+\(", text)
    readings = [in_python] if in_numpy else [in_latex, in_python] if in_tex else [in_python, in_latex]
    first = None
    for reading in readings:
        try:
            return reading(text, problem, free)
        except Unknown as error:
            first = first or Found("another symbol", f"{error}.")
        except Unreadable as error:
            first = first or Found("unreadable", f"it cannot be read: {error}.")
        except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
            first = first or Found("unreadable", f"it cannot be evaluated: {error}.")
        except Found as found:
            first = found if first is None or first.kind == "unreadable" else first
    raise first


def in_latex(text: str, problem: Problem, free: str) -> tuple[np.ndarray, set[str]]:
    sides, used = latex.read(text, problem.names)
    answer = value_of_side(sides[0], problem, free)
    others = []
    for node in sides[1:]:
        with contextlib.suppress(Found, ArithmeticError, ValueError):  # what cannot be evaluated is what is explained
            others.append((node, value_of_side(node, problem, free)))
    for node, other in others:
        equal = f"{node.text} and {sides[0].text} are not equal: which of the two is the answer?"
        need(same(other, answer), "sides differ", equal)
    return answer, used


def value_of_side(node: Node, problem: Problem, free: str) -> np.ndarray:
    values = Values(problem.names, problem.size, problem.mean)
    sizes = np.shape(problem.truth) if free else ()
    entries, letters = [], []
    for places in np.ndindex(*sizes):
        entry, letters = values_of(node, values.bind(**dict(zip(free, places, strict=True))))
        entries.append(entry)
    if letters and len(letters) != (0 if free else np.ndim(problem.truth)):
        asked = f"; asked for is {' and '.join(free)}" if free else ""
        raise Found("free index", f"no sum binds the index {' and '.join(letters)}, so that it has no value{asked}.")
    return column(entries[0]) if letters else in_shape(entries, sizes)


def in_python(text: str, problem: Problem, free: str) -> tuple[np.ndarray, set[str]]:
    value, used = python.read(text, problem.names)
    letters = "".join(sorted(used & {*"ijkln"} - problem.names.keys()))
    entrywise = not free and len(letters) == np.ndim(problem.truth)
    sizes = np.shape(problem.truth) if free or entrywise else ()
    indices = (free or letters) if sizes else ""
    results = [value(dict(zip(indices, places, strict=True))) for places in np.ndindex(*sizes)]
    try:
        whole = in_shape([column(x) for x in results], sizes)
    except (TypeError, ValueError):
        raise Found("no number", f"its value is no number or array, but {type(results[0]).__name__}.") from None
    return (column(whole) if entrywise else whole), used


def in_shape(entries: list[np.ndarray], sizes: tuple[int, ...]) -> np.ndarray:
    if not sizes:
        return entries[0]
    whole = "this is a whole vector or matrix; one entry is asked for, with its indices."
    need(not any(x.ndim for x in entries), "whole vector", whole)
    return np.reshape(entries, sizes)


# ------------------------------------------------------------------------------------------ what the questions share

TARGET = "the target does not occur."
INDEX = "one of the two indices is wrong."
LOSS = "this is the loss itself, and not its derivative."
SQUARED = "a derivative stands in it that the squared loss would have; for the cross-entropy it cancels."


def tensor(x: Any) -> Tensor:
    return torch.as_tensor(np.asarray(x, dtype=float))


def derivative(f: Callable, x: Any) -> np.ndarray:
    """The Jacobian of f at x, by autograd."""
    with torch.enable_grad():
        return jacobian(f, tensor(x)).numpy()


def second_derivative(f: Callable, x: Any) -> np.ndarray:
    with torch.enable_grad():
        return hessian(f, tensor(x)).numpy()


def softmax(z: Any) -> np.ndarray:
    return torch.softmax(tensor(z), 0).numpy()


# ------------------------------------------------------------------------------------------------- one change away

SYMBOL = r"(?:\\(?:yh|gamma|delta|lambda|nu|tau|varphi|phi|one)\b|\\(?:hat|tilde) *\{?[a-zA-Z]\}?"
SYMBOL += r"|(?<![\\a-zA-Z])[a-zA-Z]\w*)"
SYMBOL += r"(?:_\{\w+\}|(?<=[\\}])_\w|(?<![\\}])_\w+|\[\w(?:, ?\w)?\]|'+(?:\([^()]*\))?)?"
TRANSPOSED = r"\.T\b|\\T(?![A-Za-z])|\^ *(?:T|\\top|\{ *(?:T|\\top) *\})"
SQUARE = r"\*\* *2|\^ *(?:2|\{2\})"
SAID = {
    "one sign": "one of its signs is wrong.",
    "one transpose": "one transpose is wrong: a matrix or vector stands the wrong way round.",
    "one square": "one square is wrong: it stands where it should not, or is missing.",
    "one index": "one of its indices is wrong.",
    "one number": "one of its numbers is wrong.",
    "one factor": "one of its factors is missing, or too many.",
    "one term": "it has a term too many.",
    "sum bounds": "a sum does not run from the first of its terms to the last.",
    "one symbol": "one symbol stands where another belongs.",
}


def one_change_away(text: str, problems: list[Problem], free: str) -> None:
    """Raise Found if the formula is right but for one change of a known kind."""
    begun = time.monotonic()
    for kind, changed in changes(text, problems[0], free):
        if time.monotonic() - begun > 3:
            return
        if is_right(changed, problems, free):
            raise Found(kind, f"it is right but for one thing: {SAID[kind]}")


def is_right(text: str, problems: list[Problem], free: str) -> bool:
    with contextlib.suppress(Exception):
        return all(same(case.ours, case.truth) for case in (case_of(text, problem, free) for problem in problems))
    return False


def changes(text: str, problem: Problem, free: str) -> Iterator[tuple[str, str]]:
    """(kind, the changed formula) for each small change."""
    symbols = [*re.finditer(SYMBOL, text)]
    typed = dict.fromkeys(m[0] for m in symbols)
    tex = "\\" in text or "^" in text
    times, square, transpose = ("", "^2", r"^{\top}") if tex else ("*", "**2", ".T")

    conditions = [
        m.span()
        for m in re.finditer(r"\\sum *_ *\{[^{}]*\}|\bif\b[^()\[\]]*?(?=\belse\b|[)\]]|$)|\brange\([^()]*\)", text)
    ]

    def put(m, new, inside=False):
        if not inside and any(a <= m.start() < b for a, b in conditions):
            return text
        return text[: m.start()] + new + text[m.end() :]

    for m in re.finditer(r"(?<=\\sum)_\{([a-z]) *=[^}]*\} *\^ *(?:\{[^{}]*\}|\w)", text):
        yield "sum bounds", put(m, f"_{m[1]} ", True)
    for m in re.finditer(r"(?<=range)\([^()]*(?:\([^()]*\))?[^()]*\)", text):
        for size in sorted({len(x) for x in problem.names.values() if np.ndim(x)}):
            yield "sum bounds", put(m, f"({size})", True)
    for m in re.finditer(r"[+-]", text):
        yield "one sign", put(m, "-" if m[0] == "+" else "+")
    for m in re.finditer(r"(?<=\\\\)|(?<=else )|(?<=[(&])|(?<=[^_]\{)|^", text):
        yield "one sign", put(m, "-")
    for m in re.finditer(TRANSPOSED, text):
        yield "one transpose", put(m, "")
    for m in re.finditer(SQUARE, text):
        yield "one square", put(m, "")
    letters = {*free, *re.findall(r"_\{?([a-z])", text), *re.findall(r"\[(\w)", text)}
    for m in re.finditer(r"(?<=_)[a-z]|(?<=[_{\[,=(])[a-z](?=[a-z]?[\]},)=])|(?<=[_{][a-z])[a-z](?=\})", text):
        for other in sorted(letters - {m[0]}):
            yield "one index", put(m, other, True)
    for m in [*symbols, *re.finditer(r"[)\]}]", text)]:
        yield "one square", put(m, m[0] + square)
        yield "one transpose", put(m, m[0] + transpose)
    for m in re.finditer(
        r"\\[dt]?frac *(?:\d\d|\d[A-Z]|\{1\}\{\w+\}|1\{\w+\})|(?<![\w.^{/*])\d+(?:/[A-Z\d]+)?\*?|[*/] *[A-Z\d](?!\w)",
        text,
    ):
        yield "one number", put(m, "")
    for m in re.finditer(r"[+-] *\d+(?![\d.])", text):
        yield "one number", put(m, "")
    for m in symbols:
        yield "one number", put(m, f"2{times}{m[0]}")
        yield "one number", put(m, rf"\frac{{1}}{{2}}{m[0]}" if tex else f"0.5*{m[0]}")
    for m in re.finditer(rf"(?:\\odot|\*\*?|@|\\cdot)? *{SYMBOL}(?: *(?:{SQUARE}))?(?: *\\odot| *\*(?!\*))?", text):
        yield "one factor", put(m, "")
        yield "one factor", put(m, " " if tex else "1")
    for n in range(len(text)):
        if text[n] in "+-" and (rest := re.match(r"[+-][^+()\[\]-]*(?:[(\[][^()\[\]]*[)\]][^+()\[\]-]*)*", text[n:])):
            yield "one term", text[:n] + text[n + rest.end() :]
    for m in symbols:
        for other in typed.keys() - {m[0]}:
            yield "one symbol", put(m, other)
        for other in typed:
            yield "one factor", put(m, f"{m[0]}{times or ' '}{other}")
