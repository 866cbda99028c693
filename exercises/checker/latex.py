r"""Reading a formula as students type it in LaTeX: a recursive descent over its tokens.

A vector is a column, products are matrix products whose shapes must fit. An index runs over what it indexes; one that
no sum binds is what the caller says, or the whole array is made.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from . import algebra
from .algebra import Node, Unbound, Unknown, Unreadable, column, divide, entry, extent, flat, multiply, power, values_of
from .core import Found
from .reader import RELATIONS, Reader
from .tokens import (
    BARS,
    OPENING,
    Token,
    canonical,
    cut,
    enclosed,
    in_ascii,
    macros,
    on_the_sheet,
    outside,
    sides_of,
    spelled,
)

FUNCTIONS = {"exp": np.exp, "ln": np.log, "log": np.log, "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh}
FUNCTIONS |= {"sqrt": np.sqrt, "softmax": lambda z: np.exp(z) / np.exp(z).sum(), "mean": np.mean}
FUNCTIONS |= {"tr": np.trace, "Tr": np.trace, "trace": np.trace}
DIVIDED = {"/", r"\div"}
TIMES = {"*"} | macros("cdot times ast") | DIVIDED
ELEMENTWISE = macros("odot circ otimes")
NUMBER = re.compile(r"\d+\.?\d*|\.\d+")


def read(source: str, names: dict[str, Any]) -> tuple[list[Node], set[str]]:
    """The formula as a node, whose value is a number or an array (n, 1) or (n, m), and the names that occur in it.

    Of an equation all sides that can be read, from the last; not a name on its left. Raises Unreadable.
    """
    source = source if source.isascii() else in_ascii(source)
    left, *others = sides_of(source)
    is_name = others and not any(outside(left, "+-"))
    sides = others[::-1] if is_name else [*others[::-1], left]
    nodes, used, first = [], set(), None
    for side in sides:
        parser = Parser(source, [], names, set())
        try:
            nodes.append(parser.part(side, Parser.sum_))
            used |= parser.used
        except Unreadable as error:
            first = first or error
    if not nodes:
        raise first
    return nodes, used


class Parser(Reader):
    """Each method reads on from where the last one stopped, and returns a Node."""

    # -------------------------------------------------------------------------------- sums, products, powers

    def sum_(self) -> Node:
        start, terms = self.at, []
        while not terms or self.token in ("+", "-"):
            sign = self.next() if self.token in ("+", "-") else "+"
            terms.append((-1 if sign == "-" else 1, self.product_()))
        return self.node(start, partial(algebra.add, terms))

    def product_(self) -> Node:
        r"""Factors side by side bind closer than \odot and \otimes between them."""
        start, left = self.at, self.factors()
        while self.token in ELEMENTWISE:
            operator, right = self.next(), self.factors()
            left = self.node(start, partial(multiply, operator, left, right))
        return left

    def factors(self) -> Node:
        start, left = self.at, self.signed()
        while self.token and not self.ends():
            operator = self.next() if self.token in TIMES else ""
            right = self.signed() if operator else self.powers()
            calculate = divide if operator in DIVIDED else partial(multiply, operator)
            left = self.node(start, partial(calculate, left, right))
        return left

    def ends(self) -> bool:
        """Is this the end of a product?"""
        closing = self.token in OPENING.values() and (self.token not in BARS or self.bars)
        stops = {"+", "-", ",", "&", "\\\\", ".", ":", ";"} | ELEMENTWISE | RELATIONS.keys()
        return closing or self.token in stops or self.token.startswith(r"\end")

    def signed(self) -> Node:
        start = self.at
        if self.token != "-":
            return self.powers()
        self.next()
        inner = self.powers()
        return self.node(start, lambda v: -inner.value(v))

    def powers(self) -> Node:
        """An atom with what stands behind it: powers, transposes, indices of a bracket."""
        start, base = self.at, self.atom()
        is_entry = self.is_entry
        while self.token in ("^", "_", "'", r"\T"):
            mark = self.next()
            if mark == "_":
                indices = self.indices()
                self.used |= {*indices}
                base = self.node(start, lambda v, b=base, i=indices: entry(b.value(v), i, v, b.text))
            elif mark == "^":
                base = self.raised(start, base)
            elif is_entry:
                which = (
                    "the entry with its indices exchanged, or the same? Write the indices in the order that you mean."
                )
                raise Found("transpose of an entry", f"{base.text} is one entry, which has no transpose: is it {which}")
            else:
                base = self.node(start, lambda v, b=base: column(b.value(v).T))
        return base

    def raised(self, start: int, base: Node) -> Node:
        inner = self.argument()
        entrywise = bool(inner) and inner[0].text in ELEMENTWISE  # v^{\odot 2}
        exponent = self.part(inner[entrywise:], Parser.sum_)
        if entrywise:
            return self.node(start, lambda v: base.value(v) ** exponent.value(v))
        return self.node(start, partial(power, base, exponent))

    def group(self) -> Node:
        """An argument in braces."""
        return self.part(self.argument(), Parser.sum_)

    def atom(self) -> Node:
        start, token, self.is_entry = self.at, self.token, False
        if token in OPENING and not (token in BARS and self.bars):
            return self.bracket()
        self.next()
        name = token.removeprefix("\\")
        if name == "one" or (token == "1" and self.token in ("_", r"\T")):
            return self.one(start)
        if name in ("I", "delta", "chi") and self.indicates():
            return self.one(start)
        if NUMBER.fullmatch(token):
            return self.node(start, lambda v: np.asarray(float(token)))
        if name == "frac":
            over, under = self.group(), self.group()
            return self.node(start, partial(divide, over, under))
        if name == "sum":
            return self.sum_over(start)
        if token == r"\E" or (name == "E" and self.token in {*OPENING, "_"} and name not in self.names):
            return self.expectation(start)
        if token.startswith(r"\begin"):
            return self.cases(start)
        if name.lower() == "diag":
            return self.diag(start)
        if name in FUNCTIONS and name not in self.names:
            return self.apply(start, FUNCTIONS[name])
        return self.symbol(start, token)

    # -------------------------------------------------------------------------------- brackets and conditions

    def bracket(self) -> Node:
        """(...), or a norm, an inner product, or [i = j], which is 1 or 0."""
        start, opening = self.at, self.next()
        double = opening == "|" and self.token == "|"  # ||w||
        closing, bar = OPENING[opening], opening in BARS or opening.lower() == r"\lvert"
        if double:
            self.next()
        if not bar and outside(enclosed(self.tokens, start)[0], RELATIONS):
            holds = self.condition()
            self.next(closing)
            return self.node(start, lambda v: np.asarray(float(holds(v))))
        self.bars += bar
        inner = self.sum_()
        self.bars -= bar
        if closing == r"\rangle" and self.token in (",", "|"):
            self.next()
            other = self.sum_()
            self.next(closing)
            return self.node(start, partial(multiply, r"\cdot", inner, other))
        self.next(closing)
        if closing == r"\rangle":
            return self.node(start, lambda v: np.asarray(np.mean(inner.value(v))))
        if double:
            self.next(closing)
        if not bar:
            return self.node(start, inner.value)
        order = 2.0
        if self.token == "_":  # \|w\|_2
            self.next()
            indices = self.indices()
            order = float(indices[0]) if indices and indices[0].isdigit() else order
        return self.node(start, lambda v: np.asarray(np.linalg.norm(np.atleast_1d(flat(inner.value(v))), order)))

    # -------------------------------------------------------------------------------- functions and sums

    def apply(self, start: int, function: Callable) -> Node:
        """A function of what follows, a bracket or the next factor; a power before it is the power of the value."""
        exponent = None
        if self.token == "^":
            self.next()
            exponent = self.group()
        inner = self.bracket() if self.token in OPENING else self.signed()
        applied = self.node(start, lambda v: column(function(flat(inner.value(v)))))
        return self.node(start, partial(power, applied, exponent)) if exponent else applied

    def diag(self, start: int) -> Node:
        inner = self.with_dots() or (self.bracket() if self.token in OPENING else self.powers())

        def value(v):
            x, _ = values_of(inner, v)  # \diag(y_i) binds its index
            return np.diag(flat(x) if flat(x).ndim == 1 else np.diag(x)) if x.ndim else x

        return self.node(start, value)

    def with_dots(self) -> Node | None:
        r"""(y_1, \dots, y_K): the first entry, of which the 1 becomes an index."""
        inner, end = enclosed(self.tokens, self.at)
        commas = outside(inner, ",")
        if not commas or not {t.text for t in inner} & macros("dots ldots cdots"):
            return None
        self.at = end
        first, texts = inner[: commas[0]], [t.text for t in inner]
        letter = next(i for i in "nlmdjki" if i not in texts)
        indexed = [n for n, text in enumerate(texts) if text == "1" and "_" in texts[max(0, n - 3) : n]]
        return self.part([t._replace(text=letter) if n in indexed else t for n, t in enumerate(first)], Parser.sum_)

    def expectation(self, start: int) -> Node:
        r"""\E[...]; with k \sim p below it, the sum over k weighted by p."""
        below: list[Token] = []
        if self.token == "_":
            self.next()
            below = self.argument()
        inner = self.bracket() if self.token in OPENING else self.powers()
        if len(below) > 2 and below[1].text == r"\sim":
            letter, p = below[0].text, self.part(below[2:], Parser.sum_)

            def value(v):
                return sum(weight * inner.value(v.bind(**{letter: n})) for n, weight in enumerate(flat(p.value(v))))

            return self.node(start, value)
        return self.node(start, lambda v: inner.value(replace(v, names=v.names | v.mean, mean={})))

    def sum_over(self, start: int) -> Node:
        marks: dict[str, list[Token]] = {}
        while self.token in ("_", "^"):
            mark = self.next()
            marks[mark] = self.argument()
        letters, lower, conditions, own = self.bounds(marks.get("_", []))
        if r"\infty" in [t.text for t in marks.get("^", [])]:
            raise Found("sum bounds", "a sum runs to infinity; there are only so many terms.")
        end = None
        with suppress(Unreadable):  # a letter that nobody knows: to the last
            end = self.part(marks.get("^", []), Parser.sum_)
        first, body = self.at, self.product_()
        inside = {t.text for t in self.tokens[first : self.at]}

        def value(v):
            free = [i for i in letters if i in own or i not in v.index]
            if not free:
                raise Unreadable(
                    f"the index {letters[0]} of a sum has a value already: give the sum an index of its own"
                )
            new = [i for i in free if i == free[0] or i in inside]
            v = v.bind(**dict.fromkeys(set(free) - {*new}, 0))
            begin = int(lower.value(v)) if lower else 1
            shift = 0 if lower and begin == 0 else 1  # from 0 to N - 1, or from 1 to N
            last = None
            with suppress(Unbound):
                last = int(end.value(v)) if end else None
            ends = [extent(body, v, i) - 1 + shift if last is None else last for i in new]
            if max(ends) > 1000:
                raise Unreadable(f"a sum of {max(ends)} terms")
            places = product(*(range(begin - shift, n + 1 - shift) for n in ends))
            bound = [v.bind(**dict(zip(new, place, strict=True))) for place in places]
            terms = [body.value(b) for b in bound if all(holds(b) for holds in conditions)]
            return sum(terms[1:], terms[0]) if terms else np.asarray(0.0)

        return self.node(start, value)

    def bounds(self, under: list[Token]) -> tuple[list[str], Node | None, list[Callable], set[str]]:
        r"""Of a sum over i, i,j, i=1, j\ne i, i<j, i \in ...: the letters, where it begins, the conditions."""
        members = [n for n, t in enumerate(under) if t.text == r"\in"][:1]
        if members:  # i \in {1, ..., N} \setminus {j}
            i, others = under[0].text, [t.text for t in under if t.text != r"\}"]
            without = [lambda v, j=others[-1]: v.index[i] != v.index[j]] if r"\setminus" in others else []
            return [i], None, without, {i}
        under = [t for t in under if t.text not in ("{", "}", "(", ")", r"\{", r"\}", r"\substack", r"\forall")]
        letters: list[str] = []
        own: set[str] = set()
        lower, conditions = None, []
        for tokens in cut(under, outside(under, (",", "\\\\", ":", ";"))):
            texts = [t.text for t in tokens]
            new = [t for t in texts if re.fullmatch("[a-z]'*", t) and t not in self.names]
            if texts[1:2] == ["="]:
                lower, new = self.part(tokens[2:], Parser.sum_), texts[:1]
                own |= {*new}
            elif RELATIONS.keys() & set(texts):
                conditions.append(self.part(tokens, Parser.condition))
            else:
                own |= {*new}
            letters += [i for i in new if i not in letters]
        if not letters:
            raise self.stuck("the index of the sum")
        return letters, lower, conditions, own

    # -------------------------------------------------------------------------------- symbols

    def indices(self) -> list[str]:
        """The indices in the argument that follows."""
        letters = [":" if t.text in (r"\cdot", r"\bullet", "*") else t.text for t in self.argument()]
        return [i for i in letters if i not in (",", "(", ")", "{", "}")]

    def symbol(self, start: int, token: str) -> Node:
        """A symbol with its marks: x_i, W_2, f'', x^*."""
        key, indices = canonical(token), []
        while self.token in ("_", "'", "^*"):
            longer = key + {"'": "1", "^*": "_star"}.get(self.token, "")
            longer = key.removesuffix("1") + "2" if self.token == "'" and key.endswith("1") else longer
            if self.token == "_":
                self.next()
                key, more = self.glued(key, self.indices())
                indices += more
            elif any(name.startswith(longer) for name in self.names):
                key = longer
                self.next()
            else:
                break
        if key == "delta" and len(indices) == 1 and self.token == "^" and self.tokens[self.at + 2].text in "ijkl":
            indices.append(self.tokens[self.at + 2].text)  # \delta_i^j
            self.at += 4
        if len(indices) == 2 and key in ("delta", "I") and np.ndim(self.names.get(key, 0)) < 2:
            return self.kronecker(start, indices)
        return self.valued(start, key, indices)

    def glued(self, key: str, indices: list[str]) -> tuple[str, list[str]]:
        r"""W_2 and \delta_{1,i}: what belongs to the name, and what are indices."""
        for number in range(len(indices), 0, -1):
            word = "".join(indices[:number])
            for longer in (f"{key}{word}", f"{key}_{word}"):
                if longer in self.names:
                    return longer, indices[number:]
        return key, indices

    def valued(self, start: int, key: str, indices: list[str]) -> Node:
        other, typed = key[:1].swapcase() + key[1:], self.typed(start)
        key = other if indices and key not in self.names and other in self.names else key  # x_n is a row of X
        if key == "e" and len(indices) == 1:  # a unit vector
            return self.node(start, lambda v: column(entry(v.names["I"], [*indices, ":"], v, typed)))
        self.used |= {key.removeprefix("bar "), *indices}
        known, self.is_entry = self.names.get(key), len(indices) == 2 and ":" not in indices
        if callable(known):
            if self.token not in OPENING:
                raise Unreadable(f"{typed} is a function, and stands without its argument")
            return self.apply(start, known)
        if key.startswith("bar ") and np.ndim(self.names.get(key[4:])):
            return self.node(start, lambda v: np.asarray(np.mean(v.names[key[4:]])))
        if known is None and (indices or not re.fullmatch("[a-n]'*", key)):
            there = ", ".join(map(spelled, sorted(self.names.keys() - {"I", "one"})))
            kind = Unknown if on_the_sheet(key) else Unreadable
            raise kind(f"{typed} has no value here; there are {there}")

        def value(v):
            if known is None and key not in v.index:
                raise Unbound(key, None)
            return np.asarray(v.index[key] + 1.0) if known is None else entry(v.names[key], indices, v, typed)

        return self.node(start, value)
