"""How checker.py checks the answers of the theory, formulas in LaTeX or as Python expressions."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from checker import TASKS, Case, Found, judge, need
from evaluator import FormulaError, Values, column, evaluate

FREE = "ijkn"  # the indices of a formula; i, j, k run over the answer's entries


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
        need(len({np.shape(x) for x in ours}) == 1, "shape", "the formula", *[np.shape(x) for x in ours[:2]])
        ours = np.reshape(ours, (*shape, *np.shape(ours[0])))
        truth = np.asarray(column(problem.truth) if not free else problem.truth, dtype=float)
        wrong = {kind: np.asarray(column(x) if not free else x, dtype=float) for kind, x in problem.wrong.items()}
        numbers = {name: x for name, x in problem.names.items() if not callable(x)}
        scales = {"2": 2, "1/2": 0.5} | {name: n for name, n in problem.sizes.items() if name.isupper()}
        cases.append(Case("the formula", ours, truth, numbers, wrong, scales))
    judge(cases)
    return f"right, on {len(cases)} random inputs."


def value_of(text: str, problem: Problem, index: dict[str, int]) -> np.ndarray:
    """The value of a formula, in LaTeX or as a Python expression, for these values of its free indices."""
    values = Values(problem.names, problem.sizes, problem.draws).bind(**index)
    if "\\" in text or "^" in text or "_{" in text:
        try:
            return np.asarray(evaluate(text.rstrip(" .,"), values))
        except FormulaError as error:
            raise Found("unreadable", error) from None
    names = {python_name(name): x for name, x in problem.names.items()}
    functions = {"np": np, "sum": sum, "range": range, "abs": abs, "diag": diagonal, "exp": np.exp, "log": np.log}
    try:
        return np.asarray(column(eval(text, {"__builtins__": {}} | functions | names | problem.sizes | index)))
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


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum()


def logistic(rng: np.random.Generator) -> tuple:
    N, D = rng.integers(3, 7), rng.integers(1, 4)
    X, w, b = rng.normal(size=(N, D)), rng.normal(size=D), rng.normal()
    y, yh = (rng.random(N) < 0.5) * 1.0, 1 / (1 + np.exp(-(X @ w + b)))
    names = {"X": X, r"\yh": yh, "y": y, "w": w, "b": b, r"\one": np.ones(N), "z": X @ w + b, "N": int(N)}
    return names, {"n": int(N), "N": int(N)}


@formula("logistic-sigmoid")
def _(rng):
    z = rng.normal()
    return Problem(
        {"z": z, "e": np.e},
        1 / (1 + np.exp(-z)),
        {"erratum logistic-sigmoid": 1 / (1 - np.exp(z)), "exponent sign": 1 / (1 + np.exp(z))},
    )


@formula("logistic-lost-minus")
def _(rng):
    yh = rng.random()
    return Problem({r"\yh": yh}, -yh * (1 - yh), {"erratum logistic-lost-minus": yh * (1 - yh)})


@formula("logistic-grad-w")
def _(rng):
    names, sizes = logistic(rng)
    X, error = names["X"], names[r"\yh"] - names["y"]
    wrong = {
        "erratum logistic-sign": -X.T @ error,
        "target missing": X.T @ names[r"\yh"],
        "mean for sum": X.T @ error / len(X),
    }
    return Problem(names, X.T @ error, wrong, sizes)


@formula("logistic-grad-b")
def _(rng):
    names, sizes = logistic(rng)
    error = names[r"\yh"] - names["y"]
    return Problem(names, error.sum(), {"mean for sum": error.mean(), "sum missing": error}, sizes)


@formula("logistic-hessian")
def _(rng):
    names, sizes = logistic(rng)
    X1 = np.column_stack([names["X"], np.ones(len(names["X"]))])
    S = np.diag(names[r"\yh"] * (1 - names[r"\yh"]))
    wrong = {"weights missing": X1.T @ X1}
    return Problem({r"\tilde X": X1, "S": S, r"\yh": names[r"\yh"]}, X1.T @ S @ X1, wrong, sizes)


@formula("bn-noise-variance")
def _(rng):
    N, tau = int(rng.integers(2, 9)), rng.random() + 0.5
    wrong = {"all terms counted": tau**2 / N, "standard deviation": (N - 1) ** 0.5 * tau / N}
    return Problem({"N": N, r"\tau": tau}, (N - 1) * tau**2 / N**2, wrong)


@formula("bn-index", "ji")
def _(rng):
    N = int(rng.integers(2, 6))
    return Problem(
        {"N": N},
        np.eye(N) - 1 / N,
        {"erratum bn-index": np.full((N, N), -1 / N), "mean missing": np.eye(N)},
        {"i": N, "j": N},
    )


@formula("bn-mean-only-grad", "i")
def _(rng):
    N, gamma = int(rng.integers(3, 7)), rng.normal()
    delta = rng.normal(size=N)
    wrong = {
        "mean missing": gamma * delta,
        "sum for mean": gamma * (delta - delta.sum()),
        "gamma missing backward": delta - delta.mean(),
    }
    return Problem(
        {"N": N, r"\gamma": gamma, r"\delta": delta}, gamma * (delta - delta.mean()), wrong, {"i": N, "j": N}
    )


@formula("bn-large-batch", "i")
def _(rng):
    N, gamma = 4, rng.normal()
    delta, mean = rng.normal(size=N), rng.normal()
    wrong = {"erratum bn-dropped-sum": gamma * delta, "gamma missing backward": delta - mean}
    draws = [(1.0, {r"\delta": mean})]
    return Problem({r"\gamma": gamma, r"\delta": delta, "m": mean}, gamma * (delta - mean), wrong, {"i": N}, draws)


@formula("softmax-jacobian", "ki")
def _(rng):
    K = int(rng.integers(2, 6))
    z = rng.normal(size=K)
    yh = softmax(z)
    J = np.diag(yh) - np.outer(yh, yh)
    off = 1 - np.eye(K)
    lost = np.diag(np.diag(J)) - off * (np.exp(z) / np.exp(z).sum() ** 2)[:, None]
    wrong = {
        "erratum softmax-lost-factor": lost,
        "erratum ce-indices": yh[:, None] * (np.eye(K) - yh[:, None]),
        "only the off-diagonal": -np.outer(yh, yh),
    }
    return Problem({r"\yh": yh, "z": z, "e": np.e}, J, wrong, {"i": K, "k": K, "j": K})


@formula("softmax-ce-grad")
def _(rng):
    K = int(rng.integers(2, 6))
    yh, y = softmax(rng.normal(size=K)), np.eye(K)[rng.integers(K)]
    wrong = {"erratum softmax-lost-target": yh, "erratum softmax-no-sum": -y * (1 - yh)}
    return Problem({r"\yh": yh, "y": y, r"\one": np.ones(K)}, yh - y, wrong)


@formula("mlp-delta")
def _(rng):
    U = K = int(rng.integers(3, 6))
    slope, W2, yh, y = 0.1, rng.normal(size=(K, U)), softmax(rng.normal(size=K)), np.eye(K)[rng.integers(K)]
    z1, keep = rng.normal(size=U), (rng.random(U) < 0.7) * 1.0
    z1[0], z1[1], keep[:2] = -abs(z1[0]), -abs(z1[1]), 1
    m, phi1 = keep / 0.9, np.where(z1 > 0, 1.0, slope)
    back = W2.T @ (yh - y)
    wrong = {
        "erratum mlp-transpose": W2 @ (yh - y) * m * phi1,
        "erratum mlp-relu": back * m * (z1 > 0),
        "erratum mlp-drop-probability": back * 0.1 * phi1,
        "erratum mlp-lost-factors": W2.T @ yh * m * phi1,
        "mask missing": back * phi1,
        "slope missing": back * m,
    }
    names = {
        "W_2": W2,
        r"\yh": yh,
        "y": y,
        "m": m,
        "z_1": z1,
        r"\varphi'": lambda z: np.where(np.asarray(z) > 0, 1.0, slope),
    }
    return Problem(names, back * m * phi1, wrong)


@formula("mlp-grad-w1")
def _(rng):
    delta, x = rng.normal(size=4), rng.normal(size=3)
    return Problem({r"\delta_1": delta, "x": x}, np.outer(delta, x))


@formula("jacobian-of-gradient", "ij")
def _(rng):
    H = rng.normal(size=(3, 3))  # not symmetric, so that the order shows
    return Problem({"H": H}, H.T, {"order of derivatives": H}, {"i": 3, "j": 3})


def neuron(rng: np.random.Generator) -> tuple:
    D = int(rng.integers(2, 5))
    w, x, y_d, nu, s = rng.normal(size=D), rng.normal(size=D), rng.normal(), 1 + rng.normal(size=D), rng.random() + 0.3
    return {"w": w, "x": x, "y_d": y_d, r"\nu": nu, "s": s}, {"i": D, "k": D, "j": D}, w, x, y_d, nu, s


@formula("dropout-grad", "i")
def _(rng):
    names, sizes, w, x, y_d, nu, _ = neuron(rng)
    truth = -nu * x * (y_d - (nu * w * x).sum())
    return Problem(
        names,
        truth,
        {
            "erratum dropout-sign": -truth,
            "inner derivative missing here": -(y_d - (nu * w * x).sum()) * np.ones_like(w),
            "noise missing": -x * (y_d - (nu * w * x).sum()),
        },
        sizes,
    )


@formula("dropout-mean-grad", "i")
def _(rng):
    names, sizes, w, x, y_d, _, s = neuron(rng)
    plain = -(y_d - w @ x) * x
    return Problem(
        names,
        plain + s**2 * w * x**2,
        {
            "erratum dropout-no-mean": plain,
            "penalty's sign": plain - s**2 * w * x**2,
            "s for its square": plain + s * w * x**2,
        },
        sizes,
    )


@formula("dropout-ridge")
def _(rng):
    X, y, s = rng.normal(size=(8, 3)), rng.normal(size=8), rng.random() + 0.3
    G = X.T @ X
    wrong = {"plain ridge": np.linalg.solve(G + s**2 * np.eye(3), X.T @ y), "no penalty": np.linalg.solve(G, X.T @ y)}
    return Problem(
        {"X": X, "y": y, "s": s, "I": np.eye(3)}, np.linalg.solve(G + s**2 * np.diag(np.diag(G)), X.T @ y), wrong
    )


@formula("dropout-bernoulli")
def _(rng):
    p = 0.1 + 0.8 * rng.random()
    return Problem(
        {"p": p},
        p / (1 - p),
        {"standard dropout": p * (1 - p), "second moment": 1 / (1 - p), "upside down": (1 - p) / p},
    )


@formula("l2-penalty")
def _(rng):
    w, lam = rng.normal(size=3), rng.random()
    return Problem({"w": w, r"\lambda": lam}, lam * w @ w, {"erratum l2-penalty": lam * w.sum()}, {"j": 3})


@formula("newton-step")
def _(rng):
    x = 1 + rng.random()
    f, f1, f2 = (lambda x: x**3 + x**2 - 2), (lambda x: 3 * x**2 + 2 * x), (lambda x: 6 * x + 2)
    wrong = {"erratum newton-minimises-f": x - f1(x) / f2(x), "ascent": x + f(x) / f1(x), "gradient step": x - f(x)}
    return Problem({"x_t": x, "f": f, "f'": f1, "f''": f2}, x - f(x) / f1(x), wrong)


@formula("newton-constant")
def _(rng):
    x = 1 + rng.random()
    f1, f2 = (lambda x: 3 * x**2 + 2 * x), (lambda x: 6 * x + 2)
    return Problem(
        {"x^*": x, "f'": f1, "f''": f2}, f2(x) / (2 * f1(x)), {"erratum newton-dropped-term": -f2(x) / (2 * f1(x))}
    )


@formula("ce-coefficient", "i")
def _(rng):
    K = int(rng.integers(3, 6))
    yh, y = softmax(rng.normal(size=K)), softmax(rng.normal(size=K))
    wrong = {"erratum ce-coefficient": np.zeros(K), "erratum softmax-lost-target": yh}
    return Problem({r"\yh": yh, "y": y}, yh - y, wrong, {"i": K, "j": K, "k": K})


@formula("ce-hessian")
def _(rng):
    K = int(rng.integers(2, 6))
    yh = softmax(rng.normal(size=K))
    return Problem(
        {r"\yh": yh},
        np.diag(yh) - np.outer(yh, yh),
        {"only the off-diagonal": -np.outer(yh, yh), "only a diagonal": np.diag(yh * (1 - yh))},
    )


@formula("ce-psd")
def _(rng):
    K = int(rng.integers(3, 6))
    yh, v = softmax(rng.normal(size=K)), rng.normal(size=K)
    H = np.diag(yh) - np.outer(yh, yh)
    off = v @ (H - np.diag(np.diag(H))) @ v
    return Problem(
        {r"\yh": yh, "v": v},
        v @ H @ v,
        {"erratum ce-dropped-diagonal": off, "mean square": yh @ v**2},
        {"i": K, "j": K, "k": K},
    )
