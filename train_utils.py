"""Seeds; the loop in which the hand-written backwards train; a trainer for torch.nn models."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import nan

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import checks
from data_utils import BatchLoader, load_mnist, load_titanic  # noqa: F401  (looked for here)
from fused import disarm
from layers import FCLayer, backward
from losses import Loss, with_backward

Device = str | torch.device
Batches = Iterable[Sequence[Tensor]]  # (X, targets): a BatchLoader, a DataLoader, or a list
Correct = Callable[[Tensor, Tensor], Tensor | None] | None  # such as losses.above(0)


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators. seed: an integer, 0 to 2^32 - 1."""
    seed = checks.check_number("seed", seed, "[0, 4294967295]", whole=True)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Average:
    """The average loss and accuracy over the batches added so far, weighted by their sizes."""

    def __init__(self, criterion: Loss, correct: Correct = None) -> None:
        self.count, self.correct = criterion.count, correct or criterion.correct
        self.total, self.n = 0.0, 0  # the sum of the losses, and of their weights
        self.right, self.answers = 0, 0  # the right answers, and all

    def add(self, loss: float, targets: Tensor, outputs: Tensor | None = None) -> None:
        """Add a batch: its mean loss and, given the outputs, which of them are right."""
        n = self.count(targets)
        self.total += n * loss
        self.n += n
        right = None if outputs is None else self.correct(outputs, targets)
        if right is None:
            self.right = nan
        else:
            checks.check_answers(right, len(targets))
            self.right += int(right.count_nonzero())
            self.answers += len(right)

    def result(self) -> tuple[float, float]:
        """(loss, accuracy as a fraction); the accuracy is nan if the targets are no classes."""
        return self.total / self.n, self.right / max(self.answers, 1)


@contextmanager
def without_input_grad(layer: nn.Module) -> Iterator[None]:
    """Nobody needs dL/d(data): an FCLayer, but no backward of a subclass, may leave it out."""
    layer.needs_input_grad = type(layer).backward is not FCLayer.backward
    try:
        yield
    finally:
        layer.needs_input_grad = True


def prepare(model: nn.Module, criterion: Callable, optimizer) -> tuple[list[nn.Module], Loss]:
    """The layers from the first with parameters on, the criterion with a backward: checked."""
    layers, criterion = checks.check_layers(model), with_backward(criterion)
    checks.check_optimizer(optimizer, [*model.parameters(), *criterion.parameters()])
    disarm(model)  # whatever optimizer an interrupted training had
    first = next((i for i, layer in enumerate(layers) if list(layer.parameters())), 0)
    return layers[first:], criterion


def train_one_epoch(
    model: nn.Module,
    criterion: Callable,
    optimizer,
    dataloader: Batches,
    device: Device,
    *,
    correct: Correct = None,
) -> tuple[float, float]:
    """One pass of training by the hand-written backwards; the average (loss, accuracy as a
    fraction) before the steps.

    The model is a (nested) nn.Sequential of layers with a backward. The criterion is a loss of
    losses.py, or any function of (outputs, targets), which autograd then differentiates at the
    outputs (AutogradLoss). How outputs are read as classes is the criterion's own, unless given
    as correct.

    Raises TypeError or ValueError where they do not fit each other, FloatingPointError as soon
    as a loss, or after the epoch a parameter, is not finite.
    """
    layers, criterion = prepare(model, criterion, optimizer)
    checks.check_loader(dataloader)
    average = Average(criterion, correct)
    model.to(device).train()
    checked = checks.check_epoch(model, optimizer, by_hand=True)
    with torch.no_grad(), without_input_grad(layers[0]), checked:
        for X, targets in checks.check_batches(dataloader, model, device):
            outputs = model(X)
            loss = criterion(outputs, targets)
            value = checks.check_loss(loss, X, targets)
            average.add(value, targets, outputs)
            optimizer.zero_grad()  # forgets the last batch's gradients, as every backward adds
            backward(layers, criterion.backward())
            optimizer.step()
    return average.result()


def train(
    model: nn.Module,
    criterion: Callable,
    optimizer,
    train_dataloader: Batches,
    num_epoch: int,
    device: Device,
    *,
    test_dataloader: Batches | None = None,
    correct: Correct = None,
    verbose: bool = True,
) -> nn.Module:
    """Train a Sequential of hand-written layers, print a line an epoch, and return it, in
    training mode.

    model.history maps "train_loss" and "train_accuracy" (a fraction) to a list with one number
    an epoch; given a test_dataloader, also "test_loss" and "test_accuracy", measured after each
    epoch, which leaves torch's random stream, and so the training, as it was.

    Raises as train_one_epoch does, and if num_epoch is no integer of at least 1.
    """
    num_epoch = checks.check_number("num_epoch", num_epoch, "[1, inf)", whole=True)
    prepare(model, criterion, optimizer)
    checks.check_loader(train_dataloader, num_epoch)
    history = {"train_loss": [], "train_accuracy": []}
    if test_dataloader is not None:
        checks.check_loader(test_dataloader, num_epoch)
        history |= {"test_loss": [], "test_accuracy": []}
    model.to(device).history = history
    for epoch in range(1, num_epoch + 1):
        results = train_one_epoch(
            model, criterion, optimizer, train_dataloader, device, correct=correct
        )
        if test_dataloader is not None:
            with torch.random.fork_rng(devices=[]):
                results += evaluate(model, criterion, test_dataloader, device, correct=correct)
        for series, number in zip(history.values(), results, strict=True):
            series.append(number)
        if verbose:
            loss, accuracy = f"training loss: {results[0]:.4f}", f"accuracy: {results[1]:.4f}"
            print(f"Epoch [{epoch}] Average {loss}, Average training {accuracy}")
    return model


@torch.no_grad()
def evaluate(
    model: nn.Module,
    criterion: Callable,
    dataloader: Batches,
    device: Device,
    *,
    correct: Correct = None,
) -> tuple[float, float]:
    """The average (loss, accuracy as a fraction) in eval mode; the modes of the model's parts
    stay as they were. Arguments and exceptions are those of train_one_epoch."""
    checks.check_model(model)
    checks.check_loader(dataloader)
    criterion = with_backward(criterion)
    average = Average(criterion, correct)
    modes = {part: part.training for part in model.modules()}
    model.to(device).eval()
    try:
        for X, targets in checks.check_batches(dataloader, model, device):
            outputs = model(X)
            value = checks.check_loss(criterion(outputs, targets), X, targets)
            average.add(value, targets, outputs)
    finally:
        for part, mode in modes.items():
            part.training = mode
    return average.result()


def test(
    model: nn.Module,
    test_dataloader: Batches,
    device: Device,
    criterion: Callable | None = None,
    *,
    correct: Correct = None,
) -> float:
    """Print and return the accuracy, a fraction, in eval mode; nan if targets are no classes.
    The criterion, or correct, says how a single output is read; without them the largest of
    several is the answer. Raises as evaluate does."""
    criterion = criterion or (lambda outputs, targets: 0 * outputs.sum())  # nan if they are
    _, accuracy = evaluate(model, criterion, test_dataloader, device, correct=correct)
    print(f"The test accuracy is {accuracy:.4f}.")
    return accuracy


class SimpleMLPTrainer:
    """Trains a torch.nn model, such as SimpleMLP, by autograd, with a loss of losses.py or of
    torch. ``losses`` holds the average loss of each epoch of the last training."""

    def __init__(
        self, model: nn.Module, criterion: Callable, optimizer, *, correct: Correct = None
    ) -> None:
        checks.check_model(model)
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.correct = correct
        self.losses: list[float] = []

    def train(self, train_loader: Batches, num_epochs: int, *, verbose: bool = True) -> list:
        """Train, with a progress bar and a printed loss for each epoch, and return the losses.
        Raises as train does."""
        num_epochs = checks.check_number("num_epochs", num_epochs, "[1, inf)", whole=True)
        checks.check_loader(train_loader, num_epochs)
        checks.check_optimizer(self.optimizer, self.model.parameters(), strict=False)
        self.losses = []
        for epoch in range(1, num_epochs + 1):
            bar = tqdm(train_loader, desc=f"Epoch {epoch}/{num_epochs}", disable=not verbose)
            self.losses.append(self._train_one_epoch(bar))
            if verbose:
                print(f"Epoch {epoch}/{num_epochs}, Loss: {self.losses[-1]:.4f}")
        return self.losses

    def _train_one_epoch(self, train_loader: Batches) -> float:
        criterion = with_backward(self.criterion)
        average = Average(criterion)
        self.model.train()
        with checks.check_epoch(self.model, self.optimizer, by_hand=False):
            for X, targets in checks.check_batches(train_loader, self.model, self._device()):
                loss = criterion(self.model(X), targets)
                average.add(checks.check_loss(loss, X, targets), targets)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
        return average.result()[0]

    def evaluate(self, val_loader: Batches) -> tuple[float, float]:
        """(average loss, accuracy in percent), in eval mode. Raises as evaluate does."""
        loss, accuracy = evaluate(
            self.model, self.criterion, val_loader, self._device(), correct=self.correct
        )
        return loss, 100 * accuracy

    def _device(self) -> Device:
        return next((p.device for p in self.model.parameters()), "cpu")
