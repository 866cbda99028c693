"""How checker.py checks the answers of the theory, formulas in LaTeX or as Python expressions."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import binary_cross_entropy_with_logits

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


def formula(label: str, free: str = "") -> Callable:
    """Register a theory task. free: the indices that the answer may contain, in the order of the answer's axes."""

    def register(instance: Callable) -> Callable:
        TASKS[label] = lambda text: check_formula(text, instance, free)
        return instance

    return register


def check_formula(text: Any, instance: Callable, free: str) -> str:
    need(isinstance(text, str), "no formula", type(text).__name__)
    if not text.strip(" ."):
        raise NotImplementedError
    rng, cases = np.random.default_rng(0), []
    for _ in range(8):
        problem = instance(rng)
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
    try:
        return np.asarray(
            column(eval(text, {"__builtins__": {"__import__": __import__}} | functions | names | problem.sizes | index))
        )
    except Exception as error:
        known = ", ".join(sorted(names | problem.sizes | index))
        raise Found("unreadable Python", f"{type(error).__name__}: {error}", known) from None


def diagonal(x: Any) -> np.ndarray:
    return np.diag(np.ravel(x)) if np.ndim(x) == 1 else np.diag(np.diag(x))


def python_name(name: str) -> str:
    r"""W_2 is W2 in Python, \hat x is x_hat, \gamma is gamma, x^* is x_star, f'' is f2."""
    accent = re.match(r"\\(hat|tilde|bar) *\\?(\w+)", name)
    name = f"{accent[2]}_{accent[1]}" if accent else name.replace("\\", "").replace("lambda", "lam")
    return (
        name.replace("''", "2")
        .replace("'", "1")
        .replace("^*", "_star")
        .replace("_{t+1}", "_next")
        .replace("_", "" if re.search(r"_\d$", name) else "_")
    )


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


def cross_entropy(z: Tensor, y: Any) -> Tensor:
    return -(tensor(y) * torch.log_softmax(z, 0)).sum()


def logistic(rng: np.random.Generator) -> tuple:
    N, D = int(rng.integers(3, 7)), int(rng.integers(1, 4))
    X, theta, y = rng.normal(size=(N, D)), rng.normal(size=D + 1), (rng.random(N) < 0.5) * 1.0
    z = X @ theta[:-1] + theta[-1]
    yh = torch.sigmoid(tensor(z)).numpy()

    def E(theta):
        logits = tensor(X) @ theta[:-1] + theta[-1]
        return binary_cross_entropy_with_logits(logits, tensor(y), reduction="sum")

    names = {"X": X, r"\yh": yh, "y": y, "w": theta[:-1], "b": theta[-1], r"\one": np.ones(N), "z": z, "N": N}
    return names, {"n": N, "N": N}, E, theta


@formula("logistic-sigmoid")
def _(rng):
    z = rng.normal()
    wrong = {"erratum logistic-sigmoid": 1 / (1 - np.exp(z)), "exponent sign": 1 / (1 + np.exp(z))}
    return Problem({"z": z, "e": np.e}, torch.sigmoid(tensor(z)), wrong)


@formula("one-minus-yh")
def _(rng):
    z = rng.normal()
    truth = derivative(lambda z: 1 - torch.sigmoid(z), z)
    return Problem({r"\yh": torch.sigmoid(tensor(z)).numpy()}, truth, {"erratum logistic-lost-minus": -truth})


@formula("logistic-grad-w")
def _(rng):
    names, sizes, E, theta = logistic(rng)
    truth = derivative(E, theta)[:-1]
    wrong = {
        "erratum logistic-sign": -truth,
        "target missing": names["X"].T @ names[r"\yh"],
        "mean for sum": truth / names["N"],
    }
    return Problem(names, truth, wrong, sizes)


@formula("logistic-grad-b")
def _(rng):
    names, sizes, E, theta = logistic(rng)
    truth = derivative(E, theta)[-1]
    wrong = {"mean for sum": truth / names["N"], "sum missing": names[r"\yh"] - names["y"]}
    return Problem(names, truth, wrong, sizes)


@formula("logistic-hessian")
def _(rng):
    names, sizes, E, theta = logistic(rng)
    X1 = np.column_stack([names["X"], np.ones(names["N"])])
    S = np.diag(np.diag(second_derivative(lambda z: torch.nn.functional.softplus(z).sum(), names["z"])))
    symbols = {r"\tilde X": X1, "S": S, r"\yh": names[r"\yh"]}
    return Problem(symbols, second_derivative(E, theta), {"S missing": X1.T @ X1}, sizes)


@formula("bn-noise-variance")
def _(rng):
    N, tau = int(rng.integers(2, 9)), rng.random() + 0.5
    others = derivative(lambda x: x[0] - x.mean(), np.zeros(N))[1:]  # how x_hat_1 depends on the random inputs
    truth = tau**2 * (others**2).sum()
    return Problem({"N": N, r"\tau": tau}, truth, {"all terms counted": tau**2 / N, "standard deviation": truth**0.5})


@formula("bn-index", "ji")
def _(rng):
    N = int(rng.integers(2, 6))
    truth = derivative(lambda x: x - x.mean(), np.zeros(N))
    wrong = {"erratum bn-index": np.full((N, N), truth.min()), "mean missing here": np.eye(N)}
    return Problem({"N": N}, truth, wrong, {"i": N, "j": N})


def mean_only(rng: np.random.Generator, N: int, mean: float | None = None) -> tuple:
    """gamma, delta (with this mean, if given), and dL/dx."""
    gamma, delta = rng.normal(), rng.normal(size=N)
    delta = delta if mean is None else delta - delta.mean() + mean
    return gamma, delta, derivative(lambda x: tensor(delta) @ (gamma * (x - x.mean())), np.zeros(N))


@formula("bn-mean-only-grad", "i")
def _(rng):
    N = int(rng.integers(3, 7))
    gamma, delta, truth = mean_only(rng, N)
    wrong = {"mean missing": gamma * delta, "sum for mean": gamma * (delta - delta.sum())}
    wrong |= {"gamma missing backward": truth / gamma}
    return Problem({"N": N, r"\gamma": gamma, r"\delta": delta}, truth, wrong, {"i": N, "j": N})


@formula("bn-large-batch", "i")
def _(rng):
    N, mean = 4, rng.normal()
    gamma, delta, truth = mean_only(rng, N, mean)  # a batch whose mean is the expectation, as in the limit
    wrong = {"erratum bn-dropped-sum": gamma * delta, "gamma missing backward": truth / gamma}
    draws = [(1.0, {r"\delta": mean})]
    return Problem({r"\gamma": gamma, r"\delta": delta, "m": mean}, truth, wrong, {"i": N}, draws)


@formula("softmax-jacobian", "ki")
def _(rng):
    K = int(rng.integers(2, 6))
    z = rng.normal(size=K)
    yh, J = softmax(z), derivative(lambda z: torch.softmax(z, 0), z)
    lost = np.where(np.eye(K) == 1, J, -(np.exp(z) / np.exp(z).sum() ** 2)[:, None])
    wrong = {"erratum softmax-lost-factor": lost, "erratum ce-indices": yh[:, None] * (np.eye(K) - yh[:, None])}
    wrong |= {"only the off-diagonal": np.where(np.eye(K) == 1, -(yh**2), J)}
    return Problem({r"\yh": yh, "z": z, "e": np.e}, J, wrong, {"i": K, "k": K, "j": K})


@formula("softmax-ce-grad")
def _(rng):
    K = int(rng.integers(2, 6))
    z, y = rng.normal(size=K), np.eye(K)[rng.integers(K)]
    yh = softmax(z)
    wrong = {"erratum softmax-lost-target": yh, "erratum softmax-no-sum": -y * (1 - yh)}
    truth = derivative(lambda z: cross_entropy(z, y), z)
    return Problem({r"\yh": yh, "y": y, r"\one": np.ones(K)}, truth, wrong)


@formula("mlp-delta")
def _(rng):
    U = K = int(rng.integers(3, 6))
    slope, W2, y = 0.1, rng.normal(size=(K, U)), np.eye(K)[rng.integers(K)]
    z1, keep = rng.normal(size=U), (rng.random(U) < 0.7) * 1.0
    z1[0], z1[1], keep[:2] = -abs(z1[0]), -abs(z1[1]), 1
    m = keep / 0.9

    def z2(z1):
        return tensor(W2) @ (tensor(m) * torch.nn.functional.leaky_relu(z1, slope))

    yh = torch.softmax(z2(tensor(z1)), 0).numpy()
    truth = derivative(lambda z1: cross_entropy(z2(z1), y), z1)
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
    return Problem(names | {r"\varphi'": lambda z: np.where(np.asarray(z) > 0, 1.0, slope)}, truth, wrong)


@formula("mlp-grad-w1")
def _(rng):
    delta, x = rng.normal(size=4), rng.normal(size=3)
    return Problem(
        {r"\delta_1": delta, "x": x}, derivative(lambda W: tensor(delta) @ (W @ tensor(x)), np.zeros((4, 3)))
    )


@formula("jacobian-of-gradient", "ij")
def _(rng):
    H = rng.normal(size=(3, 3))  # not symmetric, so that the order shows
    return Problem({"H": H}, np.swapaxes(H, 0, 1), {"order of derivatives": H}, {"i": 3, "j": 3})


def neuron(rng: np.random.Generator) -> tuple:
    D = int(rng.integers(2, 5))
    w, x, y_d, nu, s = rng.normal(size=D), rng.normal(size=D), rng.normal(), 1 + rng.normal(size=D), rng.random() + 0.3

    def gradient(noise):
        return derivative(lambda w: 0.5 * (y_d - (tensor(noise) * w * tensor(x)).sum()) ** 2, w)

    return {"w": w, "x": x, "y_d": y_d, r"\nu": nu, "s": s}, {"i": D, "k": D, "j": D}, gradient


@formula("dropout-grad", "i")
def _(rng):
    names, sizes, gradient = neuron(rng)
    truth = gradient(names[r"\nu"])
    wrong = {"erratum dropout-sign": -truth, "noise missing": truth / names[r"\nu"]}
    wrong |= {"inner derivative missing here": truth / names[r"\nu"] / names["x"]}
    return Problem(names, truth, wrong, sizes)


@formula("dropout-mean-grad", "i")
def _(rng):
    names, sizes, gradient = neuron(rng)
    s, D = names["s"], len(names["w"])
    truth = np.mean([gradient(1 + s * np.array(signs)) for signs in product((-1, 1), repeat=D)], axis=0)
    plain = gradient(np.ones(D))
    wrong = {"erratum dropout-no-mean": plain, "penalty's sign": 2 * plain - truth}
    return Problem(names, truth, wrong | {"s for its square": plain + (truth - plain) / s}, sizes)


@formula("dropout-ridge")
def _(rng):
    X, y, s, zero = rng.normal(size=(8, 3)), rng.normal(size=8), rng.random() + 0.3, np.zeros(3)

    def mean_loss(w):
        losses = [
            (tensor(y) - tensor(X) @ (tensor(1 + s * np.array(signs)) * w)) ** 2 for signs in product((-1, 1), repeat=3)
        ]
        return torch.stack(losses).mean(0).sum() / 2

    truth = -np.linalg.solve(second_derivative(mean_loss, zero), derivative(mean_loss, zero))
    wrong = {
        "plain ridge": np.linalg.solve(X.T @ X + s**2 * np.eye(3), X.T @ y),
        "no penalty": np.linalg.lstsq(X, y)[0],
    }
    return Problem({"X": X, "y": y, "s": s, "I": np.eye(3)}, truth, wrong)


@formula("dropout-bernoulli")
def _(rng):
    p = 0.1 + 0.8 * rng.random()
    noise, weights = np.array([0, 1 / (1 - p)]), [p, 1 - p]
    square = np.average(noise**2, weights=weights)
    truth = square - np.average(noise, weights=weights) ** 2
    wrong = {"standard dropout": truth * (1 - p) ** 2, "second moment": square, "upside down": 1 / truth}
    return Problem({"p": p}, truth, wrong)


@formula("l2-penalty")
def _(rng):
    w, lam = rng.normal(size=3), rng.random()
    return Problem({"w": w, r"\lambda": lam}, lam * np.dot(w, w), {"erratum l2-penalty": lam * w.sum()}, {"j": 3})


F = {"f": lambda x: x**3 + x**2 - 2, "f'": lambda x: 3 * x**2 + 2 * x, "f''": lambda x: 6 * x + 2}


@formula("newton-step")
def _(rng):
    x = 1 + rng.random()
    f, f1, f2 = F.values()
    (truth,) = np.roots([f1(x), f(x) - f1(x) * x])  # of the tangent at x
    wrong = {"erratum newton-minimises-f": x - f1(x) / f2(x), "Newton's sign": 2 * x - truth, "gradient step": x - f(x)}
    return Problem({"x_t": x} | F, truth, wrong)


@formula("newton-constant")
def _(rng):
    root = 1 + rng.random()
    f, f1, _ = F.values()
    truth = (
        second_derivative(lambda x: x - (f(x) - f(root)) / f1(x), root) / 2
    )  # of the next error, as the error goes to 0
    return Problem({"x^*": root} | F, truth, {"erratum newton-dropped-term": -truth})


@formula("ce-coefficient", "i")
def _(rng):
    K = int(rng.integers(3, 6))
    z, y = rng.normal(size=K), softmax(rng.normal(size=K))
    wrong = {"erratum ce-coefficient": np.zeros(K), "target missing": softmax(z)}
    truth = derivative(lambda z: cross_entropy(z, y), z)
    return Problem({r"\yh": softmax(z), "y": y}, truth, wrong, {"i": K, "j": K, "k": K})


@formula("ce-hessian")
def _(rng):
    K = int(rng.integers(2, 6))
    z = rng.normal(size=K)
    H = second_derivative(lambda z: torch.logsumexp(z, 0), z)
    off = np.where(np.eye(K) == 1, -(softmax(z) ** 2), H)
    return Problem({r"\yh": softmax(z)}, H, {"only the off-diagonal": off, "only a diagonal": np.diag(np.diag(H))})


@formula("ce-psd")
def _(rng):
    K = int(rng.integers(3, 6))
    z, v = rng.normal(size=K), rng.normal(size=K)
    H = second_derivative(lambda z: torch.logsumexp(z, 0), z)
    wrong = {"erratum ce-dropped-diagonal": v @ (H - np.diag(np.diag(H))) @ v, "mean square": softmax(z) @ v**2}
    return Problem({r"\yh": softmax(z), "v": v}, v @ H @ v, wrong, {"i": K, "j": K, "k": K})
