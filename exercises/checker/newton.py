"""How Newton's method is checked: the direction, the line search, and the whole, in which both are looked for again."""

import inspect
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Polynomial

from .calling import randn, returned
from .compare import Case, Mistakes, judge, same, short
from .core import Found, need, task
from .optimizers import GRADIENT, bounded, check_stops, check_values, quadratic, run, unit
from .rosenbrock import slope, smooth, valley

# ----------------------------------------------------------------------------- the direction

Direction = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (grad, hessian) -> p


@task("newton_direction")
def check_newton_direction(function: Callable) -> str:
    def direction(g, H):
        given = g.copy(), H.copy()
        p = returned("newton_direction", function(*given))
        if isinstance(p, tuple | list) and len(p) and np.ndim(p[0]):
            p = p[0]  # of (p, tau)
        text = "newton_direction changes what it is given; the caller still needs it. Compute in a new array."
        need(np.array_equal(given[0], g) and np.array_equal(given[1], H), "input modified", text)
        try:
            return np.asarray(p, dtype=float)
        except (TypeError, ValueError):
            text = f"newton_direction should return the direction, an array of shape {g.shape}."
            raise Found("no array", text) from None

    check_positive_definite(direction)
    check_indefinite(direction)
    for flat in (np.array([1.0, 1.0]), np.diag([2.0, 0.0])), (np.array([0.0, 1.0]), np.diag([2.0, 0.0])):
        need(goes_down(direction, *flat), "uphill", uphill(*flat))
    return "right: where the Hessian is positive definite, and where it is not."


def check_positive_definite(direction: Direction, scale: Callable = lambda v, g: v) -> None:
    """scale(v, g): what of a direction is compared."""
    cases = []
    for n in 1, 2, 3, 5:
        M, p = randn(n, n).numpy(), randn(n).numpy()
        Q, curvature = np.linalg.qr(M)[0], np.array([0.03, 4.0, 1.0, 0.3, 2.0])[:n]
        H = (Q * curvature) @ Q.T
        g = -H @ p
        ours = direction(g, H)
        wrong = direction_mistakes(ours, p, g, H)
        wrong = {kind: (scale(value, g), text) for kind, (value, text) in wrong.items()}
        inputs = {"grad": g, "hessian": H}
        cases.append(Case("the direction of a step", scale(ours, g), scale(p, g), inputs, wrong))
    judge(cases)


ABSOLUTE = "the absolute values of the Hessian's entries are taken; those of its eigenvalues are something else."


def direction_mistakes(ours: np.ndarray, p: np.ndarray, g: np.ndarray, H: np.ndarray) -> Mistakes:
    other = np.full_like(g, np.nan)
    comparable = ours.shape == g.shape and ours.any()
    along = comparable and same(unit(ours), -unit(g))
    absolute = comparable and same(unit(np.abs(H) @ ours), -unit(g))
    gradient = "the step goes along the gradient: the Hessian is not used, or only as a number."
    always = "a multiple of the identity is added to the Hessian also where it is positive definite."
    return {
        "Newton's sign": (-p, "the step has the wrong sign: it goes uphill."),
        "no Hessian": (ours if along else other, gradient),
        "times the Hessian": (-H @ g, "the gradient is multiplied by the Hessian; it is its inverse that is needed."),
        "diagonal only": (-g / np.diag(H), "only the diagonal of the Hessian is used."),
        "elementwise inverse": (-(1 / H) @ g, "1/H is taken entry by entry; the inverse of a matrix is another."),
        "normalised": (unit(p), "the direction is divided by its length; its length belongs to the step."),
        "absolute values": (ours if absolute else other, ABSOLUTE),
        "always changed": (ours if comparable and shifted(ours, g, H) else other, always),
    }


def shifted(p: np.ndarray, g: np.ndarray, H: np.ndarray) -> bool:
    """Is p Newton's direction for H + tau I with some tau >= 0?"""
    rest = -(H @ p + g)
    tau = rest @ p / (p @ p)
    return tau > -1e-9 and same(rest, tau * p)


# Hessians that are not positive definite, each with a gradient for which Newton's direction goes uphill.
INDEFINITE = {
    "positive diagonal": ([[1, 2.2], [2.2, 1]], [1, -1.2]),
    "negative corners": ([[1, -2.2], [-2.2, 1]], [1, 0.8]),
    "negative entry": ([[-1.3, 0], [0, 3]], [1, 0.1]),
    "two of three": (np.diag([0.5, -1.1, -1.1]), [0.1, 1, 1]),
    "maximum": (-2.2 * np.eye(2), [1, 0.5]),
}
UPHILL = {  # on which of them what is asked in place of the smallest eigenvalue does not go downhill
    "negative curvature": (
        {*INDEFINITE},
        "where the Hessian is not positive definite, it does not go downhill: there it has to be changed, and enough.",
    ),
    "largest eigenvalue": (
        {*INDEFINITE} - {"maximum"},
        "where the Hessian has eigenvalues of both signs, it does not go downhill. A single negative one counts.",
    ),
    "trace": (
        {"positive diagonal", "negative corners", "negative entry"},
        "where the sum of the Hessian's eigenvalues is positive, and one is negative, it does not go downhill.",
    ),
    "diagonal asked": (
        {"positive diagonal", "negative corners"},
        "at a saddle where the Hessian's diagonal is positive, it does not go downhill.",
    ),
    "determinant": (
        {"two of three", "maximum"},
        "where two eigenvalues of the Hessian are negative, it does not go downhill; their product is positive.",
    ),
}


def check_indefinite(direction: Direction) -> None:
    given = {name: (np.array(g, dtype=float), np.array(H, dtype=float)) for name, (H, g) in INDEFINITE.items()}
    bad = {name for name, (g, H) in given.items() if not goes_down(direction, g, H)}
    for kind, (names, text) in UPHILL.items():
        need(bad != names, kind, text)
    absolute = all(same(unit(np.abs(H) @ direction(g, H)), -unit(g)) for n, (g, H) in given.items() if n not in bad)
    need(not (bad and absolute), "absolute values", ABSOLUTE)
    Q = np.linalg.qr(randn(5, 5).numpy())[0]
    H = Q @ np.diag([4.0, 3.0, 2.0, 1.0, -2.0]) @ Q.T
    given |= {"one": (np.array([1.5]), np.array([[-1.5]])), "five": (Q @ [0.1, 0.1, 0.1, 0.1, 1.0], (H + H.T) / 2)}
    for g, H in given.values():
        need(goes_down(direction, g, H), "uphill", uphill(g, H))


def uphill(g: np.ndarray, H: np.ndarray) -> str:
    return f"for grad = {short(g)} and the Hessian {short(H)} it does not go downhill."


def goes_down(direction: Direction, g: np.ndarray, H: np.ndarray) -> bool:
    text = f"for grad = {short(g)} and the Hessian {short(H)} the matrix that is inverted seems to be singular."
    try:
        p = direction(g, H)
    except np.linalg.LinAlgError as error:
        need("Singular" not in str(error), "singular", text)
        raise
    need(p.shape == g.shape, "shape", f"the direction has the wrong shape: got {p.shape}, expected {g.shape}.")
    need(np.isfinite(p).all() and np.abs(p).max() < 1e14, "singular", text)
    return p @ g < -1e-9


# ----------------------------------------------------------------------------- the line search

ANGLE = np.array([[0.6, -0.8], [0.8, 0.6]])  # so that no direction is that of an axis


def bowl(x: Any) -> tuple:
    """1e6 sqrt(1 + |x|^2), which grows slowly, so that Newton's step -(1 + |x|^2) x is much too long."""
    x = np.array(x, dtype=float)
    root = np.sqrt(1 + x @ x)
    return 1e6 * root, 1e6 * x / root, 1e6 * (np.eye(len(x)) / root - np.outer(x, x) / root**3)


FAR = np.array([0.6, 0.8]) * np.sqrt(1.3 * 2**13 - 1)  # from here it falls for t < 2^-12 / 1.3 only


def hill(end: float, rise: float) -> Polynomial:
    """A polynomial 1 - t + t^2/2 + ... that ends, at t = 1, higher by this, and with this derivative."""
    c = end + 0.5
    return Polynomial([1, -1, 0.5, 4 * c - rise, rise - 3 * c])


def along(polynomial: Polynomial, length: float) -> tuple[Callable, np.ndarray]:
    """f and p with f(t p) = polynomial(t), where p has this length, and is Newton's direction at 0."""
    first, second = polynomial.deriv(), polynomial.deriv(2)
    height = second(0)

    def f(x):
        u, v = ANGLE.T @ np.array(x, dtype=float)
        t = u / length
        grad, diagonal = [first(t) / length, height * v], [second(t) / length**2, height]
        return polynomial(t) + height * v**2 / 2, ANGLE @ grad, ANGLE @ np.diag(diagonal) @ ANGLE.T

    return f, length * ANGLE[:, 0]


# The rise and the derivative at t = 1, the length of p, and the height of all. Armijo's inequality asks for a rise of
# -1e-4 times the height. (All directions are curved, so that no Hessian seems to be singular.)
HILLS = [
    (-1e-7, 0.5, 1, 1),
    (-1e-7, -0.5, 1, 1),
    (-1e-7, 0.5, 1, 1e4),
    (1e-5, 0.5, 1, 1),
    (1e-5, -0.5, 2, 4),
    (-0.15, 0.5, 1, 1),
    (-0.15, 0.5, 1e-2, 1),
    (-0.15, -0.5, 1e-4, 1),
]
FACTOR = [(-5e-5, 0.5, 1, 1), (-5e-4, 0.5, 1, 1)]  # without them a factor between 1e-6 and 0.1 passes


def check_armijo(length: Callable, hills: list) -> None:
    """length(f, p): the step length found from 0 on. What is taken and what not tells the inequality's right side."""
    cases = []
    for end, rise, size, height in hills:
        polynomial = height * hill(end, rise)
        sides = {
            "no slope": (0, "any decrease is enough for it: in Armijo's inequality there is also a slope."),
            "slope's sign": (
                1e-4,
                "it lets the value rise a little: has Armijo's inequality the wrong sign before the slope?",
            ),
            "slope at the new point": (1e-4 * rise, "the slope is taken with the gradient at the new point."),
            "slope without p": (-1e-4 * height / size**2, "the slope is that along the gradient, not that along p."),
            "slope for length 1": (-1e-4 / size, "the slope is that of a direction of length 1; p has another length."),
            "asks too much": (-0.2, "steps are refused along which the value falls enough: look at the inequality."),
            "a larger factor": (-1e-2, "the factor of the slope is larger than 1e-4."),
            "a smaller factor": (-1e-6, "the factor of the slope is smaller than 1e-4."),
        }
        wrong = {kind: (1.0 if end <= side else 0.5, text) for kind, (side, text) in sides.items()}
        inputs = {"f(theta + t p)": written(polynomial), "p^T grad": np.array(-height), "alpha": np.array(1)}
        truth, ours = 1.0 if end < -1e-4 else 0.5, length(*along(polynomial, size))
        shortened = 0.5 if 0 < ours < 0.99 else ours  # by any factor
        cases.append(Case("the step length (1, or 1/2 for all below)", shortened, truth, inputs, wrong))
    judge(cases)


def written(polynomial: Polynomial) -> str:
    return " ".join(f"{c:+.8g} t^{k}" for k, c in enumerate(polynomial.coef) if c)


@task("line_search")
def check_line_search(search: Callable) -> str:
    def raw(f, theta, p, *alpha):
        given = theta.copy(), p.copy()
        t = search(bounded(f, len(theta), 3000, "in one search"), *given, *alpha)
        text = "line_search changes theta or p; the caller still needs them. Compute in a new array."
        need(np.array_equal(given[0], theta) and np.array_equal(given[1], p), "input modified", text)
        return t

    def length(f, theta, p, *alpha):
        t = returned("line_search", raw(f, theta, p, *alpha))
        text = f"line_search should return the step length t, a number, got {type(t).__name__}."
        need(not isinstance(t, tuple | list) and np.ndim(t) == 0, "no number", text)
        return float(t)

    theta = np.array([30.0, 40.0])
    check_alpha(length, theta)
    check_small_step(lambda f, x, p: raw(f, x, p) or 0.0)
    t = length(bowl, FAR, -(1 + FAR @ FAR) * FAR)
    need(np.log2(t) % 1 == 0, "not halved", f"the step length {t:.4g} is not one of alpha, alpha/2, alpha/4, ...")
    need(t == 2**-13, "halved too often", f"it returns {t:.4g}, where {2**-13:.4g} is short enough.")
    check_armijo(lambda f, p: length(f, np.zeros(2), p), HILLS + FACTOR)
    try:
        raw(bowl, theta, theta)
    except Found as found:
        text = "where no t is short enough, as p goes uphill, it goes on halving without an end."
        need(found.kind != "no end", "search without end", text)
        raise
    except Exception:
        pass  # it refuses such a p
    return "right: alpha, the halving, both sides of the inequality, an end."


def check_alpha(length: Callable, theta: np.ndarray) -> None:
    """Is alpha itself taken where it is good enough?"""
    p, cases = -unit(theta), []
    for alpha in 1.0, 0.3, 2.0:
        t = length(bowl, theta, p) if alpha == 1 else length(bowl, theta, p, alpha)
        wrong = {
            "alpha ignored": (1.0, "with any alpha the first step length tried is 1."),
            "alpha not tried": (alpha / 2, "half of alpha is returned, and alpha is good enough."),
            "alpha refused": (
                t if 0 < t < alpha / 2 else np.nan,
                "alpha is refused where the value falls enough: look at both sides of the inequality.",
            ),
        }
        cases.append(Case("the step length", t, alpha, {"alpha, good enough": np.array(alpha)}, wrong))
    judge(cases)


def check_small_step(length: Callable) -> None:
    """length(f, theta, p), where p is much too long."""
    t = length(bowl, FAR, -(1 + FAR @ FAR) * FAR)
    text = "the full step is taken although the value rises there. Shorten it until it falls enough."
    need(t < 0.9, "no line search", text)
    text = (
        "f falls along p only for t < 2e-4, and it finds no such t. Is each t tried from theta, and how much is asked?"
    )
    need(t > 1e-9, "no small step", text)
    need(t < 3e-4, "value rises", f"it takes t = {t:.3g}, with which the value rises.")


# ----------------------------------------------------------------------------- the whole


@task("Newton")
def check_newton(newton: Callable) -> str:
    go = partial(run, newton, stop_tolerance=1e-9)

    def direction(g, H):
        start = 1.0 + np.arange(len(g))
        return first_step(go, quadratic(H, start, g, level=1.0), start)

    def updated(g, H):
        step = direction(g, H)
        need(step.any(), "no update", f"theta does not move, for grad = {short(g)} and the Hessian {short(H)}.")
        return step

    for name, value in (("alpha", 1.0), ("stop_tolerance", 1e-10), ("max_steps", 1000)):
        given = inspect.signature(newton).parameters.get(name)
        text = f"{name} has another default value than in the signature that was given."
        need(given is None or given.default == value, "another default", text)
    check_full_step(go)
    check_positive_definite(updated, lambda v, g: unit(v) if v @ g < -1e-9 else 0 * v)
    check_options(go)
    check_small_step(lambda f, x, p: np.linalg.norm(first_step(go, f, x)) / np.linalg.norm(p))
    check_armijo(lambda f, p: first_step(go, f, np.zeros(2)) @ p / (p @ p), HILLS)
    check_second_update(go)
    check_end(newton)
    check_indefinite(direction)
    check_rosenbrock(go)
    return "right: the direction, the line search, negative curvature, the stopping rule."


def first_step(go: Callable, f: Callable, start: np.ndarray) -> np.ndarray:
    thetas = go(f, start.copy(), 1).thetas
    return thetas[-1] - thetas[0]


PARABOLA = quadratic([[3.0, 1.0], [1.0, 2.0]], [1.0, -1.0])
FROM, TO = [4, 1], np.array([1.0, -1.0])


def check_full_step(go: Callable) -> None:
    """On a parabola a single update is right."""
    thetas = go(PARABOLA, np.array([4.0, 1.0]), 10).thetas
    need(len(thetas) > 1, "no update", "it does not make a single update.")
    step = thetas[1] - FROM
    text = "the second entry of the history is still the start. Does the direction go uphill, so that no step is short?"
    need(np.abs(step).max() > 1e-9, "no progress", text)
    need(len(go(PARABOLA, FROM, 1).thetas) == 2, "max_steps", "with max_steps=1 it makes no update.")
    text = "the direction of a step is right, its length is not: on a parabola the full step is the best one."
    need(same(step, TO - FROM) or not same(unit(step), unit(TO - FROM)), "not a full step", text)


def check_options(go: Callable) -> None:
    thetas = go(PARABOLA, FROM, 3, alpha=0.25).thetas
    share = (thetas[:2][-1] - FROM) @ (TO - FROM) / ((TO - FROM) @ (TO - FROM))
    need(not same(share, 1), "alpha ignored", "with alpha=0.25 the first step is still the full one.")
    need(same(share, 0.25), "not a full step", f"with alpha=0.25 the first step is {share:.3g} times Newton's.")
    made = len(thetas) - 1
    need(made == 3, "max_steps", f"with max_steps=3 it makes {made} updates, and the minimum is far.")


def check_end(newton: Callable) -> None:
    """With alpha = 1/2 all entries of a quadratic function's gradient are halved in each update."""
    curvature, m = np.linspace(5, 50, 20), np.linspace(-1, 1, 20)
    grad = 1e4 * np.append(np.ones(19), 2.4)  # its length, its largest entry and its mean differ by factors above 2
    runs = []
    for tolerance, level in (1e-9, 0.0), (1e-4, 50.0):  # the tolerance is one of the gradient, whatever the value is
        f = quadratic(np.diag(curvature), m, level=level)
        runs.append((run(newton, f, m + grad / curvature, 200, alpha=0.5, stop_tolerance=tolerance), tolerance))
    check_values(runs[0][0])
    check_stops(runs, GRADIENT)
    made = len(run(newton, PARABOLA, TO.copy(), 3, stop_tolerance=1e-9).thetas) - 1
    need(made == 0, "goes on at the minimum", "it makes an update although the gradient at the start is 0.")


def check_second_update(go: Callable) -> None:
    """On ln cosh, whose derivatives are tanh and 1/cosh^2; from 1.2 only the first step has to be shortened."""
    f = smooth(lambda x: torch.log(torch.cosh(x[0])))
    for start in 0.5, 1.2:
        x0, x1, *others = go(f, np.array([start]), 2).thetas[:, 0]
        x2 = others[0] if others else x1
        shortened = (x0 - x1) / (np.sinh(2 * start) / 2)
        full = -np.sinh(2 * x1) / 2
        wrong = {
            "no second update": (0.0, "the second update does not move theta, and the gradient there is not 0."),
            "step length kept": (shortened * full, "after a shortened step the next one does not begin with alpha."),
            "stale Hessian": (-np.tanh(x1) * np.cosh(x0) ** 2, "the second update uses the Hessian of the start."),
        }
        inputs = {"f": "ln cosh", "theta0": np.array([start]), "theta after one update": np.array([x1])}
        judge([Case("the second update", x2 - x1, full, inputs, wrong)])


def check_rosenbrock(go: Callable) -> None:
    f = smooth(lambda x: valley(x) + slope(x))
    for start in (0.0, 2.0), (-1.2, 1.0):
        path = go(f, np.array(start), 100)
        check_values(path)
        rises = any(b > a + 1e-9 * max(1, abs(a)) for a, b in pairwise(path.values))
        need(not rises, "value rises", "the value rises in a step. Take a shorter step, until it falls enough.")
        made, theta = len(path.thetas) - 1, path.thetas[-1]
        where = f"on Rosenbrock's function from {start}"
        text = f"{where} it makes {made} updates, as many as a method of first order. Try the full step first."
        need(made < 100, "slow", text)
        need(np.allclose(theta, 1, atol=1e-5), "not converged", f"{where} it ends at {theta}, not at (1, 1).")
