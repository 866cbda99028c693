"""How Rosenbrock's function is checked: by autograd, at points where the usual mistakes differ."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from .calling import derivative, parts, second_derivative, tensor
from .compare import Case, Mistakes, array, judge
from .core import TASKS, need


def valley(x: Any) -> Any:
    return 100 * (x[1] - x[0] ** 2) ** 2


def slope(x: Any) -> Any:
    return (1 - x[0]) ** 2


def smooth(f: Callable) -> Callable:
    """x -> (f, its gradient, its Hessian), by autograd."""

    return lambda x: (f(tensor(x)).item(), derivative(f, x), second_derivative(f, x))


POINTS = (0.0, 0.0), (1.0, 1.0), (0.0, 2.0), (2.0, -1.0), (-1.5, 0.5), (0.337, -0.711)


def check_derivatives(names: list[str], f: Callable) -> str:
    """Rosenbrock's (value, grad) or (value, grad, hessian), each with what it becomes by the usual mistakes."""
    cases = []
    for point in POINTS:
        x, copy = np.array(point), np.array(point)
        with torch.enable_grad():
            result = dict(zip(names, parts(f(copy), *names), strict=True))
        text = "it changes what it is given; the caller still needs it. Compute in a new array."
        need(np.array_equal(copy, x), "input modified", text)
        for name in names[1:]:
            got = type(result[name]).__name__
            need(isinstance(result[name], np.ndarray), "no array", f"{name} should be a NumPy array, got {got}.")
        first, second = smooth(valley)(x), smooth(slope)(x)
        wrongs = wrong_values(x, first[0], second[0]), wrong_grads(first[1], second[1]), wrong_hessians(first, second)
        for i, name in enumerate(names):
            truth = first[i] + second[i]
            integers = f"{name} has whole numbers only: in an array of integers, what comes after the point is cut off."
            wrong = wrongs[i] | {"whole numbers": (np.trunc(truth), integers)}
            cases.append(Case(name, array(result[name]), truth, {"x": x}, wrong))
    judge(cases)
    return f"right, at {len(POINTS)} points."


def wrong_values(x: np.ndarray, v1: float, v2: float) -> Mistakes:
    swapped = float(valley(x[::-1]) + slope(x[::-1]))
    return {
        "100 missing": (v1 / 100 + v2, "the factor 100 is missing in the value."),
        "value not squared": (100 * (x[1] - x[0] ** 2) + v2, "the first difference is not squared in the value."),
        "second not squared": (v1 + 1 - x[0], "the second difference is not squared in the value."),
        "second square missing": (v1, "the value lacks (1 - x0)^2."),
        "coordinates swapped": (swapped, "the two coordinates are swapped in the value."),
    }


def wrong_grads(g1: np.ndarray, g2: np.ndarray) -> Mistakes:
    inner = np.array([g2[0] - g1[1], g1[1]])
    flipped = np.array([g2[0] - g1[0], g1[1]])
    half = "lacks a factor 2, that of a square."
    return {
        "inner derivative missing": (inner, "the inner derivative of x0^2 is missing in the first entry of grad."),
        "second term missing": (g1, "the first entry of grad lacks the derivative of (1 - x0)^2."),
        "sign of the second term": (g1 - g2, "the derivative of (1 - x0)^2 has the wrong sign."),
        "sign of the first term": (
            flipped,
            "the derivative of the first square with respect to x0 has the wrong sign.",
        ),
        "entries swapped": ((g1 + g2)[::-1], "the entries of grad are swapped."),
        "half the first square": (g1 / 2 + g2, f"the derivative of 100 (x1 - x0^2)^2 {half}"),
        "half the second square": (g1 + g2 / 2, f"the derivative of (1 - x0)^2 {half}"),
        "half the first entry": (g1 * [0.5, 1] + g2, f"the derivative of the first square with respect to x0 {half}"),
        "half the second entry": (g1 * [1, 0.5] + g2, f"the derivative of the first square with respect to x1 {half}"),
    }


def wrong_hessians(first: tuple, second: tuple) -> Mistakes:
    (_, g1, H1), (_, _, H2) = first, second
    corner, right, below = (np.outer(*np.eye(2)[[i, j]]) for i, j in ((0, 0), (0, 1), (1, 0)))
    H, outer = H1 + H2, -2 * g1[1]  # outer: what the product rule gives by differentiating its first factor
    lacks = "the upper left entry lacks"
    unlike = "the two mixed derivatives differ, the {} one is wrong; a Hessian is symmetric."
    return {
        "product rule": (H - outer * corner, f"{lacks} a term of the product rule."),
        "product rule, other term": (H - (H1[0, 0] - outer) * corner, f"{lacks} the other term of the product rule."),
        "constant missing": (H1, f"{lacks} the second derivative of (1 - x0)^2."),
        "only the diagonal": (np.diag(np.diag(H)), "the mixed derivatives are missing."),
        "mixed sign": (H - 2 * H[0, 1] * (right + below), "the mixed derivatives have the wrong sign."),
        "not symmetric": (H - 2 * H[0, 1] * right, unlike.format("upper right")),
        "not symmetric below": (H - 2 * H[0, 1] * below, unlike.format("lower left")),
    }


TASKS["rosenbrock"] = partial(check_derivatives, ["value", "grad"])
TASKS["rosenbrock_hessian"] = partial(check_derivatives, ["value", "grad", "hessian"])
