"""The checks of question 7: softmax cross-entropy, with its boxes and its example in theory/."""

from itertools import pairwise, permutations

import torch
from torch.autograd.functional import hessian

from evaluator import statements
from printed import BOXES, close, given, hold_in, is_true, pinned, printed, proves, randn, real, worked, works
from q3 import cross_entropy, softmax, softmaxes

hold_in(softmaxes, "ce-grad", "ce-psd")


@proves("ce-hessian")
def ce_hessian():
    _, _, off_diagonal, _ = statements(BOXES["ce-hessian"])
    for names, sizes in softmaxes():
        printed("ce-hessian", names, sizes)
        for i, j in permutations(range(sizes["i"]), 2):
            assert is_true(off_diagonal, given(names).bind(i=i, j=j), 1e-12)
        draws = torch.eye(sizes["i"]).double() - names[r"\yh"]  # one-hot, less their mean
        close(draws.T @ (names[r"\yh"][:, None] * draws), names["H"])  # the covariance matrix


@proves("ce-null-space")
def ce_null_space():
    text = r"v\T Hv = 0 \iff v = \rho\one;\qquad \ker H = \operatorname{span}(\one),\quad \operatorname{rank}H = K-1"
    pinned("ce-null-space", text)
    for names, _ in softmaxes():
        H, smallest = names["H"], names[r"\yh"].min()
        assert (H @ torch.ones(len(H)).double()).abs().max() < 1e-14
        eigenvalues, vectors = torch.linalg.eigh(H)
        assert eigenvalues[0].abs() < 1e-12 and eigenvalues[1] >= smallest * (1 - 1e-6), "rank K - 1: interlacing"
        assert vectors[:, 0].std() < 1e-8


@proves("ce-lambda-max")
def ce_lambda_max():
    for names, _ in softmaxes():
        printed("ce-lambda-max", names)
    for z in real(0, 0), real(40, 40, 0, 0):
        H = hessian(lambda z: z.logsumexp(0), z)
        printed("ce-lambda-max", {"H": H}, tight=True)
        printed("ce-lambda-max", {"H": 0.9 * H})


@proves("ce-infimum")
def ce_infimum():
    pinned(
        "ce-infimum",
        r"y\text{ one-hot}:\quad \inf_zL = 0\ \text{ is not attained},\quad L > 0,"
        r"\ \text{ and } L(\rho y)\to0\ \text{ as } \rho\to\infty",
    )
    for K in range(2, 10):
        y = torch.eye(K, dtype=torch.float64)[0]
        values = [(torch.logsumexp(rho * y, 0) - rho).item() for rho in (0, 5, 10, 20, 30)]
        assert all(a > b > 0 for a, b in pairwise(values)) and values[-1] < 1e-11
        for _ in range(20):
            assert cross_entropy(5 * randn(K), y) > 0
    y = real(0.7, 0.2, 0.1)  # not one-hot: a minimum, attained, its entropy
    assert all(cross_entropy(z, y) > cross_entropy(y.log(), y) for z in randn(50, 3))


@proves("ce-convex-linear")
def ce_convex_linear():
    for K, D in (2, 3), (3, 2), (4, 5):
        x, y, W = randn(D), torch.softmax(randn(K), 0), randn(K * D)
        H_W = hessian(lambda W, x=x, y=y: cross_entropy(W.reshape(-1, len(x)) @ x, y), W)
        z = W.reshape(K, D) @ x
        printed("ce-convex-linear", softmax(z, y, z) | {"x": x, r"\nabla^2_WL": H_W})


@proves("ce-nonconvex-network")
def ce_nonconvex_network():
    pinned("ce-nonconvex-network", r"z = W_2\tanh(W_1x):\quad \lambda_{\min}(\nabla^2L) < 0\ \text{ at some weights.}")
    x, y = randn(3), torch.eye(2, dtype=torch.float64)[0]

    def loss(weights):
        W1, W2 = weights[:12].reshape(4, 3), weights[12:].reshape(2, 4)
        return cross_entropy(W2 @ torch.tanh(W1 @ x), y)

    at_zero = hessian(loss, torch.zeros(20, dtype=torch.float64))
    close(torch.linalg.eigvalsh(at_zero).min(), -(0.5 - y).norm() * x.norm())


@works("cross-entropy")
def cross_entropy_example():
    z, y = real(2, 1, 1).log(), real(0, 1, 0)
    worked("cross-entropy", softmax(z, y, real(1, 0, -1)) | {"L": cross_entropy(z, y)})
