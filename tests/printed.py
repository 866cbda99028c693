"""What theory/*.tex prints, and whether it is true: used by theory/q1.py to q7.py and the tests of the theory."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from evaluator import Values, boxes, column, each, evaluate, sources, statements

HERE = Path(__file__).parent
THEORY = HERE.parent / "theory"
SOURCES = sources(THEORY)
BOXES = {label: text for label, (text,) in boxes(SOURCES).items()}
EXAMPLES = {label: text for label, (text,) in boxes(SOURCES, "example").items()}
ERRATA = boxes(SOURCES, "erratum", 5)

# The text of all sources, in which relations stand for what is evaluated (between.py); of each box, its relations.
WORDS = HERE / "theory_words.txt"
SKELETONS = dict(re.findall(r"^\\answer\{(.*?)\}\{(.*)\}$", WORDS.read_text(encoding="utf-8"), re.M))

# What has a relation and is not evaluated: file or box, and formula
LISTED = [line.split(" | ") for line in (HERE / "theory_unread.txt").read_text(encoding="utf-8").splitlines()]
UNREAD = [(where, text) for where, _reason, text in LISTED]

# The checks of boxes and of examples, by label
ANSWERS, WORKED = {}, {}


def entered(checks, label):
    """A decorator that enters a check under its label."""

    def enter(check):
        assert label not in checks, label
        checks[label] = check
        return check

    return enter


proves, works = partial(entered, ANSWERS), partial(entered, WORKED)


def hold_in(problems, *labels):
    """Enter boxes that hold in each of the problems (names, sizes, draws) as it is."""
    for label in labels:

        @proves(label)
        def check(label=label):
            for problem in problems():
                printed(label, *problem)


grad = jacobian  # of a function whose value is a number


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def real(*entries):
    """A vector, or the matrix with these rows."""
    return torch.tensor(entries, dtype=torch.float64)


def flat(function):
    """A function of tensors as one of arrays."""
    return lambda *arrays: function(*(torch.as_tensor(a, dtype=torch.float64) for a in arrays)).detach().numpy()


# What is not defined anew in each paragraph
STANDARD = {"e": np.e, r"\sigma": flat(torch.sigmoid), r"\mathrm{softmax}": flat(partial(torch.softmax, dim=0))}


def given(names, sizes=(), draws=None):
    """The evaluator's Values from tensors and numbers."""
    tensors = {name: value.detach().numpy() for name, value in names.items() if isinstance(value, torch.Tensor)}
    return Values(STANDARD | names | tensors, dict(sizes), draws)


def close(ours, truth, tolerance=1e-10):
    """The largest difference is below the tolerance, relative to the largest entry of the truth (or to 1)."""
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    assert size(ours, truth) <= tolerance * max(1.0, truth.abs().max().item())


def size(a, b):
    """The largest difference."""
    return (a - b).abs().max().item()


def unread_in(label):
    """The statements of the box that are not evaluated."""
    return [statements(text)[0] for where, text in UNREAD if where == label]


def skeleton(parts, as_printed=()):
    """The relations of each statement; what has none, and the statements as_printed, in full."""
    return "; ".join(
        "".join(part) if len(part) == 1 or part in as_printed else f"<{' '.join(part[1::2])}>" for part in parts
    )


def printed(label, names, sizes=(), draws=None, *, slack=1e-10, tight=False, holds=True):
    """Every statement of the box holds for these values: = up to slack (relative), <= and the like; tight: as equality.

    A side may be given a value as a whole; what w is after "w <- ..." is called "new w". Relations, words and the
    statements that are not evaluated are those of theory_words.txt. holds=False: every statement is wrong.
    """
    values, parts, listed = given(names, sizes, draws), statements(BOXES[label]), unread_in(label)
    assert skeleton(parts, listed) == SKELETONS.get(label), "the box has changed: change its check with it"
    for part in parts:
        if len(part) > 1 and part not in listed:
            assert is_true(part, values, slack, tight) == holds, (part, names)
    assert all(value.called for value in names.values() if isinstance(value, Remainder)), "the remainder is missing"


def pinned(label, text):
    """The box is printed with these words, which the code of the check stands for."""
    assert BOXES[label].strip() == text, "the box has changed: change its check with it"


def formulas(text):
    """What stands in $...$ or \\[...\\]."""
    return [inline or displayed for inline, displayed in re.findall(r"\$(.*?)\$|\\\[(.*?)\\\]", text, re.S)]


def worked(label, names, sizes=(), draws=None):
    """Every statement with a relation in the example holds for these values."""
    values = given(names, sizes, draws)
    equations = [part for text in formulas(EXAMPLES[label]) for part in statements(text) if len(part) > 1]
    assert len(equations) > 5
    for equation in equations:
        assert is_true(equation, values, 1e-12), equation


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
