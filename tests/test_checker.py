"""The checker of the exercises: right answers are right, and nonsense is not (wrong ones: proofs/)."""

import io
import linecache
import math
from functools import wraps

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
from checker import check, diagnose, ready
from layers import Layer, add_grad
from losses import Loss
from optim import Step
from right_answers import RIGHT, RIGHT_FORMULAS


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


@pytest.mark.parametrize(
    ("label", "text"), [(label, text) for label, texts in RIGHT_FORMULAS.items() for text in texts]
)
def test_a_right_formula_is_right(label, text):
    assert diagnose(text, label)[0] == "right", diagnose(text, label)[1]


def test_what_is_printed(capsys):
    hole = answer("SGD", RIGHT["SGD"].replace("p -= self.learning_rate * p.grad", "raise NotImplementedError"))
    wrong, right = answer("SGD", RIGHT["SGD"].replace("p -= ", "p += ")), answer("SGD", RIGHT["SGD"])
    for sgd in hole, wrong, right:
        check(sgd)
        assert ready(sgd) == (sgd is right)
    assert not ready(hole, answer("test", RIGHT["test"]), answer("ReLULayer", RIGHT["ReLULayer"].replace(">", "<")))
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["…", "…", "✗", "…", "✓", "…"] and all("SGD" in line for line in lines)
    assert "step" in lines[0] and "ReLULayer" in lines[-1]


def test_an_error_is_shown_at_the_students_line():
    code = RIGHT["FCLayer"].replace("self.X.T @ delta", "self.x.T @ delta")
    kind, text = diagnose(answer("FCLayer", code), "FCLayer")
    assert kind == "error" and "add_grad(self.W, self.x.T @ delta)" in text and "has no attribute 'x'" in text


@pytest.mark.parametrize(("factor", "kind"), [(1, "right"), (-1, "sign")])
def test_a_decorator_of_the_students_own_is_checked_too(factor, kind):
    def times(factor, method):
        return wraps(method)(lambda self, X: factor * method(self, X))

    relu = answer("ReLULayer", RIGHT["ReLULayer"])
    decorated = {"forward": times(1, relu.forward.unchecked), "backward": times(factor, relu.backward.unchecked)}
    assert diagnose(type("ReLULayer", (Layer,), decorated), "ReLULayer")[0] == kind


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    "nonsense", [None, 7, "text", object, lambda *a, **k: None, lambda *a, **k: 1 / 0, type("A", (), {})]
)
def test_nonsense_is_neither_right_nor_a_crash(name, nonsense):
    kind, text = diagnose(nonsense, name)
    assert kind not in ("right", "not written") and text
