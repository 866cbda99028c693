"""On a GPU, layers, losses, the optimizer, the loops and the trainer give the CPU's results; skipped without one."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import train_utils
from data_utils import BatchLoader
from layers import (
    DropoutLayer,
    FCLayer,
    GaussianDropoutLayer,
    LeakyReLULayer,
    MeanOnlyBatchNormLayer,
    ReLULayer,
    SigmoidLayer,
    SimpleMLP,
)
from losses import BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss
from optim import SGD
from train_utils import SimpleMLPTrainer, evaluate, set_seed, train

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")

DETERMINISTIC = {
    "FCLayer": lambda: FCLayer(7, 5),
    "SigmoidLayer": SigmoidLayer,
    "ReLULayer": ReLULayer,
    "LeakyReLULayer": lambda: LeakyReLULayer(0.2),
    "MeanOnlyBatchNormLayer": lambda: MeanOnlyBatchNormLayer(7),
}
NOISE = {"DropoutLayer": lambda: DropoutLayer(0.4), "GaussianDropoutLayer": lambda: GaussianDropoutLayer(0.5)}
ROWS, CLASSES = torch.softmax(torch.arange(24.0, dtype=torch.float64).sin().view(8, 3), 1), torch.arange(8) % 3
LOSSES = {
    "L1": (L1Loss(), ROWS),
    "MSE": (MSELoss(), ROWS),
    "BCEWithLogits": (BCEWithLogitsLoss(), ROWS),
    "NLL": (NLLLoss(), CLASSES),
    "CrossEntropy": (CrossEntropyLoss(), CLASSES),
    "CrossEntropy, soft": (CrossEntropyLoss(), ROWS),
    "KLDiv": (KLDivLoss(reduction="batchmean"), ROWS),
    "CosineEmbedding": (CosineEmbeddingLoss(), 2 * torch.eye(3, dtype=torch.float64)[CLASSES] - 1),
}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.device.type == GPU
    assert (found.cpu() - expected).norm() <= 1e-10 * expected.norm()


def forward_and_backward(layer: nn.Module, device: str) -> list[torch.Tensor]:
    """Y, dL/dX and the gradients of the parameters, and of the same forward pass those of autograd."""
    layer = copy.deepcopy(layer).to(device)
    set_seed(1)
    X = torch.randn(16, 7, dtype=torch.float64).to(device).requires_grad_()
    Y = layer(X)
    delta = torch.linspace(-1, 2, Y.numel(), dtype=torch.float64).view_as(Y).to(device)
    expected = torch.autograd.grad(Y, [X, *layer.parameters()], delta)
    found = [layer.backward(delta), *(p.grad for p in layer.parameters())]
    for ours, autograd in zip(found, expected, strict=True):
        assert (ours - autograd).norm() <= 1e-10 * autograd.norm()
    return [Y.detach(), *found]


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_layers(name, mode):
    set_seed(0)
    layer = DETERMINISTIC[name]().double().train(mode)
    for found, expected in zip(*(forward_and_backward(layer, device) for device in (GPU, "cpu")), strict=True):
        close(found, expected)


@pytest.mark.parametrize("name", NOISE)
def test_noise(name):
    """The noise is the GPU's own: its backward agrees with autograd, its mean and variance with the CPU's."""
    layer = NOISE[name]().double()
    forward_and_backward(layer, GPU)
    X = torch.ones(1000, 1000, dtype=torch.float64)
    on_gpu, on_cpu = layer.to(GPU)(X.to(GPU)).cpu(), layer.to("cpu")(X)
    assert abs(on_gpu.mean() - on_cpu.mean()) < 1e-2 and abs(on_gpu.var() - on_cpu.var()) < 1e-2


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    criterion, targets = LOSSES[name]
    outputs = torch.log_softmax(torch.arange(24.0, dtype=torch.float64).cos().view(8, 3), 1)
    value, delta = criterion(outputs, targets), criterion.backward()
    close(criterion(outputs.to(GPU), targets.to(GPU)), value)
    close(criterion.backward(), delta)


def digits(n: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(n)
    X = torch.randn(n, 20, generator=generator, dtype=torch.float64)
    return TensorDataset(X, torch.eye(4, dtype=torch.float64)[X[:, :4].argmax(1)])


def trained(device: str, criterion: nn.Module) -> tuple[nn.Module, float]:
    set_seed(0)
    model = nn.Sequential(FCLayer(20, 32), MeanOnlyBatchNormLayer(32), ReLULayer(), FCLayer(32, 4)).double()
    model = model.to(device)
    batches, tested = BatchLoader(digits(300), 32, shuffle=True), BatchLoader(digits(100), 50)
    sgd = SGD(model.parameters(), 0.1)
    train(model, criterion, sgd, batches, 5, device, test_dataloader=tested, verbose=False)
    assert all(p.device.type == device for p in model.parameters())
    return model, train_utils.test(model, tested, device)


@pytest.mark.parametrize(
    "criterion",
    [MSELoss(), CrossEntropyLoss(), nn.CrossEntropyLoss()],
    ids=lambda c: f"{type(c).__module__}.{type(c).__name__}",
)
def test_training(criterion):
    (on_gpu, gpu_accuracy), (on_cpu, cpu_accuracy) = trained(GPU, criterion), trained("cpu", criterion)
    assert gpu_accuracy == cpu_accuracy > 0.4
    for name, series in on_cpu.history.items():
        assert on_gpu.history[name] == pytest.approx(series, rel=1e-10), name
    for found, expected in zip(on_gpu.parameters(), on_cpu.parameters(), strict=True):
        close(found.detach(), expected.detach())
    batches = BatchLoader(digits(100), 50)
    assert evaluate(on_gpu, criterion, batches, GPU) == pytest.approx(evaluate(on_cpu, criterion, batches, "cpu"))


def test_the_trainer():
    results = []
    for device in GPU, "cpu":
        set_seed(0)
        model = SimpleMLP(20, 32, 4).double().to(device)
        trainer = SimpleMLPTrainer(model, CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1))
        losses = trainer.train(BatchLoader(digits(300), 32, shuffle=True), 5, verbose=False)
        results.append([*losses, *trainer.evaluate(BatchLoader(digits(100), 50))])
    assert results[0] == pytest.approx(results[1], rel=1e-10)


def test_the_same_seed_gives_the_same_noise():
    draws = []
    for seed in 7, 7, 8:
        set_seed(seed)
        draws.append(DropoutLayer(0.5)(torch.ones(100, device=GPU)))
    assert torch.equal(*draws[:2]) and not torch.equal(*draws[1:])


def test_a_model_and_an_optimizer_on_two_devices_train_together():
    """The loop moves the model; the optimizer's parameters are the same objects and move with it."""
    model = nn.Sequential(FCLayer(20, 4)).double()
    before = model[0].W.detach().clone()
    train(model, MSELoss(), SGD(model.parameters(), 0.1), BatchLoader(digits(100), 10), 1, GPU, verbose=False)
    assert model[0].W.device.type == GPU and not torch.equal(model[0].W.detach().cpu(), before)
