"""Seeds; the loop in which the hand-written backwards train a network; a trainer for plain torch.nn models."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import checks
from autograd_loss import with_backward
from data_utils import BatchLoader, load_mnist, load_titanic  # noqa: F401  (where the homework's users look for them)
from losses import Loss

Device = str | torch.device
Batches = Iterable[Sequence[Tensor]]  # a BatchLoader, a DataLoader, or a list of batches (X, targets)
Correct = Callable[[Tensor, Tensor], Tensor] | None  # which answers are right, (N,), such as accuracy.above(0)


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's random generators. seed: an integer from 0 to 2^32 - 1."""
    seed = checks.number("seed", seed, 0, 2**32 - 1, whole=True)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Average:
    """The average loss and accuracy over the batches added so far, weighted by their sizes."""

    def __init__(self, optimizer=None) -> None:
        self.optimizer, self.batches = optimizer, 0  # named in the error message
        self.total, self.n = 0.0, 0  # the sum of the losses, and of their weights
        self.right, self.answers = 0.0, 0  # the right answers, and all

    def add(self, loss: Tensor, n: float, right: Tensor | None = None) -> None:
        """Add a batch: its mean loss, FloatingPointError if not finite, its weight n, and which answers are right."""
        self.batches += 1
        checks.finite_loss(float(loss), n, self.batches, self.optimizer)
        self.total, self.n = self.total + n * float(loss), self.n + n
        if right is not None:
            self.right, self.answers = self.right + float(right.sum()), self.answers + len(right)

    def result(self) -> tuple[float, float]:
        return self.total / self.n, self.right / max(self.answers, 1)


# ---------------------------------------------------------------------------------- training by hand-written layers


@contextmanager
def without_input_grad(layer: nn.Module) -> Iterator[None]:
    """Nobody needs dL/d(data): let this layer skip it, if its backward can."""
    before = getattr(layer, "needs_input_grad", None)
    if before is not None:
        layer.needs_input_grad = False
    try:
        yield
    finally:
        if before is not None:
            layer.needs_input_grad = before


def prepare(model: nn.Module, criterion: Callable, optimizer) -> tuple[list[nn.Module], Loss]:
    """Check that they fit; return the layers from the first with parameters on, and the criterion with a backward."""
    layers, criterion = checks.chain(model), with_backward(criterion)
    checks.optimizer(optimizer, [*model.parameters(), *criterion.parameters()])
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
    """One pass of training by the hand-written backwards; returns the average (loss, accuracy) before the steps.

    The model is a (nested) nn.Sequential of layers with a backward. The criterion is a loss of losses.py, or any
    function of (outputs, targets), which autograd then differentiates at the outputs (AutogradLoss). How outputs
    are read as classes is the criterion's own, unless given as correct.

    Raises TypeError or ValueError where they do not fit each other, FloatingPointError as soon as a loss is not finite.
    """
    layers, criterion = prepare(model, criterion, optimizer)
    checks.loop(dataloader, device, correct)
    correct = criterion.correct if correct is None else correct
    average = Average(optimizer)
    model.to(device).train()
    with torch.no_grad(), without_input_grad(layers[0]):
        for X, targets in checks.batches(dataloader, device, "training loader"):
            outputs = model(X)
            loss = criterion(outputs, targets)
            right = checks.answers(correct(outputs, targets), len(X))  # only for the accuracy
            average.add(loss, criterion.count(targets), right)
            optimizer.zero_grad()  # forgets the last batch's gradients, as every backward adds
            delta = criterion.backward()
            for layer in reversed(layers):
                delta = layer.backward(delta)
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
    """Train a Sequential of hand-written layers, print a line an epoch, and return it, in training mode.

    model.history maps "train_loss" and "train_accuracy" to a list with one number an epoch; given a
    test_dataloader, also "test_loss" and "test_accuracy", measured after each epoch. Measuring them leaves torch's
    random stream as it was, so the training is the same with and without. A second training starts a new history.

    Raises what train_one_epoch raises, FloatingPointError with the epoch; TypeError or ValueError also for a num_epoch
    that is not an integer of at least 1, and for batches that come only once.
    """
    num_epoch = checks.number("num_epoch", num_epoch, 1, whole=True)
    prepare(model, criterion, optimizer)
    loaders = {"train": train_dataloader} | ({} if test_dataloader is None else {"test": test_dataloader})
    for loader in loaders.values():
        checks.loop(loader, device, correct, num_epoch)
    model.to(device)
    model.history = {f"{name}_{quantity}": [] for name in loaders for quantity in ("loss", "accuracy")}
    for epoch in range(1, num_epoch + 1):
        with checks.epoch(epoch):
            results = train_one_epoch(model, criterion, optimizer, train_dataloader, device, correct=correct)
            if test_dataloader is not None:
                with torch.random.fork_rng(devices=[]):
                    results += evaluate(model, criterion, test_dataloader, device, correct=correct)
        for series, number in zip(model.history.values(), results, strict=True):
            series.append(number)
        if verbose:
            print(
                f"Epoch [{epoch}] Average training loss: {results[0]:.4f}, Average training accuracy: {results[1]:.4f}"
            )
    return model


@torch.no_grad()
def evaluate(
    model: nn.Module, criterion: Callable, dataloader: Batches, device: Device, *, correct: Correct = None
) -> tuple[float, float]:
    """The average (loss, accuracy) in eval mode. The model is moved to device; the modes of its parts stay as they
    were.

    Outputs are read as classes as the criterion, or correct, says. Raises as train_one_epoch does.
    """
    checks.model(model)
    checks.loop(dataloader, device, correct)
    criterion, average = with_backward(criterion), Average()
    correct = criterion.correct if correct is None else correct
    modes = {part: part.training for part in model.modules()}
    model.to(device).eval()
    try:
        for X, targets in checks.batches(dataloader, device):
            checks.same_type(model, X)
            outputs = model(X)
            checks.finite_outputs(outputs)
            loss = criterion(outputs, targets)
            average.add(loss, criterion.count(targets), checks.answers(correct(outputs, targets), len(X)))
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
    """Print and return the accuracy in eval mode. Raises as evaluate does, and ValueError if the targets are no
    classes.

    The criterion, or correct, says how a single output is read; without them the largest of several is the answer.
    """
    criterion = (lambda outputs, targets: outputs.new_zeros(())) if criterion is None else criterion
    _, accuracy = evaluate(model, criterion, test_dataloader, device, correct=correct)
    checks.accuracy(accuracy)
    print(f"The test accuracy is {accuracy:.4f}.")
    return accuracy


# ------------------------------------------------------------------------------------- training by autograd


class SimpleMLPTrainer:
    """Trains a plain torch.nn model, such as SimpleMLP, by autograd, with a loss of losses.py or of torch.

    ``losses`` holds the average loss of each epoch of the last training, also of one that was interrupted.
    """

    def __init__(self, model: nn.Module, criterion: Callable, optimizer, *, correct: Correct = None) -> None:
        checks.model(model)
        checks.reading(correct)
        with_backward(criterion)
        self.model, self.criterion, self.optimizer, self.correct = model, criterion, optimizer, correct
        self.losses: list[float] = []

    def train(self, train_loader: Batches, num_epochs: int, *, verbose: bool = True) -> list[float]:
        """Train, with a progress bar and a printed loss for each epoch, and return the losses. Raises as train does."""
        num_epochs = checks.number("num_epochs", num_epochs, 1, whole=True)
        checks.loader(train_loader, num_epochs)
        checks.optimizer(self.optimizer, self.model.parameters(), strict=False)
        self.losses = []
        for epoch in range(1, num_epochs + 1):
            with checks.epoch(epoch):
                bar = tqdm(train_loader, desc=f"Epoch {epoch}/{num_epochs}", disable=not verbose)
                self.losses.append(self._train_one_epoch(bar))
            if verbose:
                print(f"Epoch {epoch}/{num_epochs}, Loss: {self.losses[-1]:.4f}")
        return self.losses

    def _train_one_epoch(self, train_loader: Batches) -> float:
        criterion, average = with_backward(self.criterion), Average(self.optimizer)
        self.model.train()
        for X, targets in checks.batches(train_loader, self._device(), "training loader"):
            checks.same_type(self.model, X)
            loss = criterion(self.model(X), targets)
            average.add(loss.detach(), criterion.count(targets))
            checks.trainable(loss)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return average.result()[0]

    def evaluate(self, val_loader: Batches) -> tuple[float, float]:
        """The average loss and the accuracy in percent, in eval mode. Raises what evaluate raises."""
        loss, accuracy = evaluate(self.model, self.criterion, val_loader, self._device(), correct=self.correct)
        return loss, 100 * accuracy

    def _device(self) -> Device:
        return next((p.device for p in self.model.parameters()), "cpu")
