"""Hand-written optimizers: gradient descent, Newton's method, stochastic gradient descent;
Rosenbrock's function."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from torch import nn

from checks import (
    check_number,
    check_parameters,
    check_start,
    check_step,
    check_symmetric,
    warn_gd_end,
    warn_newton_end,
)

# ------------------------------------------------------------------------ Rosenbrock's function


def rosenbrock(x: ArrayLike) -> tuple[float, np.ndarray]:
    """Rosenbrock's function f = 100 (x1 - x0^2)^2 + (1 - x0)^2 and its gradient, as (value,
    grad).

    Its only stationary point is the minimum f(1, 1) = 0 (Rosenbrock, 1960).

    Shapes: x (2,), value a number, grad (2,). An x of shape (2, ...) holds many points at once;
    value then has shape (...) and grad that of x.
    """
    x0, x1 = np.asarray(x, dtype=float)
    value = 100 * (x1 - x0**2) ** 2 + (1 - x0) ** 2
    grad = np.array([-400 * x0 * (x1 - x0**2) - 2 * (1 - x0), 200 * (x1 - x0**2)])
    return value, grad


def rosenbrock_hessian(x: ArrayLike) -> tuple[float, np.ndarray, np.ndarray]:
    """Rosenbrock's function with gradient and Hessian, as (value, grad, hessian).

    Shapes as in rosenbrock; hessian (2, 2), or (2, 2, ...) for many points.
    """
    value, grad = rosenbrock(x)
    x0, x1 = np.asarray(x, dtype=float)
    d00, d01, d11 = 1200 * x0**2 - 400 * x1 + 2, -400 * x0, np.full_like(x0, 200.0)
    hessian = np.array([[d00, d01], [d01, d11]])
    return value, grad, hessian


# ------------------------------------------------------------ gradient descent, Newton's method


class Step(NamedTuple):
    """A point of an optimizer's path: theta (n,), the value f(theta) and grad (n,)."""

    theta: np.ndarray
    value: float
    grad: np.ndarray


def GD(
    f: Callable,
    theta0: ArrayLike,
    alpha: float,
    stop_tolerance: float = 1e-10,
    max_steps: int = 1_000_000,
) -> tuple[np.ndarray, list[Step]]:
    """Gradient descent with a fixed step, theta <- theta - alpha grad f(theta).

    f(theta) returns (value, grad), a number and an array (n,), for theta an array (n,). theta0,
    a vector of n numbers in a list or an array of any type, is left alone. Stops when an update
    changes f by less than stop_tolerance.

    Returns (theta, history): the last point, and a Step for the start and for the end of each
    update. An update costs one call of f and O(n) operations; the history takes O(n) memory an
    update.

    Warns (RuntimeWarning) if max_steps updates were not enough, if f ends above its start, or
    if the run stopped where the gradient promises a fall a thousand times larger. Raises
    TypeError or ValueError for an alpha, stop_tolerance or max_steps that is not positive and
    finite, a max_steps that is not whole, a theta0 that is not a finite vector, and an f with
    other results; FloatingPointError, naming the update, as soon as the value or the gradient
    is not finite.
    """
    theta, f, alpha = check_start("GD", f, theta0, alpha, stop_tolerance, max_steps)
    value, grad = f(theta)
    history = [Step(theta, value, grad)]
    for _ in range(int(max_steps)):
        theta = theta - alpha * grad
        value, grad = f(theta)
        history.append(Step(theta, value, grad))
        if abs(value - history[-2].value) < stop_tolerance:
            break
    warn_gd_end(history, alpha, stop_tolerance)
    return theta, history


def Newton(
    f: Callable,
    theta0: ArrayLike,
    alpha: float = 1.0,
    stop_tolerance: float = 1e-10,
    max_steps: int = 1_000,
) -> tuple[np.ndarray, list[Step]]:
    """Newton's method made to go downhill (theory Q6): theta <- theta + t p, and f never
    increases.

    p is the newton_direction and t the step length of line_search, tried from alpha on. Stops
    where the norm of the gradient is below stop_tolerance: at a stationary point, hence at once
    if theta0 is one, be it a saddle point.

    f(theta) returns (value, grad, hessian), a number and arrays (n,) and (n, n), for theta an
    array (n,); a hessian that is symmetric but for rounding is taken as such. theta0 and the
    returned (theta, history) are as in GD. An update costs O(n^3) operations and one call of f
    for each step length tried; the history takes O(n) memory an update.

    Warns (RuntimeWarning) if max_steps updates were not enough, or if no step lowers f: because
    of rounding, or because the gradient does not fit f. Raises as GD does; also ValueError for
    a hessian that is not symmetric.
    """
    theta, f, alpha = check_start("Newton", f, theta0, alpha, stop_tolerance, max_steps)
    value, grad, hessian = f(theta)
    history = [Step(theta, value, grad)]
    while stop_tolerance <= np.linalg.norm(grad) < np.inf and len(history) <= max_steps:
        p, _ = newton_direction(grad, hessian)
        found = line_search(f, history[-1], p, alpha)
        if found is None:
            break
        step, hessian = found
        grad = step.grad
        history.append(step)
    warn_newton_end(history, f, stop_tolerance, max_steps)
    return history[-1].theta, history


def line_search(
    f: Callable, start: Step, p: np.ndarray, t: float
) -> tuple[Step, np.ndarray] | None:
    """Backtracking (Nocedal and Wright, 2006, Algorithm 3.1): the first of t, t/2, t/4, ...
    with Armijo's condition

        f(theta + t p) <= f(theta) + 1e-4 t p^T grad f(theta),

    as (Step, hessian), or None once t p is lost in rounding. theta is that of start, a point
    where f is not finite counts as too far. Raises ValueError unless t > 0 and p goes downhill,
    p^T grad < 0.
    """
    theta, value, grad = start
    t = check_number("line_search: t", t, "(0, inf)")
    slope = check_number("line_search: p^T grad", p @ grad, "(-inf, 0)")
    while not np.array_equal(new := theta + t * p, theta, equal_nan=True):
        new_value, new_grad, hessian = f(new)
        if new_value <= value + 1e-4 * t * slope:
            return Step(new, new_value, new_grad), hessian
        t /= 2
    return None


def newton_direction(grad: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
    """The direction p = -(H + tau I)^-1 grad, as (p, tau), with H + tau I positive definite.

    tau is 0, and p the pure Newton direction, if H is positive definite; otherwise tau grows
    until H + tau I has a Cholesky factor (Nocedal and Wright, 2006, Algorithm 3.3, in units of
    H's largest entry). So p goes downhill: p^T grad = -p^T (H + tau I) p < 0.

    Shapes: grad and p (n,), hessian (n, n); ValueError unless symmetric and finite. O(n^3)
    operations for each tau.
    """
    hessian = check_symmetric(hessian, len(grad))
    beta = max(1e-3 * np.abs(hessian).max(), np.finfo(float).tiny) if hessian.any() else 1e-3
    lowest = hessian.diagonal().min()
    tau = 0.0 if lowest > 0 else beta - lowest
    while True:
        with suppress(LinAlgError):
            p = -cho_solve(cho_factor(hessian + tau * np.eye(len(grad))), grad)
            if np.isfinite(p).all():  # not so where the Hessian is close to the smallest float
                return p, tau
        tau = max(2 * tau, beta)


# ------------------------------------------------------------------ stochastic gradient descent


class SGD:
    """Stochastic gradient descent, p <- p - learning_rate dL/dp for every parameter p.

    To change the rate while training, assign learning_rate; torch's schedulers need one of
    torch's optimizers.

    Raises TypeError or ValueError for params that are not parameters, none, or one of them
    twice, and for a learning_rate that is not positive and finite.
    """

    def __init__(self, params: Iterable[nn.Parameter], learning_rate: float) -> None:
        self.learning_rate = check_number("SGD: learning_rate", learning_rate, "(0, 3e38)")
        self.params = check_parameters(params)

    @check_step
    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its .grad.

        Raises RuntimeError, before any update, if a parameter has no gradient.
        """
        for p in self.params:
            p.sub_(p.grad, alpha=self.learning_rate)

    def zero_grad(self) -> None:
        """Forget the gradients: .grad is None until the next backward, as in torch.optim."""
        for p in self.params:
            p.grad = None
