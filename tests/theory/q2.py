"""The checks of question 2: batch normalisation, with its boxes and its example in theory/."""

from math import lgamma

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from evaluator import Values, evaluate, statements
from printed import BOXES, grad, hold_in, printed, proves, randn, real, size, worked, works


def mean_only(x, gamma, beta):
    return gamma * (x - x.mean()) + beta


def full(epsilon):
    """Batch normalisation with the variance."""
    return lambda x, gamma, beta: gamma * (x - x.mean()) / (x.var(correction=0) + epsilon).sqrt() + beta


def batch(x, gamma, beta, delta, normalised=mean_only):
    """The question's names for a batch, with the derivatives of delta^T y."""
    derivatives = jacobian(lambda *inputs: delta @ normalised(*inputs), (x, gamma, beta))
    names = {"x": x, r"\gamma": gamma, r"\beta": beta, r"\delta": delta, "y": normalised(x, gamma, beta), "N": len(x)}
    names |= {r"\mu": x.mean(), r"\hat\tau": x.std(correction=0), r"\hat x": normalised(x, 1.0, 0.0)}
    return names | {rf"\dd{{L}}{{{by}}}": d for by, d in zip(("x", r"\gamma", r"\beta"), derivatives, strict=True)}


def batches(normalised=mean_only, epsilon=0.0):
    """Random batches, with what autograd gives for the steps of the normalisations, too."""
    steps = {r"\hat x": lambda x: normalised(x, 1.0, 0.0), r"\hat\tau^2": lambda x: x.var(correction=0)}
    steps[r"\hat\tau_\epsilon"] = lambda x: (x.var(correction=0) + epsilon).sqrt()
    for n in range(2, 21):
        names = batch(randn(n), randn(()), randn(()), randn(n), normalised)
        names |= {rf"\dd{{{name}}}{{x}}": jacobian(step, names["x"]) for name, step in steps.items()}
        names |= {r"\dd{L}{y}": names[r"\delta"], r"\dd{y}{\hat x}": names[r"\gamma"] * torch.eye(n).double()}
        names |= {r"\epsilon": epsilon, r"\hat\tau_\epsilon": steps[r"\hat\tau_\epsilon"](names["x"])}
        yield names | {r"\one": torch.ones(n), "I": torch.eye(n)}, {"i": n, "j": n}


hold_in(batches, "bn-mean-only-grad", "bn-mean-only-params")


@proves("bn-noise-variance")
def bn_noise_variance():
    tau = 1.7
    for n in 2, 5, 20, 10_000:
        _, *a = grad(lambda x: mean_only(x, 1.0, 0.0)[0], randn(n)).tolist()  # x_hat_1 is affine in the other inputs
        names = {r"\Var(\hatx_i\midx_i)": tau**2 * np.dot(a, a), "N": n, r"\tau": tau}
        numerator = evaluate(statements(BOXES["bn-noise-variance"])[0][2], Values(names))
        assert numerator == pytest.approx(tau**2 * np.dot(a, a), rel=1e-12)
    printed("bn-noise-variance", names, slack=1e-6)


@proves("bn-noise-scale")
def bn_noise_scale():
    """The batch's tau^2 is a quadratic form x^T A x, of variance 2 tau^4 tr A^2 for Gaussian x; its root is a chi."""
    tau = 1.7
    for n in 2, 5, 20:
        A = hessian(lambda x: x.var(correction=0), randn(n)) / 2
        variance = 2 * tau**4 * (A @ A).trace().item()
        _, _, exact = statements(BOXES["bn-noise-scale"])[0]
        assert evaluate(exact, Values({"N": n, r"\tau": tau})) == pytest.approx(variance, rel=1e-10)
    n = 10_000
    chi_mean = np.exp(lgamma(n / 2) - lgamma((n - 1) / 2)) * (2 / n) ** 0.5  # of chi with n - 1 degrees, over root n
    names = {r"\Var(\hat\tau^2)": 2 * tau**4 * (n - 1) / n**2, "N": n, r"\tau": tau}
    names[r"\Var(\frac{\hat\tau}{\tau})"] = (n - 1) / n - chi_mean**2
    printed("bn-noise-scale", names, slack=1e-7)


@proves("bn-noise-penalty")
def bn_noise_penalty():
    for _ in range(20):
        y_d, w, x_bar, zeta, p = *randn(4).tolist(), 0.3  # two values with probabilities p and 1 - p, mean 0
        draws = [(p, {r"\zeta": zeta}), (1 - p, {r"\zeta": -p / (1 - p) * zeta})]
        printed("bn-noise-penalty", {"y_d": y_d, "w": w, r"\bar x": x_bar}, draws=draws)


@proves("bn-large-batch")
def bn_large_batch():
    gamma, mean = torch.tensor(1.3).double(), 0.4
    for n in 10_000, 100:
        x, delta = randn(n), mean + randn(n)
        gradient = batch(x, gamma, randn(()), delta)[r"\dd{L}{x}"]
        assert size(gradient, gamma * (delta - mean)) < 5 * gamma / n**0.5
        assert size(gradient, gamma * delta) > gamma * mean / 2, "not gamma delta, unless E[delta] = 0"
    names = batch(x, gamma, randn(()), delta - delta.mean() + mean)  # a batch whose mean is E[delta], as in the limit
    draws = [(0.25, {r"\delta": 4 * mean}), (0.75, {r"\delta": 0.0})]
    printed("bn-large-batch", names, {"i": n}, draws)


@proves("bn-batch-of-one")
def bn_batch_of_one():
    names = batch(randn(1), randn(()), randn(()), randn(1))
    first = {f"{name}_1": names[name] for name in ("x", r"\hat x", "y")} | {r"\dd{L}{x_1}": names[r"\dd{L}{x}"]}
    printed("bn-batch-of-one", first | {name: names[name] for name in (r"\mu", r"\beta", r"\dd{L}{\gamma}")})


@proves("bn-full-grad")
def bn_full_grad():
    for epsilon in 0.0, 0.1:
        for names, sizes in batches(full(epsilon), epsilon):
            printed("bn-full-grad", names, sizes)
            gradient = names[r"\dd{L}{x}"]
            assert abs(gradient.sum()) < 1e-9
            assert names["N"] == 2 or (abs(gradient @ names[r"\hat x"]) < 1e-9) == (epsilon == 0)


@works("batch-norm")
def batch_norm_example():
    x, gamma, beta, delta = real(1, 3), torch.tensor(2.0).double(), torch.tensor(1.0).double(), real(1, 0)
    names = batch(x, gamma, beta, delta)
    worked("batch-norm", names | {r"\epsilon": 0.0}, {"i": 2})
    assert batch(x, gamma, beta, delta, full(0.0))[r"\dd{L}{x}"].abs().max() < 1e-15
