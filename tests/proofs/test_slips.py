"""A slip of the hand in the theory's print is noticed: the check of the box or example fails."""

import re

import pytest
import torch

from evaluator import RELATIONS, SEPARATORS, SPACES, TOKEN, statements
from printed import BOXES, EXAMPLES, formulas
from test_theory import ANSWERS, WORKED

SLIPS = {
    "+": ["-"],
    "-": ["+"],
    r"\le": [r"\ge"],
    r"\ge": [r"\le"],
    "<": [">"],
    ">": ["<"],
    "=": [r"\ne"],
    r"\ne": ["="],
    r"\yh": ["y"],
    r"\max": [r"\min"],
    r"\sinh": [r"\cosh"],
    "i": ["j"],
    "j": ["i"],
    "k": ["i"],
    "x": ["w"],
    "X": [r"X\T"],
}
SAME = [  # what changes the print and not the meaning
    r"[2-] +O ?\(",
    r"\| - (e|f ')",
    r"\( - \\sum .*\^2",
    r"\\varphi' ?\(? 2",
    r"2 \(.*= 0",
    r"\\bar x *- *\\zeta|\( +- \\zeta *\)",
    r"(^|,\\quad) +[2-] [^,]* = 0",
]


def slips(text):
    """The text with a sign, relation, index, symbol or digit changed, a factor 2 or a minus put in, or a token lost."""
    for token in TOKEN.finditer(text):
        if token[0] in SPACES | SEPARATORS or token[0] in ",.;:{}":
            continue
        changed = [str((int(token[0]) + 1) % 10)] if token[0].isdigit() else SLIPS.get(token[0], [])
        if token[0] not in RELATIONS and re.fullmatch(r"[A-Za-z(\[]|\\[a-z].*", token[0]):
            changed = [*changed, f"2 {token[0]}", f"- {token[0]}"]
        for new in changed if token[0] in RELATIONS else [*changed, ""]:
            slip = f"{text[: token.start()]} {new} {text[token.end() :]}"
            if not any(re.search(same, slip) for same in SAME):
                yield slip


def misprints(text):
    """The text with one number or sign changed, but subscripts and exponents."""
    for token in re.finditer(r"(?<![_^{\d.])\d+(?!\d)|[+-]", text):
        new = {"+": "-", "-": "+"}.get(token[0]) or str(int(token[0]) + 1)
        yield f"{text[: token.start()]}{new}{text[token.end() :]}"


def noticed(slip, texts, label, check, monkeypatch):
    """The check fails on the slip."""
    monkeypatch.setitem(texts, label, slip)
    torch.manual_seed(0)
    with pytest.raises((AssertionError, ValueError, RuntimeError, pytest.fail.Exception)):
        check()
        print(slip)


@pytest.mark.parametrize("label", ANSWERS)
def test_a_slip_in_the_print_is_noticed(label, monkeypatch):
    for slip in slips(BOXES[label]):
        noticed(slip, BOXES, label, ANSWERS[label], monkeypatch)


@pytest.mark.parametrize("label", WORKED)
def test_a_slip_in_an_example_is_noticed(label, monkeypatch):
    text = EXAMPLES[label]
    for formula in formulas(text):
        for slip in misprints(formula) if any(len(s) > 1 for s in statements(formula)) else ():
            noticed(text.replace(formula, slip, 1), EXAMPLES, label, WORKED[label], monkeypatch)
