"""Time and memory of an epoch by hand-written backpropagation, against the stock PyTorch pipeline.

    MNIST=full python tools/bench_training.py [--batches 400] [--rounds 5]
    python tools/bench_training.py --growth

Run it on an idle machine. Several ways to train are timed in turn, round after round, so that a change of the
machine's speed hits all of them: these modules; the same loop with every check taken out; the same formulas on bare
tensors; the modules with FusedSGD, and bare tensors that do as it does; nn.Linear, autograd, torch.optim.SGD and
DataLoader; the same with our BatchLoader; the matrix products of the training step with nothing around them; and, if
jax is installed, the whole run of batches compiled by it (its compilation is not counted).
Printed are medians in seconds an epoch, and of the paired ratios the median and the quartiles.

With --growth: time and memory of these modules as the number of samples, then of parameters, doubles.
"""

import argparse
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_utils import BatchLoader, load_mnist
from fused import FusedSGD
from layers import FCLayer, ReLULayer
from losses import MSELoss
from optim import SGD
from train_utils import train_one_epoch

NETWORKS = {"shallow": [784, 128, 10], "deep": [784, 1024, 512, 256, 128, 64, 10]}
BATCH_SIZE, LEARNING_RATE = 32, 0.1


def first(dataset, batches: int, loader: type = BatchLoader) -> Iterator:
    return islice(loader(dataset, BATCH_SIZE, shuffle=True), batches)


def multilayer(widths: list[int], linear: type[nn.Module], activation: type[nn.Module]) -> nn.Sequential:
    parts = []
    for num_input, num_output in pairwise(widths):
        parts += [linear(num_input, num_output), activation()]
    return nn.Sequential(*parts[:-1])


def hand_written(widths: list[int], dataset, batches: int) -> None:
    model = multilayer(widths, FCLayer, ReLULayer)
    train_one_epoch(model, MSELoss(), SGD(model.parameters(), LEARNING_RATE), first(dataset, batches), "cpu")


def fused(widths: list[int], dataset, batches: int) -> None:
    model = multilayer(widths, FCLayer, ReLULayer)
    train_one_epoch(model, MSELoss(), FusedSGD(model, LEARNING_RATE), first(dataset, batches), "cpu")


@torch.no_grad()
def without_checks(widths: list[int], dataset, batches: int) -> None:
    model, criterion = multilayer(widths, FCLayer, ReLULayer), MSELoss()
    optimizer, step = SGD(model.parameters(), LEARNING_RATE), SGD.step.__wrapped__
    for module in *model, criterion:
        module.forward = type(module).forward.unchecked.__get__(module)
        module.backward = type(module).backward.unchecked.__get__(module)
    model[0].needs_input_grad = False
    total_loss, correct = 0.0, 0
    for X, targets in first(dataset, batches):
        outputs = model(X)
        loss = criterion(outputs, targets)
        total_loss += float(loss) * len(X)
        correct += int((outputs.argmax(1) == targets.argmax(1)).sum())
        optimizer.zero_grad()
        delta = criterion.backward()
        for layer in reversed(model):
            delta = layer.backward(delta)
        step(optimizer)


@torch.no_grad()
def bare_tensors(widths: list[int], dataset, batches: int, fused: bool = False) -> None:
    model = multilayer(widths, FCLayer, ReLULayer)  # for its start
    W, b = [layer.W.detach() for layer in model[::2]], [layer.b.detach() for layer in model[::2]]
    total_loss, correct = 0.0, 0
    for X, targets in first(dataset, batches):
        A = [X]  # the input of each layer
        for i in range(len(W) - 1):
            A.append(torch.relu(torch.addmm(b[i], A[i], W[i])))
        outputs = torch.addmm(b[-1], A[-1], W[-1])
        difference = outputs - targets
        total_loss += float(difference.square().mean()) * len(X)
        correct += int((outputs.argmax(1) == targets.argmax(1)).sum())
        delta, updates = difference * (2 / difference.numel()), []
        for i in reversed(range(len(W))):
            updates.append((W[i], b[i], (A[i].T, delta) if fused else A[i].T @ delta, delta.sum(0, keepdim=True)))
            if i > 0:
                delta = (delta @ W[i].T) * (A[i] > 0)
        for W_i, b_i, dW, db in updates:
            if fused:
                W_i.addmm_(*dW, alpha=-LEARNING_RATE)
            else:
                W_i -= LEARNING_RATE * dW
            b_i -= LEARNING_RATE * db


def stock(widths: list[int], dataset, batches: int, loader: type = DataLoader) -> None:
    model, criterion = multilayer(widths, nn.Linear, nn.ReLU), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    total_loss, correct = 0.0, 0
    for X, Y in first(dataset, batches, loader):
        optimizer.zero_grad()
        outputs = model(X)
        loss = criterion(outputs, Y)
        loss.backward()
        optimizer.step()
        total_loss += loss.item()
        correct += int((outputs.argmax(1) == Y.argmax(1)).sum())


@torch.no_grad()
def matrix_products(widths: list[int], dataset, batches: int) -> None:
    shapes = list(pairwise(widths))
    X, delta = ([torch.rand(BATCH_SIZE, width) for width in widths] for _ in range(2))
    W = [torch.rand(shape) for shape in shapes]
    gradient = [torch.empty(shape) for shape in shapes]
    for _ in range(batches):
        for i in range(len(W)):
            torch.mm(X[i], W[i], out=X[i + 1])
        for i in reversed(range(len(W))):
            torch.mm(X[i].T, delta[i + 1], out=gradient[i])
            if i > 0:
                torch.mm(delta[i + 1], W[i].T, out=delta[i])


@cache
def jax_epoch():
    """A compiled function (parameters, X, Y, order) -> parameters: one step for each row of order, by lax.scan."""
    import jax
    from jax import numpy as jnp

    def loss(parameters, X, Y):
        *hidden, (W, b) = parameters
        for V, c in hidden:
            X = jax.nn.relu(X @ V + c)
        outputs = X @ W + b
        return jnp.mean((outputs - Y) ** 2), (outputs.argmax(1) == Y.argmax(1)).sum()

    @jax.jit
    def epoch(parameters, X, Y, order):
        def step(parameters, rows):
            values, gradient = jax.value_and_grad(loss, has_aux=True)(parameters, X[rows], Y[rows])
            return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradient), values

        parameters, (losses, correct) = jax.lax.scan(step, parameters, order)
        return parameters, losses.mean(), correct.sum()

    return epoch


def compiled_by_jax(widths: list[int], dataset, batches: int) -> None:
    import jax

    X, Y = jax_data(dataset)
    layers = multilayer(widths, FCLayer, ReLULayer)[::2]
    parameters = [(layer.W.detach().numpy(), layer.b.detach().numpy()) for layer in layers]
    order = torch.randperm(len(dataset))[: batches * BATCH_SIZE].view(batches, BATCH_SIZE).numpy()
    jax.block_until_ready(jax_epoch()(parameters, X, Y, order))


@cache
def jax_data(dataset):
    import jax

    return [jax.device_put(tensor.numpy()) for tensor in dataset.tensors]


PIPELINES = {
    "hand-written": hand_written,
    "  without checks": without_checks,
    "  bare tensors": bare_tensors,
    "fused": fused,
    "  bare tensors, fused": partial(bare_tensors, fused=True),
    "stock PyTorch": stock,
    "stock, BatchLoader": partial(stock, loader=BatchLoader),
    "matrix products": matrix_products,
}
if find_spec("jax"):
    PIPELINES["compiled by JAX"] = compiled_by_jax


def peak_mb() -> float:
    """Peak memory of this process so far, in MB, from Linux (resource's counts the process that started this one)."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def in_a_process(function, *arguments):
    """function(*arguments), in a process of its own: its memory is not this one's."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_of(name: str, network: str, batches: int) -> float:
    PIPELINES[name](NETWORKS[network], load_mnist()[0], batches)
    return peak_mb()


def one_size(samples: int, hidden: int) -> tuple[float, float]:
    """The seconds of an epoch of 784-hidden-10 (the fastest of five), and the MB that data and training take."""

    def random_digits(n: int) -> TensorDataset:
        return TensorDataset(torch.rand(n, 784), torch.eye(10)[torch.randint(10, (n,))])

    hand_written([784, 8, 10], random_digits(64), 2)  # loads what any training needs
    before, seconds = peak_mb(), []
    dataset = random_digits(samples)
    for _ in range(5):
        start = time.perf_counter()
        hand_written([784, hidden, 10], dataset, batches=samples)
        seconds.append(time.perf_counter() - start)
    return min(seconds), peak_mb() - before


def growth() -> None:
    sizes = [1, 2, 4, 8]
    tables = {
        "samples (784-128-10)": [(15_000 * k, 15_000 * k, 128) for k in sizes],
        "parameters (784-h-10, 1,500 samples)": [(795 * 2048 * k + 10, 1_500, 2048 * k) for k in sizes],
    }
    for title, rows in tables.items():
        numbers, measured = [number for number, *_ in rows], []
        print(f"\n{title}\n{'number':>12} {'s an epoch':>10} {'MB':>6}")
        for number, samples, hidden in rows:
            measured.append(in_a_process(one_size, samples, hidden))
            print(f"{number:12,} {measured[-1][0]:10.2f} {measured[-1][1]:6.0f}")
        exponents = [np.polyfit(np.log(numbers), np.log(column), 1)[0] for column in zip(*measured, strict=True)]
        print("time grows with the power {:.2f} of the number, memory with {:.2f}".format(*exponents))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=400, help="batches in one measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each pipeline")
    parser.add_argument("--growth", action="store_true", help="only time and memory as the numbers double")
    arguments = parser.parse_args()
    if arguments.growth:
        return growth()
    start = time.perf_counter()
    dataset, _ = load_mnist()
    ready = time.perf_counter() - start

    batches_an_epoch = -(-len(dataset) // BATCH_SIZE)
    batches = min(arguments.batches, batches_an_epoch)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {len(dataset)} digits ready in {ready:.2f} s")
    for network, widths in NETWORKS.items():
        seconds = {name: [] for name in PIPELINES}
        for _ in range(arguments.rounds + 1):  # the first round warms up
            for name, pipeline in PIPELINES.items():
                start = time.perf_counter()
                pipeline(widths, dataset, batches)
                seconds[name].append((time.perf_counter() - start) * batches_an_epoch / batches)
        print(f"\n{network}, {'-'.join(map(str, widths))}, batch {BATCH_SIZE}")
        print(f"{'':21} {'s an epoch':>10} {'speed':>6} {'quartiles':>12} {'peak MB':>8}")
        for name in PIPELINES:
            ratios = np.divide(seconds["stock PyTorch"][1:], seconds[name][1:])
            low, speed, high = np.percentile(ratios, [25, 50, 75])
            peak = in_a_process(peak_of, name, network, batches)
            line = f"{name:21} {np.median(seconds[name][1:]):10.2f} {speed:6.2f}"
            print(f"{line} {low:6.2f}{high:6.2f} {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
