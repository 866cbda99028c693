"""Seeds, the loops and the trainer; every promise of their docstrings and every bad input."""

import copy
import inspect
import pickle
import random
from functools import partial, partialmethod
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
from accuracy import above
from layers import DropoutLayer, FCLayer, MeanOnlyBatchNormLayer, ReLULayer, SigmoidLayer, SimpleMLP
from losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss
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


CRITERIA = [
    MSELoss(),
    CrossEntropyLoss(),
    L1Loss(),
    BCEWithLogitsLoss(),
    nn.MSELoss(),
    nn.CrossEntropyLoss(),
    F.mse_loss,
]


@pytest.mark.parametrize("criterion", CRITERIA)
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


def test_no_autograd_graph_is_built(monkeypatch):
    """No layer and no loss of ours sees grad mode or an input that requires grad."""
    seen = []
    for cls in FCLayer, ReLULayer, MSELoss:
        for name in "forward", "backward":

            def watched(function, self, *inputs):
                seen.append(not torch.is_grad_enabled() and not any(t.requires_grad for t in inputs))
                return function(self, *inputs)

            monkeypatch.setattr(cls, name, partialmethod(partial(watched, getattr(cls, name))))
    toy_training(toy_model(), 1)
    assert len(seen) == 6 * 2 * 4 and all(seen)


def test_step_and_zero_grad_are_what_trains(monkeypatch):
    """Break either, and training breaks."""
    good = toy_training(toy_model()).history["train_loss"][-1]
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


def test_the_loop_is_the_printed_one():
    lines = [line.partition("  #")[0].strip() for line in inspect.getsource(train_one_epoch).splitlines()]
    printed = """outputs = model(X)
        loss = criterion(outputs, targets)
        optimizer.zero_grad()
        delta = criterion.backward()
        for layer in reversed(layers):
        delta = layer.backward(delta)
        optimizer.step()"""
    places = [lines.index(line.strip()) for line in printed.splitlines()]
    assert places == sorted(places)


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
    assert input_grads_while_training(model, model) == [[False, None, True]] * 6
    assert [layer.needs_input_grad for layer in model] == [True, None, True]

    def interrupted(outputs, targets):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_training(model, 1, interrupted)
    assert model[0].needs_input_grad


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


def test_a_criterion_with_parameters_of_its_own_is_trained_too():
    model, criterion = toy_model(), Scaled()
    optimizer = torch.optim.SGD([*model.parameters(), *criterion.parameters()], 0.1)
    toy_training(model, 1, criterion, optimizer)
    assert criterion.scale != 2


def test_a_plain_dataloader_gives_the_same_training():
    results = []
    for loader in (BatchLoader, DataLoader):
        model = toy_model()
        torch.manual_seed(1)
        batches = loader(toy_data(), batch_size=16, shuffle=True)
        train(model, nn.MSELoss(), SGD(model.parameters(), 0.1), batches, 3, "cpu", verbose=False)
        results.append(model.history)
    assert results[0] == results[1]


def test_class_indices_train_cross_entropy():
    data = toy_data()
    data = TensorDataset(data.tensors[0], data.tensors[1].argmax(1))
    model = toy_model()
    train(model, nn.CrossEntropyLoss(), SGD(model.parameters(), 0.1), BatchLoader(data, 16), 10, "cpu", verbose=False)
    assert model.history["train_accuracy"][-1] == 1


def test_history_and_printed_lines(capsys):
    model = toy_model()
    loader = BatchLoader(toy_data(), 16)
    returned = train(
        model, nn.MSELoss(), SGD(model.parameters(), 0.1), loader, np.int64(3), "cpu", test_dataloader=loader
    )
    assert returned is model
    assert {key: len(values) for key, values in model.history.items()} == dict.fromkeys(
        ["train_loss", "train_accuracy", "test_loss", "test_accuracy"], 3
    )
    lines = capsys.readouterr().out.splitlines()
    loss, accuracy = model.history["train_loss"][2], model.history["train_accuracy"][2]
    assert lines[2] == f"Epoch [3] Average training loss: {loss:.4f}, Average training accuracy: {accuracy:.4f}"


def test_the_average_loss_weighs_examples_not_batches():
    """40 examples in batches of 32 and 8: with a vanishing learning rate the average is that of the data set."""
    data, model = toy_data(40), toy_model()
    expected = nn.MSELoss()(model(data.tensors[0]), data.tensors[1]).item()
    loss, _ = train_one_epoch(model, nn.MSELoss(), SGD(model.parameters(), 1e-12), BatchLoader(data, 32), "cpu")
    assert loss == pytest.approx(expected, rel=1e-5)


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
    with pytest.raises(ValueError, match="where does class 1 begin"):
        train(
            model, lambda o, t: (o - t).square().mean(), SGD(model.parameters(), 0.1), [batch], 1, "cpu", verbose=False
        )
    train(
        model,
        torch.nn.functional.mse_loss,
        SGD(model.parameters(), 0.1),
        [batch],
        1,
        "cpu",
        correct=above(9),
        verbose=False,
    )
    assert model.history["train_accuracy"] == [0.25]


def test_no_accuracy_is_made_up():
    """Labels (N,) for an output (N, 1) are refused, not broadcast; several labels a row, or a regression, are no
    classes."""
    with pytest.raises(ValueError, match=r"expected \(50, 1\)"):
        print_test_accuracy(nn.Identity(), [(torch.zeros(50, 1), torch.zeros(50))], "cpu", correct=above(0.5))
    two_labels = [(torch.randn(4, 3), torch.tensor([[1.0, 1.0, 0.0]] * 4))]
    with pytest.raises(ValueError, match="the targets are no classes, so there is no accuracy"):
        print_test_accuracy(nn.Identity(), two_labels, "cpu")
    _, accuracy = evaluate(nn.Identity(), MSELoss(), two_labels, "cpu")
    assert np.isnan(accuracy)


@pytest.mark.parametrize(
    ("correct", "error", "message"),
    [
        (
            lambda o, t: (o > 0) == (t > 0.5),
            ValueError,
            r"a tensor \(N,\), which of N = 4 answers are right, got \(4, 3\)",
        ),
        (lambda o, t: torch.ones(5), ValueError, r"got \(5,\)"),
        (lambda o, t: torch.tensor(2), ValueError, r"got \(\)"),
        (lambda o, t: 3, TypeError, "correct must return a tensor, .* got int"),
        (
            lambda o, t: torch.full((4,), 2.0),
            TypeError,
            "correct must return True or False for each answer, got torch.float32",
        ),
        (0, TypeError, "the correct must be accuracy.largest"),
        (above, TypeError, r"called as \(outputs, targets\)"),
        (lambda o: o > 0, TypeError, r"called as \(outputs, targets\)"),
    ],
)
def test_what_correct_must_return(correct, error, message):
    batch = torch.randn(4, 6), torch.eye(4)[:, :3]
    model = toy_model()
    for run in (
        lambda: evaluate(model, MSELoss(), [batch], "cpu", correct=correct),
        lambda: train_one_epoch(model, MSELoss(), SGD(model.parameters(), 0.1), [batch], "cpu", correct=correct),
    ):
        with pytest.raises(error, match=message):
            run()


def test_class_indices_are_no_yeses():
    with pytest.raises(ValueError, match=r"above reads targets of the outputs' shape \(3, 3\), got \(3,\)"):
        evaluate(nn.Identity(), CrossEntropyLoss(), [(torch.eye(3), torch.arange(3))], "cpu", correct=above(0))


@pytest.mark.parametrize("options", [{"ignore_index": 1}, {"weight": torch.tensor([1.0, 5.0, 0.5])}], ids=str)
def test_averages_over_batches_are_those_of_all_data(options):
    """Ignored and weighted examples: what the criterion's own mean divides by."""
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


def test_a_batch_of_ignored_targets():
    batches = [(torch.eye(3), torch.full((3,), -100))]
    with pytest.raises(FloatingPointError, match="batch 1: the loss is nan; all of its targets are ignored"):
        evaluate(nn.Identity(), nn.CrossEntropyLoss(), batches, "cpu")


def test_ignored_targets_count_neither_in_the_loss_nor_in_the_accuracy():
    outputs, targets = 5 * torch.eye(4), torch.tensor([0, -100, 0, 3])
    batches = [(outputs[:2], targets[:2]), (outputs[2:], targets[2:])]
    loss, accuracy = evaluate(nn.Identity(), nn.CrossEntropyLoss(), batches, "cpu")
    assert accuracy == 2 / 3 and loss == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-6)


def test_set_seed_repeats_every_stream():
    draws = []
    for _ in range(2):
        set_seed(7)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


# --------------------------------------------------------------------------------------- bad input to train


def test_number_of_epochs():
    for bad in (0, -3):
        with pytest.raises(ValueError, match="num_epoch must be finite and at least 1"):
            toy_training(toy_model(), bad)
    for bad in (2.0, "3", None, True):
        with pytest.raises(TypeError, match="num_epoch must be an integer"):
            toy_training(toy_model(), bad)


def test_small_integers_of_numpy_are_whole_numbers():
    assert len(toy_training(toy_model(), np.uint8(255)).history["train_loss"]) == 255
    X, y = toy_classes(10)
    assert len(toy_trainer(nn.MSELoss()).train([(X, column(y))], np.int8(127), verbose=False)) == 127


def test_a_model_that_nothing_can_train():
    X, y = toy_classes(10)
    trainer = toy_trainer(nn.MSELoss())
    trainer.model.requires_grad_(False)
    with pytest.raises(RuntimeError, match="the loss depends on no parameter with requires_grad"):
        trainer.train([(X, column(y))], 1, verbose=False)


def test_images_for_a_simple_mlp():
    model = SimpleMLP(4, 8, 2)
    for wrong, error, message in [
        (
            torch.ones(3, 2, 2),
            ValueError,
            r"SimpleMLP: expected an input of shape \(N, 4\), got \(3, 2, 2\); use X.flatten",
        ),
        (torch.ones(3, 5), ValueError, r"got \(3, 5\)"),
        (
            torch.ones(3, 4).long(),
            TypeError,
            "expected a tensor of floating-point numbers, got torch.int64; use X.float",
        ),
        (np.ones((3, 4)), TypeError, "got ndarray"),
    ]:
        with pytest.raises(error, match=message):
            model(wrong)


def test_seeds():
    for bad, error in (-1, ValueError), (2**32, ValueError), (1.5, TypeError), ("1", TypeError), (True, TypeError):
        with pytest.raises(error, match="seed must be"):
            set_seed(bad)
    set_seed(np.int64(2**32 - 1))


def test_empty_loaders():
    model = toy_model()
    no_data = TensorDataset(torch.ones(0, 6), torch.ones(0, 3))
    for loader in ([], DataLoader(no_data, 4)):
        with pytest.raises(ValueError, match="the training loader is empty"):
            train(model, nn.MSELoss(), SGD(model.parameters(), 0.1), loader, 1, "cpu")
        with pytest.raises(ValueError, match="the loader is empty"):
            print_test_accuracy(model, loader, "cpu")
    with pytest.raises(ValueError, match="the dataset is empty"):
        BatchLoader(no_data, 4)


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 2)])
def test_targets_that_would_be_broadcast(shape):
    model, batches = toy_model(), [(torch.ones(8, 6), torch.ones(shape))]
    for criterion in nn.MSELoss(), MSELoss():
        with pytest.raises(ValueError, match=rf"\(8, 3\).*{str(shape)[1:-1]}"):
            train_one_epoch(model, criterion, SGD(model.parameters(), 0.1), batches, "cpu")
        with pytest.raises(ValueError, match=rf"\(8, 3\).*{str(shape)[1:-1]}"):
            evaluate(model, criterion, batches, "cpu")


def test_class_indices_for_an_elementwise_loss():
    model = toy_model()
    batch = torch.ones(3, 6), torch.tensor([0, 1, 2])  # three rows, three classes: this would broadcast silently
    with pytest.raises(TypeError, match=r"MSELoss needs floating-point targets of shape \(3, 3\), got torch.int64"):
        train_one_epoch(model, nn.MSELoss(), SGD(model.parameters(), 0.1), [batch], "cpu")


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_the_criterion_must_average(reduction):
    for criterion in nn.MSELoss(reduction=reduction), partial(F.mse_loss, reduction=reduction):
        for run in (
            lambda model, criterion: toy_training(model, 1, criterion),
            lambda model, criterion: evaluate(model, criterion, BatchLoader(toy_data(), 16), "cpu"),
            lambda model, criterion: SimpleMLPTrainer(model, criterion, None),
        ):
            with pytest.raises(ValueError, match=f"reduction='mean', got '{reduction}'"):
                run(toy_model(), criterion)


def test_a_loss_that_is_not_one_number():
    with pytest.raises(ValueError, match=r"must return one number, got shape \(16, 3\)"):
        toy_training(toy_model(), 1, torch.sub)


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_a_diverging_loss_stops_at_once_and_names_the_epoch(optimizer):
    model = toy_model()
    with pytest.raises(
        FloatingPointError, match=r"epoch \d+, batch \d+: the loss is (nan|inf); learning rate 1000000\.0"
    ):
        toy_training(model, 50, optimizer=optimizer(model.parameters(), 1e6))


def test_data_that_are_not_finite():
    for run in (
        lambda model, batches: evaluate(model, MSELoss(), batches, "cpu"),
        lambda model, batches: print_test_accuracy(model, batches, "cpu"),
    ):
        with pytest.raises(FloatingPointError, match="the outputs are not finite; are the data finite"):
            run(toy_model(), [(torch.full((2, 6), torch.nan), torch.eye(3)[:2])])


class Residual(nn.Sequential):
    def forward(self, X):
        return X + super().forward(X)


def with_(change, *layers):
    model = nn.Sequential(*layers)
    change(model[0])
    return model


class BackwardOfItsOwn(nn.Sequential):
    def backward(self, delta):
        return torch.full_like(delta, 7.0)


def test_a_sequential_with_a_backward_of_its_own_is_one_layer():
    model = nn.Sequential(BackwardOfItsOwn(FCLayer(6, 6)), FCLayer(6, 3))
    layers, _ = train_utils.prepare(model, MSELoss(), SGD(model.parameters(), 0.1))
    assert layers == [*model]


def test_a_hook_on_every_module():
    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        with pytest.raises(ValueError, match="has a hook"):
            toy_training(toy_model(), 1)
    finally:
        handle.remove()


def hook(*_):
    return None


BAD_MODELS = {
    "no backward": (lambda: nn.Sequential(FCLayer(6, 3), nn.ReLU()), TypeError, r"layer 1, ReLU\(\), has no backward"),
    "residual": (lambda: nn.Sequential(Residual(FCLayer(6, 6)), FCLayer(6, 3)), TypeError, "its forward is its own"),
    "whole residual": (lambda: Residual(FCLayer(6, 6)), TypeError, "its forward is its own"),
    "frozen": (
        lambda: with_(lambda layer: layer.b.requires_grad_(False), FCLayer(6, 3)),
        ValueError,
        "requires_grad=False has no effect",
    ),
    "pruned": (
        lambda: with_(lambda layer: prune.l1_unstructured(layer, "W", 0.5), FCLayer(6, 3)),
        ValueError,
        "what it computes is not what backward differentiates",
    ),
    "parametrized": (
        lambda: with_(lambda layer: parametrizations.orthogonal(layer, "W"), FCLayer(6, 3)),
        ValueError,
        "parametrization",
    ),
    "a hook": (lambda: with_(lambda layer: layer.register_forward_hook(hook), FCLayer(6, 3)), ValueError, "has a hook"),
    "a pre-hook": (
        lambda: with_(lambda layer: layer.register_forward_pre_hook(hook), FCLayer(6, 3)),
        ValueError,
        "has a hook",
    ),
    "a backward hook": (
        lambda: with_(lambda layer: layer.register_full_backward_hook(hook), FCLayer(6, 3)),
        ValueError,
        "has a hook",
    ),
    "another forward": (
        lambda: with_(lambda layer: setattr(layer, "forward", lambda X: X), FCLayer(6, 3)),
        ValueError,
        "a forward of its own",
    ),
    "empty": (nn.Sequential, ValueError, "an empty nn.Sequential"),
    "empty inside": (lambda: nn.Sequential(FCLayer(6, 3), nn.Sequential()), ValueError, "an empty nn.Sequential"),
    "a class": (lambda: SimpleMLP, TypeError, "the model is the class SimpleMLP, expected an object"),
    "no forward": (lambda: nn.ModuleList([FCLayer(6, 3)]), TypeError, "a ModuleList has no forward"),
    "a None": (lambda: nn.Sequential(FCLayer(6, 3), None), TypeError, "has a None in an nn.Sequential"),
    "a list": (lambda: [FCLayer(6, 3)], TypeError, r"must be an nn.Module, got list; put layers into nn.Sequential"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_models_that_the_hand_written_backward_cannot_train(name):
    make, error, message = BAD_MODELS[name]
    with pytest.raises(error, match=message):
        train(make(), MSELoss(), SGD(FCLayer(6, 3).parameters(), 0.1), BatchLoader(toy_data(), 16), 1, "cpu")


def test_layers_and_parameters_used_twice():
    fc, twin = FCLayer(6, 6), FCLayer(6, 6)
    twin.W = fc.W
    for layers, message in ([fc, fc], "a layer is used twice"), ([fc, twin], "a parameter belongs to two layers"):
        with pytest.raises(ValueError, match=message):
            toy_training(nn.Sequential(nn.Sequential(*layers), FCLayer(6, 3)), 1)


def criterion_of_two(outputs, targets, extra):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (
            nn.MSELoss,
            r"the criterion is the class MSELoss, expected an object such as MSELoss\(\) \(with parentheses\)",
        ),
        (MSELoss, r"expected an object such as MSELoss\(\)"),
        (None, "the criterion must be a loss"),
        ("mse", "the criterion must be a loss"),
        (
            lambda outputs: outputs.mean(),
            r"the criterion must be a loss such as MSELoss\(\), called as \(outputs, targets\)",
        ),
        (nn.TripletMarginLoss(), r"called as \(outputs, targets\)"),
        (nn.CosineEmbeddingLoss(), r"losses\.CosineEmbeddingLoss takes \(outputs, targets\)"),
    ],
)
def test_things_that_are_no_criterion(criterion, message):
    loader, model = BatchLoader(toy_data(), 16), toy_model()
    for run in (
        lambda: train(model, criterion, SGD(model.parameters(), 0.1), loader, 1, "cpu"),
        lambda: evaluate(model, criterion, loader, "cpu"),
        lambda: SimpleMLPTrainer(model, criterion, None),
    ):
        with pytest.raises(TypeError, match=message):
            run()


def optimizers():
    """A model, things that cannot step it, and what they are told."""
    model = toy_model()
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    return [
        (model, SGD, TypeError, "the optimizer is the class SGD"),
        (model, None, TypeError, r"must have step\(\) and zero_grad\(\), .* got NoneType"),
        (model, torch.optim.lr_scheduler.StepLR(sgd, 1), TypeError, "got StepLR"),
        (model, torch.optim.LBFGS(model.parameters()), TypeError, "LBFGS.step needs a closure"),
        (
            model,
            SGD(toy_model().parameters(), 0.1),
            ValueError,
            "4 of the 4 parameters of the optimizer are not the model's",
        ),
        (model, torch.optim.SGD(toy_model().parameters(), 0.1), ValueError, "make the optimizer after the model"),
    ]


@pytest.mark.parametrize("number", range(len(optimizers())))
def test_optimizers_that_cannot_step_the_model(number):
    model, optimizer, error, message = optimizers()[number]
    with pytest.raises(error, match=message):
        toy_training_with(model, optimizer)
    with pytest.raises(error, match=message):
        SimpleMLPTrainer(model, MSELoss(), optimizer).train(BatchLoader(toy_data(), 16), 1, verbose=False)


def toy_training_with(model, optimizer):
    return train(model, MSELoss(), optimizer, BatchLoader(toy_data(), 16), 1, "cpu", verbose=False)


def test_a_learning_rate_assigned_later_is_checked():
    model = toy_model()
    sgd = SGD(model.parameters(), 0.1)
    sgd.learning_rate = -0.1
    with pytest.raises(ValueError, match="learning_rate must be positive and finite"):
        toy_training_with(model, sgd)


def test_an_optimizer_of_the_model_and_something_else():
    """By hand nothing else gets a gradient; by autograd it may."""
    model, other = toy_model(), nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD([*model.parameters(), other], 0.1)
    with pytest.raises(ValueError, match="1 of the 5 parameters"):
        toy_training_with(model, optimizer)

    def criterion(outputs, targets):
        return F.mse_loss(other * outputs, targets)

    SimpleMLPTrainer(model, criterion, optimizer).train(BatchLoader(toy_data(), 16), 1, verbose=False)
    assert other != 1


def generator(data):
    yield from BatchLoader(data, 16)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (toy_data(), r"expected batches \(X, targets\), got TensorDataset; use BatchLoader"),
        (toy_data().tensors[0], "got Tensor; use BatchLoader"),
        (None, "got NoneType"),
        ([torch.ones(8, 6)], r"batch 1: expected \(X, targets\), got Tensor"),
        ([(torch.ones(8, 6),)], "batch 1: .* got 1 things"),
        (
            [(np.ones((8, 6)), np.ones((8, 3)))],
            "batch 1: X and targets must be tensors, got ndarray; use torch.as_tensor",
        ),
        ([(torch.ones(8, 6), [1] * 8)], "batch 1: X and targets must be tensors, got list"),
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
    with pytest.raises(TypeError, match="generator gives its batches only once, but 2 epochs need them 2 times"):
        train(model, MSELoss(), sgd, watched(toy_data()), 2, "cpu")
    with pytest.raises(TypeError, match="only once"):
        train(model, MSELoss(), sgd, BatchLoader(toy_data(), 16), 2, "cpu", test_dataloader=watched(toy_data()))
    with pytest.raises(TypeError, match="only once"):
        SimpleMLPTrainer(model, MSELoss(), sgd).train(watched(toy_data()), 2, verbose=False)
    assert batches == []
    train(model, MSELoss(), sgd, watched(toy_data()), 1, "cpu", verbose=False)
    assert batches == [16] * 6


def test_checking_draws_no_random_numbers():
    states = []
    for checked in False, True:
        torch.manual_seed(3)
        model, loader = toy_model(), DataLoader(toy_data(), 16, shuffle=True)
        if checked:
            train_utils.prepare(model, MSELoss(), SGD(model.parameters(), 0.1))
            train_utils.checks.loader(loader, 5)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


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


def test_devices_that_do_not_exist():
    for bad in "gpu", "xpu", "meta", 3.5, None, torch.float64:
        with pytest.raises(ValueError, match="the device must be 'cpu', or 'cuda' or the like if it is there"):
            evaluate(toy_model(), MSELoss(), BatchLoader(toy_data(), 16), bad)


def test_doubles_for_a_network_of_floats():
    batch = torch.ones(4, 6, dtype=torch.float64), torch.ones(4, 3)
    for model in toy_model(), SimpleMLP(6, 4, 3):
        with pytest.raises(TypeError, match=r"the parameters are torch.float32, .* use X\.to\(torch\.float32\)"):
            evaluate(model, MSELoss(), [batch], "cpu")
    trainer = SimpleMLPTrainer(model, MSELoss(), torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(TypeError, match=r"the parameters are torch.float32, .* use X\.to\(torch\.float32\)"):
        trainer.train([batch], 1, verbose=False)


def test_a_trained_model_pickles_without_its_activations():
    model = toy_training(toy_model(), 1)
    evaluate(model, MSELoss(), BatchLoader(toy_data(9_000), 9_000), "cpu")
    assert len(pickle.dumps(model)) < 10_000


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


@every_loss
def test_targets_of_another_shape_are_refused_before_a_weight_changes(name):
    criterion, outputs, last, targets = LOSSES[name]
    X, y = toy_classes(6)
    good = targets(y)
    bad = [good[:, 0], good.flatten()] if good.dim() == 2 else [good[:, None], good.float()]
    for wrong in bad:
        trainer = toy_trainer(criterion, outputs, last)
        start = [p.clone() for p in trainer.model.parameters()]
        for run in lambda: trainer.train([(X, wrong)], 1, verbose=False), lambda: trainer.evaluate([(X, wrong)]):  # noqa: B023
            with pytest.raises((TypeError, ValueError), match=f"{type(criterion).__name__}|X of shape"):
                run()
        assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), start, strict=True))


def test_the_error_for_a_broadcast_names_both_shapes():
    X, y = toy_classes(32)
    with pytest.raises(
        ValueError, match=r"L1Loss: the outputs have shape \(32, 1\) and .* \(32,\), expected \(32, 1\)"
    ):
        toy_trainer(nn.L1Loss()).train([(X, y.float())], 1, verbose=False)


def test_accuracy_of_one_output_is_decided_at_one_half_or_at_logit_zero():
    X, y = torch.tensor([[-1.0], [0.2], [0.7], [2.0]]), torch.tensor([0, 0, 1, 1])
    for criterion, percent in (nn.MSELoss(), 100), (nn.BCEWithLogitsLoss(), 75):
        trainer = SimpleMLPTrainer(nn.Linear(1, 1), criterion, None)
        with torch.no_grad():
            trainer.model.weight.fill_(1.0)
            trainer.model.bias.zero_()
        assert trainer.evaluate([(X, column(y))])[1] == percent


def test_averages_are_over_examples_and_modes_are_kept():
    X, y = toy_classes(30)
    trainer = toy_trainer(nn.MSELoss())
    whole = trainer.evaluate([(X, column(y))])
    parts = trainer.evaluate(DataLoader(TensorDataset(X, column(y)), batch_size=7))
    assert whole == pytest.approx(parts, rel=1e-6)
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
    batch = [MagicMock(spec=torch.Tensor, shape=t.shape, **{"to.return_value": t}) for t in (X, column(y))]
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


def test_an_interrupted_training_keeps_its_losses():
    X, y = toy_classes(10)
    trainer = toy_trainer(nn.MSELoss())

    class InterruptedInEpoch3:
        epochs = 0

        def __iter__(self):
            self.epochs += 1
            if self.epochs == 3:
                raise KeyboardInterrupt
            return iter([(X, column(y))])

    with pytest.raises(KeyboardInterrupt):
        trainer.train(InterruptedInEpoch3(), 5, verbose=False)
    assert trainer.losses == toy_trainer(nn.MSELoss()).train([(X, column(y))], 2, verbose=False)


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)])
def test_num_epochs_is_a_positive_integer(number, error):
    with pytest.raises(error, match="num_epochs must be"):
        toy_trainer(nn.MSELoss()).train([(torch.ones(2, 4), torch.ones(2, 1))], number)


def test_empty_loaders_and_losses_that_are_not_finite():
    with pytest.raises(ValueError, match="training loader is empty"):
        toy_trainer(nn.MSELoss()).train([], 1, verbose=False)
    with pytest.raises(ValueError, match="loader is empty"):
        toy_trainer(nn.MSELoss()).evaluate([])
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1: the loss is nan; learning rate 0\.01"):
        toy_trainer(nn.MSELoss()).train([(torch.full((2, 4), torch.nan), torch.ones(2, 1))], 1, verbose=False)
