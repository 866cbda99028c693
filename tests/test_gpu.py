"""On a GPU the losses, the loops and the trainer give the CPU's results (layers: test_layers); skipped without one."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import train_utils
from data_utils import BatchLoader
from layers import DropoutLayer, FCLayer, LeakyReLULayer, MeanOnlyBatchNormLayer, SigmoidLayer, SimpleMLP
from losses import BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss
from optim import SGD
from train_utils import SimpleMLPTrainer, evaluate, set_seed, train

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")

CLASSES = torch.arange(8) % 3
ROWS = torch.softmax(torch.arange(24.0, dtype=torch.float64).sin().view(8, 3), 1)
SIGNS = 2 * torch.eye(3, dtype=torch.float64)[CLASSES] - 1
LOSSES = [(loss(), ROWS) for loss in (L1Loss, MSELoss, BCEWithLogitsLoss, CrossEntropyLoss, KLDivLoss)]
LOSSES += [(NLLLoss(), CLASSES), (CrossEntropyLoss(), CLASSES), (CosineEmbeddingLoss(), SIGNS)]
DATA = torch.randn(400, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.eye(4, dtype=torch.float64)[DATA[:, :4].argmax(1)]
TRAIN, TEST = TensorDataset(DATA[:300], TARGETS[:300]), BatchLoader(TensorDataset(DATA[300:], TARGETS[300:]), 50)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.device.type == GPU
    assert (found.cpu() - expected).norm() <= 1e-10 * expected.norm()


@pytest.mark.parametrize(("criterion", "targets"), LOSSES, ids=str)
def test_losses(criterion, targets):
    outputs = torch.log_softmax(torch.arange(24.0, dtype=torch.float64).cos().view(8, 3), 1)
    value, delta = criterion(outputs, targets), criterion.backward()
    close(criterion(outputs.to(GPU), targets.to(GPU)), value)
    close(criterion.backward(), delta)


def trained(device: str, criterion: nn.Module) -> tuple[nn.Module, list[float]]:
    """The loop moves the model; the optimizer's parameters are the same objects and move with it."""
    set_seed(0)
    hidden = FCLayer(20, 32), MeanOnlyBatchNormLayer(32), LeakyReLULayer(0.1), FCLayer(32, 32), SigmoidLayer()
    model = nn.Sequential(*hidden, FCLayer(32, 4)).double()
    batches, sgd = BatchLoader(TRAIN, 32, shuffle=True), SGD(model.parameters(), 0.5)
    train(model, criterion, sgd, batches, 5, device, test_dataloader=TEST, verbose=False)
    numbers = [number for series in model.history.values() for number in series]
    return model, [*numbers, train_utils.test(model, TEST, device), *evaluate(model, criterion, TEST, device)]


@pytest.mark.parametrize("criterion", [MSELoss(), CrossEntropyLoss(), nn.CrossEntropyLoss()], ids=repr)
def test_training(criterion):
    (on_gpu, numbers), (on_cpu, expected) = trained(GPU, criterion), trained("cpu", criterion)
    assert numbers == pytest.approx(expected, rel=1e-10)
    for ours, cpus in zip(on_gpu.parameters(), on_cpu.parameters(), strict=True):
        close(ours.detach(), cpus.detach())


def test_the_trainer():
    results = []
    for device in GPU, "cpu":
        set_seed(0)
        model = SimpleMLP(20, 32, 4).double().to(device)
        trainer = SimpleMLPTrainer(model, CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1))
        losses = trainer.train(BatchLoader(TRAIN, 32, shuffle=True), 5, verbose=False)
        results.append([*losses, *trainer.evaluate(TEST)])
    assert results[0] == pytest.approx(results[1], rel=1e-10)


def test_the_same_seed_gives_the_same_noise():
    draws = []
    for seed in 7, 7, 8:
        set_seed(seed)
        draws.append(DropoutLayer(0.5)(torch.ones(100, device=GPU)))
    assert torch.equal(*draws[:2]) and not torch.equal(*draws[1:])
