"""Hand-written optimizers: gradient descent, Newton's method, stochastic gradient descent; Rosenbrock's function."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from torch import nn

# ------------------------------------------------------------------------------------ Rosenbrock's function


def rosenbrock(x: ArrayLike) -> tuple[float, np.ndarray]:
    """Rosenbrock's function f = 100 (x1 - x0^2)^2 + (1 - x0)^2 and its gradient, as (value, grad).

    Its only stationary point is the minimum f(1, 1) = 0 (Rosenbrock, 1960).

    Shapes: x (2,), value a number, grad (2,). An x of shape (2, ...) holds many points at once; value then has
    shape (...) and grad that of x.

    Raises ValueError for an x of another shape.
    """
    x0, x1 = _two_coordinates(x)
    value = 100 * (x1 - x0**2) ** 2 + (1 - x0) ** 2
    grad = np.array([-400 * x0 * (x1 - x0**2) - 2 * (1 - x0), 200 * (x1 - x0**2)])
    return value, grad


def rosenbrock_hessian(x: ArrayLike) -> tuple[float, np.ndarray, np.ndarray]:
    """Rosenbrock's function with gradient and Hessian, as (value, grad, hessian).

    Shapes and errors as in rosenbrock; hessian (2, 2), or (2, 2, ...) for many points.
    """
    value, grad = rosenbrock(x)
    x0, x1 = _two_coordinates(x)
    hessian = np.array([[1200 * x0**2 - 400 * x1 + 2, -400 * x0], [-400 * x0, np.full_like(x0, 200.0)]])
    return value, grad, hessian


def _two_coordinates(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if x.shape[:1] != (2,):
        raise ValueError(f"rosenbrock: expected x of shape (2,), or (2, ...) for many points, got {x.shape}")
    return x


# ------------------------------------------------------------------------- gradient descent, Newton's method


BAD_START = "; choose a theta0 where f and its derivatives are finite"


class Step(NamedTuple):
    """A point of an optimizer's path: theta (n,), the value f(theta) and grad (n,)."""

    theta: np.ndarray
    value: float
    grad: np.ndarray


def GD(
    f: Callable, theta0: ArrayLike, alpha: float, stop_tolerance: float = 1e-10, max_steps: int = 1_000_000
) -> tuple[np.ndarray, list[Step]]:
    """Gradient descent with a fixed step, theta <- theta - alpha grad f(theta).

    f(theta) returns (value, grad), a number and an array (n,), for theta an array (n,). theta0, a vector of n numbers
    in a list or an array of any type, is left alone. Stops when an update changes f by less than stop_tolerance.

    Returns (theta, history): the last point, and a Step for the start and for the end of each update. An update costs
    one call of f and O(n) operations; the history takes O(n) memory an update.

    Warns (RuntimeWarning) if max_steps updates were not enough. Raises ValueError for an alpha, stop_tolerance or
    max_steps that is not positive and finite, a max_steps that is not whole, a theta0 that is not a finite vector,
    and an f with other results; FloatingPointError, naming the update, as soon as the value or the gradient is not
    finite.
    """
    theta = _start("GD", theta0, alpha, stop_tolerance, max_steps)
    value, grad = _evaluate("GD", f, theta)
    _check_finite("GD", 0, value, grad, cure=BAD_START)
    history = [Step(theta, value, grad)]
    for step in range(1, int(max_steps) + 1):
        with np.errstate(over="ignore"):
            theta = theta - alpha * grad
        value, grad = _evaluate("GD", f, theta)
        _check_finite("GD", step, value, grad, cure=f"; alpha = {alpha} is probably too large")
        history.append(Step(theta, value, grad))
        change = abs(value - history[-2].value)
        if change < stop_tolerance:
            return theta, history
    _warn(
        f"GD: stopped after max_steps = {max_steps} updates, the last of which changed f by {change:.1e} "
        f"(stop_tolerance = {stop_tolerance}); raise max_steps or stop_tolerance, or change alpha: larger if f still "
        "falls, smaller if it goes up and down"
    )
    return theta, history


def Newton(
    f: Callable, theta0: ArrayLike, alpha: float = 1.0, stop_tolerance: float = 1e-10, max_steps: int = 1_000
) -> tuple[np.ndarray, list[Step]]:
    """Newton's method made to go downhill (theory Q6): theta <- theta + t p, and f never increases.

    p is the newton_direction. t is the first of alpha, alpha/2, alpha/4, ... with f(theta + t p) <= f(theta) +
    1e-4 t p^T grad f (Armijo's condition; Nocedal and Wright, 2006, Algorithm 3.1); a point where f is not finite
    counts as too far. Stops where the norm of the gradient is below stop_tolerance: at a stationary point, hence at
    once if theta0 is one, be it a saddle point.

    f(theta) returns (value, grad, hessian), a number and arrays (n,) and (n, n), for theta an array (n,).
    theta0 and the returned (theta, history) are as in GD. An update costs O(n^3) operations and one call of f for
    each step length tried; the history takes O(n) memory an update.

    Warns (RuntimeWarning) if max_steps updates were not enough, or if rounding leaves no step that lowers f. Raises
    as GD does; also ValueError for a Hessian that is not symmetric.
    """
    theta = _start("Newton", theta0, alpha, stop_tolerance, max_steps)
    value, grad, hessian = _evaluate("Newton", f, theta, hessian=True)
    _check_finite("Newton", 0, value, grad, hessian, cure=BAD_START)
    history = [Step(theta, value, grad)]
    while (norm := np.linalg.norm(grad)) >= stop_tolerance:
        step = len(history)
        if step > max_steps:
            _warn(
                f"Newton: stopped after max_steps = {max_steps} updates; the norm of the gradient is {norm:.1e} "
                f"(stop_tolerance = {stop_tolerance}); raise max_steps or stop_tolerance"
            )
            break
        p, _ = newton_direction(grad, hessian)
        t, new_value = alpha, value
        while not np.array_equal(new_theta := theta + t * p, theta):  # until t p is lost in rounding
            new_value, new_grad, new_hessian = _evaluate("Newton", f, new_theta, hessian=True)
            if new_value <= value + 1e-4 * t * (p @ grad):
                break
            t /= 2
        else:
            _check_finite("Newton", step, new_value)
            _warn(
                f"Newton: stopped at update {step}, where rounding leaves no step that lowers f; the norm of the "
                f"gradient is {norm:.1e} (stop_tolerance = {stop_tolerance}); raise stop_tolerance"
            )
            break
        _check_finite("Newton", step, new_value, new_grad, new_hessian)
        theta, value, grad, hessian = new_theta, new_value, new_grad, new_hessian
        history.append(Step(theta, value, grad))
    return theta, history


def newton_direction(grad: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
    """The direction p = -(H + tau I)^-1 grad, as (p, tau), with H + tau I positive definite.

    tau is 0, and p the pure Newton direction, if H is positive definite; otherwise tau grows until H + tau I has a
    Cholesky factor (Nocedal and Wright, 2006, Algorithm 3.3, in units of H's largest entry). So p goes downhill:
    p^T grad = -p^T (H + tau I) p < 0.

    Shapes: grad and p (n,), hessian (n, n), symmetric and finite. O(n^3) operations for each tau.
    """
    beta = 1e-3 * (np.abs(hessian).max() or 1.0)
    lowest = hessian.diagonal().min()
    tau = 0.0 if lowest > 0 else beta - lowest
    while True:
        with suppress(LinAlgError):
            p = -cho_solve(cho_factor(hessian + tau * np.eye(len(grad))), grad)
            if np.isfinite(p).all():  # not so where the Hessian is close to the smallest float
                return p, tau
        tau = max(2 * tau, beta)


def _start(name: str, theta0: ArrayLike, alpha: float, stop_tolerance: float, max_steps: int) -> np.ndarray:
    """theta0 as a new array of floats (n,), after a check of the arguments."""
    for what, number in ("alpha", alpha), ("stop_tolerance", stop_tolerance), ("max_steps", max_steps):
        if not (isfinite(number) and number > 0):
            raise ValueError(f"{name}: {what} must be positive and finite, got {number}")
    if max_steps != int(max_steps):
        raise ValueError(f"{name}: max_steps must be a whole number, got {max_steps}")
    try:
        theta = np.array(theta0, dtype=float)
    except (TypeError, ValueError):
        theta = np.array(np.nan)
    if theta.ndim != 1 or not theta.size or not np.isfinite(theta).all():
        raise ValueError(f"{name}: theta0 must be a vector of finite numbers such as [0.0, 2.0], got {theta0!r}")
    return theta


def _evaluate(name: str, f: Callable, theta: np.ndarray, hessian: bool = False) -> tuple:
    """f(theta) as a float and new arrays, after a check of their number and shapes."""
    n = len(theta)
    shapes = {"value": (), "grad": (n,), "hessian": (n, n)} if hessian else {"value": (), "grad": (n,)}
    with np.errstate(all="ignore"):  # what is not finite is looked for below
        result = f(theta.copy())
    if not isinstance(result, tuple | list) or len(result) != len(shapes):
        got = f"{len(result)} of them" if isinstance(result, tuple | list) else type(result).__name__
        raise ValueError(f"{name}: f must return ({', '.join(shapes)}), got {got}")
    try:
        value, *arrays = (np.array(part, dtype=float) for part in result)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: f must return numbers and NumPy arrays: {error}") from error
    for part, (what, shape) in zip((value, *arrays), shapes.items(), strict=True):
        if part.shape != shape:
            raise ValueError(f"{name}: theta has shape {theta.shape}, f returned a {what} of {part.shape}, not {shape}")
    if hessian and np.isfinite(H := arrays[1]).all() and np.abs(H - H.T).max() > 1e-8 * np.abs(H).max():
        raise ValueError(
            f"{name}: f returned a hessian that is not symmetric (theory Q4): {np.abs(H - H.T).max():g} apart"
        )
    return float(value), *arrays


def _check_finite(name: str, step: int, *result: float | np.ndarray, cure: str = "") -> None:
    """Raise FloatingPointError unless value, grad and hessian are finite."""
    for what, part in zip(("value", "grad", "hessian"), result, strict=False):
        if not np.isfinite(part).all():
            raise FloatingPointError(f"{name}, update {step}: the {what} is {part}{cure}")


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


# --------------------------------------------------------------------------------- stochastic gradient descent


class SGD:
    """Stochastic gradient descent, p <- p - learning_rate dL/dp for every parameter p.

    Raises TypeError or ValueError for params that are not parameters, or none, and for a learning_rate
    that is not positive and finite.
    """

    def __init__(self, params: Iterable[nn.Parameter], learning_rate: float) -> None:
        if isinstance(params, torch.Tensor):
            raise TypeError("SGD: expected an iterable of parameters such as model.parameters(), got one tensor")
        self.params = list(params)
        if not self.params:
            raise ValueError("SGD: no parameters to train; pass model.parameters() (once: it is an iterator)")
        for p in self.params:
            if not isinstance(p, torch.Tensor):
                raise TypeError(f"SGD: expected parameters, got {type(p).__name__}; pass model.parameters()")
        if not (isfinite(learning_rate) and learning_rate > 0):
            raise ValueError(f"SGD: learning_rate must be positive and finite, got {learning_rate}")
        self.learning_rate = learning_rate

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its .grad.

        Raises RuntimeError, before any update, if a parameter has no gradient.
        """
        for i, p in enumerate(self.params):
            if p.grad is None:
                raise RuntimeError(
                    f"SGD: parameter {i}, of shape {tuple(p.shape)}, has no gradient; "
                    "call backward on every layer of the model before step"
                )
        for p in self.params:
            p.sub_(p.grad, alpha=self.learning_rate)

    def zero_grad(self) -> None:
        """Forget the gradients: .grad is None until the next backward, as in torch.optim."""
        for p in self.params:
            p.grad = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Make ``backward(-learning_rate * delta)`` the whole step: no zero_grad, no step, no gradient in memory.

        Backward is linear in delta, so from -learning_rate * delta it adds -learning_rate * dL/dp to p.grad.
        While this context is open p.grad *is* p, so that sum is the update.
        """
        for p in self.params:
            p.grad = p.detach()
        try:
            yield
        finally:
            self.zero_grad()
