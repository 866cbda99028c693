r"""The printed formulas as numbers: reads the boxes \answer{label}{...} of the .tex files and evaluates their text.

A vector is a column, so that X^T(yh - y), yh yh^T and w^T x are matrix products, whose shapes must fit. A symbol is
what the caller says (a number, an array, a function), an index runs over the range that the caller gives. Notation that
is not known here, and a symbol or an index that nobody bound, raise FormulaError: nothing is skipped.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

TOKEN = re.compile(
    r"\"[^\"]*\"|\\(?:hat|tilde|bar) *(?:\\[A-Za-z]+|[A-Za-z])|\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[A-Za-z]|\S"
)
SPACES = {r"\,", r"\!", r"\;", r"\big", r"\Big"}
SEPARATORS = {r"\quad", r"\qquad", r"\ "}
RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\to", r"\approx", r"\leftarrow", r"\succeq"}
FUNCTIONS = {
    r"\ln": np.log,
    r"\sinh": np.sinh,
    r"\softplus": lambda z: np.logaddexp(0, z),
    r"\lse": lambda z: np.logaddexp.reduce(z, axis=None),
    r"\lambda_\max": lambda M: _symmetric_eigenvalues(M)[-1],
}
ENDS = {"+", "-", ",", ")", "]", "}", "&", "\\\\", r"\end", None}  # of a product
CLOSING = {"(": ")", "[": "]", "|": "|"}


class FormulaError(ValueError):
    """A formula that cannot be evaluated: unknown notation, a symbol without a value, shapes that do not fit."""


def boxes(folder: Path, macro: str = "answer", arguments: int = 2) -> dict[str, list[str]]:
    r"""The arguments after the label of every \macro{label}{...} in the folder's .tex files, wherever it stands."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.tex")):
        source = re.sub(r"(?<!\\)%.*", "", path.read_text(encoding="utf-8"))
        if r"\iffalse" in source:
            raise FormulaError(f"{path.name}: what stands after \\iffalse is not printed; delete it")
        for start in re.finditer(rf"\\{macro}\s*\{{(?!#)", source):
            end, parts = start.end() - 1, []
            for _ in range(arguments):
                end = re.compile(r"\s*").match(source, end).end()
                part, end = _braces(source, end)
                parts.append(part)
            label = parts[0]
            if label in found:
                raise FormulaError(f"two boxes are called {label}")
            found[label] = parts[1:]
    return found


def _braces(text: str, start: int) -> tuple[str, int]:
    if text[start : start + 1] != "{":
        raise FormulaError(f"expected an argument in braces, got {text[start : start + 20]!r}")
    depth = 0
    for end in range(start, len(text)):
        escaped = text[end - 1] == "\\"
        depth += (text[end] == "{" and not escaped) - (text[end] == "}" and not escaped)
        if not depth:
            return text[start + 1 : end], end + 1
    raise FormulaError(f"no closing brace after {text[start : start + 20]!r}")


# -------------------------------------------------------------------------------------------- statements


def statements(text: str) -> list[list[str]]:
    """The statements of a box, each as [side, relation, side ...]; words between them stand alone: ['"for some"']."""
    text = re.sub(r"\\text\{([^{}]*)\}", lambda m: f' "{m[1].strip()}" ', text)
    tokens = TOKEN.findall(text)
    parts, depth, current = [], 0, []
    for token in [*tokens, r"\qquad"]:
        depth += _opens(token)
        if not depth and (token in SEPARATORS or token.startswith('"')):
            while current and current[-1] in (",", ".", ":", ";"):
                current.pop()
            if current:
                parts.append(_sides(current))
            current = []
            if token.startswith('"'):
                parts.append([token])
        elif token not in SPACES:
            current.append(token)
    if depth:
        raise FormulaError(f"{text}: brackets that do not match")
    return parts


def _opens(token: str) -> int:
    return {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token, 0)


def _sides(tokens: list[str]) -> list[str]:
    sides, depth, current = [], 0, []
    for token in tokens:
        depth += _opens(token)
        if not depth and token in RELATIONS:
            sides += [" ".join(current), token]
            current = []
        else:
            current.append(token)
    return [*sides, " ".join(current)]


# -------------------------------------------------------------------------------------------- evaluation


class Values:
    """What the symbols of a formula are: numbers, arrays or functions by name, ranges of the indices, draws.

    ``names`` is keyed as printed, without spaces: "X", r"\\yh", "W_2", "e_{t+1}", r"\\dd{E}{b}", r"\\nabla_wE".
    ``sizes`` gives each index its range, from 0. ``draws`` lists (probability, {name: value}) for \\E.
    """

    def __init__(self, names: Mapping[str, Any], sizes: Mapping[str, int] | None = None, draws: list | None = None):
        self.names, self.sizes, self.draws, self.bound = dict(names), dict(sizes or {}), draws, {}

    def bind(self, **bound: int) -> "Values":
        new = Values(self.names, self.sizes, self.draws)
        new.bound = {**self.bound, **bound}
        return new

    def drawn(self, names: Mapping[str, Any]) -> "Values":
        new = self.bind()
        new.names.update(names)
        return new


Node = Callable[[Values], Any]


def evaluate(formula: str, values: Values) -> Any:
    """The value of a formula (one side of a statement): a number, or an array of shape (n, 1) or (n, m)."""
    return Parser([token for token in TOKEN.findall(formula) if token not in SPACES], values).whole()(values)


def free_indices(formula: str, values: Values) -> list[str]:
    """The indices of values.sizes that the formula uses as subscripts without binding them itself by a sum or diag."""
    formula = re.sub(r"\\diag *\((?:[^()]|\([^()]*\))*\)", "", formula)  # it binds its own
    used = re.findall(r"_\s*(?:\{([^{}]*)\}|(\S))", formula)
    letters = {letter for group in used for letter in re.findall("[a-z]", "".join(group))}
    bound = re.findall(r"\\sum\s*_\s*(?:\{([^{}]*)\}|(\S))", formula)
    return sorted((letters - {c for group in bound for c in "".join(group)}) & set(values.sizes))


def each(values: Values, *formulas: str) -> Iterator[Values]:
    """The values with every free index of the formulas bound, one combination after the other."""
    indices = sorted({i for formula in formulas for i in free_indices(formula, values)} - set(values.bound))
    for combination in product(*(range(values.sizes[i]) for i in indices)):
        yield values.bind(**dict(zip(indices, combination, strict=True)))


class Parser:
    """Recursive descent over the tokens; each method returns a function of Values."""

    def __init__(self, tokens: list[str], values: "Values"):
        self.tokens, self.at, self.values = [*tokens, None], 0, values
        self.bars = 0  # |...| that are open
        self.number = -1  # where a plain number has just ended

    def error(self, text: str) -> FormulaError:
        return FormulaError(f"{' '.join(self.tokens[:-1])}: {text}")

    def next(self, *expected: str) -> str:
        token = self.tokens[self.at]
        if token is None or (expected and token not in expected):
            raise self.error(f"expected {' or '.join(expected)}, got {token!r}")
        self.at += 1
        return token

    def whole(self) -> Node:
        """All tokens."""
        node = self.sum_()
        if self.tokens[self.at] is not None:
            raise self.error(f"cannot read on at {self.tokens[self.at]!r}")
        return node

    def sum_(self) -> Node:
        sign = -1 if self.tokens[self.at] == "-" else 1
        if self.tokens[self.at] in ("+", "-"):
            self.at += 1
        terms = [(sign, self.product_())]
        while self.tokens[self.at] in ("+", "-"):
            sign = -1 if self.next() == "-" else 1
            terms.append((sign, self.product_()))
        return lambda v: _add([sign * np.asarray(term(v)) for sign, term in terms])

    def product_(self) -> Node:
        r"""Factors side by side, which bind closer than \odot and \otimes between them."""
        groups, operators, divided = [[self.power()]], [], False
        while (token := self.tokens[self.at]) not in RELATIONS | ENDS and not (token == "|" and self.bars):
            if token in (r"\odot", r"\otimes"):
                operators.append(self.next())
                groups.append([])
            elif divided:
                raise self.error(f"a/b{token}: is {token} divided by, too? Set brackets")
            if token in (r"\cdot", "/"):
                self.next()
            elif self.number == self.at and (token[0].isdigit() or token in (r"\frac", r"\tfrac")):
                raise self.error("two numbers side by side")
            factor, divided = self.power(), token == "/"
            groups[-1].append((lambda f: lambda v: _inverse(f(v)))(factor) if divided else factor)

        def value(v):
            first, *others = (reduce(partial(_times, None), [factor(v) for factor in group]) for group in groups)
            for operator, other in zip(operators, others, strict=True):
                first = _times(operator, first, other)
            return first

        return value

    def power(self) -> Node:
        base = self.atom()
        while self.tokens[self.at] in ("^", r"\T"):
            if self.next() == r"\T":
                base = (lambda b: lambda v: np.asarray(b(v)).T)(base)
            elif self.tokens[self.at : self.at + 4] == ["{", "-", r"\top", "}"]:
                self.at += 4
                base = (lambda b: lambda v: _power(b(v), -1).T)(base)
            else:
                exponent = self.group()
                base = (lambda b, e: lambda v: _power(b(v), e(v)))(base, exponent)
                if self.tokens[self.at] == "^":
                    raise self.error("a power of a power; set brackets")
        return base

    def group(self) -> Node:
        r"""An argument as TeX takes it: {...}, or a single token."""
        if self.tokens[self.at] == "{":
            self.next()
            node = self.sum_()
            self.next("}")
            return node
        return Parser([self.single()], self.values).sum_()

    def single(self) -> str:
        token = self.next()
        if len(token) > 1 and token[0].isdigit():
            raise self.error(f"of {token} TeX takes the first digit only; set braces")
        return token

    def raw(self) -> str:
        """An argument as text."""
        return "".join(self.inside()) if self.tokens[self.at] == "{" else self.single()

    def inside(self) -> list[str]:
        """The tokens in braces."""
        self.next("{")
        depth, start = 1, self.at
        while depth:
            depth += {"{": 1, "}": -1}.get(self.next(), 0)
        return self.tokens[start : self.at - 1]

    def atom(self) -> Node:
        token = self.next()
        if re.fullmatch(r"\d+(\.\d+)?", token):
            self.number = self.at
            return lambda v: float(token)
        if token == r"\frac" and self.tokens[self.at : self.at + 2] == ["{", r"\partial"]:
            over, under = self.inside(), self.inside()
            return Parser([*over, "/", *under], self.values).whole()
        if token in (r"\frac", r"\tfrac"):
            over, under = self.fraction_part(), self.fraction_part()
            return lambda v: _times(None, over(v), _inverse(under(v)))
        if token == r"\sqrt":
            inside = self.group()
            return lambda v: _root(_scalar(inside(v)))
        if token == r"\begin":
            return self.matrix()
        if token == r"\sum":
            return self.sum_over()
        if token == r"\E":
            return self.expectation()
        if token == r"\Var":
            return self.variance()
        if token == r"\diag":
            return self.diag()
        if token == "{" and self.tokens[self.at] == "[":  # {[i=j]}
            inside = self.brackets_or_iverson(self.next())
            self.next("}")
            return inside
        if token in ("(", "[", "|"):
            return self.brackets_or_iverson(token)
        if token == r"\partial":
            return self.partial() if self.tokens[self.at] == "_" else self.quotient()
        return self.name(token)

    def fraction_part(self) -> Node:
        if self.tokens[self.at] is not None and re.fullmatch(r"\d\d+", self.tokens[self.at]):  # \frac12 is 1/2
            digits = self.tokens[self.at]
            self.tokens[self.at : self.at + 1] = list(digits)
        return self.group()

    def brackets_or_iverson(self, opening: str) -> Node:
        if opening == "[" and self.tokens[self.at + 1] == "=":
            return self.iverson()
        inside = self.brackets(opening)
        if opening == "|" or self.tokens[self.at] != "_":
            return inside
        self.next()
        subscript = self.raw()  # (\yh-y)_k
        return lambda v: _entry(v, "(...)", _plain(inside(v)), subscript)

    def brackets(self, opening: str) -> Node:
        self.bars += opening == "|"
        left = self.sum_()
        self.bars -= opening == "|"
        entries = [left]
        while opening == "(" and self.tokens[self.at] == ",":  # a vector, written in a row
            self.next()
            entries.append(self.sum_())
        self.next(CLOSING[opening])
        if len(entries) > 1:
            return lambda v: np.concatenate([_stacked(entry(v)) for entry in entries])
        return (lambda v: _length(left(v))) if opening == "|" else left

    def iverson(self) -> Node:
        """[i=j], of two indices."""
        i = self.next()
        self.next("=")
        j = self.next()
        self.next("]")
        return lambda v: float(_index(v, i) == _index(v, j))

    def matrix(self) -> Node:
        if self.raw() != "pmatrix":
            raise FormulaError("expected a pmatrix")
        rows = [[self.sum_()]]
        while (token := self.next("&", "\\\\", r"\end")) != r"\end":
            if token == "&":
                rows[-1].append(self.sum_())
            else:
                rows.append([self.sum_()])
        if self.raw() != "pmatrix" or len({len(row) for row in rows}) > 1:
            raise self.error("a matrix that does not end as it began, or with rows of different lengths")
        return lambda v: np.array([[_scalar(entry(v)) for entry in row] for row in rows])

    def sum_over(self) -> Node:
        self.next("_")
        over = self.raw()  # i, or i,j, or j\ne i
        match = re.fullmatch(r"([a-z])(?:,([a-z])|\\ne([a-z]))?", over)
        if not match or match[1] in (match[2], match[3]):
            raise self.error(f"a sum over {over}")
        indices, without, body = [i for i in match.group(1, 2) if i], match[3], self.product_()

        def value(v):
            left_out = _index(v, without) if without else None
            ranges = [[n for n in range(_size(v, i)) if n != left_out] for i in indices]
            combinations = (v.bind(**dict(zip(indices, c, strict=True))) for c in product(*ranges))
            return _add([body(bound) for bound in combinations])

        return value

    def expectation(self) -> Node:
        r"""\E[...], or \E of the whole product that follows."""
        body = self.brackets(self.next()) if self.tokens[self.at] == "[" else self.product_()
        return lambda v: _mean(v, body)

    def variance(self) -> Node:
        body = self.power()
        return lambda v: _mean(v, lambda w: body(w) ** 2) - _mean(v, body) ** 2

    def diag(self) -> Node:
        self.next("(")
        start = self.at
        body = self.sum_()
        text = " ".join(self.tokens[start : self.at])
        self.next(")")

        def value(v):
            if indices := [i for i in free_indices(text, v) if i not in v.bound]:
                (i,) = indices
                return np.diag([_scalar(body(v.bind(**{i: n}))) for n in range(v.sizes[i])])
            M = np.asarray(body(v))
            if not M.ndim:
                raise FormulaError(r"\diag of a number")
            return np.diag(M[:, 0]) if M.shape[1] == 1 else np.diag(np.diag(M))

        return value

    def partial(self) -> Node:
        r"""\partial_1F is a name, \partial_j\partial_iF the entry j, i of \partial\partialF."""
        base, key, subscript = "", "", ""
        while self.tokens[self.at - 1] == r"\partial":
            self.next("_")
            subscript += self.raw()
            base, key = base + r"\partial", key + rf"\partial_{subscript[-1]}"
            of = self.next()
        if of == "(":
            start = self.at
            self.sum_()
            of = f"({''.join(self.tokens[start : self.at])}{self.next(')')}"
            self.next("_")
            subscript += self.raw()
        known = self.values.names.get(key + of)
        if callable(known):
            arguments = self.arguments()
            return lambda v: column(known(*(_plain(argument(v)) for argument in arguments)))
        return lambda v: _lookup(v, base + of, key + of, subscript)

    def quotient(self) -> Node:
        r"""\partial E/\partial b, which is \dd{E}{b}, and \partial^2L/\partial a\,\partial b."""
        start = self.at
        while self.tokens[self.at] != "/":
            self.next()
        of, by = "".join(self.tokens[start : self.at]), []
        self.next()
        while self.tokens[self.at] == r"\partial":
            self.next()
            by.append(self.next())
            if self.tokens[self.at] == "_":
                by[-1] += self.next() + _shortest(self.raw())
        if of[:2] != "^2":
            (by,) = by
            return _derivative(of, by)
        return _derivative(of[2:], *by)

    def name(self, token: str) -> Node:
        if token == r"\dd":
            return _derivative(self.raw(), self.raw())
        if token == r"\mathrm":
            token += f"{{{self.raw()}}}"
        if token == r"\nabla":
            return self.nabla()
        base, subscript, marks = token, "", ""
        while self.tokens[self.at] in ("_", "'") or self.tokens[self.at : self.at + 2] == ["^", "*"]:
            mark = self.next()
            if mark == "_" and subscript:
                raise self.error("two subscripts")
            if mark == "_":
                subscript = self.raw()
            else:
                marks += mark if mark == "'" else "^" + self.next()
        return self.value_or_call(base + marks, subscript, marks)

    def value_or_call(self, base: str, subscript: str, marks: str) -> Node:
        key = base.removesuffix(marks) + (f"_{_shortest(subscript)}" if subscript else "") + marks
        known = FUNCTIONS.get(key, self.values.names.get(key))
        if not callable(known):
            return lambda v: _lookup(v, base, key, subscript)
        arguments = self.arguments() if self.tokens[self.at] == "(" or key not in FUNCTIONS else [self.argument()]
        return lambda v: column(known(*(_plain(argument(v)) for argument in arguments)))

    def argument(self) -> Node:
        r"""What follows a function without brackets, as in \sinh 2x or \ln\tfrac12: numbers, fractions and letters."""
        factors = [self.power()]
        while (token := self.tokens[self.at]) is not None and re.fullmatch(r"[A-Za-z]|\\theta|\\rho", token):
            factors.append(self.power())
        return lambda v: reduce(partial(_times, None), [factor(v) for factor in factors])

    def arguments(self) -> list[Node]:
        self.next("(")
        arguments = [self.sum_()]
        while self.tokens[self.at] == ",":
            self.next()
            arguments.append(self.sum_())
        self.next(")")
        return arguments

    def nabla(self) -> Node:
        key = r"\nabla"
        while self.tokens[self.at] in ("_", "^"):
            key += self.next() + _shortest(self.raw())
        return self.value_or_call(key + self.next(), "", "")


def _shortest(text: str) -> str:
    return text if len(TOKEN.findall(text)) == 1 else f"{{{text}}}"


def _derivative(*parts: str) -> Node:
    r"""\dd{E}{b}, a name; \dd{\yh_k}{z_i} is the entry k, i of \dd{\yh}{z}."""

    def value(v):
        names, indices = [], ""
        for part in parts:
            name, _, subscript = part.partition("_")
            name, subscript = _layer(name, subscript.strip("{}"))
            indexed = bool(subscript) and all(i in v.bound for i in subscript)
            names.append(name if indexed else part)
            indices += subscript if indexed else ""
        base, whole = (r"\dd" + "".join(f"{{{part}}}" for part in texts) for texts in (names, parts))
        return _lookup(v, base, whole, indices)

    return value


def _layer(base: str, subscript: str) -> tuple[str, str]:
    """W_{2,kl} is the entry k, l of W_2."""
    match = re.fullmatch(r"(\d),([a-z]+)", subscript)
    return (f"{base}_{match[1]}", match[2]) if match else (base, subscript)


def _lookup(v: Values, base: str, key: str, subscript: str) -> Any:
    if key in v.names:
        return column(v.names[key])
    base, subscript = _layer(base, subscript)
    if not subscript or base not in v.names:
        raise FormulaError(f"{key} has no value")
    return _entry(v, key, v.names[base], subscript)


def _entry(v: Values, name: str, array: Any, subscript: str) -> float:
    if np.ndim(array) != len(subscript):
        raise FormulaError(f"{name}: the array has {np.ndim(array)} indices")
    return float(np.asarray(array)[tuple(_index(v, i) for i in subscript)])


def _stacked(x: Any) -> np.ndarray:
    """A number or a column, as a part of a column."""
    array = np.asarray(x)
    if array.ndim and array.shape[1] != 1:
        raise FormulaError(f"a vector with an entry of shape {array.shape}")
    return array.reshape(-1, 1)


def _index(v: Values, i: str) -> int:
    if i not in v.bound:
        raise FormulaError(f"the index {i} is not bound, and there is no symbol of that name")
    return v.bound[i]


def _mean(v: Values, body: Node) -> Any:
    if not v.draws:
        raise FormulaError("a mean over the noise, but no draws were given")
    return _add([p * np.asarray(body(v.drawn(names))) for p, names in v.draws])


def _length(x: Any) -> float:
    if np.ndim(x) and np.shape(x)[1] != 1:
        raise FormulaError(f"the length of a matrix of shape {np.shape(x)}")
    return np.linalg.norm(x)


def _symmetric_eigenvalues(M: Any) -> np.ndarray:
    if not np.allclose(M, np.transpose(M)):
        raise FormulaError("eigenvalues of a matrix that is not symmetric")
    return np.linalg.eigvalsh(M)


def _size(v: Values, index: str) -> int:
    if index not in v.sizes:
        raise FormulaError(f"a sum over {index}, whose range was not given")
    return v.sizes[index]


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
    if not _scalar(x):
        raise FormulaError("a division by zero")
    return 1 / _scalar(x)


def _root(x: float) -> float:
    if x < 0:
        raise FormulaError(f"the square root of {x}")
    return x**0.5


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
    if not base.ndim:
        return base**n
    if n != -1 or base.shape[0] != base.shape[1]:
        raise FormulaError(f"the power {n} of shape {base.shape}")
    return np.linalg.inv(base)
