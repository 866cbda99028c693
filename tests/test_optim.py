"""SGD against torch.optim.SGD, its in-place form against its plain form, and bad input."""

import pytest
import torch
from torch import nn

from optim import SGD


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def test_sgd_makes_the_steps_of_torch_optim_sgd():
    ours, theirs = small_model(), small_model()
    optimizers = SGD(ours.parameters(), 0.3), torch.optim.SGD(theirs.parameters(), 0.3)
    for step in range(20):
        torch.manual_seed(step)
        X, Y = torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            ((model(X) - Y) ** 2).mean().backward()
            optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_zero_grad_forgets_and_gradients_accumulate_without_it():
    p = nn.Parameter(torch.tensor([1.0]))
    sgd = SGD([p], 0.5)
    (2 * p).backward()
    (2 * p).backward()
    sgd.step()
    assert p.item() == 1 - 0.5 * 4
    sgd.zero_grad()
    assert p.grad is None


def test_in_place_adds_to_the_parameter_itself_and_leaves_no_gradient_behind():
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    sgd = SGD([p], 0.5)
    with sgd.in_place():
        p.grad.add_(torch.tensor([10.0, 20.0]))
    assert p.tolist() == [11.0, 22.0] and p.grad is None
    with pytest.raises(KeyError), sgd.in_place():
        raise KeyError
    assert p.grad is None


def test_a_parameter_with_no_gradient_stops_the_step_before_any_update():
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    p.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"parameter 1, of shape \(3,\), has no gradient"):
        SGD([p, q], 0.1).step()
    assert p.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf")])
def test_learning_rate_must_be_positive_and_finite(rate):
    with pytest.raises(ValueError, match="learning_rate must be positive and finite"):
        SGD(small_model().parameters(), rate)


def test_parameters_are_needed():
    with pytest.raises(ValueError, match="no parameters"):
        SGD(nn.ReLU().parameters(), 0.1)
    with pytest.raises(TypeError, match="one tensor"):
        SGD(torch.ones(3), 0.1)
    with pytest.raises(TypeError, match="got str"):
        SGD(["W"], 0.1)
