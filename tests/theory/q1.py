"""The checks of question 1: binary logistic regression, with its boxes and its example in theory/."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian
from torch.nn.functional import logsigmoid

from optim import Newton
from printed import flat, grad, hold_in, pinned, printed, proves, randn, real, worked, works


class Logistic:
    """E as in the question, as a function of the logits and of theta = (w, b), with autograd's derivatives at theta."""

    def __init__(self, X, y, theta, eta=0.01):
        ones = torch.ones(len(X), dtype=torch.float64)
        self.X_tilde, self.y, self.theta = torch.cat([X, ones[:, None]], dim=1), y, theta
        self.z = self.X_tilde @ theta
        self.yh = torch.sigmoid(self.z)
        self.gradient, self.H = grad(self.E, theta), hessian(self.E, theta)
        (w, b), (grad_w, grad_b) = ((t[:-1], t[-1]) for t in (theta, self.gradient))
        self.names = {"X": X, r"\tilde X": self.X_tilde, "y": y, r"\one": ones, r"\theta": theta, "w": w, "b": b}
        self.names |= {"z": self.z, r"\yh": self.yh, "E": self.E(theta), r"\nabla_wE": grad_w, r"\dd{E}{b}": grad_b}
        self.names |= {r"\eta": eta, "new w": w - eta * grad_w, "new b": b - eta * grad_b}
        self.names |= {"H": self.H, "S": hessian(self.loss, self.z)}
        self.sizes = {"n": len(X)}

    def loss(self, z):
        return -(self.y * logsigmoid(z) + (1 - self.y) * logsigmoid(-z)).sum()  # 1 - sigma(z) is sigma(-z)

    def E(self, theta):
        return self.loss(self.X_tilde @ theta)

    def newton_step(self, theta):
        return theta - torch.linalg.solve(hessian(self.E, theta), grad(self.E, theta))

    def minimum(self, start, **options):
        """Where Newton arrives."""
        functions = [flat(f) for f in (self.E, partial(grad, self.E), partial(hessian, self.E))]
        best, _ = Newton(lambda theta: tuple(f(theta) for f in functions), start.numpy(), **options)
        return torch.from_numpy(best)


def logistic(N, D):
    """Random data, and weights so small that S^-1 is not large."""
    return Logistic(randn(N, D), (torch.rand(N) < 0.5).double(), 0.3 * randn(D + 1))


def logistics():
    return (logistic(N, D) for N, D in zip(range(10, 30), 5 * [1, 2, 3, 4], strict=True))


hold_in(
    lambda: ((p.names, p.sizes) for p in logistics()),
    *("logistic-stable", "logistic-grad-w", "logistic-grad-b", "logistic-update"),
)


@proves("logistic-stationary")
def logistic_stationary():
    p = logistic(200, 3)
    best = Logistic(p.names["X"], p.y, p.minimum(torch.zeros(4), stop_tolerance=1e-5))
    assert best.gradient.norm() < 1e-5
    printed("logistic-stationary", best.names, p.sizes, slack=1e-5)
    printed("logistic-stationary", p.names, p.sizes, holds=False)
    assert (best.yh - p.y).abs().min() > 0.01, "stationary, though no prediction equals its target"


@proves("logistic-hessian")
def logistic_hessian():
    for p in logistics():
        printed("logistic-hessian", p.names, p.sizes)
        assert torch.linalg.eigvalsh(p.H).min() > 0, "random columns have full rank: strictly convex"
    eigenvalues = torch.linalg.eigvalsh(Logistic(torch.full((9, 2), 2.0).double(), torch.ones(9).double(), randn(3)).H)
    assert eigenvalues.min() > -1e-12 and eigenvalues[0].abs() < 1e-12, "equal columns: convex, but not strictly"


@proves("logistic-lipschitz")
def logistic_lipschitz():
    for p in logistics():
        attained = torch.linalg.eigvalsh(hessian(p.E, torch.zeros_like(p.theta))).max()  # at 0
        printed("logistic-lipschitz", p.names | {r"\ell": attained})
        theta, vartheta = 3 * randn(2, 20, len(p.theta))
        change = (torch.sigmoid(theta @ p.X_tilde.T) - torch.sigmoid(vartheta @ p.X_tilde.T)) @ p.X_tilde
        assert (change.norm(dim=1) <= attained * (theta - vartheta).norm(dim=1) * (1 + 1e-12)).all()


@proves("logistic-irls")
def logistic_irls():
    for p in logistics():
        printed("logistic-irls", p.names | {r"new \theta": p.newton_step(p.theta)})


@proves("logistic-irls-diverges")
def logistic_irls_diverges():
    x = real(1, 2, -1, 30)
    p = Logistic(x[:, None], real(1, 0, 0, 1), real(3, -2))
    names = {"x": x, "y": p.y, r"\theta_0": p.theta, r"\theta_2": p.newton_step(p.newton_step(p.theta))}
    printed("logistic-irls-diverges", names, slack=2e-3)
    damped = p.minimum(p.theta)
    assert grad(p.E, damped).norm() < 1e-10 and damped.norm() < 25, "there is a minimum"


@proves("logistic-separable")
def logistic_separable():
    pinned(
        "logistic-separable",
        r"(2y_n-1)z_n > 0\ \text{ for all }n:\quad "
        r"E(\rho w, \rho b) \to 0 = \inf E\ \text{ as }\rho\to\infty,\quad E > 0\ \text{everywhere}",
    )
    p = logistic(20, 2)
    p.y = (p.z > 0).double()
    nearest = p.z.abs().min()
    values = [p.E(rho * p.theta / nearest).item() for rho in (1, 3, 10, 30)]
    assert all(a > b > 0 for a, b in pairwise(values)) and values[-1] <= 20 * np.exp(-30) * (1 + 1e-9)
    assert all(p.E(theta) > 0 for theta in 3 * randn(100, 3))
    p = Logistic(real([1], [2], [3], [4]), real(0, 1, 0, 1), real(0, 0))  # not separable: a minimum
    w, b = p.minimum(p.theta)
    twice = Logistic(p.names["X"].repeat(1, 2), p.y, real(w, 0, b))  # equal columns: a whole line of minima
    for rho in -2, 0, 1.5:
        theta = real(w + rho, -rho, b)
        assert grad(twice.E, theta).norm() < 1e-8 and twice.E(theta) == pytest.approx(twice.E(twice.theta).item())


@works("logistic")
def logistic_example():
    p = Logistic(real([1], [-1]), real(1, 1), real(np.log(3), 0), eta=1)
    worked("logistic", p.names, p.sizes)
