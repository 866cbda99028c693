"""The checks of question 6: Newton's method, with its boxes and its example in theory/."""

from functools import partial
from itertools import pairwise

import numpy as np
import sympy
import torch
from torch.autograd.functional import hessian

from optim import Newton
from printed import Remainder, flat, grad, hold_in, pinned, printed, proves, randn, worked, works

CUBIC = {"f": lambda x: x**3 + x**2 - 2, "f'": lambda x: 3 * x**2 + 2 * x, "f''": lambda x: 6 * x + 2}


@proves("newton-step")
def newton_step():
    x, g, x_t = sympy.symbols("x", real=True), sympy.Function("g"), sympy.symbols("x_t", real=True)
    g1, g2 = g(x_t).diff(x_t), g(x_t).diff(x_t, 2)
    tangent = g1 + g2 * (x - x_t)
    parabola = g(x_t) + g1 * (x - x_t) + g2 * (x - x_t) ** 2 / 2
    for equation in tangent, parabola.diff(x):
        (solution,) = sympy.solve(equation, x)
        assert sympy.simplify(solution - (x_t - g1 / g2)) == 0
    f, f1, _ = CUBIC.values()
    _, history = Newton(lambda t: (t[0] ** 4 / 4 + t[0] ** 3 / 3 - 2 * t[0], f(t), f1(t)[None]), [2.0])
    for before, after in pairwise(history):
        names = CUBIC | {"x_t": before.theta[0], "x_{t+1}": after.theta[0], "g'": f, "g''": f1}
        printed("newton-step", names, slack=1e-14)


@proves("newton-error")
def newton_error():
    f, f1, _ = CUBIC.values()
    for x in np.random.default_rng(0).uniform(0.3, 3, 50):
        e, e_next = x - 1, x - f(x) / f1(x) - 1
        xi = ((e * f1(x) - f(x)) / e**2 - 1) / 3  # where f''(xi) / 2 e^2 is the numerator
        printed("newton-error", CUBIC | {"x_t": x, "e_t": e, "e_{t+1}": e_next, r"\xi_t": xi}, slack=1e-11)
        assert min(x, 1) < xi < max(x, 1)


@proves("newton-bound")
def newton_bound():
    for root, x in (1, 0.6), (1, 0.9), (-1, -0.7):  # f = 1.5 (x^2 - 1): f'' = B, and c = |f'(x)| between x and the root
        e, c = x - root, 3 * abs(x)
        names = {"e_t": e, "e_{t+1}": x - (x**2 - 1) / (2 * x) - root, "B": 3.0, "c": c, "f'": 3 * x, "f''": 3.0}
        names |= {"x^*": root, "x": root + 2 * c / 3, "e_0": -2 * c / 3}
        printed("newton-bound", names, slack=1e-12, tight=True)
        printed("newton-bound", names | {"B": 3.1, "c": c - 0.01, "e_0": 1.01 * e, "x": x})
    for radius in 0.1, 0.3, 0.5:  # of the interval around the root of f = exp(x) - 2, where f' = f'' = exp(x)
        ratio = np.exp(2 * radius) / 2  # B / 2c
        for e in np.linspace(-radius, radius, 20):
            if ratio * abs(e) < 1:
                for _ in range(5):
                    e += np.expm1(-e)  # as f / f' = 1 - exp(-e)
                assert abs(e) < 1e-3 * radius


@proves("newton-constant")
def newton_constant():
    """The rest is below 2 |e|^3."""
    f, f1, f2 = CUBIC.values()
    for x, C in (1.0, 8 / 10), (2.0, 14 / 32):  # roots of f, and of f - 10
        for e in 1e-1, 1e-2, 1e-3, -1e-2:
            names = {"x^*": x, "C": C, "f'": f1, "f''": f2, "g''": f1, "g'''": f2, "e_t": e, "O": Remainder(e**3)}
            names["e_{t+1}"] = e - (f(x + e) - f(x)) / f1(x + e)
            printed("newton-constant", names, slack=2 * abs(e) ** 3)


@proves("newton-third-order")
def newton_third_order():
    for e in 0.01, -0.02:
        printed("newton-third-order", {"e_t": e, "e_{t+1}": e - np.tanh(e) * np.cosh(e) ** 2}, slack=1e-3)


@proves("newton-multiple-root")
def newton_multiple_root():
    for r in 2, 3, 5:
        x = 0.5
        for _ in range(80):
            e, x = x, x - x * (1 + x) / (r * (1 + x) + x)  # f / f' for f = x^r (1 + x)
        printed("newton-multiple-root", {"r": r, "e_t": e, "e_{t+1}": x}, slack=1e-6)


@proves("newton-cycle")
def newton_cycle():
    pinned("newton-cycle", r"f(x) = x^3-2x+2:\qquad x_0 = 0 \text{ gives } 0, 1, 0, 1, \dots")
    x, visited = sympy.Integer(0), []
    for _ in range(6):
        visited.append(x)
        x = x - (x**3 - 2 * x + 2) / (3 * x**2 - 2)
    assert visited == [0, 1, 0, 1, 0, 1]


@proves("newton-log-cosh")
def newton_log_cosh():
    for x in -1.5, -0.3, 0.7, 2.0:
        printed("newton-log-cosh", {"x_t": x, "x_{t+1}": x - np.tanh(x) * np.cosh(x) ** 2}, slack=1e-12)

    def path(x):
        """Until it is far away, or for 100 steps."""
        visited = [x]
        while abs(x) < 300 and len(visited) < 100:
            x = x - np.sinh(2 * x) / 2
            visited.append(x)
        return np.abs(visited)

    for start in 1.088665, 1.0887, *np.linspace(1.09, 3, 30):
        assert path(start)[-1] >= 300 and (np.diff(path(start)) > 0).all()
    for start in 1.088655, *np.linspace(0.05, 1.08, 30):
        assert (np.diff(path(start)) <= 0).all() and path(start)[-1] < 0.1


def two_coordinates():
    """A function g of x and the same of u, with their derivatives, where x = Pu."""

    def g(x):
        return torch.exp(x).sum() + (x**4).sum() + (x @ x) ** 2

    for _ in range(20):
        P, u = torch.eye(3) + randn(3, 3) / 4, randn(3)  # well conditioned
        names = {"P": P, "u": u, "x": P @ u}
        for mark, f in ("", g), (r"\tilde ", lambda u, P=P: g(P @ u)):
            names |= {f"{mark}g": flat(f), rf"\nabla{mark}g": flat(partial(grad, f))}
            names[f"{mark}H"] = flat(partial(hessian, f))
        yield names


hold_in(lambda: ((names,) for names in two_coordinates()), "newton-affine")


@works("newton")
def newton_example():
    x = [1.0]
    for _ in range(3):
        x.append(x[-1] - (x[-1] ** 2 - 4) / (2 * x[-1]))
    names = {f"x_{t}": value for t, value in enumerate(x)} | {f"e_{t}": value - 2 for t, value in enumerate(x)}
    names |= {"x": 7.0, "f": 45.0, "x^*": 2.0, "f''": 2.0, "C": 2 / (2 * 4)}
    for t in range(3):
        worked("newton", names | {"x_t": x[t], "e_t": x[t] - 2, "e_{t+1}": x[t + 1] - 2})
