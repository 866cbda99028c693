"""The checks of question 4: the Jacobian of the gradient, with its boxes and its example in theory/."""

import sympy
import torch
from torch.autograd.functional import hessian, jacobian

from printed import close, grad, pinned, proves, randn, real, worked, works


def F(x):
    return torch.sin(x[0] * x[1]) + torch.exp(x[2]) * x[0] ** 2 - x[1] ** 3 * x[2]


def second_differences(f, x, h=1e-4):
    """The Hessian from values of f alone."""
    steps = h * torch.eye(len(x), dtype=torch.float64)
    rows = [[f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b) for b in steps] for a in steps]
    return torch.stack([torch.stack(row) for row in rows]) / (4 * h * h)


@proves("jacobian-of-gradient")
def jacobian_of_gradient():
    pinned("jacobian-of-gradient", r"J_{\nabla F} = H = H\T\qquad(F\in C^2;\ 3\times3)")
    for _ in range(20):
        x = randn(3)
        J = jacobian(lambda x: jacobian(F, x, create_graph=True), x)
        assert J.shape == (3, 3)
        close(J, second_differences(F, x), 1e-6)
        close(J, J.T)


def peano_mixed():
    """(d_2 d_1 F, d_1 d_2 F) at the origin; F is 0 on both axes, so its first derivatives there are limits."""
    x_1, x_2, rho = sympy.symbols("x_1 x_2 rho", real=True)
    F = x_1 * x_2 * (x_1**2 - x_2**2) / (x_1**2 + x_2**2)
    assert F.subs(x_1, 0) == 0 and F.subs(x_2, 0) == 0
    F_1, F_2 = (sympy.limit(F.subs(x, rho) / rho, rho, 0) for x in (x_1, x_2))
    assert sympy.simplify(F_1 + x_2) == 0 and sympy.simplify(F_2 - x_1) == 0
    return F_1.diff(x_2), F_2.diff(x_1)


@proves("peano")
def peano():
    pinned("peano", r"\partial_2\partial_1F(0,0) = -1 \ne +1 = \partial_1\partial_2F(0,0)")
    assert peano_mixed() == (-1, 1)


@proves("hessian-vector")
def hessian_vector():
    pinned("hessian-vector", r"Hv = \frac{d}{d\rho}\,\nabla F(x+\rho v)\Big|_{\rho=0}")
    for _ in range(20):
        x, v = randn(3), randn(3)
        _, along = torch.autograd.functional.jvp(lambda x: jacobian(F, x, create_graph=True), x, v)
        close(along, hessian(F, x) @ v)


@works("hessian")
def hessian_example():
    def F(x):
        return x[0] * x[1] ** 2 + torch.exp(x[2])

    x, v = real(2, 3, 0), real(1, 1, 0)
    J = jacobian(lambda x: jacobian(F, x, create_graph=True), x)
    names = {"x": x, "v": v, "F": F(x), r"\nablaF": grad(F, x), r"J_{\nablaF}": J}
    names |= {"H": second_differences(F, x).round(decimals=3), "x_1": 2, "x_2": 3, "x_3": 0, r"\rho": 0}
    worked("hessian", names)
