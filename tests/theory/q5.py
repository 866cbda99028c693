"""The checks of question 5: noise on a linear neuron, with its boxes and its example in theory/."""

from itertools import product

import numpy as np
import torch
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import softplus

from printed import Remainder, flat, given, grad, hold_in, printed, proves, randn, real, size, worked, works


def neuron(w, x, y_d, noise):
    """The names for one of the equally likely draws of the noise, and all draws, with autograd's gradients."""

    def loss(w, nu):
        return 0.5 * (y_d - (nu * w * x).sum()) ** 2

    draws = [{r"\nu": nu, "J_1": loss(w, nu), r"\dd{J_1}{w}": jacobian(loss, (w, nu))[0]} for nu in noise]
    return {"w": w, "x": x, "y_d": y_d} | draws[1], [(1 / len(noise), given(draw).names) for draw in draws]


def neurons():
    """With independent noise 1 - s or 1 + s on each input, all 2^n draws: mean 1, variance s^2, exactly.

    These are also the nodes of Gauss-Hermite quadrature: the mean of a quadratic is that over N(1, s^2).
    """
    s = 0.7
    for n in range(1, 7):
        noise = 1 + s * torch.cartesian_prod(*n * [real(-1, 1)]).reshape(-1, n)
        names, draws = neuron(randn(n), randn(n), randn(()), noise)
        yield names | {"s": s}, {"i": n, "k": n}, draws


hold_in(neurons, "dropout-grad", "dropout-mean-loss", "dropout-mean-grad")


@proves("dropout-ridge")
def dropout_ridge():
    X, y, s2 = randn(30, 4), randn(30), 0.5

    def mean_loss(w):
        return (0.5 * (y - X @ w) ** 2 + s2 / 2 * (X**2 @ w**2)).sum()

    zero = torch.zeros(4, dtype=torch.float64)
    w = -torch.linalg.solve(hessian(mean_loss, zero), grad(mean_loss, zero))  # the minimum: mean_loss is quadratic
    printed("dropout-ridge", {"X": X, "y": y, "s": s2**0.5, "w^*": w})
    assert torch.linalg.eigvalsh(hessian(mean_loss, w)).min() > 0


@proves("dropout-bernoulli")
def dropout_bernoulli():
    for p in 0.1, 0.5, 0.9:
        nu = np.array([0.0, 1 / (1 - p)])
        variance = np.average(nu**2, weights=[p, 1 - p]) - np.average(nu, weights=[p, 1 - p]) ** 2
        printed("dropout-bernoulli", {"p": p, "s": variance**0.5, r"\Var\nu": variance})


@proves("dropout-scale-invariance")
def dropout_scale_invariance():
    X, y, s2, R = randn(30, 4), randn(30), 0.5, real(0.1, 1, 7, 100)

    def solution(X, plain=False):
        G = X.T @ X
        return torch.linalg.solve(G + s2 * (torch.eye(4).double() if plain else G.diag().diag()), X.T @ y)

    printed("dropout-scale-invariance", {"X": X, "R": R.diag(), "w^*": flat(solution)})
    assert size(X * R @ solution(X * R, plain=True), X @ solution(X, plain=True)) > 1e-3, "plain L2 is not invariant"


@proves("dropout-logistic")
def dropout_logistic():
    """Gauss-Hermite quadrature of the mean over z~ ~ N(z, s^2 sum w^2 x^2); the remainder is Taylor's, of order s^4."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
    w, x = real(0.5, -0.4, 0.3), real(0.6, 0.8, 0.5)
    z, spread2 = w @ x, (w**2 * x**2).sum()
    yh = torch.sigmoid(z)
    for s, y in product((0.1, 0.05, 0.025), (0.0, 1.0)):
        noisy = z + s * spread2.sqrt() * nodes
        exact = (weights * (softplus(noisy) - y * noisy)).sum() / weights.sum()
        names = {"z": z, "y": y, r"\yh": yh, "s": s, "w": w, "x": x, "O": Remainder(s**4)}
        names[r"\E[\softplus(\tildez)-y\tildez]"] = exact
        bound = 3 * s**4 * spread2.item() ** 2 / 24 / 8 + 1e-14  # the fourth derivative is at most 1/8
        printed("dropout-logistic", names, {"k": 3}, slack=bound)


@works("dropout")
def dropout_example():
    names, draws = neuron(real(1), real(2), 3.0, real([0], [2]))
    best = np.linspace(0, 2, 2001)
    mean_loss = sum(0.5 * 0.5 * (3 - nu * best * 2) ** 2 for nu in (0, 2))
    names |= {"p": 0.5, "s": np.std([0, 2]), "w^*": best[mean_loss.argmin()]}
    worked("dropout", names, draws=draws)
