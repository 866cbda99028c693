"""Every erratum of theory/errata.tex is one: what is written differs from the truth by the size printed, what is called
correct does not.

A check is entered under the label of its entry. ``size`` evaluates the first formula of both texts, as printed, on the
same numbers: the truth is on the left side. The numbers are fixed, so that the sizes are the same with every version of
torch. What the entries say in words, theory_words.txt keeps.
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from evaluator import each, statements
from printed import ERRATA, entered, formulas, given, grad, is_true, real, side
from q1 import Logistic
from q2 import batch, mean_only
from q3 import cross_entropy, softmax, two_layers
from q4 import peano_mixed
from q5 import neuron
from q6 import CUBIC

CHECKS = {}
erratum = partial(entered, CHECKS)


def evaluated(label, names, sizes=(), draws=None, **bound):
    """Enter an entry whose formulas have these values."""
    erratum(label)(partial(size, label, names, sizes, draws, **bound))


def numbers(*shape, start=1):
    """Fixed numbers between -1 and 1, in no order."""
    return torch.cos(2.3 * torch.arange(start, start + int(np.prod(shape)), dtype=torch.float64)).reshape(shape)


def first_statements(label):
    """Of what is written, and of what is correct."""
    return [statements(formulas(text)[0])[0] for text in ERRATA[label][1:3]]


def is_corrected(label, values):
    """The correct formula gives the truth, its left side."""
    _, correct = first_statements(label)
    assert len(correct) > 1 and is_true(correct, values, 1e-9, tight=True), f"{label}: the correction is wrong"


def size(label, names, sizes=(), draws=None, **bound):
    """The largest difference between what is written and the truth, in units of the largest number of either.

    The truth is the left side of both formulas. bound holds some indices fixed, the others run.
    """
    values = given(names, sizes, draws).bind(**bound)
    is_corrected(label, values)
    (left, relation, *rest), _ = first_statements(label)
    differences, scale = [], 0.0
    for v in each(values, left, *rest[::2]):
        true = side(left, v)
        for wrong in (side(text, v) for text in rest[::2]):
            differences.append(np.max(true - wrong if relation == r"\le" else np.abs(true - wrong)))
            scale = max(scale, np.abs(true).max(), np.abs(wrong).max())
    return max(differences) / scale


def relative(wrong, truth):
    return ((wrong - truth).abs().max() / max(wrong.abs().max(), truth.abs().max())).item()


P1 = Logistic(numbers(20, 3), (numbers(20, start=61) > 0).double(), torch.cat([numbers(3, start=90), real(0.3)]))
BEST = Logistic(P1.names["X"], P1.y, P1.minimum(torch.zeros(4)))
SLOPE = grad(lambda b: 1 - torch.sigmoid(P1.z[0] + b), torch.tensor(0.0).double())

evaluated("logistic-stationary-means-right", BEST.names, {"n": 20})
evaluated("logistic-sigmoid", P1.names, {"n": 20})
evaluated("logistic-lost-minus", {r"\yh": P1.yh, r"\dd{(1-\yh_n)}{b}": SLOPE}, n=0)
evaluated("logistic-sign", P1.names | {"x": P1.names["X"], r"\dd{E}{w}": P1.names[r"\nabla_wE"]}, {"n": 20, "j": 3})

TWO, THREE = torch.tensor(2.0).double(), torch.tensor(3.0).double()
SINGLE = batch(numbers(1), TWO, THREE, real(3))
MANY = batch(numbers(1000, start=5), TWO, THREE, 1 + mean_only(numbers(1000), 1.0, 0.0))  # the mean of delta is 1
CENTRING = jacobian(lambda x: mean_only(x, 1.0, 0.0), numbers(5))

evaluated("bn-index", {r"\dd{\hat x}{x}": CENTRING, "N": 5}, {"i": 5, "j": 5})
evaluated("bn-dropped-sum", MANY, {"i": 1000}, [(1.0, {r"\delta": 1.0})])
evaluated("bn-batch-of-one", {r"\dd{L}{x_1}": SINGLE[r"\dd{L}{x}"], r"\gamma": TWO, r"\delta_1": SINGLE[r"\delta"]})
evaluated("bn-mean-of-one", {r"\mu": SINGLE[r"\mu"], "x_1": SINGLE["x"]})

ONE_HOT = real(0, 1, 0, 0)
CE = softmax(2 * numbers(4), ONE_HOT, numbers(4, start=50))


@erratum("softmax-lost-factor")
def softmax_lost_factor():
    return max(size("softmax-lost-factor", CE, {"j": 4}, i=i, k=k) for i in range(4) for k in range(4) if i != k)


evaluated("softmax-no-sum", CE, {"i": 4, "k": 4})
evaluated("softmax-mixed-indices", CE, {"i": 4}, k=1)
evaluated("softmax-lost-target", CE)

W2 = numbers(4, 4, start=40)


@erratum("mlp-transpose")
def mlp_transpose():
    d = numbers(4, start=70)
    truth, yh = grad(lambda d: cross_entropy(W2 @ d, ONE_HOT), d), torch.softmax(W2 @ d, 0)
    names = {"W_2": W2, "y": ONE_HOT, r"\yh": yh, r"\dd{L}{d}": truth}
    is_corrected("mlp-transpose", given(names))
    with pytest.raises(ValueError, match="a product of shapes"):
        size("mlp-transpose", names)
    return relative(W2 @ yh, truth)


LEAK = grad(lambda z: torch.nn.functional.leaky_relu(z, 0.1), torch.tensor(-1.0).double())
KEEP = real(1, 0, 1)
MASKING = {r"\Lambda": KEEP, "m": KEEP / 0.9, r"\dd{d}{h}": jacobian(lambda h: KEEP / 0.9 * h, numbers(3))}

evaluated("mlp-relu", {r"\dd{h}{z}": LEAK, "a": 0.1})
evaluated("mlp-drop-probability", MASKING, {"j": 3})


@erratum("mlp-lost-factors")
def mlp_lost_factors():
    """yh for yh - y in W_2^T (yh - y) * m * phi' x^T, all else right: the gradient of yh^T z_2 with a constant yh."""

    def network(W1):
        x, mask, zero = numbers(3, start=7), real(1, 1, 0, 1) / 0.9, torch.zeros(4).double()
        return two_layers(x, ONE_HOT, mask, W1, zero, W2, zero)

    W1 = numbers(4, 3, start=20)
    names = network(W1)
    is_corrected("mlp-lost-factors", given(names))
    wrong = grad(lambda W1: names[r"\yh"].detach() @ network(W1)["z_2"], W1)
    return relative(wrong, names[r"\dd{L}{W_1}"])


@erratum("schwarz-unstated")
def schwarz_unstated():
    yx, xy = peano_mixed()
    return float(abs(yx - xy))


WEIGHTS = numbers(3), numbers(3, start=8), torch.tensor(0.7).double()
SIGNS = torch.cartesian_prod(*3 * [real(-1, 1)])
NEURON, DRAWS = neuron(*WEIGHTS, 1 + 0.7 * SIGNS)

evaluated("dropout-sign", NEURON, {"i": 3, "k": 3})
evaluated("dropout-no-mean", NEURON | {"s": 0.7}, {"i": 3}, DRAWS)
evaluated("l2-penalty", {r"\Omega": 0.1 * (WEIGHTS[0] @ WEIGHTS[0]), r"\lambda": 0.1, "w": WEIGHTS[0]}, {"j": 3})

evaluated("newton-minimises-f", CUBIC | {"x_t": 1.5, "x_{t+1}": 1.5 - 3.625 / 9.75})
evaluated("newton-one-quarter", {"x_t": 0.5, "x_{t+1}": 0.5 + 0.75, "x^*": 1.0, "B": 2.0, "c": 1.0})


def exponential(e, root):
    """f = exp(2 (x - root)) - 1, and the step from root + e."""
    f1, f2 = (lambda x: 2 * np.exp(2 * (x - root))), (lambda x: 4 * np.exp(2 * (x - root)))
    new = e - np.expm1(2 * e) / f1(root + e)
    steps = {"x_t": root + e, "e_t": e, "x_{t+1}": root + new, "e_{t+1}": new}
    return {"f": lambda x: np.expm1(2 * (x - root)), "f'": f1, "f''": f2, "x^*": root} | steps


evaluated("newton-series-as-equality", exponential(0.5, root=0.0))
evaluated("newton-dropped-term", exponential(1e-4, root=1.0))  # in units of e_t^2, in the limit: C = f'' / 2f' is 1


@erratum("newton-curvature-unstated")
def newton_curvature_unstated():
    """A stationary point of g = x^4 - x^2 that Newton finds from 0.1 is a maximum: g'' = -2."""
    x = 0.1
    for _ in range(20):
        x = x - (-2 * x + 4 * x**3) / (-2 + 12 * x**2)
    assert abs(x) < 1e-12, "converged to the maximum at 0"
    return abs(-2 + 12 * x**2)


FOUR = {"i": 4, "j": 4}
SOFT_CE = softmax(2 * numbers(4), torch.softmax(numbers(4, start=30), 0), numbers(4, start=50))

evaluated("ce-indices", CE, FOUR)
evaluated("ce-coefficient", SOFT_CE, FOUR)
evaluated("ce-dropped-diagonal", CE, FOUR)


@erratum("ce-strict")
def ce_strict():
    return 4 - torch.linalg.matrix_rank(CE["H"]).item()


@erratum("ce-conclusion")
def ce_conclusion():
    """With the diagonal 0.2 instead of 0.25 the same argument would call this form positive."""
    return -np.linalg.eigvalsh([[0.2, -0.25], [-0.25, 0.2]]).min()


@pytest.mark.parametrize("label", CHECKS)
def test_erratum(label):
    """Its correction is right, and its size is, to the digits printed."""
    *_, printed = ERRATA[label]
    half = 0.501 * 10.0 ** -len(printed.partition(".")[2])
    assert float(printed) == pytest.approx(CHECKS[label](), abs=half)


def test_every_erratum_has_a_check_and_every_check_an_erratum():
    assert set(ERRATA) == set(CHECKS) and len(CHECKS) > 25
