"""What stands between the boxes of theory/*.tex: its formulas with the values given to them, and its words.

A formula with =, <, > or the like is evaluated as a box is, on each of the values that its paragraph gives to all of
its symbols, and holds for each of them. ``WORDS`` keeps everything else: the text of all sources, in which relations
stand in the place of such a formula, and of a box. A formula remains there as it is printed if it has no relation, if
``UNREAD`` lists it with the reason for which it is not evaluated, if it compares with 0, a power with 1 or up to
O(...), where a factor or an exponent changes nothing, or if none of the values attains its inequality (up to 1e-9).
"""

import re
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch

from evaluator import RELATIONS, FormulaError, arguments, statements
from printed import BOXES, SOURCES, UNREAD, given, is_true, skeleton, unread_in

COMPARED = {"=", "<", ">", r"\le", r"\ge", r"\approx"}
MARK = re.compile(r"\\(answer|example|erratum)\s*(?=\{(?!#))|\$(?P<inline>[^$]*)\$|\\\[(?P<displayed>.*?)\\\]", re.S)
SKIPPED = {"answer": 2, "example": 1, "erratum": 5}  # arguments
NULL = re.compile(r"(^|=|<|>|\\[lg]e)\s*0\s*(\.?$|=|<|>|\\[lg]e)|O\(|\^.*= *1$")
HEADING = re.compile(r"\\(?:paragraph|statement)\{([^{}]*)\}|\\(idea|careful|seen)\{")
DEFINITION = re.compile(  # of a macro: anything that might define is found by its name
    r"\\(?!linewidth|endcsname)([A-Za-z@]*(?:[nN]ew|[dD]ef|[lL]et(?![a-z])|Declare|[cC]ommand|[cC]md|macro|csname|code|"
    r"AtBegin|every|toks|[sS]ymbol|scan)[A-Za-z@]*)\s*\*?\s*\{?\\?([A-Za-z@]+|\S)"
)
LINE = re.compile(rf"[^&]*&\s*({'|'.join(map(re.escape, RELATIONS))})[^&]*")
GIVEN = {}


class Formula(NamedTuple):
    file: str
    heading: str
    text: str
    span: tuple[int, int]
    example: bool

    @property
    def key(self):
        return self.file, " ".join(self.text.split())

    @property
    def parts(self):
        return statements(in_a_row(self.text))

    @property
    def statements(self):
        return [s for s in self.parts if COMPARED & set(s[1::2])]


def gives(question, *headings, slack=1e-10):
    """Enter a generator of (names, sizes, draws) for a question, for its paragraphs with a heading, or for formulas."""

    def enter(generator):
        for heading in headings or ("",):
            GIVEN.setdefault((question, heading), []).append((generator, slack))
        return generator

    return enter


def in_a_row(text):
    """The text of an aligned display without its layout: each line continues the chain of relations of the first."""
    aligned = re.fullmatch(r"\s*\\begin{aligned}(.*)\\end{aligned}(.*)", text, re.S)
    if not aligned:
        return text
    lines = [line.strip() for line in aligned[1].split(r"\\")]
    if not all(map(LINE.fullmatch, lines)) or not all(line.startswith("&") for line in lines[1:]):
        raise FormulaError(f"an aligned display whose lines do not begin with a relation: {text}")
    return " ".join(lines).replace("&", "") + aligned[2]


@cache
def formulas_of(name):
    """The formulas of the file, but for the boxes and the errata."""
    text, found, example = SOURCES[name], [], 0
    at = max(text.find(r"\begin{document}"), 0)
    while mark := MARK.search(text, at):
        at = mark.end()
        if mark[1]:
            example = arguments(text, at, 2)[1] if mark[1] == "example" else example
            at = arguments(text, at, SKIPPED[mark[1]])[1]
        else:
            headings = ["".join(pair) for pair in HEADING.findall(text[: mark.start()])]
            span = mark.span("displayed" if mark["inline"] is None else "inline")
            found.append(Formula(name, headings[-1] if headings else "", text[slice(*span)], span, at < example))
    return found


def to_be_evaluated():
    return [f for name in SOURCES for f in formulas_of(name) if f.statements and not f.example]


@cache
def problems(generator):
    torch.manual_seed(0)
    return [given(*problem) if isinstance(problem, tuple) else given(problem) for problem in generator()]


def values_of(formula):
    """[(values, slack)] of the formula itself, of its paragraph, or of its question."""
    question = formula.heading if formula.file == "statements.tex" else formula.file[:2]
    own = [key for key in GIVEN if key[0] == question and key[1] and key[1] in formula.heading]
    itself = [key for key in GIVEN if key == (question, formula.key[1])]
    for key in itself or own or [(question, "")]:
        for generator, slack in GIVEN.get(key, []):
            yield from ((values, slack) for values in problems(generator))


def rounding(number):
    """Half a unit of the last digit, relative; nothing if this is no decimal number."""
    decimals = re.fullmatch(r"\d+\.(\d+)", number)
    return decimals and 0.5 * 10.0 ** -len(decimals[1]) / max(1, float(number))


@cache
def reading(formula):
    """(whether some values can read it, whether it is true for these, whether each inequality is attained by some)."""
    pairs = [tuple(s[i : i + 3]) for s in formula.statements for i in range(0, len(s) - 2, 2)]
    read, true, attained = set(), True, {pair for pair in pairs if pair[1] in ("=", r"\approx")}
    for pair, (values, slack) in product(pairs, values_of(formula)):
        try:
            with np.errstate(divide="ignore"):
                rounded = rounding(pair[2]) if pair[1] == r"\approx" else None
                true = is_true([*pair], values, rounded or slack) and true
                attained |= {pair} if is_true([*pair], values, 1e-9, tight=True) else set()
        except FormulaError:
            continue
        except AssertionError:  # of shapes
            true = False
        read.add(pair)
    return read == set(pairs), true, attained == set(pairs)


def kept(formula):
    """The relations, or the formula as it is."""
    relations = formula.statements and not NULL.search(formula.text.strip()) and formula.key not in UNREAD
    return skeleton(formula.parts) if relations and (formula.example or reading(formula)[2]) else formula.text


def words():
    """What each source defines, and its text, but the address, in which relations stand for what is evaluated."""
    lines = []
    for name, text in SOURCES.items():
        lines.append(" ".join([f"% {name}:", *map(" ".join, DEFINITION.findall(text))]))
        for formula in reversed(formulas_of(name)):
            start, end = formula.span
            text = text[:start] + kept(formula) + text[end:]
        for label, box in BOXES.items():
            relations = skeleton(statements(box), unread_in(label))
            text = text.replace(f"\\answer{{{label}}}{{{box}}}", f"\\answer{{{label}}}{{{relations}}}")
        lines += [line.rstrip() for line in text.splitlines() if line.strip() and name != "address.tex"]
    return "\n".join(lines) + "\n"
