"""Seeds, the loops and the trainer; every promise of their docstrings and every bad input."""

import copy
import random
import warnings
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.data import DataLoader, TensorDataset

import losses
import train_utils
from layers import DropoutLayer, FCLayer, MeanOnlyBatchNormLayer, ReLULayer, SigmoidLayer, SimpleMLP, add_grad
from losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, above
from optim import SGD
from train_utils import BatchLoader, SimpleMLPTrainer, evaluate, set_seed, train, train_one_epoch
from train_utils import test as print_test_accuracy


def toy_data(n: int = 96, seed: int = 0, dtype: torch.dtype = torch.float32) -> TensorDataset:
    """Three well-separated classes in six dimensions, one-hot labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    X = 0.5 * torch.randn(n, 6, generator=generator) + 4 * nn.functional.one_hot(labels, 6)
    return TensorDataset(X.to(dtype), nn.functional.one_hot(labels, 3).to(dtype))


def toy_model(seed: int = 0, fc: type[FCLayer] = FCLayer) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(fc(6, 16), ReLULayer(), FCLayer(16, 3))


def toy_training(model: nn.Module, num_epoch: int = 10, criterion=None, optimizer=None, **options) -> nn.Module:
    torch.manual_seed(1)
    optimizer = optimizer or SGD(model.parameters(), 0.1)
    loader = BatchLoader(toy_data(dtype=next(model.parameters()).dtype), 16, shuffle=True)
    return train(model, criterion or MSELoss(), optimizer, loader, num_epoch, "cpu", verbose=False, **options)


# -------------------------------------------------------------------------------------------------- loops


OURS = MSELoss(), CrossEntropyLoss(), L1Loss(), BCEWithLogitsLoss()


@pytest.mark.parametrize("criterion", [*OURS, nn.MSELoss(), nn.CrossEntropyLoss(), F.mse_loss])
@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_training_by_hand_is_training_by_autograd(criterion, optimizer):
    """Our losses and any other criterion; a nested model; our SGD and torch's."""
    torch.manual_seed(0)
    inner = nn.Sequential(SigmoidLayer(), nn.Sequential(FCLayer(16, 8), ReLULayer()))
    by_hand = nn.Sequential(FCLayer(6, 16), MeanOnlyBatchNormLayer(16), inner, FCLayer(8, 3)).double()
    by_autograd = copy.deepcopy(by_hand)
    toy_training(by_hand, 4, criterion, optimizer(by_hand.parameters(), 0.1))
    reference = torch.optim.SGD(by_autograd.parameters(), 0.1)
    batches = BatchLoader(toy_data(dtype=torch.float64), 16, shuffle=True)
    torch.manual_seed(1)
    for _ in range(4):
        for X, targets in batches:
            reference.zero_grad()
            criterion(by_autograd(X), targets).backward()
            reference.step()
    for p, q in zip(by_hand.state_dict().values(), by_autograd.state_dict().values(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)


class BrokenFCLayer(FCLayer):
    def backward(self, delta, **options):
        return super().backward(-delta, **options)


def test_the_hand_written_backward_is_what_trains(monkeypatch):
    good = toy_training(toy_model()).history
    assert good["train_accuracy"][-1] == 1
    broken_subclass = toy_training(toy_model(fc=BrokenFCLayer)).history
    assert broken_subclass["train_loss"][-1] > 1.1 * good["train_loss"][-1]
    monkeypatch.setattr(ReLULayer, "backward", lambda self, delta: 0 * delta)
    broken_relu = toy_training(toy_model()).history
    assert broken_relu["train_loss"][-1] > 1.1 * good["train_loss"][-1]


def test_step_and_zero_grad_are_what_trains(monkeypatch):
    """Break either, and training breaks."""
    good = toy_training(toy_model()).history["train_loss"][-1]
    monkeypatch.setattr(warnings, "warn", lambda *arguments, **options: None)
    for name, broken in [
        ("step", lambda self: [p.data.add_(p.grad, alpha=self.learning_rate) for p in self.params]),
        ("step", lambda self: None),
        ("zero_grad", lambda self: None),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(SGD, name, broken)
            try:
                assert toy_training(toy_model()).history["train_loss"][-1] > 1.5 * good
            except FloatingPointError:
                assert name == "step"


# ---------------------------------------------------------------------------- the gradient that nobody needs


def input_grads_while_training(model, layers):
    """needs_input_grad of the layers at each of the six steps of an epoch."""
    seen = []

    class Watching(SGD):
        def step(self):
            seen.append([layer.needs_input_grad for layer in layers])
            super().step()

    toy_training(model, 1, optimizer=Watching(model.parameters(), 0.1))
    return seen


def test_the_first_layer_skips_its_input_gradient_and_only_during_training():
    model = toy_model()
    assert input_grads_while_training(model, model) == [[False, True, True]] * 6
    assert all(layer.needs_input_grad for layer in model)
    X, targets = toy_data().tensors
    with torch.no_grad():
        MSELoss()(model(X), targets)
        model[0].needs_input_grad = False
        assert model[0].backward(torch.ones(96, 16)) is None
        model[0].needs_input_grad = True

    def interrupted(outputs, targets):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_training(model, 1, interrupted)
    assert model[0].needs_input_grad and model[0].backward(torch.ones(16, 16)).shape == (16, 6)


def test_below_the_first_parameters_no_gradient_is_computed(monkeypatch):
    def unneeded(self, delta):
        raise AssertionError("nobody needs this gradient")

    for layer in DropoutLayer, ReLULayer:
        monkeypatch.setattr(layer, "backward", unneeded)
    fc = FCLayer(6, 3)
    model = nn.Sequential(DropoutLayer(0.5), nn.Sequential(ReLULayer(), fc))
    assert input_grads_while_training(model, [fc]) == [[False]] * 6 and fc.needs_input_grad


class AsksForIt(FCLayer):
    """A subclass that works on what FCLayer's backward returns, and does not know that it may be None."""

    def backward(self, delta):
        return 1 * super().backward(delta)


class Plain(nn.Module):
    """A layer without our base class, which assigns .grad instead of adding to it."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(6, 16) / 4)

    def forward(self, X):
        self.X = X
        return X @ self.W

    def backward(self, delta):
        self.W.grad = self.X.T @ delta
        return delta @ self.W.T


@pytest.mark.parametrize("first", [lambda: AsksForIt(6, 16), Plain, lambda: MeanOnlyBatchNormLayer(6)])
def test_a_first_layer_that_does_not_know_how_to_skip_works(first):
    torch.manual_seed(0)
    first = first()
    model = nn.Sequential(first, ReLULayer(), FCLayer(6 if isinstance(first, MeanOnlyBatchNormLayer) else 16, 3))
    assert toy_training(model).history["train_accuracy"][-1] > 0.9


# -------------------------------------------------------------- criteria that depend on more than the outputs


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_a_penalty_on_the_weights_is_trained_as_by_autograd(optimizer):
    results = []
    for by_hand in True, False:
        model = toy_model().double()

        def penalised(outputs, targets, model=model):
            return F.mse_loss(outputs, targets) + 1e-2 * sum((p**2).sum() for p in model.parameters())

        sgd = optimizer(model.parameters(), 0.1)
        if by_hand:
            toy_training(model, 3, penalised, sgd)
        else:
            torch.manual_seed(1)
            for _ in range(3):
                for X, targets in BatchLoader(toy_data(dtype=torch.float64), 16, shuffle=True):
                    sgd.zero_grad()
                    penalised(model(X), targets).backward()
                    sgd.step()
        results.append([*model.parameters()])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


class Scaled(nn.Module):
    """A criterion with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, outputs, targets):
        return F.mse_loss(self.scale * outputs, targets)


def test_parameters_of_the_criterion_are_trained_even_alone():
    criterion, batches = Scaled(), [(torch.ones(8, 3), torch.ones(8, 3))]
    train_one_epoch(nn.Sequential(ReLULayer()), criterion, SGD(criterion.parameters(), 0.1), batches, "cpu")
    assert criterion.scale.item() == pytest.approx(2 - 0.1 * 2)  # d/ds (s - 1)^2 = 2 at s = 2


def test_a_plain_dataloader_gives_the_same_training():
    results = []
    for loader in (BatchLoader, DataLoader):
        model = toy_model()
        torch.manual_seed(1)
        batches = loader(toy_data(), batch_size=16, shuffle=True)
        train(model, nn.MSELoss(), SGD(model.parameters(), 0.1), batches, 3, "cpu", verbose=False)
        results.append(model.history)
    assert results[0] == results[1]


def test_history_and_printed_lines(capsys):
    model = toy_model()
    loader = BatchLoader(toy_data(), 16)
    returned = train(
        model, nn.MSELoss(), SGD(model.parameters(), 0.1), loader, np.int64(3), "cpu", test_dataloader=loader
    )
    assert returned is model
    keys = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    assert {key: len(values) for key, values in model.history.items()} == dict.fromkeys(keys, 3)
    lines = capsys.readouterr().out.splitlines()
    loss, accuracy = model.history["train_loss"][2], model.history["train_accuracy"][2]
    assert lines[2] == f"Epoch [3] Average training loss: {loss:.4f}, Average training accuracy: {accuracy:.4f}"


def test_measuring_the_test_set_does_not_change_the_training():
    watched = nn.Sequential(FCLayer(6, 16), ReLULayer(), DropoutLayer(0.5), FCLayer(16, 3))
    alone = copy.deepcopy(watched)
    toy_training(watched, 4, test_dataloader=BatchLoader(toy_data(30, seed=9), 10))
    toy_training(alone, 4)
    assert watched.history["train_loss"] == alone.history["train_loss"]


def test_modes_are_left_right(capsys):
    model = toy_training(nn.Sequential(FCLayer(6, 16), DropoutLayer(0.5), FCLayer(16, 3)), 1)
    assert model.training
    loader = BatchLoader(toy_data(), 16)
    accuracy = print_test_accuracy(model, loader, "cpu")
    assert model.training and accuracy == print_test_accuracy(model, loader, "cpu")  # no noise was drawn
    model.eval()
    print_test_accuracy(model, loader, "cpu")
    assert not model.training
    train_one_epoch(model, MSELoss(), SGD(model.parameters(), 0.1), loader, "cpu")
    assert model.training  # put there by the loop itself, so that dropout drops
    assert capsys.readouterr().out.splitlines()[0] == f"The test accuracy is {accuracy:.4f}."
    bad_loader = BatchLoader(TensorDataset(torch.ones(4, 5), torch.ones(4, 3)), 4)
    model.train()
    with pytest.raises(ValueError):
        print_test_accuracy(model, bad_loader, "cpu")
    assert model.training


def test_evaluate_agrees_with_the_definition():
    data, model = toy_data(50), toy_model()
    outputs = model(data.tensors[0])
    loss, accuracy = evaluate(model, nn.MSELoss(), BatchLoader(data, 16), "cpu")
    assert loss == pytest.approx(((outputs - data.tensors[1]) ** 2).mean().item(), rel=1e-5)
    assert accuracy == (outputs.argmax(1) == data.tensors[1].argmax(1)).double().mean().item()


def test_a_single_output_is_decided_at_one_half_or_at_logit_0():
    batch = torch.tensor([[-1.0], [0.2], [0.7], [2.0]]), torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    for criterion, accuracy in (nn.MSELoss(), 0.75), (MSELoss(), 0.75), (nn.BCEWithLogitsLoss(), 1):
        assert print_test_accuracy(nn.Identity(), [batch], "cpu", criterion) == accuracy
    for threshold, accuracy in (0, 1), (0.5, 0.75), (1, 0.5):
        assert print_test_accuracy(nn.Identity(), [batch], "cpu", correct=above(threshold)) == accuracy
        assert evaluate(nn.Identity(), nn.MSELoss(), [batch], "cpu", correct=above(threshold))[1] == accuracy
    with pytest.raises(ValueError, match="where does class 1 begin"):
        print_test_accuracy(nn.Identity(), [batch], "cpu")
    model = nn.Sequential(FCLayer(1, 1))
    train(model, F.mse_loss, SGD(model.parameters(), 0.1), [batch], 1, "cpu", correct=above(9), verbose=False)
    assert model.history["train_accuracy"] == [0.25]


def test_no_accuracy_is_made_up():
    """Labels (N,) for an output (N, 1) are refused, not broadcast; several labels a row, or a regression, are no
    classes."""
    with pytest.raises(ValueError, match=r"expected \(50, 1\)"):
        print_test_accuracy(nn.Identity(), [(torch.zeros(50, 1), torch.zeros(50))], "cpu", correct=above(0.5))
    two_labels = [(torch.randn(4, 3), torch.tensor([[1.0, 1.0, 0.0]] * 4))]
    assert np.isnan(print_test_accuracy(nn.Identity(), two_labels, "cpu"))
    assert np.isnan(evaluate(nn.Identity(), MSELoss(), two_labels, "cpu")[1])


@pytest.mark.parametrize(
    ("correct", "got"),
    [
        (lambda o, t: (o > 0) == (t > 0.5), r"\(torch.bool, 4, 3\)"),
        (lambda o, t: torch.ones(5) > 0, r"\(torch.bool, 5\)"),
        (lambda o, t: torch.tensor(True), r"\(torch.bool,\)"),
        (lambda o, t: torch.full((4,), 2.0), r"\(torch.float32, 4\)"),
        (lambda o, t: 3, "int"),
    ],
)
def test_what_correct_must_return(correct, got):
    batch, model = (torch.randn(4, 6), torch.eye(4)[:, :3]), toy_model()
    for run in (
        lambda: evaluate(model, MSELoss(), [batch], "cpu", correct=correct),
        lambda: train_one_epoch(model, MSELoss(), SGD(model.parameters(), 0.1), [batch], "cpu", correct=correct),
    ):
        with pytest.raises(ValueError, match=f"True or False for each of 4 rows, got {got}"):
            run()


@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}, {"weight": torch.tensor([1.0, 5.0, 0.5])}], ids=str)
def test_averages_over_batches_are_those_of_all_data(options):
    """Examples count, not batches; ignored and weighted ones as in the criterion's own mean."""
    torch.manual_seed(0)
    X, targets = torch.randn(30, 3), torch.randint(3, (30,))
    criterion, batches = nn.CrossEntropyLoss(**options), [*zip(X.split(8), targets.split(8), strict=True)]
    expected = float(criterion(X, targets))
    assert evaluate(nn.Identity(), criterion, batches, "cpu")[0] == pytest.approx(expected, rel=1e-6)
    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3))
        model.bias.zero_()
    trainer = SimpleMLPTrainer(model, criterion, torch.optim.SGD(model.parameters(), 1e-12))
    assert trainer.train(batches, 1, verbose=False)[0] == pytest.approx(expected, rel=1e-6)


def test_set_seed_repeats_every_stream():
    draws = []
    for _ in range(2):
        set_seed(7)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


# --------------------------------------------------------------------------------------- bad input to train


@pytest.mark.parametrize(
    ("bad", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("3", TypeError), (True, TypeError)]
)
def test_number_of_epochs(bad, error):
    with pytest.raises(error, match="num_epoch must be"):
        toy_training(toy_model(), bad)
    with pytest.raises(error, match="num_epochs must be"):
        toy_trainer(nn.MSELoss()).train([(torch.ones(2, 4), torch.ones(2, 1))], bad)


def test_seeds():
    for bad, error in (-1, ValueError), (2**32, ValueError), (1.5, TypeError), ("1", TypeError), (True, TypeError):
        with pytest.raises(error, match="seed must be"):
            set_seed(bad)
    set_seed(np.int64(2**32 - 1))


def test_empty_loaders():
    model = toy_model()
    no_data = TensorDataset(torch.ones(0, 6), torch.ones(0, 3))
    for loader in ([], DataLoader(no_data, 4)):
        with pytest.raises(ValueError, match="the loader is empty"):
            train(model, nn.MSELoss(), SGD(model.parameters(), 0.1), loader, 1, "cpu")
        with pytest.raises(ValueError, match="the loader is empty"):
            print_test_accuracy(model, loader, "cpu")
        with pytest.raises(ValueError, match="the loader is empty"):
            SimpleMLPTrainer(model, nn.MSELoss(), SGD(model.parameters(), 0.1)).train(loader, 1, verbose=False)
    with pytest.raises(ValueError, match="the dataset is empty"):
        BatchLoader(no_data, 4)


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_a_diverging_loss_stops_at_once(optimizer):
    model = toy_model()
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf): is the learning rate too large"):
        toy_training(model, 50, optimizer=optimizer(model.parameters(), 1e6))


@pytest.mark.parametrize("what", ["inputs X", "targets"])
def test_data_that_are_not_finite_are_named_before_the_learning_rate(what):
    X, targets = torch.ones(2, 6), torch.eye(3)[:2]
    (X if what == "inputs X" else targets)[1, 2] = torch.nan
    model = toy_model()
    for run in (
        lambda: evaluate(model, nn.MSELoss(), [(X, targets)], "cpu"),
        lambda: train_one_epoch(model, nn.MSELoss(), SGD(model.parameters(), 0.1), [(X, targets)], "cpu"),
        lambda: SimpleMLPTrainer(model, nn.MSELoss(), SGD(model.parameters(), 0.1)).train([(X, targets)], 1),
    ):
        with pytest.raises(FloatingPointError, match=f"the {what} of a batch have nan or inf in them"):
            run()
    if what == "inputs X":
        with pytest.raises(FloatingPointError, match="inputs X"):
            print_test_accuracy(model, [(X, targets)], "cpu")


def root_of_mse(outputs, targets):
    return F.mse_loss(outputs, targets).sqrt()


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
@pytest.mark.parametrize("rate", [0.1, 2e38])
def test_weights_that_the_last_step_spoils(optimizer, rate):
    """The square root of a loss that reaches 0 has an infinite slope; a rate may overflow."""
    by_hand, by_autograd = nn.Sequential(FCLayer(2, 1)), nn.Sequential(nn.Linear(2, 1))
    for p in [*by_hand.parameters(), *by_autograd.parameters()]:
        p.data.fill_(0 if rate == 0.1 else 1)
    batches = [(torch.ones(2, 2), torch.zeros(2, 1))]
    criterion = root_of_mse if rate == 0.1 else lambda o, t: 100 * F.mse_loss(o, t)
    for run in (
        lambda: train(by_hand, criterion, optimizer(by_hand.parameters(), rate), batches, 1, "cpu", correct=above(0.5)),
        lambda: SimpleMLPTrainer(by_autograd, criterion, optimizer(by_autograd.parameters(), rate)).train(batches, 1),
    ):
        with pytest.raises(FloatingPointError, match=r"the last step has left nan or inf in 0\.(W|weight)"):
            run()


# --------------------------------------------------------------------------- trainings that change nothing


class OwnOptimizer:
    """As a student writes it, with the parameters under a name of his own."""

    def __init__(self, weights, rate=0.1):
        self.weights, self.rate = weights, rate

    def step(self):
        for W in self.weights:
            W -= self.rate * W.grad

    def zero_grad(self):
        for W in self.weights:
            W.grad = None


def test_an_optimizer_of_ones_own():
    model = toy_model()
    assert toy_training(model, optimizer=OwnOptimizer(list(model.parameters()))).history["train_accuracy"][-1] == 1


@pytest.mark.parametrize("group", [False, True])
def test_an_optimizer_that_keeps_the_generator(group):
    """It is empty after one pass."""
    model = toy_model()
    optimizer = OwnOptimizer(model.parameters())
    if group:
        optimizer.param_groups, optimizer.weights = [{"params": optimizer.weights}], []
    with pytest.raises(TypeError, match=r"OwnOptimizer\.(weights|params) is a generator, empty after one pass"):
        toy_training(model, optimizer=optimizer)


def test_an_optimizer_that_steps_once_and_one_that_does_not():
    model = toy_model()
    once = OwnOptimizer(filter(torch.is_tensor, model.parameters()))
    with pytest.warns(RuntimeWarning, match="no parameter has changed in this epoch"):
        toy_training(model, 2, optimizer=once)
    never = torch.optim.SGD(model.parameters(), 0.0)
    with pytest.warns(RuntimeWarning, match="is the learning rate large enough"):
        toy_training(model, 1, optimizer=never)
    trainer = toy_trainer(nn.MSELoss(), learning_rate=0.0)
    X, y = toy_classes(10)
    with pytest.warns(RuntimeWarning, match="no parameter has changed"):
        trainer.train([(X, column(y))], 1, verbose=False)


class Accumulating(SGD):
    """A step for every four batches, in epochs of six."""

    batches = 0

    def step(self):
        self.batches += 1
        if self.batches % 4 == 0:
            super().step()

    def zero_grad(self):
        if self.batches % 4 == 0:
            super().zero_grad()


@pytest.mark.filterwarnings("error")
def test_an_optimizer_that_accumulates_and_a_gradient_of_zero_are_fine():
    model = toy_model()
    before = model[0].W.clone()
    toy_training(model, 2, optimizer=Accumulating(model.parameters(), 0.1))
    assert not torch.equal(model[0].W, before)
    toy_training(model, 1, lambda outputs, targets: 0 * outputs.sum())


class Forgetful(FCLayer):
    """Its backward forgets dL/dW."""

    def backward(self, delta):
        add_grad(self.b, delta.sum(0, keepdim=True))
        return delta @ self.W.T


def test_a_layer_that_forgets_its_gradient():
    model = toy_model(fc=Forgetful)
    with pytest.raises(RuntimeError, match=r"0\.W has no gradient: backward must add to its \.grad"):
        toy_training(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(RuntimeError, match=r"a parameter of shape \(6, 16\) has no gradient"):
        toy_training(model)


class ListOfLayers(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers, self.last = layers, FCLayer(16, 3)

    def forward(self, X):
        return self.last(X)

    def backward(self, delta):
        return self.last.backward(delta)


@pytest.mark.parametrize(
    "layers", [[FCLayer(6, 16)], (ReLULayer(),), {"first": [FCLayer(6, 16)]}], ids=["list", "tuple", "nested"]
)
def test_a_plain_list_of_layers_is_not_registered(layers):
    model = ListOfLayers(layers)
    for whole in model, nn.Sequential(model):
        with pytest.raises(TypeError, match=r"ListOfLayers\.layers is a plain .* does not register"):
            toy_training(whole)
        with pytest.raises(TypeError, match="does not register"):
            SimpleMLPTrainer(whole, nn.MSELoss(), None)
        with pytest.raises(TypeError, match="does not register"):
            evaluate(whole, nn.MSELoss(), BatchLoader(toy_data(), 16), "cpu")
    again = ListOfLayers(nn.ModuleList([FCLayer(6, 16)]))
    again.all = [*again.layers, again.last]  # a second name for what is registered
    train_utils.prepare(again, MSELoss(), SGD(again.parameters(), 0.1))


def test_tied_weights_get_the_gradients_of_both_layers():
    models = [nn.Sequential(FCLayer(6, 6), SigmoidLayer(), FCLayer(6, 6)).double() for _ in range(2)]
    for model in models:
        model[2].W = model[0].W
    models[1].load_state_dict(models[0].state_dict())
    X, T = torch.randn(2, 8, 6, dtype=torch.float64)
    train_one_epoch(models[0], MSELoss(), SGD(models[0].parameters(), 0.1), [(X, T)], "cpu")
    F.mse_loss(models[1](X), T).backward()
    torch.optim.SGD(models[1].parameters(), 0.1).step()
    torch.testing.assert_close([*models[0].parameters()], [*models[1].parameters()], rtol=1e-12, atol=0)


# ------------------------------------------------------------------------- models that cannot be trained by hand


class Residual(nn.Sequential):
    def forward(self, X):
        return X + super().forward(X)


def changed(change):
    model = nn.Sequential(FCLayer(6, 3))
    change(model[0])
    return model


def hook(*_):
    return None


BAD_MODELS = {
    "no backward": (lambda: nn.Sequential(FCLayer(6, 3), nn.ReLU()), TypeError, r"ReLU has no backward"),
    "residual": (lambda: nn.Sequential(Residual(FCLayer(6, 6))), TypeError, "Residual has no backward"),
    "frozen": (lambda: changed(lambda layer: layer.b.requires_grad_(False)), ValueError, "requires_grad=False"),
    "pruned": (lambda: changed(lambda layer: prune.l1_unstructured(layer, "W", 0.5)), ValueError, "pruning"),
    "parametrized": (lambda: changed(lambda layer: parametrizations.orthogonal(layer, "W")), ValueError, "parametri"),
    "a hook": (lambda: changed(lambda layer: layer.register_forward_hook(hook)), ValueError, "has a hook"),
    "a backward hook": (lambda: changed(lambda fc: fc.register_full_backward_hook(hook)), ValueError, "has a hook"),
    "before it": (lambda: changed(lambda fc: fc.register_full_backward_pre_hook(hook)), ValueError, "has a hook"),
    "another forward": (lambda: changed(lambda layer: setattr(layer, "forward", hook)), ValueError, "another"),
    "compiled": (lambda: changed(lambda layer: layer.compile()), ValueError, "compiled forward"),
    "torch.compile": (lambda: torch.compile(toy_model()), TypeError, "no backward.* without torch.compile or jit"),
    "jit": (lambda: torch.jit.trace(toy_model(), torch.ones(2, 6)), TypeError, "without torch.compile or jit"),
    "twice": (lambda: nn.Sequential(*[nn.Sequential(FCLayer(6, 6))] * 2), ValueError, "a layer is used twice"),
    "a class": (lambda: SimpleMLP, TypeError, "must be an object .* got class SimpleMLP"),
    "a list": (lambda: [FCLayer(6, 3)], TypeError, r"such as nn.Sequential\(...\), got list"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_models_that_the_hand_written_backward_cannot_train(name):
    make, error, message = BAD_MODELS[name]
    with pytest.raises(error, match=message):
        train(make(), MSELoss(), SGD(FCLayer(6, 3).parameters(), 0.1), BatchLoader(toy_data(), 16), 1, "cpu")


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_an_optimizer_of_another_model(optimizer):
    model, other = toy_model(), optimizer(toy_model().parameters(), 0.1)
    with pytest.raises(ValueError, match="4 of the optimizer's 4 parameters are not the model's"):
        toy_training_with(model, other)
    with pytest.raises(ValueError, match="Make it after the model"):
        SimpleMLPTrainer(model, MSELoss(), other).train(BatchLoader(toy_data(), 16), 1, verbose=False)


def toy_training_with(model, optimizer):
    return train(model, MSELoss(), optimizer, BatchLoader(toy_data(), 16), 1, "cpu", verbose=False)


def test_an_optimizer_of_the_model_and_something_else():
    """By hand nothing else gets a gradient; by autograd it may."""
    model, other = toy_model(), nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD([*model.parameters(), other], 0.1)
    with pytest.raises(ValueError, match="1 of the optimizer's 5 parameters"):
        toy_training_with(model, optimizer)

    def criterion(outputs, targets):
        return F.mse_loss(other * outputs, targets)

    SimpleMLPTrainer(model, criterion, optimizer).train(BatchLoader(toy_data(), 16), 1, verbose=False)
    assert other != 1


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (toy_data(), r"expected batches \(X, targets\), got TensorDataset; use BatchLoader"),
        (toy_data().tensors[0], r"batch 1: expected two tensors \(X, targets\), got Tensor"),
        ([(torch.ones(8, 6),)], "batch 1: .* got Tensor"),
        ([(np.ones((8, 6)), np.ones((8, 3)))], "batch 1: .* got ndarray, ndarray"),
        ([(torch.ones(8, 6), torch.ones(7, 3))], r"batch 1: X of shape \(8, 6\), but targets of \(7, 3\)"),
    ],
)
def test_things_that_are_no_batches(loader, message):
    model = toy_model()
    for run in (
        lambda: train(model, MSELoss(), SGD(model.parameters(), 0.1), loader, 2, "cpu", verbose=False),
        lambda: evaluate(model, MSELoss(), loader, "cpu"),
        lambda: SimpleMLPTrainer(model, MSELoss(), SGD(model.parameters(), 0.1)).train(loader, 2, verbose=False),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            run()


def test_a_generator_gives_one_epoch_whole_and_no_second():
    model, batches = toy_model(), []

    def watched(data):
        for X, targets in BatchLoader(data, 16):
            batches.append(len(X))
            yield X, targets

    sgd = SGD(model.parameters(), 0.1)
    with pytest.raises(TypeError, match="generator gives its batches once, not 2 times"):
        train(model, MSELoss(), sgd, watched(toy_data()), 2, "cpu")
    with pytest.raises(TypeError, match="once, not 2 times"):
        train(model, MSELoss(), sgd, BatchLoader(toy_data(), 16), 2, "cpu", test_dataloader=watched(toy_data()))
    with pytest.raises(TypeError, match="once, not 2 times"):
        SimpleMLPTrainer(model, MSELoss(), sgd).train(watched(toy_data()), 2, verbose=False)
    assert batches == []
    train(model, MSELoss(), sgd, watched(toy_data()), 1, "cpu", verbose=False)
    assert batches == [16] * 6


def test_a_bad_call_leaves_the_history_of_a_good_one():
    model = toy_training(toy_model(), 2)
    before = copy.deepcopy(model.history)
    for bad in (
        dict(criterion=nn.MSELoss),
        dict(optimizer=None, num_epoch=0),
        dict(optimizer=SGD(toy_model().parameters(), 1)),
    ):
        with pytest.raises((TypeError, ValueError)):
            toy_training(model, **bad)
    assert model.history == before


def test_autocast_is_named():
    with torch.autocast("cpu", torch.bfloat16):
        for run in toy_training, lambda model: evaluate(model, MSELoss(), BatchLoader(toy_data(), 16), "cpu"):
            with pytest.raises(ValueError, match=r"leave out torch\.autocast"):
                run(toy_model())


def test_a_compiled_model_is_trained_by_autograd():
    model = torch.compile(SimpleMLP(6, 8, 3), backend="eager")
    trainer = SimpleMLPTrainer(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), 0.1))
    losses = trainer.train(BatchLoader(toy_data(), 16), 3, verbose=False)
    assert losses[-1] < losses[0] and trainer.evaluate(BatchLoader(toy_data(), 16))[0] < losses[0]


def test_doubles_for_a_network_of_floats():
    batch = torch.ones(4, 6, dtype=torch.float64), torch.ones(4, 3)
    for model in toy_model(), SimpleMLP(6, 4, 3):
        with pytest.raises(TypeError, match=r"X is torch.float64, .* use X\.to\(torch\.float32\)"):
            evaluate(model, MSELoss(), [batch], "cpu")
    trainer = SimpleMLPTrainer(model, MSELoss(), torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(TypeError, match=r"X is torch.float64, .* use X\.to\(torch\.float32\)"):
        trainer.train([batch], 1, verbose=False)


def test_parts_keep_their_modes():
    model = nn.Sequential(DropoutLayer(0.5), FCLayer(6, 3))
    model[0].eval()
    evaluate(model, MSELoss(), BatchLoader(toy_data(), 16), "cpu")
    assert [part.training for part in model.modules()] == [True, False, True]


def test_a_layer_left_out_of_the_optimizer_stays_as_it_was():
    model = toy_model()
    before = copy.deepcopy(model.state_dict())
    toy_training(model, 2, optimizer=SGD(model[2].parameters(), 0.1))
    assert torch.equal(model[0].W, before["0.W"]) and not torch.equal(model[2].W, before["2.W"])


# ---------------------------------------------------------------------------------------------- the trainer


def column(y):
    return y[:, None].float()


def one_hot(y):
    return nn.functional.one_hot(y, 2).float()


def plus_minus(y):
    return 2 * one_hot(y) - 1


# name: criterion, outputs, last layer, targets from class indices
LOSSES = {
    "L1": (nn.L1Loss(), 1, None, column),
    "MSE": (nn.MSELoss(), 1, None, column),
    "Huber": (nn.HuberLoss(), 1, None, column),
    "BCE": (nn.BCELoss(), 1, nn.Sigmoid, column),
    "BCEWithLogits": (nn.BCEWithLogitsLoss(), 1, None, column),
    "MSE, ours": (MSELoss(), 1, None, column),
    "CrossEntropy, ours": (CrossEntropyLoss(), 2, None, torch.Tensor.long),
    "NLL": (nn.NLLLoss(), 2, nn.LogSoftmax(dim=1), torch.Tensor.long),
    "CrossEntropy": (nn.CrossEntropyLoss(), 2, None, torch.Tensor.long),
    "CrossEntropy, one-hot": (nn.CrossEntropyLoss(), 2, None, one_hot),
    "KLDiv": (nn.KLDivLoss(reduction="batchmean"), 2, nn.LogSoftmax(dim=1), one_hot),
    "CosineEmbedding": (losses.CosineEmbeddingLoss(), 2, None, plus_minus),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def toy_classes(n=100):
    set_seed(0)
    y = torch.arange(n) % 2
    return torch.randn(n, 4) + 3 * column(y), y


def toy_trainer(criterion, outputs=1, last=None, learning_rate=0.01):
    set_seed(1)
    model = SimpleMLP(4, 8, outputs, last_layer_activation_fn=last)
    return SimpleMLPTrainer(model, criterion, torch.optim.Adam(model.parameters(), lr=learning_rate))


@every_loss
def test_every_loss_learns_a_separable_toy_set(name):
    criterion, outputs, last, targets = LOSSES[name]
    X, y = toy_classes()
    trainer = toy_trainer(criterion, outputs, last, learning_rate=0.05)
    loader = BatchLoader(TensorDataset(X, targets(y)), 20, shuffle=True)
    before, _ = trainer.evaluate(loader)
    losses = trainer.train(loader, 8, verbose=False)
    after, accuracy = trainer.evaluate(loader)
    assert len(losses) == 8 and losses[-1] < losses[0] and after < before
    assert accuracy > 97


def test_percent_and_modes():
    X, y = toy_classes(30)
    trainer = toy_trainer(nn.MSELoss())
    loss, fraction = evaluate(trainer.model, nn.MSELoss(), [(X, column(y))], "cpu")
    assert trainer.evaluate([(X, column(y))]) == (loss, 100 * fraction)
    trainer.model.eval()
    trainer.train([(X, column(y))], 1, verbose=False)
    assert trainer.model.training
    trainer.evaluate([(X, column(y))])
    assert trainer.model.training


def test_training_is_that_of_a_plain_loop():
    X, y = toy_classes(60)
    ours, theirs = toy_trainer(nn.MSELoss()), toy_trainer(nn.MSELoss())
    losses = ours.train([(X[:40], column(y[:40])), (X[40:], column(y[40:]))], 3, verbose=False)
    for _ in range(3):
        total = 0.0
        for rows in slice(0, 40), slice(40, 60):
            theirs.optimizer.zero_grad()
            loss = ((theirs.model(X[rows]) - column(y[rows])) ** 2).mean()
            loss.backward()
            theirs.optimizer.step()
            total += loss.item() * len(X[rows]) / 60
    assert losses[-1] == pytest.approx(total, rel=1e-6)
    for p, q in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_batches_are_moved_to_the_device_of_the_model():
    trainer, (X, y) = toy_trainer(nn.MSELoss()), toy_classes(8)
    options = [dict(shape=t.shape, dtype=t.dtype, **{"to.return_value": t}) for t in (X, column(y))]
    batch = [MagicMock(spec=torch.Tensor, **option) for option in options]
    for run in lambda: trainer.train([batch], 1, verbose=False), lambda: trainer.evaluate([batch]):
        run()
        for part in batch:
            part.to.assert_called_once_with(torch.device("cpu"))
            part.to.reset_mock()


def test_every_epoch_has_a_bar_and_under_it_its_loss(capsys):
    X, y = toy_classes(10)
    losses = toy_trainer(nn.MSELoss()).train([(X, column(y))], 2)
    shown = capsys.readouterr()
    assert "Epoch 1/2: 100%" in shown.err and "Epoch 2/2: 100%" in shown.err
    assert shown.out.splitlines() == [f"Epoch {i}/2, Loss: {loss:.4f}" for i, loss in enumerate(losses, start=1)]


def test_a_second_training_has_losses_of_its_own():
    X, y = toy_classes(10)
    trainer = toy_trainer(nn.MSELoss())
    first = trainer.train([(X, column(y))], 3, verbose=False)
    second = trainer.train([(X, column(y))], 2, verbose=False)
    assert len(first) == 3 and len(second) == 2 and trainer.losses == second
