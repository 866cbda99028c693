"""The checks of question 3: a two-layer network, with its boxes and its example in theory/."""

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import softplus

from printed import flat, grad, hold_in, printed, proves, randn, real, worked, works


def cross_entropy(z, y):
    return -(y * torch.softmax(z, 0).log()).sum()


def softmax(z, y, v):
    """The names of Q3 and Q7 for the logits z, a target y and any v, with autograd's derivatives."""
    yh, yh_z = torch.softmax(z, 0), jacobian(lambda z: torch.softmax(z, 0), z)
    gradient, H = grad(lambda z: cross_entropy(z, y), z), hessian(lambda z: cross_entropy(z, y), z)
    names = {"z": z, "y": y, "v": v, r"\yh": yh, r"\dd{\yh}{z}": yh_z, r"\Var_{\yh}(v)": yh @ (v - yh @ v) ** 2}
    names |= {r"\nabla_zL": gradient, r"\dd{L}{z}": gradient, r"\dd{L}{z_2}": gradient, r"\dd{L}{\yh}": -y / yh}
    return names | {"H": H, r"\one": torch.ones(len(z))}


def softmaxes():
    for K in range(2, 22):
        z, y = 2 * randn(K), torch.softmax(randn(K), 0)
        yield softmax(z, y, randn(K)) | {"L": flat(lambda z, y=y: cross_entropy(z, y))}, dict.fromkeys("ijk", K)


hold_in(softmaxes, "softmax-jacobian", "softmax-ce-grad")


def two_layers(x, y, m, *parameters, a=0.1):
    """The question's names for the network, with autograd's derivatives; x may be a column, or a matrix of rows."""
    W1, b1, W2, b2 = (p.clone().requires_grad_() for p in parameters)
    z1 = x @ W1.T + b1
    h = torch.nn.functional.leaky_relu(z1, a)
    d = m * h
    z2 = d @ W2.T + b2
    L = -(y * torch.log_softmax(z2, -1)).sum()
    names = {"W_1": W1, "b_1": b1, "W_2": W2, "b_2": b2, "z_1": z1, "h": h, "d": d, "z_2": z2}
    names |= {rf"\dd{{L}}{{{by}}}": torch.autograd.grad(L, v, retain_graph=True)[0] for by, v in names.items()}
    names |= {r"\delta_1": names[r"\dd{L}{z_1}"], r"\delta_2": names[r"\dd{L}{z_2}"]}
    names |= {"x": x, "y": y, "m": m, "a": a, "L": L, r"\yh": torch.softmax(z2, -1)}
    return names | {r"\varphi": lambda z: np.where(z > 0, z, a * z), r"\varphi'": lambda z: np.where(z > 0, 1.0, a)}


def network(D, U, K, *rows):
    """Random inputs (D or *rows, D), one-hot targets, masks of dropout with p = 0.1, and weights."""
    targets, mask = torch.eye(K).double()[torch.randint(K, rows)], (torch.rand(*rows, U) >= 0.1).double() / 0.9
    return two_layers(randn(*rows, D), targets, mask, randn(U, D), randn(U), randn(K, U), randn(K))


hold_in(
    lambda: ((network(D, 21 - D, K),) for D, K in zip(range(1, 21), 5 * [2, 3, 5, 9], strict=True)),
    *("mlp-grad-w2", "mlp-grad-w1"),
)


@proves("mlp-batch-grad")
def mlp_batch_grad():
    names = network(5, 7, 4, 9)
    rows = {"X": "x", "A": "d", "M": "m", "Z_1": "z_1", r"\Delta_1": r"\delta_1", r"\Delta_2": r"\delta_2"}
    printed("mlp-batch-grad", names | {matrix: names[one] for matrix, one in rows.items()})


@proves("mlp-mask-mean")
def mlp_mask_mean():
    for w, h, as_printed in (1.0, 1.0, 0.92), (1.0, -1.0, 1.03), (2.0, 0.3, None), (-0.4, 1.5, None):
        h = torch.tensor(h, dtype=torch.float64)  # the loss of z_2 = (wmh, 0) and the target (1, 0) is softplus(-wmh)
        zero, one, kept = (grad(lambda h, w=w, m=m: softplus(-w * m * h), h) for m in (0, 1, 1 / 0.9))
        draws = [(0.1, {r"\dd{L}{h}": zero}), (0.9, {r"\dd{L}{h}": kept})]
        names = {"w": w, "h": h, r"\dd{L}{h}|_{m=1}": one}
        names |= {"m": 0.7, "L": softplus(-0.7 * w * h)}
        printed("mlp-mask-mean", names, draws=draws)
        assert not as_printed or (0.9 * kept / one).item() == pytest.approx(as_printed, abs=0.005)


@works("two-layers")
def two_layers_example():
    x, y, m = real(1, 2), real(0, 0, 1), real(1, 1, 0) / 0.9
    W1 = real([1, 0], [1, -1], [0, 1])
    W2 = real([0.9 * np.log(2), 0, 1], [0, -9 * np.log(2), 0], [0, 0, -1])
    names = two_layers(x, y, m, W1, real(0, 0, 0), W2, real(0, 0, 0))
    worked("two-layers", names | {"p": 0.1})
