"""How checker.py checks the answers of the theory, formulas in LaTeX or as Python expressions."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, leaky_relu, softplus

from checker import TASKS, Case, Found, judge, need
from evaluator import FormulaError, Values, column, evaluate


@dataclass
class Problem:
    """One random instance: the symbols' values, the answer (an axis for each free index), and wrong answers by kind."""

    names: dict[str, Any]
    truth: Any
    wrong: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    draws: list | None = None


def formulas(labels: dict[str, str]) -> Callable:
    """Register theory tasks, whose problems one function draws: by label, the indices that the answer may contain, in
    the order of its axes."""

    def register(draw: Callable) -> Callable:
        for number, (label, free) in enumerate(labels.items()):
            TASKS[label] = partial(check_formula, draw, number, free)
        return draw

    return register


def check_formula(draw: Callable, number: int, free: str, text: Any) -> str:
    need(isinstance(text, str), "no formula", type(text).__name__)
    if not text.strip(" ."):
        raise NotImplementedError
    rng, cases = np.random.default_rng(0), []
    for _ in range(8):
        problem = draw(rng)[number]
        shape = [problem.sizes[i] for i in free]
        ours = [value_of(text, problem, dict(zip(free, index, strict=True))) for index in np.ndindex(*shape)]
        need(not free or not any(np.shape(x) for x in ours), "whole vector")
        need(len({np.shape(x) for x in ours}) == 1, "shape", "the formula", *[np.shape(x) for x in ours[:2]])
        ours = np.reshape(ours, (*shape, *np.shape(ours[0])))
        truth = np.asarray(column(problem.truth) if not free else problem.truth, dtype=float)
        wrong = {kind: np.asarray(column(x) if not free else x, dtype=float) for kind, x in problem.wrong.items()}
        numbers = {name: x for name, x in problem.names.items() if not callable(x)}
        scales = {"2": 2, "1/2": 0.5} | {name: n for name, n in problem.sizes.items() if name.isupper()}
        cases.append(Case("the formula", ours, truth, numbers, wrong, scales))
    judge(cases)
    return f"right, on {len(cases)} random inputs."


def usual(text: str, names: dict) -> str:
    """The formula in the spelling that the evaluator knows."""
    text = re.sub(r"\\left|\\right|\\,|\\;|\\!|\\ |\.$|,$", "", text.strip())
    text = re.sub(r"\\dfrac", r"\\frac", text)
    text = re.sub(r"\^(\{ *)?(\\top|\\intercal|T)(?(1) *\})", r"\\T ", text).replace("^{*}", "^*")
    text = re.sub(r"\\(?:operatorname|mathrm|text)\{(diag|Var)\}", r"\\\1", text).replace(r"\mathbb{E}", r"\E")
    text = re.sub(r"\\(hat|tilde|bar) *\{ *(\\?\w+) *\}", r"\\\1 \2", text)
    text = re.sub(r"\\hat *y", r"\\yh ", text) if r"\yh" in names else text
    bounds = r"\\sum_\{ *([a-z]) *= *1 *\} *\^ *(?:\{ *[NKDUn] *\}|[NKDUn])"
    text = re.sub(bounds, r"\\sum_\1 ", text)
    return re.sub(r"\\delta_\{ *([ijk]) *([ijk]) *\}", r"[\1=\2]", text)


def value_of(text: str, problem: Problem, index: dict[str, int]) -> np.ndarray:
    """The value of a formula, in LaTeX or as a Python expression, for these values of its free indices."""
    size = next((n for name, n in problem.sizes.items() if name.islower()), 0)
    sizes = dict.fromkeys("ijkln", size) | problem.sizes if size else problem.sizes
    readings = [lambda: latex(text, problem, sizes, index), lambda: python(text, problem, index)]
    if "\\" not in text and "_{" not in text:
        readings.reverse()
    try:
        return readings[0]()
    except Found as found:
        with contextlib.suppress(Found):
            return readings[1]()
        raise found from None


def latex(text: str, problem: Problem, sizes: dict, index: dict) -> np.ndarray:
    values = Values(problem.names | {r"\exp": np.exp}, sizes, problem.draws).bind(**index)
    try:
        return np.asarray(evaluate(usual(text, problem.names), values))
    except FormulaError as error:
        raise Found("unreadable", error) from None


def python(text: str, problem: Problem, index: dict) -> np.ndarray:
    names = {python_name(name): x for name, x in problem.names.items()}
    functions = {"np": np, "sum": sum, "range": range, "abs": abs, "diag": diagonal, "exp": np.exp, "log": np.log}
    known = names | problem.sizes | index
    try:
        return np.asarray(column(eval(text, {"__builtins__": {"__import__": __import__}} | functions | known)))
    except Exception as error:
        raise Found("unreadable Python", f"{type(error).__name__}: {error}", ", ".join(sorted(known))) from None


def diagonal(x: Any) -> np.ndarray:
    return np.diag(np.ravel(x)) if np.ndim(x) == 1 else np.diag(np.diag(x))


def python_name(name: str) -> str:
    r"""W_2 is W2 in Python, \tilde X is X_tilde, \gamma is gamma, x^* is x_star, f'' is f2."""
    spelled = {r"\tilde X": "X_tilde", "\\": "", "lambda": "lam", "''": "2", "'": "1", "^*": "_star"}
    for old, new in spelled.items():
        name = name.replace(old, new)
    return re.sub(r"_(?=\d$)", "", name)


# ------------------------------------------------------------------ the answers, by autograd on what they derive from


def tensor(x: Any) -> Tensor:
    return torch.as_tensor(np.asarray(x, dtype=float))


def derivative(f: Callable, x: Any) -> np.ndarray:
    """The Jacobian of f at x, by autograd."""
    with torch.enable_grad():
        return jacobian(f, tensor(x)).numpy()


def second_derivative(f: Callable, x: Any) -> np.ndarray:
    with torch.enable_grad():
        return hessian(f, tensor(x)).numpy()


def softmax(z: Any) -> np.ndarray:
    return torch.softmax(tensor(z), 0).numpy()


@formulas({"logistic-sigmoid": "", "one-minus-yh": ""})
def sigmoid(rng):
    z = rng.normal()
    wrong = {"erratum logistic-sigmoid": 1 / (1 - np.exp(z)), "exponent sign": 1 / (1 + np.exp(z))}
    yh, slope = torch.sigmoid(tensor(z)).numpy(), derivative(lambda z: 1 - torch.sigmoid(z), z)
    return (
        Problem({"z": z, "e": np.e}, yh, wrong),
        Problem({r"\yh": yh}, slope, {"erratum logistic-lost-minus": -slope}),
    )


@formulas({"logistic-grad-w": "", "logistic-grad-b": "", "logistic-hessian": ""})
def logistic(rng):
    N, D = int(rng.integers(3, 7)), int(rng.integers(1, 4))
    X, theta, y = rng.normal(size=(N, D)), rng.normal(size=D + 1), (rng.random(N) < 0.5) * 1.0
    X1 = np.column_stack([X, np.ones(N)])
    z = X1 @ theta
    yh = torch.sigmoid(tensor(z)).numpy()

    def E(theta):
        return binary_cross_entropy_with_logits(tensor(X1) @ theta, tensor(y), reduction="sum")

    names = {"X": X, r"\yh": yh, "y": y, "w": theta[:-1], "b": theta[-1], r"\one": np.ones(N), "z": z, "N": N}
    *grad_w, grad_b = derivative(E, theta)
    grad_w = np.array(grad_w)
    wrong_w = {"erratum logistic-sign": -grad_w, "target missing": X.T @ yh, "mean for sum": grad_w / N}
    wrong_b = {"mean for sum": grad_b / N, "sum missing": yh - y}
    S = np.diag(np.diag(second_derivative(lambda z: softplus(z).sum(), z)))
    symbols = {r"\tilde X": X1, "S": S, r"\yh": yh}
    return (
        Problem(names, grad_w, wrong_w, {"n": N, "N": N}),
        Problem(names, grad_b, wrong_b, {"n": N, "N": N}),
        Problem(symbols, second_derivative(E, theta), {"S missing": X1.T @ X1}, {"n": N, "N": N}),
    )


@formulas({"bn-noise-variance": "", "bn-index": "ji"})
def bn_mean(rng):
    N, tau = int(rng.integers(2, 7)), rng.random() + 0.5
    J = derivative(lambda x: x - x.mean(), np.zeros(N))
    variance = tau**2 * (J[0, 1:] ** 2).sum()  # x_hat_1 depends on the other inputs, which are random
    wrong = {"all terms counted": tau**2 / N, "standard deviation": variance**0.5}
    wrong_index = {"erratum bn-index": np.full((N, N), J.min()), "mean missing here": np.eye(N)}
    return (
        Problem({"N": N, r"\tau": tau}, variance, wrong),
        Problem({"N": N}, J, wrong_index, {"i": N, "j": N}),
    )


@formulas({"bn-mean-only-grad": "i", "bn-large-batch": "i"})
def mean_only(rng):
    N, gamma = int(rng.integers(3, 7)), rng.normal()
    delta = rng.normal(size=N)
    truth = derivative(lambda x: tensor(delta) @ (gamma * (x - x.mean())), np.zeros(N))
    names = {"N": N, r"\gamma": gamma, r"\delta": delta}
    wrong = {"mean missing": gamma * delta, "sum for mean": gamma * (delta - delta.sum())}
    wrong |= {"gamma missing backward": truth / gamma}
    m = delta.mean()  # in a large batch it is the expectation
    large = {"erratum bn-dropped-sum": gamma * delta, "gamma missing backward": truth / gamma}
    return (
        Problem(names, truth, wrong, {"i": N, "j": N}),
        Problem({r"\gamma": gamma, r"\delta": delta, "m": m}, truth, large, {"i": N}, [(1.0, {r"\delta": m})]),
    )


@formulas({"softmax-jacobian": "ki", "softmax-ce-grad": ""})
def softmax_and_loss(rng):
    K = int(rng.integers(2, 6))
    z, y = rng.normal(size=K), np.eye(K)[rng.integers(K)]
    yh, J = softmax(z), derivative(lambda z: torch.softmax(z, 0), z)
    lost = np.where(np.eye(K) == 1, J, -(np.exp(z) / np.exp(z).sum() ** 2)[:, None])
    wrong = {"erratum softmax-lost-factor": lost, "erratum ce-indices": yh[:, None] * (np.eye(K) - yh[:, None])}
    wrong |= {"only the off-diagonal": np.where(np.eye(K) == 1, -(yh**2), J)}
    grad = derivative(lambda z: cross_entropy(z, tensor(y)), z)
    wrong_grad = {"erratum softmax-lost-target": yh, "erratum softmax-no-sum": -y * (1 - yh)}
    return (
        Problem({r"\yh": yh, "z": z, "e": np.e}, J, wrong, {"i": K, "k": K, "j": K}),
        Problem({r"\yh": yh, "y": y, r"\one": np.ones(K)}, grad, wrong_grad),
    )


@formulas({"ce-coefficient": "i", "ce-hessian": "", "ce-psd": ""})
def ce(rng):
    K = int(rng.integers(3, 6))
    z, y, v = rng.normal(size=K), softmax(rng.normal(size=K)), rng.normal(size=K)
    yh, sizes = softmax(z), {"i": K, "j": K, "k": K}
    grad = derivative(lambda z: cross_entropy(z, tensor(y)), z)
    H = second_derivative(lambda z: torch.logsumexp(z, 0), z)
    diagonal_of_H, off = np.diag(np.diag(H)), np.where(np.eye(K) == 1, -(yh**2), H)
    wrong_v = {"erratum ce-dropped-diagonal": v @ (H - diagonal_of_H) @ v, "second moment|mean square": yh @ v**2}
    return (
        Problem({r"\yh": yh, "y": y}, grad, {"erratum ce-coefficient": np.zeros(K), "target missing": yh}, sizes),
        Problem({r"\yh": yh}, H, {"only the off-diagonal": off, "only a diagonal": diagonal_of_H}),
        Problem({r"\yh": yh, "v": v}, v @ H @ v, wrong_v, sizes),
    )


@formulas({"mlp-delta": "", "mlp-grad-w1": "", "jacobian-of-gradient": "ij"})
def mlp(rng):
    U = K = int(rng.integers(3, 6))
    slope, W2, y = 0.1, rng.normal(size=(K, U)), np.eye(K)[rng.integers(K)]
    z1, keep = rng.normal(size=U), (rng.random(U) < 0.7) * 1.0
    z1[0], z1[1], keep[:2] = -abs(z1[0]), -abs(z1[1]), 1
    m = keep / 0.9

    def z2(z1):
        return tensor(W2) @ (tensor(m) * leaky_relu(z1, slope))

    yh = torch.softmax(z2(tensor(z1)), 0).numpy()
    truth = derivative(lambda z1: cross_entropy(z2(z1), tensor(y)), z1)
    slopes, back = np.where(z1 > 0, 1.0, slope), W2.T @ (yh - y)
    wrong = {
        "erratum mlp-transpose": W2 @ (yh - y) * m * slopes,
        "erratum mlp-relu": truth * (z1 > 0),
        "erratum mlp-drop-probability": back * 0.1 * slopes,
        "erratum mlp-lost-factors": W2.T @ yh * m * slopes,
        "m missing": back * slopes,
        "phi' missing": truth / slopes,
    }
    names = {"W_2": W2, r"\yh": yh, "y": y, "m": m, "z_1": z1}
    names[r"\varphi'"] = lambda z: np.where(np.asarray(z) > 0, 1.0, slope)
    delta, x = rng.normal(size=4), rng.normal(size=3)
    grad = derivative(lambda W: tensor(delta) @ (W @ tensor(x)), np.zeros((4, 3)))
    H = rng.normal(size=(3, 3))  # not symmetric, so that the order shows
    return (
        Problem(names, truth, wrong),
        Problem({r"\delta_1": delta, "x": x}, grad),
        Problem({"H": H}, np.swapaxes(H, 0, 1), {"order of derivatives": H}, {"i": 3, "j": 3}),
    )


@formulas({"dropout-grad": "i", "dropout-mean-grad": "i"})
def dropout(rng):
    D = int(rng.integers(2, 5))
    w, x, y_d, nu, s = rng.normal(size=D), rng.normal(size=D), rng.normal(), 1 + rng.normal(size=D), rng.random() + 0.3

    def gradient(noise):
        return derivative(lambda w: 0.5 * (y_d - (tensor(noise) * w * tensor(x)).sum()) ** 2, w)

    names, sizes = {"w": w, "x": x, "y_d": y_d, r"\nu": nu, "s": s}, {"i": D, "k": D, "j": D}
    truth, plain = gradient(nu), gradient(np.ones(D))
    wrong = {"erratum dropout-sign": -truth, "noise missing": truth / nu}
    wrong |= {"inner derivative missing here": truth / nu / x}
    mean = np.mean([gradient(1 + s * np.array(signs)) for signs in product((-1, 1), repeat=D)], axis=0)
    wrong_mean = {"erratum dropout-no-mean": plain, "penalty's sign": 2 * plain - mean}
    wrong_mean |= {"s for its square": plain + (mean - plain) / s}
    return Problem(names, truth, wrong, sizes), Problem(names, mean, wrong_mean, sizes)


@formulas({"dropout-ridge": ""})
def ridge(rng):
    X, y, s, zero = rng.normal(size=(8, 3)), rng.normal(size=8), rng.random() + 0.3, np.zeros(3)

    def mean_loss(w):
        noises = [tensor(1 + s * np.array(signs)) for signs in product((-1, 1), repeat=3)]
        losses = [(tensor(y) - tensor(X) @ (noise * w)) ** 2 for noise in noises]
        return torch.stack(losses).mean(0).sum() / 2

    truth = -np.linalg.solve(second_derivative(mean_loss, zero), derivative(mean_loss, zero))
    plain = np.linalg.solve(X.T @ X + s**2 * np.eye(3), X.T @ y)
    wrong = {"plain ridge": plain, "no penalty": np.linalg.lstsq(X, y)[0]}
    return (Problem({"X": X, "y": y, "s": s, "I": np.eye(3)}, truth, wrong),)


@formulas({"dropout-bernoulli": "", "l2-penalty": ""})
def noise_and_penalty(rng):
    p = 0.1 + 0.8 * rng.random()
    noise, weights = np.array([0, 1 / (1 - p)]), [p, 1 - p]
    square = np.average(noise**2, weights=weights)
    truth = square - np.average(noise, weights=weights) ** 2
    wrong = {"standard dropout": truth * (1 - p) ** 2, "second moment": square, "upside down": 1 / truth}
    w, lam = rng.normal(size=3), rng.random()
    wrong_penalty = {"erratum l2-penalty": lam * w.sum()}
    return (
        Problem({"p": p}, truth, wrong),
        Problem({"w": w, r"\lambda": lam}, lam * np.dot(w, w), wrong_penalty, {"j": 3}),
    )


F = {"f": lambda x: x**3 + x**2 - 2, "f'": lambda x: 3 * x**2 + 2 * x, "f''": lambda x: 6 * x + 2}


@formulas({"newton-step": "", "newton-constant": ""})
def newton(rng):
    x = 1 + rng.random()
    f, f1, f2 = F.values()
    (step,) = np.roots([f1(x), f(x) - f1(x) * x])  # of the tangent at x
    wrong = {"erratum newton-minimises-f": x - f1(x) / f2(x), "Newton's sign": 2 * x - step, "gradient step": x - f(x)}
    # of the next error, as the error goes to 0, where x is the root
    constant = second_derivative(lambda z: z - (f(z) - f(x)) / f1(z), x) / 2
    return (
        Problem({"x_t": x} | F, step, wrong),
        Problem({"x^*": x} | F, constant, {"erratum newton-dropped-term": -constant}),
    )
