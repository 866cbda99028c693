"""What theory/*.tex prints, and whether it is true: used by theory/q1.py to q7.py and test_errata.py."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from evaluator import Values, boxes, column, each, evaluate, statements

THEORY = Path(__file__).parents[1] / "theory"

SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(THEORY.glob("*.tex"))}
BOXES = {label: text for label, (text,) in boxes(THEORY, "answer").items()}
EXAMPLES = {label: text for label, (text,) in boxes(THEORY, "example").items()}


def entered(checks, label):
    """A decorator that enters a check under its label."""

    def enter(check):
        assert label not in checks, label
        checks[label] = check
        return check

    return enter


grad = jacobian  # of a function whose value is a number


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def real(*entries):
    """A vector, or the matrix with these rows."""
    return torch.tensor(entries, dtype=torch.float64)


def given(names, sizes=(), draws=None):
    """The evaluator's Values from tensors and numbers."""
    names = {
        name: value.detach().numpy() if isinstance(value, torch.Tensor) else value for name, value in names.items()
    }
    return Values(names, dict(sizes), draws)


# Of each box that is evaluated: the relations of each statement, and the statements that are no formulas in full.
SKELETONS: dict[str, str] = {}

# The checks of boxes and of examples, by label
ANSWERS, WORKED = {}, {}


def proves(label, skeleton=""):
    """Register the check of a box, with the box's relations and words (printed.py), if it is evaluated."""
    SKELETONS[label] = skeleton
    return entered(ANSWERS, label)


def hold_in(problems, skeletons):
    """Register boxes, as {label: skeleton}, that hold in each of the problems (names, sizes, draws) as it is."""
    for label, skeleton in skeletons.items():

        @proves(label, skeleton)
        def check(label=label):
            for problem in problems():
                printed(label, *problem)


def works(label):
    """Register the check of an example."""
    return entered(WORKED, label)


def close(ours, truth, tolerance=1e-10):
    """The largest difference is below the tolerance, relative to the largest entry of the truth (or to 1)."""
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    assert size(ours, truth) <= tolerance * max(1.0, truth.abs().max().item())


def size(a, b):
    """The largest difference."""
    return (a - b).abs().max().item()


def printed(label, names, sizes=(), draws=None, *, slack=1e-10, tight=False, holds=True):
    """Every statement of the box holds for these values: = up to slack (relative), <= and the like; tight: as equality.

    A side may be given a value as a whole; what w is after "w <- ..." is called "new w". Statements that are no
    formulas must be printed as in the box's skeleton. holds=False: every statement is wrong for these values.
    """
    values, skeleton = given(names, sizes, draws), []
    for statement in statements(BOXES[label]):
        words = "".join(statement).replace(" ", "")
        is_formula = len(statement) > 1 and words not in SKELETONS[label].split("; ")
        skeleton.append("".join(statement[1::2]) if is_formula else words)
        if is_formula:
            assert is_true(statement, values, slack, tight) == holds, (statement, names)
    assert "; ".join(skeleton) == SKELETONS[label], "the box has changed: change its check with it"
    assert all(value.called for value in names.values() if isinstance(value, Remainder)), "the remainder is missing"


def pinned(label, text):
    """The box is printed with these words, which the code of the check stands for."""
    assert BOXES[label].strip() == text, "the box has changed: change its check with it"


def formulas(text):
    """What stands in $...$ or \\[...\\]."""
    return [inline or displayed for inline, displayed in re.findall(r"\$(.*?)\$|\\\[(.*?)\\\]", text, re.S)]


def worked(label, names, sizes=(), draws=None, *, beside):
    """Every equation of the example holds for these values. beside: the example's mathematics that is no equation."""
    values = given({r"\sigma": lambda z: 1 / (1 + np.exp(-z)), "e": np.e} | names, sizes, draws)
    equations = []
    for formula in formulas(EXAMPLES[label]):
        found = statements(formula)
        equations += found if any(len(s) > 1 for s in found) else []
        if all(len(s) == 1 for s in found):
            assert beside and formula == beside[0], f"{formula} has changed: change its check with it"
            beside = beside[1:]
    assert len(equations) > 5 and not beside
    for equation in equations:
        assert len(equation) > 1 and is_true(equation, values, 1e-12), equation


def is_true(statement, values, slack=1e-10, tight=False):
    """A statement [side, relation, side ...] holds, for all values of its free indices."""
    sides, relations = statement[::2], statement[1::2]
    for bound in each(values, *sides):
        for left, relation, right in zip(sides, relations, sides[1:], strict=False):
            left = side("new " + left if relation == r"\leftarrow" else left, bound)
            if not compare(left, relation, side(right, bound), slack, tight):
                return False
    return True


def side(text, values):
    whole = values.names.get(text if text.startswith("new ") else text.replace(" ", ""))
    return column(evaluate(text, values) if whole is None or callable(whole) else whole)


def compare(left, relation, right, slack, tight):
    assert left.shape == right.shape or not right.any(), (left.shape, right.shape)
    scale = slack * max(1.0, np.abs(right).max())
    if relation in ("=", r"\leftarrow", r"\to", r"\approx") or (tight and relation in (r"\le", r"\ge", "<", ">")):
        return np.abs(left - right).max() <= scale
    if relation in (r"\le", "<"):
        return (left <= right + scale).all()
    if relation in (r"\ge", ">"):
        return (left >= right - scale).all()
    if relation == r"\ne":
        return np.abs(left - right).max() > 1e-3
    assert relation == r"\succeq", relation
    return np.linalg.eigvalsh(left).min() >= -scale


class Remainder:
    """O(...): its argument must be this number; what it stands for is within the slack."""

    def __init__(self, argument):
        self.argument, self.called = argument, False

    def __call__(self, argument):
        self.called = True
        assert argument == pytest.approx(self.argument, rel=1e-9, abs=0)
        return 0.0
