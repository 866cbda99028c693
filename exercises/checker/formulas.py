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

from . import latex, python
from .algebra import Node, Unknown, Unreadable, Values, column, shape, values_of
from .calling import tensor
from .compare import Case, Mistakes, array, judge, same
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


@dataclass
class Function:
    """A function that a formula may use, and how it is printed in a counterexample."""

    text: str
    call: Callable

    def __call__(self, x: Any) -> Any:
        return self.call(x)


def formulas(labels: dict[str, str]) -> Callable:
    """Register theory tasks, whose problems one function draws: by label, the indices that are asked for, in the order
    of the answer's axes."""

    def register(draw: Callable) -> Callable:
        for number, (label, free) in enumerate(labels.items()):
            TASKS[label] = partial(check_formula, draw, number, free)
        return draw

    return register


def check_formula(draw: Callable, number: int, free: str, text: Any) -> str:
    """number: which of those that draw gives."""
    need(isinstance(text, str), "no formula", f"expected a formula in a string, got {type(text).__name__}.")
    if not text.strip(" .$"):
        raise NotImplementedError
    need(len(text) < 2000, "unreadable", "a formula of more than 2,000 characters is not read.")
    rng = np.random.default_rng(0)
    problems = [draw(rng)[number] for _ in range(CASES)]
    cases = [case_of(text, problem, free) for problem in problems]
    try:
        judge(cases)
    except Found as found:
        if found.kind == "shape" and not free:
            ours, truth = cases[0].ours, cases[0].truth
            raise Found("shape", f"it is {shape(ours)}, and should be {shape(truth)}.") from None
        if found.kind in ("wrong", "only sometimes"):
            something_missing(text, problems[0], free)
            one_change_away(text, problems, free)
        raise
    return f"right, on {CASES} random inputs."


def something_missing(text: str, problem: Problem, free: str) -> None:
    _, used = value_of(text, problem, free)
    need(used, "constant", "this is a number: none of the symbols occurs in it.")
    used |= {part for name in used for part in (name.partition("_")[0], *name.partition("_")[2])}  # delta_i, W_ij
    for name in [*problem.needs.split(), *free]:
        what = f"the index {name}" if name in free else spelled(name)
        need(name in used, f"{name} missing", f"{what} does not occur in it, and the answer depends on it.")


def case_of(text: str, problem: Problem, free: str) -> Case:
    ours, used = value_of(text, problem, free)
    shaped = array if free else column
    wrong = {kind: (shaped(x), said) for kind, (x, said) in problem.wrong.items()}
    inputs = {name: getattr(x, "text", x) for name, x in problem.names.items() if name in used}
    sizes = {name: n for name, n in problem.names.items() if name in ("N", "K", "D")}
    scales = {"2": 2.0, "1/2": 0.5} | sizes | {f"1/{name}": 1 / n for name, n in sizes.items()}
    return Case("the formula", ours, shaped(problem.truth), inputs, wrong, scales)


def value_of(text: str, problem: Problem, free: str) -> tuple[np.ndarray, set[str]]:
    """The value of a formula, an axis for each index that is asked for, and the symbols that occur in it."""
    in_numpy = "\\" not in text and re.search(r"\bnp\.|@|\*\*|\.T\b|\b(?:sum|inv|dot|outer)\(", text)
    in_tex = not in_numpy and (not text.isascii() or re.search(r"\\|_\{|\^|[a-zA-Z]'+\(", text))
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


def softmax(z: Any) -> np.ndarray:
    return torch.softmax(tensor(z), 0).numpy()


# ------------------------------------------------------------------------------------------------- one change away

SYMBOL = r"(?:\\(?:yh|gamma|delta|lambda|nu|tau|varphi|phi|one)\b|\\(?:hat|tilde) *\{?[a-zA-Z]\}?"
SYMBOL += r"|(?<![\\a-zA-Z])[a-zA-Z]\w*)"
SYMBOL += r"(?:_\{\w+\}|(?<=[\\}])_\w|(?<![\\}])_\w+|\[\w(?:, ?\w)?\]|'+(?:\([^()]*\))?)?"
TRANSPOSED = r"\.T\b|\\T(?![A-Za-z])|\^ *(?:T|\\top|\{ *(?:T|\\top) *\})"
SQUARE = r"\*\* *2|\^ *(?:2|\{2\})"
SINGLE_INDEX = r"(?<=_)[a-z]|(?<=[_{\[,=(])[a-z](?=[a-z]?[\]},)=])|(?<=[_{][a-z])[a-z](?=\})"
NUMBER = r"\\[dt]?frac *(?:\d\d|\d[A-Z]|\{1\}\{\w+\}|1\{\w+\})"
NUMBER += r"|(?<![\w.^{/*])\d+(?:/[A-Z\d]+)?\*?|[*/] *[A-Z\d](?!\w)"
FACTOR = rf"(?:\\odot|\*\*?|@|\\cdot)? *{SYMBOL}(?: *(?:{SQUARE}))?(?: *\\odot| *\*(?!\*))?"
TERM = r"[+-][^+()\[\]-]*(?:[(\[][^()\[\]]*[)\]][^+()\[\]-]*)*"
CONDITION = r"\\sum *_ *\{[^{}]*\}|\bif\b[^()\[\]]*?(?=\belse\b|[)\]]|$)|\brange\([^()]*\)"
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
    begun = time.thread_time()  # seconds of work, however busy the machine is
    for kind, changed in changes(text, problems[0], free):
        if time.thread_time() - begun > 3:
            return
        if is_right(changed, problems, free):
            raise Found(kind, f"it is right but for one thing: {SAID[kind]}")


def is_right(text: str, problems: list[Problem], free: str) -> bool:
    with contextlib.suppress(Exception):
        return all(same(case.ours, case.truth) for case in (case_of(text, problem, free) for problem in problems))
    return False


def changes(text: str, problem: Problem, free: str) -> Iterator[tuple[str, str]]:
    """(kind, the changed formula) for each small change."""
    tex = "\\" in text or "^" in text
    times, square, transpose, half = ("", "^2", r"^{\top}", r"\frac{1}{2}") if tex else ("*", "**2", ".T", "0.5*")
    symbols = sorted({m[0] for m in re.finditer(SYMBOL, text)})
    letters = {*free, *re.findall(r"_\{?([a-z])", text), *re.findall(r"\[(\w)", text)}
    sizes = sorted({len(x) for x in problem.names.values() if np.ndim(x)})
    table: list[tuple[str, str, Callable]] = [  # kind, what is replaced, by what
        ("sum bounds", r"(?<=\\sum)_\{([a-z]) *=[^}]*\} *\^ *(?:\{[^{}]*\}|\w)", lambda m: [f"_{m[1]} "]),
        ("sum bounds", r"(?<=range)\([^()]*(?:\([^()]*\))?[^()]*\)", lambda m: [f"({size})" for size in sizes]),
        ("one sign", r"[+-]", lambda m: ["-" if m[0] == "+" else "+"]),
        ("one sign", r"(?<=\\\\)|(?<=else )|(?<=[(&])|(?<=[^_]\{)|^", lambda m: ["-"]),
        ("one transpose", TRANSPOSED, lambda m: [""]),
        ("one square", SQUARE, lambda m: [""]),
        ("one index", SINGLE_INDEX, lambda m: sorted(letters - {m[0]})),
        ("one square", rf"{SYMBOL}|[)\]}}]", lambda m: [m[0] + square]),
        ("one transpose", rf"{SYMBOL}|[)\]}}]", lambda m: [m[0] + transpose]),
        ("one number", NUMBER, lambda m: [""]),
        ("one number", r"[+-] *\d+(?![\d.])", lambda m: [""]),
        ("one number", SYMBOL, lambda m: [f"2{times}{m[0]}", half + m[0]]),
        ("one factor", FACTOR, lambda m: ["", " " if tex else "1"]),
        ("one symbol", SYMBOL, lambda m: [other for other in symbols if other != m[0]]),
        ("one factor", SYMBOL, lambda m: [f"{m[0]}{times or ' '}{other}" for other in symbols]),
    ]
    conditions = [m.span() for m in re.finditer(CONDITION, text)]
    for kind, replaced, by in table:
        for m in re.finditer(replaced, text):
            if kind in ("sum bounds", "one index") or not any(a <= m.start() < b for a, b in conditions):
                yield from ((kind, text[: m.start()] + new + text[m.end() :]) for new in by(m))
    for m in re.finditer("[+-]", text):
        yield "one term", text[: m.start()] + re.sub(TERM, "", text[m.start() :], count=1)
