"""Going through a formula's tokens, and what is 1 or 0 by a condition: [i = j], indicators, cases."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .algebra import Node, Unreadable, Values
from .tokens import BARS, OPENING, Token, argument, enclosed, macros, outside

COMPARED = {
    np.equal: {"=", "=="},
    np.not_equal: {"!="} | macros("ne neq"),
    np.less: {"<"} | macros("lt"),
    np.greater: {">"} | macros("gt"),
    np.less_equal: {"<="} | macros("le leq"),
    np.greater_equal: {">="} | macros("ge geq"),
}
RELATIONS = {sign: compare for compare, signs in COMPARED.items() for sign in signs}


class Reader:
    """Goes through the tokens of a formula, knows what was typed there, and reads conditions.

    Needs sum_, bracket and valued of the class that reads the rest.
    """

    def __init__(self, source: str, tokens: list[Token], names: dict[str, Any], used: set[str]) -> None:
        self.source, self.tokens, self.names, self.used = source, tokens, names, used
        self.at, self.bars = 0, 0  # the next token; |...| that are open

    def part(self, tokens: list[Token], read: Callable[[Any], Any]) -> Any:
        """What read, a method, makes of all these tokens."""
        reader = type(self)(self.source, tokens, self.names, self.used)
        result = read(reader)
        if reader.token:
            raise reader.stuck()
        return result

    @property
    def token(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def next(self, *expected: str) -> str:
        if not self.token or (expected and self.token not in expected):
            raise self.stuck(" or ".join(expected))
        self.at += 1
        return self.tokens[self.at - 1].text

    def argument(self) -> list[Token]:
        tokens, self.at = argument(self.tokens, self.at)
        return tokens

    def stuck(self, expected: str = "") -> Unreadable:
        where = self.tokens[self.at].start if self.token else len(self.source)
        here = f"at '{self.source[where : where + 12].strip()}'" if self.token else "at its end"
        before = re.search(r"(\\[A-Za-z]*)?.{0,20}$", self.source[:where].strip(), flags=re.S)[0]
        after = f", after '{before}'" if before else ""
        return Unreadable(f"I cannot read on {here}{after}" + (f": is {expected} missing?" if expected else ""))

    def typed(self, start: int) -> str:
        if start >= len(self.tokens):
            raise self.stuck()
        return " ".join(self.source[self.tokens[start].start : self.tokens[self.at - 1].end].split())

    def node(self, start: int, value: Callable[[Values], Any]) -> Node:
        return Node(value, self.typed(start))

    def skip(self, *texts: str) -> None:
        """Go past these and words."""
        while self.token in texts or self.token.startswith('"'):
            self.next()

    def condition(self) -> Callable[[Values], bool]:
        r"""i = j, or i < j \le k, also in brackets."""
        if self.token in OPENING:
            closing = OPENING[self.next()]
            holds = self.condition()
            self.next(closing)
            return holds
        sides, relations = [self.sum_()], []
        while self.token in RELATIONS:
            relations.append(RELATIONS[self.next()])
            sides.append(self.sum_())

        def holds(v):
            values = [side.value(v) for side in sides]
            return all(compare(*pair) for compare, pair in zip(relations, pairwise(values), strict=True))

        return holds

    def one(self, start: int) -> Node:
        r"""\mathbb{1} with a condition or two indices, or the vector of ones, whose length is left out."""
        if self.token == "_":
            self.next()
            inner = self.argument()
            if any(t.text in RELATIONS for t in inner):
                holds = self.part(inner, Reader.condition)
                return self.node(start, lambda v: np.asarray(float(holds(v))))
            letters = [t.text for t in inner if t.text not in (",", "{", "}")]
            if len(letters) == 2:
                return self.kronecker(start, letters)
        elif self.indicates():
            return self.bracket()
        return self.valued(start, "one", [])

    def indicates(self) -> bool:
        """Does a condition follow, in a bracket or an index?"""
        if self.token == "_":
            return any(t.text in RELATIONS for t in argument(self.tokens, self.at + 1)[0])
        bracket = enclosed(self.tokens, self.at)[0] if self.token in OPENING.keys() - BARS else []
        return bool(outside(bracket, RELATIONS))

    def kronecker(self, start: int, indices: list[str]) -> Node:
        i, j = (self.valued(start, letter, []) for letter in indices)
        return self.node(start, lambda v: np.asarray(float(i.value(v) == j.value(v))))

    def cases(self, start: int) -> Node:
        rows = []
        while not self.token.startswith(r"\end"):
            self.skip("&")
            value = self.sum_()
            self.skip(",", "&")
            otherwise = not self.token or self.token in (".", "\\\\") or self.token.startswith(r"\end")
            rows.append((value, (lambda v: True) if otherwise else self.condition()))
            self.skip(",", ".", "&", "\\\\")
        self.next()
        nothing = np.asarray(np.nan)
        return self.node(start, lambda v: next((value.value(v) for value, holds in rows if holds(v)), nothing))
