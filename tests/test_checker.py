"""The checker of the exercises: right answers are right, and each wrong variant gets its own diagnosis."""

import io
import linecache
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.neural_network import MLPClassifier
from torch import nn
from tqdm import tqdm

import layers
import losses
import optim
import plot_utils
import train_utils
from checker import TASKS, check, diagnose, ready
from layers import Layer, add_grad
from losses import Loss
from optim import Step
from wrong_answers import RIGHT, RIGHT_FORMULAS, WRONG, WRONG_FORMULAS

ROOT = Path(__file__).parents[1]


def answer(name, code):
    """The class or function that the code defines, as a notebook's cell would."""
    filename = f"<cell {len(linecache.cache)}>"
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    space = {"torch": torch, "nn": nn, "np": np, "math": math, "io": io, "tqdm": tqdm, "__name__": "__main__"}
    space |= {"Layer": Layer, "Loss": Loss, "Step": Step, "add_grad": add_grad}
    space |= {"Image": Image, "Figure": Figure, "MLPClassifier": MLPClassifier}
    exec(compile(code, filename, "exec"), space)
    return space[name]


@pytest.mark.parametrize("name", RIGHT)
def test_a_students_right_answer_is_right(name):
    kind, text = diagnose(answer(name, RIGHT[name]), name)
    assert kind == "right", text


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "loss_setting"])
def test_the_solution_is_right(name):
    solutions = [vars(module).get(name) for module in (layers, losses, optim, train_utils, plot_utils)]
    kind, text = diagnose(next(s for s in solutions if s is not None and not s.__module__.startswith("torch")), name)
    assert kind == "right", text


@pytest.mark.proof
@pytest.mark.parametrize(("name", "kind", "old", "new"), WRONG)
def test_a_wrong_variant_gets_its_own_diagnosis(name, kind, old, new):
    assert RIGHT[name].count(old) >= 1, "the catalogue's text is not in the right answer"
    found, text = diagnose(answer(name, RIGHT[name].replace(old, new)), name, limit=5)
    assert found == kind, text
    assert len(text) < 700


@pytest.mark.parametrize(
    ("label", "text"), [(label, text) for label, texts in RIGHT_FORMULAS.items() for text in texts]
)
def test_a_right_formula_is_right(label, text):
    assert diagnose(text, label)[0] == "right", diagnose(text, label)[1]


@pytest.mark.proof
@pytest.mark.parametrize(("label", "kind", "text"), WRONG_FORMULAS)
def test_a_wrong_formula_gets_its_own_diagnosis(label, kind, text):
    assert diagnose(text, label)[0] == kind, diagnose(text, label)[1]


def test_the_catalogue_is_large_and_knows_every_task():
    assert len({(name, kind) for name, kind, *_ in WRONG + WRONG_FORMULAS}) > 150
    assert set(RIGHT) | set(RIGHT_FORMULAS) == set(TASKS)
    assert {name for name, *_ in WRONG + WRONG_FORMULAS} == set(TASKS)


def test_what_is_printed(capsys):
    hole = answer("SGD", RIGHT["SGD"].replace("p -= self.learning_rate * p.grad", "raise NotImplementedError"))
    wrong, right = answer("SGD", RIGHT["SGD"].replace("p -= ", "p += ")), answer("SGD", RIGHT["SGD"])
    for sgd in hole, wrong, right:
        check(sgd)
        assert ready(sgd) == (sgd is right)
    assert not ready(hole, answer("test", RIGHT["test"]), answer("ReLULayer", RIGHT["ReLULayer"].replace(">", "<")))
    assert capsys.readouterr().out.splitlines() == [
        "… SGD: not written yet: step",
        "… This needs SGD (not written yet).",
        "✗ SGD: the step goes along the gradient, uphill.",
        "… This needs SGD (not right yet).",
        "✓ SGD: right: step, a second step, zero_grad.",
        "… This needs SGD (not written yet), ReLULayer (not right yet).",
    ]


@pytest.mark.proof
def test_a_formula_in_python_needs_nothing_that_ran_before():
    code = "from checker import check; check('(yh-y).sum()', 'logistic-grad-b'); check('yh-', 'ce-hessian')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("exercises", "theory"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.splitlines()[0] == "✓ logistic-grad-b: right, on 8 random inputs."
    assert done.stdout.splitlines()[1].startswith("? ce-hessian: the expression cannot be evaluated: SyntaxError")


def test_an_error_is_shown_at_the_students_line():
    kind, text = diagnose(
        answer("FCLayer", RIGHT["FCLayer"].replace("self.X.T @ delta", "self.x.T @ delta")), "FCLayer"
    )
    assert kind == "error" and "add_grad(self.W, self.x.T @ delta)" in text and "has no attribute 'x'" in text


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    "nonsense", [None, 7, "text", object, lambda *a, **k: None, lambda *a, **k: 1 / 0, type("A", (), {})]
)
def test_nonsense_is_neither_right_nor_a_crash(name, nonsense):
    kind, text = diagnose(nonsense, name)
    assert kind not in ("right", "not written") and text
