"""FusedSGD trains as SGD does, without dL/dW in memory, and refuses where it could not be right."""

import copy
import pickle

import pytest
import torch
from torch import nn

from data_utils import BatchLoader
from fused import FusedFCLayer, FusedSGD
from layers import (
    DropoutLayer,
    FCLayer,
    Layer,
    LeakyReLULayer,
    MeanOnlyBatchNormLayer,
    ReLULayer,
    SigmoidLayer,
    backward,
)
from losses import CrossEntropyLoss, MSELoss
from optim import SGD
from train_utils import SimpleMLPTrainer, set_seed, train, train_one_epoch


def digits(n=90, dtype=torch.float64):
    return torch.utils.data.TensorDataset(
        torch.randn(n, 12, dtype=dtype), torch.eye(4, dtype=dtype)[torch.arange(n) % 4]
    )


def network():
    hidden = [FCLayer(12, 9), MeanOnlyBatchNormLayer(9), LeakyReLULayer(0.1), DropoutLayer(0.2)]
    return nn.Sequential(nn.Sequential(*hidden), FCLayer(9, 7), ReLULayer(), FCLayer(7, 4)).double()


class Scaled(FCLayer):
    """A student's layer: it trains in the plain way."""

    def forward(self, X):
        return super().forward(2 * X)

    def backward(self, delta):
        return 2 * super().backward(delta)


class Residual(Layer):
    """Y = X + inner(X)."""

    def __init__(self, in_place=False):
        super().__init__()
        self.inner, self.in_place = FCLayer(9, 9), in_place

    def forward(self, X):
        return X + self.inner(X)

    def backward(self, delta):
        through = self.inner.backward(delta)
        return delta.add_(through) if self.in_place else delta + through


def with_a_students_layer():
    layers = [Scaled(12, 9), ReLULayer(), Residual(), SigmoidLayer(), FCLayer(9, 4)]
    return nn.Sequential(*layers).double()


def penalty(model):
    return lambda Y, T: (Y - T).square().mean() + 0.1 * sum(p.square().sum() for p in model.parameters())


def trained(make, optimizer, criterion=lambda model: MSELoss(), epochs=3, through=train_one_epoch):
    """The parameters after a few epochs, from the same random numbers."""
    set_seed(0)
    model = make()
    optimizer, criterion = optimizer(model), criterion(model)
    for _ in range(epochs):
        through(model, criterion, optimizer, BatchLoader(digits(), 16, shuffle=True), "cpu")
    return [p.detach().clone() for p in model.parameters()]


def by_trainer(model, criterion, optimizer, loader, device):
    SimpleMLPTrainer(model, criterion, optimizer).train(loader, 1, verbose=False)


def plain(model):
    return SGD(model.parameters(), 0.3)


def fused(model):
    return FusedSGD(model, 0.3)


@pytest.mark.parametrize("make", [network, with_a_students_layer])
@pytest.mark.parametrize("criterion", [lambda model: MSELoss(), lambda model: CrossEntropyLoss(), penalty])
def test_the_same_numbers_as_sgd_to_rounding(make, criterion):
    start = trained(make, fused, criterion, epochs=0)
    expected, got = (trained(make, optimizer, criterion) for optimizer in (plain, fused))
    for p, q, p0 in zip(expected, got, start, strict=True):
        torch.testing.assert_close(q, p, rtol=1e-11, atol=1e-13)
        assert len(p) == 1 or not torch.allclose(p, p0, atol=1e-3)  # (a bias before centring never moves)


def one_backward(model, criterion, X, T):
    with torch.no_grad():
        criterion(model(X), T)
        backward(model, criterion.backward())


def test_the_gradient_of_a_weight_matrix_is_never_stored_but_its_factors_are_right():
    model, (X, T) = network(), digits(16)[:]
    model.eval()
    optimizer = fused(model)
    optimizer.zero_grad()
    one_backward(model, MSELoss(), X, T)
    layers = [layer for layer in model.modules() if isinstance(layer, FCLayer)]
    assert all(type(layer) is FCLayer and layer.W.grad is None for layer in layers)
    loss = (model(X) - T).square().mean()
    for layer, dW in zip(layers, torch.autograd.grad(loss, [layer.W for layer in layers]), strict=True):
        kept, delta = layer.W.factors
        torch.testing.assert_close(kept.T @ delta, dW, rtol=1e-11, atol=1e-13)
    optimizer.step()
    assert not any(hasattr(p, "factors") for p in model.parameters())


@pytest.mark.parametrize(
    "order",
    [
        "zero, backward, backward, step",
        "zero, backward, zero, backward, step",
        "backward, step, zero, backward, step, zero, backward, step",
    ],
)
def test_any_order_of_calls_is_that_of_sgd(order):
    parameters = []
    for make in plain, fused:
        set_seed(0)
        model, criterion, (X, T) = with_a_students_layer(), MSELoss(), digits(40)[:]
        optimizer, batches = make(model), zip(X.split(8), T.split(8), strict=True)
        calls = {"zero": optimizer.zero_grad, "step": optimizer.step}
        calls["backward"] = lambda: one_backward(model, criterion, *next(batches))  # noqa: B023
        for call in order.split(", "):
            calls[call]()
        parameters.append([p.detach().clone() for p in model.parameters()])
    for p, q in zip(*parameters, strict=True):
        torch.testing.assert_close(q, p, rtol=1e-12, atol=1e-14)


def test_a_layer_that_changes_a_kept_factor_is_refused_before_any_update():
    def in_place():
        return nn.Sequential(FCLayer(12, 9), Residual(in_place=True), FCLayer(9, 4)).double()

    trained(in_place, plain)  # where the product is computed at once this is right
    with pytest.raises(RuntimeError, match="changed in place between backward and step; change a copy"):
        trained(in_place, fused)


def tied():
    layers = [part for _ in range(3) for part in (FCLayer(9, 9), SigmoidLayer())]
    model = nn.Sequential(FCLayer(12, 9), SigmoidLayer(), *layers, FCLayer(9, 4)).double()
    model[2].W = model[4].W = model[6].W
    return model


def test_layers_that_share_a_weight_matrix_add_their_gradients():
    expected, got = (trained(tied, optimizer) for optimizer in (plain, fused))
    for p, q in zip(expected, got, strict=True):
        torch.testing.assert_close(q, p, rtol=1e-11, atol=1e-13)


def torch_sgd(model):
    return torch.optim.SGD(model.parameters(), 0.3)


@pytest.mark.parametrize("second", [plain, torch_sgd, fused])
@pytest.mark.parametrize("copied", [lambda model: model, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("interrupted", ["before backward", "in backward", "before step"])
def test_after_an_interrupted_training_any_optimizer_begins_anew(interrupted, copied, second):
    def made(first):
        model, criterion, (X, T) = network(), MSELoss(), digits(16)[:]
        first(model).zero_grad()
        with torch.no_grad():
            criterion(model(X), T)
            last = {"before backward": 0, "in backward": 2, "before step": len(model)}[interrupted]
            if last:
                backward(list(model)[-last:], criterion.backward())
        X.zero_()  # what an interrupted training has kept does not matter any more
        return copied(model)

    expected, got = (trained(lambda first=first: made(first), second) for first in (plain, fused))
    for p, q in zip(expected, got, strict=True):
        torch.testing.assert_close(q, p, rtol=1e-11, atol=1e-13)


def test_a_second_optimizer_finds_the_layers_that_the_first_has_left_armed():
    model, (X, T) = network(), digits(16)[:]
    fused(model).zero_grad()
    optimizer = fused(model)
    for _ in range(2):
        optimizer.zero_grad()
        one_backward(model, MSELoss(), X, T)
    assert all(layer.W.grad is None for layer in model.modules() if isinstance(layer, FCLayer))


def test_sgd_does_not_step_from_factors():
    model, (X, T) = network(), digits(16)[:]
    fused(model).zero_grad()
    one_backward(model, MSELoss(), X, T)
    with pytest.raises(RuntimeError, match=r"shape \(12, 9\) has no gradient"):
        plain(model).step()


def test_sgd_and_autograd_train_the_same_model_afterwards():
    model = network()
    train(model, MSELoss(), fused(model), BatchLoader(digits(), 16), 1, "cpu", verbose=False)
    assert "Fused" not in str(model)
    for optimizer in plain(model), torch.optim.SGD(model.parameters(), 0.1), fused(model):
        before = copy.deepcopy(model)
        train_one_epoch(model, MSELoss(), optimizer, BatchLoader(digits(), 16), "cpu")
        assert not any(map(torch.equal, before.parameters(), model.parameters()))
    by_autograd = [trained(network, optimizer, through=by_trainer) for optimizer in (plain, fused)]
    for p, q in zip(*by_autograd, strict=True):
        torch.testing.assert_close(q, p, rtol=0, atol=0)


def test_a_part_of_a_model_is_trained_alone():
    model = network()
    before = copy.deepcopy(model)
    train_one_epoch(model, MSELoss(), FusedSGD(model[1:], 0.1), BatchLoader(digits(), 16), "cpu")
    assert torch.equal(model[0][0].W, before[0][0].W) and not torch.equal(model[1].W, before[1].W)
    assert model[0][0].W.grad is not None and model[1].W.grad is None


def test_bad_input_gets_a_clear_error():
    model = network()
    with pytest.raises(TypeError, match=r"must be an object such as nn.Sequential\(...\), got generator"):
        FusedSGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="learning_rate must be in"):
        FusedSGD(model, -0.1)
    optimizer = FusedSGD(model, 0.1)
    with pytest.raises(RuntimeError, match="has no gradient; call backward on every layer"):
        optimizer.step()
    optimizer.zero_grad()
    before = copy.deepcopy(list(model.parameters()))
    model[1](torch.randn(3, 9).double())
    model[1].backward(torch.randn(3, 7).double())
    with pytest.raises(RuntimeError, match=r"shape \(12, 9\) has no gradient"):
        optimizer.step()
    optimizer.zero_grad()  # forgets the factors of the layer that had its backward
    with pytest.raises(RuntimeError, match="has no gradient"):
        FusedSGD(model[1:2], 0.1).step()
    assert all(map(torch.equal, before, model.parameters()))
    armed = FusedFCLayer(3, 2)
    with pytest.raises(RuntimeError, match="backward before forward"):
        armed.backward(torch.ones(1, 2))
