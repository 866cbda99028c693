"""The checker of the exercises: right answers are right, and nonsense is not (wrong ones: proofs/)."""

import io
import json
import linecache
import math
import time
import tracemalloc
from functools import wraps

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.neural_network import MLPClassifier
from torch import nn
from tqdm import tqdm

import checker
import layers
import losses
import optim
import plot_utils
import train_utils
from checker import check, diagnose, progress, ready
from layers import Layer, add_grad
from losses import Loss
from optim import Step
from right_answers import RIGHT, RIGHT_FORMULAS, RIGHT_VARIANTS


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


@pytest.mark.parametrize(("name", "code"), RIGHT_VARIANTS)
def test_another_right_answer_is_right(name, code):
    kind, text = diagnose(answer(name, code), name)
    assert kind == "right", text


@pytest.mark.parametrize("name", RIGHT)
def test_inference_mode_around_check_changes_nothing(name):
    with torch.inference_mode():
        kind, text = diagnose(answer(name, RIGHT[name]), name)
    assert kind == "right", text


@pytest.mark.parametrize("name", [name for name in RIGHT if name not in ("loss_setting", "line_search")])
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


def test_what_does_not_end_is_interrupted_at_its_line():
    endless = answer(
        "GD", "def GD(f, theta0, alpha, stop_tolerance, max_steps):\n    while True:\n        alpha = alpha * 1"
    )
    begun = time.monotonic()
    kind, text = diagnose(endless, "GD", limit=0.5)
    assert kind == "endless" and ("alpha = alpha * 1" in text or "while True" in text)
    assert time.monotonic() - begun < 5


def test_what_is_printed_takes_no_memory():
    printing = RIGHT["GD"].replace("        old = value\n", "        old = value\n        print('x' * 100_000)\n")
    tracemalloc.start()
    kind, text = diagnose(answer("GD", printing), "GD")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kind == "right" and peak < 5e6, (text, peak)


def test_a_descent_that_never_stops_ends_before_its_history_fills_the_memory():
    code = RIGHT["GD"].replace("range(max_steps)", "iter(int, 1)").replace("            break", "            pass")
    begun = time.monotonic()
    kind, _ = diagnose(answer("GD", code), "GD")
    assert kind == "no end" and time.monotonic() - begun < 5


def test_an_answer_cannot_say_itself_that_it_is_right():
    from checker.core import Found

    def rosenbrock(x):
        raise Found("right", "as I say")

    assert diagnose(rosenbrock, "rosenbrock")[0] == "error"


def test_a_strict_check_raises():
    with pytest.raises(AssertionError, match="softmax-ce-grad: the formula has the wrong sign"):
        check("y - yh", "softmax-ce-grad", strict=True)
    check("yh - y", "softmax-ce-grad", strict=True)


def test_progress_is_kept_and_asks_nothing_twice(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(checker, "seen", {})
    file = tmp_path / "progress.json"
    check("yh - y", "softmax-ce-grad")
    monkeypatch.setattr(checker, "diagnose", lambda *_: pytest.fail("asked again"))
    progress("softmax-ce-grad", "ce-psd", file=file)
    assert json.loads(file.read_text()) == {"softmax-ce-grad": "right"}
    monkeypatch.setattr(checker, "seen", {})  # the next session
    progress("softmax-ce-grad", "ce-psd", file=file)
    file.write_text("{")
    progress("softmax-ce-grad", file=file)
    assert file.read_text() == "{"
    printed = capsys.readouterr().out
    assert "right (found earlier)" in printed and "cannot be read" in printed and "1 of 2 are right" in printed


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
