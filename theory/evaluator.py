r"""The printed formulas as numbers: reads the boxes \answer{label}{...} of the .tex files and evaluates their text.

A vector is a column, so that X^T(yh - y), yh yh^T and w^T x are matrix products, whose shapes must fit. A symbol is
what the caller says (a number, an array, a function), an index runs over the range that the caller gives. Notation that
is not known here, and a symbol or an index that nobody bound, raise FormulaError: nothing is skipped.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

TOKEN = re.compile(
    r"\"[^\"]*\"|\\(?:hat|tilde|bar) *(?:\\[A-Za-z]+|[A-Za-z])|\\[A-Za-z]+|\\.|\^\*|\d+(?:\.\d+)?|[A-Za-z]|\S"
)
SPACES = {r"\,", r"\!", r"\;", r"\big", r"\Big"}
SEPARATORS = {r"\quad", r"\qquad", r"\ "}
RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\to", r"\approx", r"\leftarrow", r"\succeq"}
OPERATORS = {r"\odot", r"\otimes"}
ENDS = {"+", "-", ",", ")", "]", "}", "&", "\\\\", r"\end", None}  # of a product
CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|"}


class FormulaError(ValueError):
    """A formula that cannot be evaluated: unknown notation, a symbol without a value, shapes that do not fit."""


def _largest_eigenvalue(M: np.ndarray) -> float:
    if not np.allclose(M, np.transpose(M)):
        raise FormulaError("eigenvalues of a matrix that is not symmetric")
    return np.linalg.eigvalsh(M)[-1]


FUNCTIONS = {r"\ln": np.log, r"\sinh": np.sinh, r"\lambda_\max": _largest_eigenvalue}
FUNCTIONS |= {r"\softplus": partial(np.logaddexp, 0), r"\lse": partial(np.logaddexp.reduce, axis=None)}


def sources(folder: Path) -> dict[str, str]:
    """The text of the folder's .tex files by name, without comments."""
    files = sorted(folder.glob("*.tex"))
    found = {path.name: re.sub(r"(?<!\\)%.*", "", path.read_text(encoding="utf-8")) for path in files}
    for name, text in found.items():
        if r"\iffalse" in text:
            raise FormulaError(f"{name}: what stands after \\iffalse is not printed; delete it")
    return found


def boxes(texts: Mapping[str, str], macro: str = "answer", number: int = 2) -> dict[str, list[str]]:
    r"""The arguments after the label of every \macro{label}{...} in the texts, wherever it stands."""
    found: dict[str, list[str]] = {}
    for text in texts.values():
        for start in re.finditer(rf"\\{macro}\s*(?=\{{(?!#))", text):
            (label, *rest), _ = arguments(text, start.end(), number)
            if label in found:
                raise FormulaError(f"two boxes are called {label}")
            found[label] = rest
    return found


def arguments(text: str, at: int, number: int) -> tuple[list[str], int]:
    """That many arguments in braces from there on, and where they end."""
    found = []
    for _ in range(number):
        start = re.compile(r"\s*").match(text, at).end() + 1
        at, depth = start, 1
        if text[start - 1 : start] != "{":
            raise FormulaError(f"expected an argument in braces, got {text[start - 1 : start + 19]!r}")
        while depth:
            brace = re.compile(r"(?<!\\)[{}]").search(text, at)
            if not brace:
                raise FormulaError(f"no closing brace after {text[start : start + 20]!r}")
            at, depth = brace.end(), depth + {"{": 1, "}": -1}[brace[0]]
        found.append(text[start : at - 1])
    return found, at


def statements(text: str) -> list[list[str]]:
    """The statements of a box, each as [side, relation, side ...]; words between them stand alone: ['"for some"']."""
    text = re.sub(r"\\text\{([^{}]*)\}", lambda m: f' "{m[1].strip()}" ', text)
    tokens = [token for token in TOKEN.findall(text) if token not in SPACES]
    words = {token for token in tokens if token.startswith('"')}
    found = []
    for part in _split(tokens, SEPARATORS | words):
        while part and part[-1] in (",", ".", ":", ";"):
            part.pop()
        if part and part[0] not in SEPARATORS:
            found.append([" ".join(side) for side in _split(part, RELATIONS)])
    return found


def _split(tokens: list[str], separators: set[str]) -> list[list[str]]:
    """The tokens between the separators, and these, but for those in brackets."""
    parts, depth = [[]], 0
    for token in tokens:
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token, 0)
        if depth or token not in separators:
            parts[-1].append(token)
        else:
            parts += [[token], []]
    if depth:
        raise FormulaError(f"{' '.join(tokens)}: brackets that do not match")
    return parts


@dataclass(frozen=True)
class Values:
    """What the symbols of a formula are: numbers, arrays or functions by name, ranges of the indices, draws.

    ``names`` is keyed as printed, without spaces: "X", r"\\yh", "W_2", "e_{t+1}", r"\\dd{E}{b}", r"\\nabla_wE".
    ``sizes`` gives each index its range, from 0, ``bound`` some a value. ``draws`` lists (probability, {name: value})
    for \\E.
    """

    names: dict[str, Any]
    sizes: dict[str, int] = field(default_factory=dict)
    draws: list[tuple[float, dict[str, Any]]] | None = None
    bound: dict[str, int] = field(default_factory=dict)

    def bind(self, **bound: int) -> "Values":
        return replace(self, bound=self.bound | bound)

    def drawn(self) -> list[tuple[float, "Values"]]:
        """The probability of each draw, and the values with its names."""
        if not self.draws:
            raise FormulaError("a mean over the noise, but no draws were given")
        return [(probability, replace(self, names=self.names | names)) for probability, names in self.draws]

    def size(self, index: str) -> int:
        if index not in self.sizes:
            raise FormulaError(f"a sum over {index}, whose range was not given")
        return self.sizes[index]

    def index(self, i: str) -> int:
        if i not in self.bound:
            raise FormulaError(f"the index {i} is not bound, and there is no symbol of that name")
        return self.bound[i]

    def lookup(self, base: str, key: str, subscript: str) -> Any:
        """The value called key, or the entry of the one called base."""
        if key in self.names:
            return column(self.names[key])
        base, subscript = _layer(base, subscript)
        if not subscript or base not in self.names:
            raise FormulaError(f"{key} has no value")
        return self.entry(key, self.names[base], subscript)

    def entry(self, name: str, array: Any, subscript: str) -> float:
        if np.ndim(array) != len(subscript):
            raise FormulaError(f"{name}: the array has {np.ndim(array)} indices")
        return float(np.asarray(array)[tuple(self.index(i) for i in subscript)])

    def derivative(self, *parts: str) -> Any:
        r"""\dd{E}{b}, a name; \dd{\yh_k}{z_i} is the entry k, i of \dd{\yh}{z}."""
        names, indices = [], ""
        for part in parts:
            name, _, subscript = part.partition("_")
            name, subscript = _layer(name, subscript.strip("{}"))
            indexed = bool(subscript) and all(i in self.bound for i in subscript)
            names.append(name if indexed else part)
            indices += subscript if indexed else ""
        base, whole = (r"\dd" + "".join(f"{{{part}}}" for part in texts) for texts in (names, parts))
        return self.lookup(base, whole, indices)


def _layer(base: str, subscript: str) -> tuple[str, str]:
    """W_{2,kl} is the entry k, l of W_2."""
    match = re.fullmatch(r"(\d),([a-z]+)", subscript)
    return (f"{base}_{match[1]}", match[2]) if match else (base, subscript)


def each(values: Values, *formulas: str) -> Iterator[Values]:
    """The values with every free index of the formulas bound, one combination after the other."""
    indices = sorted({i for formula in formulas for i in free_indices(formula, values)})
    for combination in product(*(range(values.sizes[i]) for i in indices)):
        yield values.bind(**dict(zip(indices, combination, strict=True)))


def free_indices(formula: str, values: Values) -> list[str]:
    """The unbound indices of values.sizes that the formula uses as subscripts and does not bind by a sum or diag."""
    formula = re.sub(r"\\diag *\((?:[^()]|\([^()]*\))*\)", "", formula)  # it binds its own
    used = re.findall(r"_\s*(?:\{([^{}]*)\}|(\S))", formula)
    letters = {letter for group in used for letter in re.findall("[a-z]", "".join(group))}
    bound = re.findall(r"\\sum\s*_\s*(?:\{([^{}]*)\}|(\S))", formula)
    return sorted((letters - {c for group in bound for c in "".join(group)}) & set(values.sizes) - set(values.bound))


def evaluate(formula: str, values: Values) -> Any:
    """The value of a formula (one side of a statement): a number, or an array of shape (n, 1) or (n, m)."""
    return Parser([token for token in TOKEN.findall(formula) if token not in SPACES], values).whole()


class Parser:
    """Recursive descent over the tokens, which computes as it reads; what a sum adds is read anew for each index."""

    def __init__(self, tokens: list[str], values: Values):
        self.tokens, self.at, self.values = [*tokens, None], 0, values
        self.bars = 0  # |...| that are open
        self.number = -1  # where a plain number has just ended

    @property
    def token(self) -> str | None:
        """The next one."""
        return self.tokens[self.at]

    def error(self, text: str) -> FormulaError:
        return FormulaError(f"{' '.join(self.tokens[:-1])}: {text}")

    def next(self, *expected: str) -> str:
        token = self.token
        if token is None or (expected and token not in expected):
            raise self.error(f"expected {' or '.join(expected)}, got {token!r}")
        self.at += 1
        return token

    def accept(self, *tokens: str) -> str | None:
        """The next token if it is one of these."""
        return self.next() if self.token in tokens else None

    def whole(self) -> Any:
        """All tokens."""
        value = self.sum_()
        if self.token is not None:
            raise self.error(f"cannot read on at {self.token!r}")
        return value

    def sum_(self) -> Any:
        signs, terms = [self.accept("+", "-")], [self.product_()]
        while sign := self.accept("+", "-"):
            signs.append(sign)
            terms.append(self.product_())
        return _add([-term if sign == "-" else term for sign, term in zip(signs, terms, strict=True)])

    def product_(self) -> np.ndarray:
        r"""Factors side by side, which bind closer than \odot and \otimes between them."""
        value = self.factors()
        while operator := self.accept(*OPERATORS):
            value = _times(operator, value, self.factors())
        return value

    def factors(self) -> np.ndarray:
        value, divided = np.asarray(self.power()), False
        while self.token not in RELATIONS | ENDS | OPERATORS and not (self.token == "|" and self.bars):
            if divided:
                raise self.error(f"a/b{self.token}: is {self.token} divided by, too? Set brackets")
            operator = self.accept(r"\cdot", "/")
            if not operator and self.number == self.at and re.match(r"\d|\\t?frac", self.token):
                raise self.error("two numbers side by side")
            factor, divided = self.power(), operator == "/"
            value = _times(operator, value, _inverse(factor) if divided else factor)
        return value

    def power(self) -> Any:
        base = self.atom()
        while operator := self.accept("^", r"\T"):
            if operator == r"\T":
                base = np.asarray(base).T
            elif self.tokens[self.at : self.at + 4] == ["{", "-", r"\top", "}"]:
                self.at += 4
                base = _power(base, -1).T
            else:
                base = _power(base, self.group())
                if self.token == "^":
                    raise self.error("a power of a power; set brackets")
        return base

    def group(self) -> Any:
        r"""An argument as TeX takes it: {...}, or a single token."""
        return Parser(self.inside("{") if self.token == "{" else [self.single()], self.values).whole()

    def single(self) -> str:
        token = self.next()
        if len(token) > 1 and token[0].isdigit():  # of 12 TeX takes the 1
            self.tokens[self.at - 1 : self.at] = token[0], token[1:]
        return self.tokens[self.at - 1]

    def raw(self) -> str:
        """An argument as text."""
        return "".join(self.inside("{")) if self.token == "{" else self.single()

    def inside(self, opening: str) -> list[str]:
        """The tokens in brackets."""
        self.next(opening)
        depth, start = 1, self.at
        while depth:
            depth += {opening: 1, CLOSING[opening]: -1}.get(self.next(), 0)
        return self.tokens[start : self.at - 1]

    def atom(self) -> Any:
        token = self.next()
        if token[0].isdigit():
            self.number = self.at
            return float(token)
        if token == r"\sqrt":
            return _power(self.group(), 0.5)
        if token == r"\dd":
            return self.values.derivative(self.raw(), self.raw())
        readers = {r"\frac": self.fraction, r"\tfrac": self.fraction, r"\begin": self.matrix, r"\diag": self.diag}
        readers |= {r"\sum": self.sum_over, r"\E": self.expectation, r"\Var": self.variance, r"\nabla": self.nabla}
        readers |= {r"\partial": self.partial if self.token == "_" else self.quotient}
        if token in readers:
            return readers[token]()
        if token == "[" and self.tokens[self.at + 1] == "=":
            return self.iverson()
        return self.brackets(token) if token in ("(", "[", "|") else self.name(token)

    def fraction(self) -> Any:
        if self.tokens[self.at : self.at + 2] == ["{", r"\partial"]:
            return Parser([*self.inside("{"), "/", *self.inside("{")], self.values).whole()
        over, under = self.group(), self.group()
        return _times(None, over, _inverse(under))

    def iverson(self) -> float:
        """[i=j], of two indices."""
        i, _, j, _ = self.next(), self.next("="), self.next(), self.next("]")
        return float(self.values.index(i) == self.values.index(j))

    def brackets(self, opening: str) -> Any:
        """(...) or [...], perhaps with a subscript, (a, b ...), which is a vector, written in a row, or |...|."""
        self.bars += opening == "|"
        entries = [self.sum_()]
        self.bars -= opening == "|"
        while opening == "(" and self.accept(","):
            entries.append(self.sum_())
        self.next(CLOSING[opening])
        if opening == "|":
            return _length(entries[0])
        value = np.vstack(entries) if entries[1:] else entries[0]
        return self.values.entry("(...)", _plain(value), self.raw()) if self.accept("_") else value

    def matrix(self) -> np.ndarray:
        if self.raw() != "pmatrix":
            raise self.error("expected a pmatrix")
        rows = [[_scalar(self.sum_())]]
        while (token := self.next("&", "\\\\", r"\end")) != r"\end":
            if token == "\\\\":
                rows.append([])
            rows[-1].append(_scalar(self.sum_()))
        if self.raw() != "pmatrix" or len({len(row) for row in rows}) > 1:
            raise self.error("a matrix that does not end as it began, or with rows of different lengths")
        return np.array(rows)

    def read_with(self, values: Iterable[Values], read: Callable[[], Any]) -> list[np.ndarray]:
        """What stands here, read once with each of these values."""
        start, outer, found = self.at, self.values, []
        for self.values in values:
            self.at = start
            found.append(np.asarray(read()))
        self.values = outer
        return found

    def sum_over(self) -> np.ndarray:
        self.next("_")
        over = self.raw()  # i, or i,j, or j\ne i
        match = re.fullmatch(r"([a-z])(?:,([a-z])|\\ne([a-z]))?", over)
        if not match or match[1] in (match[2], match[3]):
            raise self.error(f"a sum over {over}")
        left_out = self.values.index(match[3]) if match[3] else None
        indices = [i for i in match.group(1, 2) if i]
        ranges = [[n for n in range(self.values.size(i)) if n != left_out] for i in indices]
        bound = [self.values.bind(**dict(zip(indices, numbers, strict=True))) for numbers in product(*ranges)]
        return _add(self.read_with(bound, self.product_))

    def expectation(self) -> np.ndarray:
        r"""\E[...], or \E of the whole product that follows."""
        probabilities, values = zip(*self.values.drawn(), strict=True)
        read = self.atom if self.token == "[" else self.product_
        return _add([p * value for p, value in zip(probabilities, self.read_with(values, read), strict=True)])

    def variance(self) -> float:
        probabilities, values = zip(*self.values.drawn(), strict=True)
        found = [_scalar(value) for value in self.read_with(values, self.power)]
        return np.average(np.square(found), weights=probabilities) - np.average(found, weights=probabilities) ** 2

    def diag(self) -> np.ndarray:
        formula = " ".join(self.inside("("))
        if len(free_indices(formula, self.values)) == 1:
            return np.diag([_scalar(evaluate(formula, values)) for values in each(self.values, formula)])
        M = np.asarray(evaluate(formula, self.values))
        if not M.ndim:
            raise FormulaError(r"\diag of a number")
        return np.diag(M[:, 0]) if M.shape[1] == 1 else np.diag(np.diag(M))

    def partial(self) -> Any:
        r"""\partial_1F is a name, \partial_j\partial_iF the entry j, i of \partial\partialF."""
        base, key, subscript, of = "", "", "", r"\partial"
        while of == r"\partial":
            self.next("_")
            index = self.raw()
            base, key, subscript = base + of, f"{key}{of}_{index}", subscript + index
            of = self.next()
        if of == "(":
            self.at -= 1
            of = f"({''.join(self.inside('('))})"
            self.next("_")
            subscript += self.raw()
        return self.value(base + of, key + of, subscript)

    def quotient(self) -> Any:
        r"""\partial E/\partial b, which is \dd{E}{b}, and \partial^2L/\partial a\,\partial b, \dd{^2L}{a}{b}."""
        start = self.at
        while not self.accept("/"):
            self.next()
        parts = ["".join(self.tokens[start : self.at - 1])]
        while self.accept(r"\partial"):
            parts.append(self.next() + (f"_{_shortest(self.raw())}" if self.accept("_") else ""))
        return self.values.derivative(*parts)

    def nabla(self) -> Any:
        key = r"\nabla"
        while mark := self.accept("_", "^"):
            key += mark + _shortest(self.raw())
        key += self.next()
        return self.value(key, key, "")

    def name(self, token: str) -> Any:
        if token == r"\mathrm":
            token += f"{{{self.raw()}}}"
        subscript, marks = "", ""
        while mark := self.accept("_", "'", "^*"):
            if mark != "_":
                marks += mark
            elif subscript:
                raise self.error("two subscripts")
            else:
                subscript = self.raw()
        key = token + (f"_{_shortest(subscript)}" if subscript else "") + marks
        return self.value(token + marks, key, subscript)

    def value(self, base: str, key: str, subscript: str) -> Any:
        """Of the symbol, or of the function with its arguments."""
        known = FUNCTIONS.get(key, self.values.names.get(key))
        if not callable(known):
            return self.values.lookup(base, key, subscript)
        if key in FUNCTIONS and self.token != "(":
            return column(known(_plain(self.argument())))
        self.next("(")
        inputs = [_plain(self.sum_())]
        while self.accept(","):
            inputs.append(_plain(self.sum_()))
        self.next(")")
        return column(known(*inputs))

    def argument(self) -> Any:
        r"""What follows a function without brackets, as in \sinh 2x or \ln\tfrac12: numbers, fractions and letters."""
        value = self.power()
        while self.token is not None and re.fullmatch(r"[A-Za-z]|\\theta|\\rho", self.token):
            value = _times(None, value, self.power())
        return value


def _shortest(text: str) -> str:
    return text if len(TOKEN.findall(text)) == 1 else f"{{{text}}}"


def _length(x: Any) -> float:
    if np.ndim(x) and np.shape(x)[1] != 1:
        raise FormulaError(f"the length of a matrix of shape {np.shape(x)}")
    return np.linalg.norm(x)


def column(x: Any) -> Any:
    """A value as the formulas mean it: a vector is a column, and what has one entry is a number."""
    if callable(x):
        return x
    array = np.asarray(x, dtype=float)
    if array.size == 1:
        return array.reshape(())
    return array[:, None] if array.ndim == 1 else array


def _plain(x: Any) -> Any:
    array = np.asarray(x)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _scalar(x: Any) -> float:
    array = np.asarray(x)
    if array.size != 1:
        raise FormulaError(f"expected a number, got shape {array.shape}")
    return float(array.reshape(()))


def _inverse(x: Any) -> float:
    return _power(_scalar(x), -1)


def _add(terms: list) -> Any:
    arrays = [np.asarray(term) for term in terms]
    if len({a.shape for a in arrays}) > 1:
        raise FormulaError(f"a sum of shapes {[a.shape for a in arrays][:3]}")
    return sum(arrays[1:], arrays[0])


def _times(operator: str | None, a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if operator == r"\otimes":
        return np.kron(a, b)
    if operator == r"\odot":
        if a.shape != b.shape:
            raise FormulaError(f"\\odot of shapes {a.shape} and {b.shape}")
        return a * b
    if not a.ndim or not b.ndim:
        return a * b
    if a.shape[1] != b.shape[0]:
        raise FormulaError(f"a product of shapes {a.shape} and {b.shape}")
    result = a @ b
    return result.reshape(()) if result.size == 1 else result


def _power(base: Any, exponent: Any) -> Any:
    base, n = np.asarray(base), _scalar(exponent)
    if base.ndim:
        if n != -1 or base.shape[0] != base.shape[1]:
            raise FormulaError(f"the power {n} of shape {base.shape}")
        return np.linalg.inv(base)
    if (not base and n < 0) or (base < 0 and n != round(n)):
        raise FormulaError(f"the power {n} of {base}")
    return base**n
