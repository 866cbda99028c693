"""How checker.py checks the answers in code: layers, losses, optimizers, loops."""

import contextlib
import inspect
import io
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

from checker import TASKS, Case, Found, array, compare, judge, need, same, task

# ----------------------------------------------------------------------------------------------------------- layers

SHAPES = [(1, 1, 1), (2, 1, 1), (1, 2, 3), (2, 3, 2), (4, 3, 2), (5, 2, 6), (3, 7, 4), (6, 4, 4)]  # N, inputs, outputs


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def methods(cls: Any, *names: str) -> list[Callable]:
    """The student's methods, with decorators of the student's own, without what our base class puts around them."""
    need(inspect.isclass(cls), "no class", type(cls).__name__)
    for name in names:
        need(callable(getattr(cls, name, None)), "no method", name)
    return [getattr(method, "unchecked", method) for method in (getattr(cls, name) for name in names)]


def build(cls: type, *arguments: Any, **named: Any) -> Any:
    try:
        layer = cls(*arguments, **named)
    except (AttributeError, TypeError) as error:  # torch's, and that of layers.Layer
        need(not re.search(r"(before Module|super\(\))\.__init__", str(error)), "super")
        raise
    need("_parameters" in vars(layer), "super")
    return layer


def parameter(layer: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    value = getattr(layer, name, None)
    need(value is not None, "no attribute", name)
    need(isinstance(value, nn.Parameter), "no parameter", name, type(value).__name__)
    need(tuple(value.shape) == shape, "parameter shape", name, tuple(value.shape), shape)


def call(name: str, method: Callable, layer: Any, arguments: tuple, kept: tuple) -> Tensor:
    """What forward or backward returns: a tensor, without a change of what is to be kept."""
    before = [x.clone() for x in kept]
    result = method(layer, *arguments)
    need(result is not None, "nothing returned", name)
    need(isinstance(result, Tensor), "no tensor", name, type(result).__name__)
    need(all(map(torch.equal, kept, before)), "input modified", name)
    return result


def call_forward(layer: Any, forward: Callable, *inputs: Tensor) -> Tensor:
    Y = call("forward", forward, layer, inputs, inputs)
    need(Y.dtype == inputs[0].dtype, "dtype", "forward", inputs[0].dtype, Y.dtype)
    return Y


def call_backward(layer: Any, backward: Callable, delta: Tensor, X: Tensor) -> Tensor:
    before, parameters = delta.clone(), {name: p.detach().clone() for name, p in layer.named_parameters()}
    dX = call("backward", backward, layer, (delta,), (X,))
    need(torch.equal(delta, before), "delta modified")
    for name, old in parameters.items():
        need(torch.equal(layer.get_parameter(name), old), "parameters changed", "backward", name)
    return dX


def derive(definition: Callable, *inputs: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """The value of a definition, a random delta for it (1 for a loss), and dL/d of each input, by autograd."""
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = definition(*leaves)
    delta = randn(*value.shape) if value.dim() else torch.ones_like(value)
    return value, delta, torch.autograd.grad(value, leaves, delta)


def factors(Y: Tensor) -> dict[str, float]:
    """By name, what a loss or a gradient is often multiplied with or divided by."""
    N, K = Y.shape
    found = {"N (the batch)": N, "K (the number of outputs)": K, "N K (all entries)": N * K, "2": 2}
    return found | {f"1/{name}": 1 / value for name, value in found.items()}


@dataclass
class LayerTask:
    """A layer by its definition; what is not given here is found by autograd."""

    definition: Callable  # (layer, X, *parameters) -> Y, in torch
    wrong: Callable  # (layer, delta, X, *parameters) -> what, "Y" or "dL/dX", -> kind -> the value by this mistake
    parameters: dict[str, Callable] = field(default_factory=dict)  # name -> (inputs, outputs) -> shape
    arguments: Callable = lambda D, K: ()  # (inputs, outputs) -> the arguments of the class


def check_layer(cls: type, task: LayerTask) -> str:
    try:
        return _check_layer(cls, task, SHAPES)
    except RuntimeError as error:
        if "shape" in str(error):  # matrices that do not fit: what is it where they do?
            _check_layer(cls, task, [(4, 3, 3), (5, 4, 4), (6, 2, 2), (7, 5, 5)])
        wrong_grad(error)
        raise


def wrong_grad(error: RuntimeError) -> None:
    """Torch refuses a .grad of the wrong shape: say what is wrong with it."""
    sizes = re.findall(r"of size '\[([\d, ]+)\]'", str(error))
    if "assign a gradient" in str(error) and len(sizes) == 2:
        ours, true = (tuple(map(int, size.split(","))) for size in sizes)
        name = "dL/db" if true[0] == 1 else "dL/dW"
        need(ours != true[::-1], "transposed", name)
        need(ours[1:] != true[1:] or true[0] != 1, "batch sum", name, ours, true)
        raise Found("shape", name, ours, true)


def _check_layer(cls: type, task: LayerTask, shapes: list) -> str:
    forward, backward = methods(cls, "forward", "backward")
    values, gradients = [], []
    for (N, D, K), training in [*product(shapes, [True]), *product(shapes[3:], [False])]:
        layer = build(cls, *task.arguments(D, K))
        for name, shape in task.parameters.items():
            parameter(layer, name, shape(D, K))
        layer.double().train(training)
        for p in [*layer.parameters(), *layer.buffers()]:
            p.copy_(torch.randn_like(p))
        for X in randn(N, D), randn(N + 2, D).abs():  # another batch through the same layer
            tags = {"a batch of one"} if len(X) == 1 else set()
            tags |= {"negative inputs"} if (X < 0).any() else set()
            tags |= set() if training else {"eval mode"}
            inputs = {"X": X} | {name: getattr(layer, name).detach().clone() for name in task.parameters}
            truth, delta, true = derive(partial(task.definition, layer), *inputs.values())
            wrong = task.wrong(layer, delta, *inputs.values())
            Y = call_forward(layer, forward, X)
            values.append(Case("Y", Y, truth, inputs, wrong.get("Y", {}), tags=tags))
            if not same(Y, truth):
                continue
            for q in layer.parameters():
                q.grad = None
            ours = [call_backward(layer, backward, delta, X).clone()]
            for name in task.parameters:
                grad = getattr(layer, name).grad
                need(grad is not None, "grad missing", name)
                ours.append(grad.clone())
            for name, g, right in zip(inputs, ours, true, strict=True):
                what, given = f"dL/d{name}", inputs | {"delta": delta}
                gradients.append(Case(what, g, right, given, wrong.get(what, {}), factors(truth), tags))
            call_forward(layer, forward, X)
            call_backward(layer, backward, delta, X)
            for name, g, right in zip(task.parameters, ours[1:], true[1:], strict=True):
                again = getattr(layer, name).grad
                if same(g, right) and not same(again, 2 * g):
                    raise Found("grad assigned" if same(again, g) else "grad not accumulated", f"dL/d{name}")
    judge(values)
    judge(gradients)
    independent(cls, task, forward, backward)
    if not task.parameters:
        any_shape(cls, task, forward, backward)
    for dtype in torch.float32, torch.float64:
        layer, X = build(cls, *task.arguments(3, 2)).to(dtype), randn(4, 3).to(dtype)
        dX = call_backward(layer, backward, torch.ones_like(call_forward(layer, forward, X)), X)
        need(dX.dtype == dtype, "dtype", "backward", dtype, dX.dtype)
    return f"right, on {len(values)} random inputs of {len(shapes)} shapes, forward and backward."


def independent(cls: type, task: LayerTask, forward: Callable, backward: Callable) -> None:
    """Two layers of a network do not meet in each other's memory."""
    a, b = (build(cls, *task.arguments(3, 2)).double().train() for _ in range(2))
    X = randn(4, 3)
    delta = randn(*call_forward(a, forward, X).shape)

    def gradients():
        for p in a.parameters():
            p.grad = None
        return [call_backward(a, backward, delta, X), *(p.grad.clone() for p in a.parameters())]

    alone = gradients()
    call_forward(a, forward, X)
    call_forward(b, forward, randn(4, 3))
    need(all(map(same, gradients(), alone)), "shared memory")


def any_shape(cls: type, task: LayerTask, forward: Callable, backward: Callable) -> None:
    """An elementwise layer takes any shape, and large numbers."""
    layer, cases = build(cls, *task.arguments(3, 2)).double().train(), []
    for X in randn(2, 3, 4), randn(5), torch.tensor([[30.0, -30.0], [1000.0, -1000.0]], dtype=torch.float64):
        truth, delta, (true,) = derive(partial(task.definition, layer), X)
        try:
            Y = call_forward(layer, forward, X)
            dX = call_backward(layer, backward, delta, X)
        except (IndexError, ValueError):
            raise Found("any shape", tuple(X.shape)) from None
        tags = {"large inputs"} if X.abs().max() > 29 else {"inputs with another number of dimensions"}
        cases += [Case("Y", Y, truth, {"X": X}, tags=tags), Case("dL/dX", dX, true, {"X": X}, tags=tags)]
    judge(cases)


@task("FCLayer")
def check_fc_layer(cls: type) -> str:
    def wrong(layer, delta, X, W, b):
        square = W.shape[0] == W.shape[1]
        return {
            "Y": {"bias missing": X @ W, "bias sign": X @ W - b},
            "dL/dX": {"weights missing": delta} | ({"weights not transposed": delta @ W} if square else {}),
            "dL/db": {"bias times input": (X.sum(1, keepdim=True) * delta).sum(0, keepdim=True)},
            "dL/dW": {"input missing": torch.ones_like(X).T @ delta},
        }

    shapes = {"W": lambda D, K: (D, K), "b": lambda D, K: (1, K)}
    text = check_layer(cls, LayerTask(lambda layer, X, W, b: X @ W + b, wrong, shapes, lambda D, K: (D, K)))
    layer, again = cls(300, 200), cls(300, 200)
    W, b = layer.W, layer.b
    need(W.requires_grad and b.requires_grad, "not trained")
    need(W.std() > 0, "zeros")
    need(not torch.equal(W, again.W), "same start")
    need(not b.any(), "bias start")
    expected = (2 / 500) ** 0.5
    need(abs(float(W.std()) / expected - 1) < 0.05, "initial scale", float(W.std()), expected)
    return text


@task("SigmoidLayer")
def check_sigmoid_layer(cls: type) -> str:
    def wrong(layer, delta, X):
        Y = torch.sigmoid(X)
        return {
            "Y": {"exponent sign": torch.sigmoid(-X), "another function": torch.tanh(X)},
            "dL/dX": {
                "derivative missing": delta,
                "derivative at X": delta * X * (1 - X),
                "derivative at Y": delta * torch.sigmoid(Y) * (1 - torch.sigmoid(Y)),
                "delta missing": Y * (1 - Y),
                "half a derivative": delta * Y,
                "half a derivative|other half a derivative": delta * (1 - Y),
            },
        }

    return check_layer(cls, LayerTask(lambda layer, X: torch.sigmoid(X), wrong))


@task("ReLULayer")
def check_relu_layer(cls: type) -> str:
    def wrong(layer, delta, X):
        return {
            "Y": {"identity": X, "absolute value": X.abs()},
            "dL/dX": {
                "derivative missing": delta,
                "times the output": delta * torch.relu(X),
                "other side": delta * (X < 0),
                "delta missing": (X > 0).double(),
                "relu of delta": torch.relu(delta),
            },
        }

    return check_layer(cls, LayerTask(lambda layer, X: torch.relu(X), wrong))


@task("LeakyReLULayer")
def check_leaky_relu_layer(cls: type) -> str:
    def leaky(X, slope):
        return torch.where(X > 0, X, slope * X)

    def wrong(slope, layer, delta, X):
        return {
            "Y": {
                "slope missing forward": torch.relu(X),
                "slope sign": leaky(X, -slope),
                "slope ignored forward": leaky(X, 0.01),
            },
            "dL/dX": {
                "derivative missing": delta,
                "slope missing": delta * (X > 0),
                "slope everywhere": slope * delta,
                "slope ignored backward": torch.where(X > 0, delta, 0.01 * delta),
                "times the output": delta * leaky(X, slope),
            },
        }

    def check(slope):
        layer_task = LayerTask(lambda layer, X: leaky(X, slope), partial(wrong, slope), arguments=lambda D, K: (slope,))
        return check_layer(cls, layer_task)

    check(0.3)
    return check(0.1)


@task("DropoutLayer")
def check_dropout_layer(cls: type) -> str:
    forward, backward = methods(cls, "forward", "backward")
    for p in 0.5, 0.2:
        layer, X = build(cls, p).double(), randn(200, 50)
        Y = call_forward(layer.train(), forward, X)
        need(Y.shape == X.shape, "shape", "the output", tuple(Y.shape), tuple(X.shape))
        noise = Y / X
        kept = noise.abs() > 1e-9
        fraction = kept.double().mean().item()
        need(fraction < 1, "no dropout")
        need(fraction > 0, "all dropped")
        need(not (kept == kept[:, :1]).all(), "one draw for a row")
        need(not (kept == kept[:1]).all(), "one draw for a column")
        need(len(kept.unique(dim=0)) == 200 and len(kept.unique(dim=1)[0]) == 50, "mask repeated")
        close = abs(fraction - (1 - p)) < 0.03
        need(close or abs(fraction - p) >= 0.03, "rate reversed", p, fraction)
        need(close, "wrong fraction", p, fraction, 1 - p)
        eval_Y = call_forward(layer.eval(), forward, X)
        if same(noise[kept], torch.ones_like(noise[kept])):
            later = same(eval_Y, (1 - p) * X)
            raise Found("scaled in eval mode" if later else "not scaled")
        right = same(noise[kept], torch.full_like(noise[kept], 1 / (1 - p)))
        need(right or not same(noise[kept], torch.full_like(noise[kept], 1 / p)), "scaled by 1/p")
        need(right, "wrong scale", noise[kept].mean().item(), 1 / (1 - p))
        need((eval_Y != 0).double().mean() > 0.99, "dropout in eval mode")
        need(same(eval_Y, X), "eval mode")
        again = call_forward(layer.train(), forward, X)
        third = call_forward(layer, forward, X)
        need(not same(again, Y) and not same(third, Y) and not same(third, again), "same mask again")
        noise, delta = third / X, randn(200, 50)
        dX = call_backward(layer, backward, delta, X)
        need(dX.shape == X.shape, "shape", "what backward returns", tuple(dX.shape), tuple(X.shape))
        need(not another_mask(dX / delta, noise), "another mask")
        wrong = {
            "mask missing": delta,
            "scale missing": delta * (noise != 0),
            "times the output": delta * third,
            "dropped kept": delta * (noise == 0),
        }
        compare("dL/dX", dX, delta * noise, {"noise": noise[:2, :2], "delta": delta[:2, :2]}, wrong)
        need(same(call_backward(layer, backward, delta, X), dX), "backward forgets")
        call_forward(layer.eval(), forward, X)
        need(same(call_backward(layer, backward, delta, X), delta), "backward in eval mode")
    whole = build(cls, 0.0).double().train()
    need(same(call_forward(whole, forward, X), X), "rate 0")
    call_forward(build(cls, 0.5).train(), forward, X.float())
    return "right: the fraction kept, its scale, eval mode, and the same mask backwards."


def another_mask(ours: Tensor, noise: Tensor) -> bool:
    """Does it have the values of the noise, each somewhere, but at other places?"""
    looks_like = same(ours.round(decimals=9).unique(), noise.round(decimals=9).unique())
    agreement = ((ours.abs() > 1e-9) == (noise != 0)).double().mean()
    return bool(looks_like and 0.05 < agreement < 0.95)


@task("MeanOnlyBatchNormLayer")
def check_mean_only_batch_norm_layer(cls: type) -> str:
    def mean(X, layer):
        return X.mean(0, keepdim=True) if layer.training else layer.running_mean.double()

    def definition(layer, X, gamma, beta):
        return gamma * (X - mean(X, layer)) + beta

    def wrong(layer, delta, X, gamma, beta):
        centred, m = X - mean(X, layer), delta.mean(0, keepdim=True)
        Y = {
            "gamma missing": centred + beta,
            "beta missing": gamma * centred,
            "mean not subtracted": gamma * X + beta,
        }
        if layer.training:
            Y["divided by std"] = gamma * centred / (X.var(0, keepdim=True, correction=0) + 1e-5).sqrt() + beta
            Y["mean over features"] = gamma * (X - X.mean(1, keepdim=True)) + beta
            Y["one mean"] = gamma * (X - X.mean()) + beta
            dX = {
                "mean missing": gamma * delta,
                "gamma missing backward": delta - m,
                "sum for mean": gamma * (delta - delta.sum(0, keepdim=True)),
                "gamma on one path": gamma * delta - m,
            }
        else:
            Y["batch mean in eval mode"] = gamma * (X - X.mean(0, keepdim=True)) + beta
            dX = {"mean in eval mode": gamma * (delta - m)}
        dgamma = {
            "not centred": (delta * X).sum(0, keepdim=True),
            "output for input": (delta * (gamma * centred + beta)).sum(0, keepdim=True),
        }
        return {"Y": Y, "dL/dX": dX, "dL/dgamma": dgamma}

    forward, _ = methods(cls, "forward", "backward")
    layer = build(cls, 3).double()
    for name, value in ("gamma", 1), ("beta", 0), ("running_mean", 0):
        start = getattr(layer, name, None)
        need(isinstance(start, Tensor), "no attribute", name)
        need(start.shape == (1, 3), "parameter shape", name, tuple(start.shape), (1, 3))
        need((start == value).all(), "starts", name, "ones" if value else "zeros")
    call_forward(layer.eval(), forward, randn(5, 3) + 4)
    need(not layer.running_mean.any(), "updated in eval mode")
    need("running_mean" not in dict(layer.named_parameters()), "no parameter wanted", "running_mean")
    with torch.enable_grad():
        call_forward(layer.train(), forward, randn(5, 3).requires_grad_())
    need(not layer.running_mean.requires_grad, "graph kept", "running_mean")
    shapes = dict.fromkeys(["gamma", "beta"], lambda D, K: (1, D))
    text = check_layer(cls, LayerTask(definition, wrong, shapes, lambda D, K: (D,)))
    layer, X = build(cls, 3).double(), randn(5, 3) + 4
    before, m = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64), X.mean(0, keepdim=True)
    layer.running_mean.copy_(before)
    call_forward(layer.train(), forward, X)
    wrong_mean = {
        "running mean not updated": before,
        "momentum reversed": 0.1 * before + 0.9 * m,
        "running mean replaced": m,
    }
    what, inputs = "running_mean after a forward in training", {"batch mean": m, "before": before}
    compare(what, layer.running_mean, 0.9 * before + 0.1 * m, inputs, wrong_mean)
    return text


# ------------------------------------------------------------------------------------------------- losses


def check_loss(cls: type, definition: Callable, wrong: Callable, problems: list[tuple[Tensor, Tensor]]) -> str:
    """problems: (outputs, targets); wrong: of both, what -> kind -> the value by this mistake."""
    forward, backward = methods(cls, "forward", "backward")
    values, gradients, loss = [], [], build(cls)
    for outputs, targets in problems:
        truth, _, (true,) = derive(lambda Y, T=targets: definition(Y, T), outputs)
        tags = {"class indices" if targets.dim() == 1 else "rows of probabilities"}
        tags |= {"a batch of one"} if len(outputs) == 1 else set()
        inputs, mistakes = {"outputs": outputs, "targets": targets}, wrong(outputs, targets)
        L = call_forward(loss, forward, outputs, targets)
        need(L.numel() == 1, "not averaged", tuple(L.shape))
        L = L.reshape(())
        values.append(Case("the loss", L, truth, inputs, mistakes["the loss"], factors(outputs), tags))
        if same(L, truth):
            delta = call("backward", backward, loss, (), (outputs, targets))
            gradients.append(Case("dL/dY", delta, true, inputs, mistakes["dL/dY"], factors(outputs), tags))
    judge(values)
    judge(gradients)
    return f"right, on {len(problems)} random inputs, value and gradient."


LOSS_SHAPES = [(1, 2), (2, 2), (3, 4), (5, 3), (4, 10)]


@task("MSELoss")
def check_mse_loss(cls: type) -> str:
    def wrong(Y, T):
        return {
            "the loss": {
                "not squared": (Y - T).mean(),
                "absolute differences": (Y - T).abs().mean(),
                "root": ((Y - T) ** 2).mean().sqrt(),
            },
            "dL/dY": {"only the sign": (Y - T).sign() / Y.numel()},
        }

    problems = [(randn(N, K), randn(N, K)) for N, K in [(1, 1), (3, 1), *LOSS_SHAPES]]
    return check_loss(cls, lambda Y, T: ((Y - T) ** 2).mean(), wrong, problems)


@task("CrossEntropyLoss")
def check_cross_entropy_loss(cls: type) -> str:
    def rows(Y, T):
        return T if T.dim() == 2 else torch.eye(Y.shape[1], dtype=torch.float64)[T]

    def definition(Y, T):
        return -(rows(Y, T) * torch.log_softmax(Y, 1)).sum(1).mean()

    def wrong(Y, T):
        T, s = rows(Y, T), torch.softmax(Y, 1)
        return {
            "the loss": {
                "softmax twice": -(T * torch.log_softmax(s, 1)).sum(1).mean(),
                "no softmax": -(T * Y.log()).sum(1).mean(),
                "no logarithm": -(T * s).sum(1).mean(),
                "softmax over the batch": -(T * torch.log_softmax(Y, 0)).sum(1).mean(),
            },
            "dL/dY": {
                "target lost": s / len(Y),
                "softmax missing": (Y - T) / len(Y),
                "no sum over classes": -(T * (1 - s)) / len(Y),
            },
        }

    forward, backward = methods(cls, "forward", "backward")
    problems = [(2 * randn(N, K), torch.softmax(2 * randn(N, K), 1)) for N, K in LOSS_SHAPES]
    check_loss(cls, definition, wrong, problems)
    try:
        forward(build(cls), randn(3, 4), torch.tensor([0, 3, 1]))
    except Exception as error:
        raise Found("class indices", error) from None
    problems += [(2 * randn(N, K), torch.randint(K, (N,))) for N, K in LOSS_SHAPES]
    text = check_loss(cls, definition, wrong, problems)
    loss = build(cls)
    large = torch.tensor([[1000.0, 0.0], [0.0, -1000.0]], dtype=torch.float64)
    L = call_forward(loss, forward, large, torch.tensor([1, 1]))
    need(same(L.reshape(()), 1000.0) and torch.isfinite(backward(loss)).all(), "overflow", float(L))
    return text


# ------------------------------------------------------------------------------------------------- optimizers


@task("SGD")
def check_sgd(cls: type) -> str:
    methods(cls, "step", "zero_grad")
    turns = "a parameter after step", "a parameter after two steps", *["a parameter after several rounds"] * 2
    for rate in 0.1, 0.5, 2.0:
        parameters, cases = [nn.Parameter(randn(3, 2)), nn.Parameter(randn(2))], []
        optimizer = cls(iter(parameters), rate)
        for turn, what in enumerate(turns):
            if turn > 1:
                optimizer.zero_grad()
                need(all(p.grad is None or not p.grad.any() for p in parameters), "zero_grad")
            for p in parameters if turn != 1 else []:  # the second step has the gradients of the first, once more
                p.grad = (100 if turn else 1) * torch.randn_like(p)
            before = [(p.detach().clone(), p.grad.clone()) for p in parameters]
            try:
                with torch.enable_grad():
                    optimizer.step()
            except RuntimeError as error:
                need("in-place operation" not in str(error), "grad recorded")
                raise
            changed = [not same(p, old) for p, (old, _) in zip(parameters, before, strict=True)]
            need(any(changed) or turn != 1, "generator")
            need(all(changed) or not any(changed), "some parameters")
            for p, (old, g) in zip(parameters, before, strict=True):
                need(p.grad is not None and torch.equal(p.grad, g), "grad modified")
                inputs = {"before": old, "gradient": g, "rate": torch.tensor(rate)}
                wrong = {
                    "ascent": old + rate * g,
                    "learning rate missing": old - g,
                    "unchanged": old,
                    "old value lost": -rate * g,
                    "divided by the rate": old - g / rate,
                    "sign of the gradient": old - rate * g.sign(),
                }
                cases.append(Case(what, p.detach().clone(), old - rate * g, inputs, wrong))
            judge(cases)
        for p in parameters:
            p.grad = None
        optimizer.zero_grad()  # as before the first backward
    return "right: step, a second step, zero_grad."


def valley(x: Any) -> Any:
    return 100 * (x[1] - x[0] ** 2) ** 2


def slope(x: Any) -> Any:
    return (1 - x[0]) ** 2


def smooth(f: Callable) -> Callable:
    """x -> (f, its gradient, its Hessian), by autograd."""

    def at(x):
        x = torch.as_tensor(np.array(x, dtype=float))
        with torch.enable_grad():
            return float(f(x)), jacobian(f, x).numpy(), hessian(f, x).numpy()

    return at


POINTS = [np.array(p) for p in [(0.0, 0.0), (1.0, 1.0), (0.0, 2.0), (2.0, -1.0), (-1.5, 0.5), (0.3, -0.7)]]


def parts(result: Any, *names: str) -> tuple:
    need(result is not None, "nothing returned", "it")
    right = isinstance(result, tuple | list) and len(result) == len(names)
    need(right, "not a tuple", ", ".join(names), type(result).__name__)
    return tuple(result)


def check_derivatives(names: list[str], f: Callable) -> str:
    """Rosenbrock's (value, grad) or (value, grad, hessian), each with what it becomes by the usual mistakes."""
    cases = []
    for x in POINTS:
        copy = x.copy()
        result = dict(zip(names, parts(f(copy), *names), strict=True))
        need(np.array_equal(copy, x), "input modified", "it")
        for name in names[1:]:
            need(isinstance(result[name], np.ndarray), "no array", name, type(result[name]).__name__)
        v1, g1, H1 = smooth(valley)(x)
        v2, g2, H2 = smooth(slope)(x)
        swapped = x[::-1]
        wrong_value = {
            "100 missing": v1 / 100 + v2,
            "value not squared": 100 * (x[1] - x[0] ** 2) + v2,
            "coordinates swapped": float(valley(swapped) + slope(swapped)),
        }
        wrong_grad = {
            "inner derivative missing": np.array([g2[0] - g1[1], g1[1]]),
            "second term missing": g1,
            "sign of the second term": g1 - g2,
            "sign of the first term": np.array([g2[0] - g1[0], g1[1]]),
            "entries swapped": (g1 + g2)[::-1],
        }
        corner, right, below = (np.outer(*np.eye(2)[[i, j]]) for i, j in ((0, 0), (0, 1), (1, 0)))
        H, outer = H1 + H2, -2 * g1[1]  # outer: what the product rule gives by differentiating its first factor
        wrong_hessian = {
            "product rule": H - outer * corner,
            "product rule, other term": H - (H1[0, 0] - outer) * corner,
            "constant missing": H1,
            "only the diagonal": np.diag(np.diag(H)),
            "mixed sign": H - 2 * H[0, 1] * (right + below),
            "not symmetric": H - 2 * H[0, 1] * right,
            "not symmetric below": H - 2 * H[0, 1] * below,
        }
        truths = {"value": (v1 + v2, wrong_value), "grad": (g1 + g2, wrong_grad), "hessian": (H, wrong_hessian)}
        cases += [Case(name, array(result[name]), truths[name][0], {"x": x}, truths[name][1]) for name in names]
    judge(cases)
    return f"right, at {len(POINTS)} points."


TASKS["rosenbrock"] = partial(check_derivatives, ["value", "grad"])
TASKS["rosenbrock_hessian"] = partial(check_derivatives, ["value", "grad", "hessian"])


def quadratic(A: Any, m: Any, results: int = 2) -> Callable:
    """x -> 1/2 (x - m)^T A (x - m), its gradient, and with 3 results its Hessian."""
    A, m = np.array(A, dtype=float), np.array(m, dtype=float)

    def f(x):
        x = np.array(x, dtype=float)
        grad = A @ (x - m)
        return (0.5 * (x - m) @ grad, grad, A.copy())[:results]

    return f


def path_of(history: Any, start: np.ndarray, theta: Any) -> tuple[list, list, list]:
    """The points and the values of a student's history, and its entries (theta, value, grad)."""
    need(isinstance(history, list) and history, "no history")
    try:
        entries = [(e[0], *e[1]) if isinstance(e[1], tuple | list) else e for e in history]
        thetas = [np.array(entry[0], dtype=float) for entry in entries]
        values = [float(entry[1]) for entry in entries]
    except (IndexError, TypeError, ValueError):
        raise Found("history entries") from None
    if len(thetas) > 2 and all(np.array_equal(t, thetas[0]) for t in thetas):
        raise Found("history aliased")
    need(np.allclose(thetas[0], start), "start missing", start, thetas[0])
    need(np.allclose(thetas[-1], theta), "end missing")
    return thetas, values, entries


def run_optimizer(optimizer: Callable, f: Callable, start: Any, **options: Any) -> tuple:
    kept = np.array(start, dtype=float)
    theta, history = parts(optimizer(f, start, **options), "theta", "history")
    need(np.array_equal(np.array(start, dtype=float), kept), "start modified")
    return np.asarray(theta, dtype=float), history


@task("GD")
def check_gd(gd: Callable) -> str:
    tolerance = 1e-8
    for A, m, start, alpha in [
        ([[2.0]], [1.0], np.array([3.0]), 0.1),
        ([[1.0, 0.0], [0.0, 0.1]], [0.0, 0.0], [1.0, 1.0], 0.5),
        ([[2.0, 0.5], [0.5, 1.0]], [1.0, -1.0], np.array([3, 2]), 0.2),
    ]:
        f, x0 = quadratic(A, m), np.array(start, dtype=float)
        theta, history = run_optimizer(gd, f, start, alpha=alpha, stop_tolerance=tolerance, max_steps=2000)
        thetas, values, entries = path_of(history, x0, theta)
        need(len(thetas) > 1, "no update")
        g = f(x0)[1]
        first = {"theta0": x0, "gradient": g, "alpha": np.array(alpha)}
        wrong = {
            "ascent": x0 + alpha * g,
            "alpha missing": x0 - g,
            "normalised": x0 - alpha * g / np.linalg.norm(g),
            "old value lost": -alpha * g,
        }
        compare("theta after one update", thetas[1], x0 - alpha * g, first, wrong)
        for k in range(2, len(thetas)):
            before, now = thetas[k - 1], thetas[k]
            stale = any(same(now, before - alpha * f(x)[1]) for x in (x0, thetas[k - 2]))
            right = same(now, before - alpha * f(before)[1])
            need(right, "stale gradient" if stale else "later update", k)
        need(np.allclose(values, [f(x)[0] for x in thetas]), "stale value")
        need(all(len(entry) > 2 for entry in entries), "history entries")
        need(all(same(entry[2], f(x)[1]) for entry, x in zip(entries, thetas, strict=True)), "stale value")
        path = [x0]
        for _ in range(2000):
            path.append(path[-1] - alpha * f(path[-1])[1])
        path_values, path_grads = zip(*map(f, path), strict=True)
        sizes = {
            "the rule": np.abs(np.diff(path_values)),
            "the length of the gradient": np.linalg.norm(path_grads[1:], axis=1),
            "the length of the step": np.linalg.norm(np.diff(path, axis=0), axis=1),
        }
        stops = {rule: 1 + int(np.argmax(size < tolerance)) for rule, size in sizes.items()}
        made, expected = len(thetas) - 1, stops["the rule"]
        said = [f"; {rule} would stop there" for rule, count in stops.items() if count == made]
        need(made == expected, "stopping rule", made, expected, *(said or [""]))
    f = quadratic([[1.0]], [0.0])
    for alpha, steps, kind in (0.01, 7, "max_steps"), (2.5, 20, "stops on a rise"):
        theta, history = run_optimizer(gd, f, np.array([1.0]), alpha=alpha, stop_tolerance=1e-12, max_steps=steps)
        need(len(history) == steps + 1, kind, steps, len(history) - 1)
    return "right: the path, its history, the stopping rule; the start is left alone."


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


@task("Newton")
def check_newton(newton: Callable) -> str:
    run = partial(run_optimizer, newton, stop_tolerance=1e-9)
    A, m = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, -2.0])
    f, x0 = quadratic(A, m, results=3), np.array([4.0, 1.0])
    theta, history = run(f, x0.copy(), max_steps=100)
    thetas, *_ = path_of(history, x0, theta)
    g = A @ (x0 - m)
    need(len(thetas) > 1, "no update")
    need(not same(thetas[1], x0), "no progress")
    wrong = {
        "Newton's sign": np.linalg.solve(A, g),
        "no Hessian": -g,
        "times the Hessian": -A @ g,
        "diagonal only": -g / np.diag(A),
        "elementwise inverse": -(1 / A) @ g,
    }
    inputs = {"theta0": x0, "gradient": g, "hessian": A}
    units = {kind: unit(step) for kind, step in wrong.items()}
    compare("the direction of a step", unit(thetas[1] - x0), unit(m - x0), inputs, units)
    need(same(thetas[1], m), "not a full step")
    need(len(thetas) == 2, "too many updates", len(thetas) - 1)

    theta, history = run(f, [4, 1], alpha=0.5, max_steps=3)
    need(same(history[1][0], (x0 + m) / 2), "alpha ignored")
    need(len(history) == 4, "max_steps|max_steps of Newton", 3, len(history) - 1)
    theta, history = run(f, m.copy(), max_steps=3)
    need(len(history) == 1, "goes on at the minimum")

    log_cosh = smooth(lambda x: torch.log(torch.cosh(x[0])))
    theta, history = run(log_cosh, np.array([1.2]), max_steps=3)
    pure = 1.2 - np.sinh(2.4) / 2
    need(not same(history[1][0], [pure]), "no line search")

    double_well = smooth(lambda x: x[0] ** 4 - x[0] ** 2)
    theta, history = run(double_well, np.array([0.1]), max_steps=60)
    need(abs(theta[0]) > 0.6, "towards a maximum", theta[0])
    length = np.linalg.norm(double_well(theta)[1])
    need(length < 1e-8 or len(history) > 60, "stops early", length)

    rosenbrock = smooth(lambda x: valley(x) + slope(x))
    for start in (0.0, 2.0), (-1.2, 1.0), (2.0, 2.0):
        theta, history = run(rosenbrock, np.array(start), max_steps=500)
        thetas, values, _ = path_of(history, np.array(start), theta)
        rises = any(b > a + 1e-9 * max(1, abs(a)) for a, b in pairwise(values))
        need(not rises, "value rises")
        need(len(thetas) < 100, "slow", start, len(thetas) - 1)
        need(np.allclose(theta, 1, atol=1e-5), "not converged", start, theta)
    return "right: the direction, the line search, negative curvature, the stopping rule."


# ------------------------------------------------------------------------------------------------- training loops


class Batches(list):
    """Batches of 4, 4 and 2 examples, which count how often they are gone through."""

    dataset, batch_size, passes = range(10), 4, 0

    def __init__(self, X: Tensor, T: Tensor) -> None:
        super().__init__(zip(X.split(4), T.split(4), strict=True))

    def __iter__(self) -> Iterator:
        self.passes += 1
        return super().__iter__()


class SpySGD(torch.optim.SGD):
    def __init__(self, model: nn.Module, rate: float, events: list[str]) -> None:
        super().__init__(model.parameters(), lr=rate)
        self.events = events

    def zero_grad(self, *arguments, **named):
        self.events.append("zero_grad")
        super().zero_grad(*arguments, **named)

    def step(self, *arguments):
        self.events.append("step")
        return super().step(*arguments)


class SpyModule(nn.Module):
    """A layer or a loss, by autograd, which tells a spy what is done to it."""

    def __init__(self, spy: "Spy", name: Any, function: Callable, *weights: Tensor) -> None:
        super().__init__()
        self.spy, self.name, self.function, self.weights = spy, name, function, nn.ParameterList(weights)

    def forward(self, X, *targets):
        self.spy.note(f"forward {self.name}", X, *targets)
        self.spy.modes.append(self.training)
        with torch.enable_grad():
            self.X = X.detach().requires_grad_()
            self.Y = self.function(self.X, *targets, *self.weights)
        return self.Y.detach()

    def backward(self, *delta):
        self.spy.note(f"backward {self.name}", *delta)
        self.Y.backward(*delta)
        return self.X.grad


class Spy:
    """A network of three layers y = x W, a squared loss, an optimizer and batches; and what is done to them, in order,
    and what they are given, by event."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.modes: list[bool] = []
        self.given: dict[str, list] = defaultdict(list)
        g = torch.Generator().manual_seed(3)
        self.start = [torch.randn(3, 3, generator=g) for _ in range(3)]
        X = torch.randn(10, 3, generator=g.manual_seed(4))
        T = torch.eye(3)[torch.tensor([0, 1, 1, 2, 2, 1, 0, 1, 2, 0])]
        self.batches = Batches(X, T)
        self.model = nn.Sequential(*(SpyModule(self, i, torch.matmul, W.clone()) for i, W in enumerate(self.start, 1)))
        self.criterion = SpyModule(self, "loss", nn.functional.mse_loss)
        self.optimizer = SpySGD(self.model, 0.01, self.events)

    def note(self, event: str, *given: Tensor) -> None:
        self.events.append(event)
        self.given[event].append([x.detach().clone() for x in given])

    def network(self, X: Tensor) -> Tensor:
        """The outputs before the training."""
        return torch.linalg.multi_dot([X, *self.start])


def averages(means: list, batches: list) -> list[tuple[str, float]]:
    """The average of the batches' means over all examples, and what it becomes by the usual mistakes."""
    means, sizes = np.array(means, dtype=float), np.array([len(targets) for _, targets in batches])
    total = means @ sizes
    return [
        ("right", total / sizes.sum()),
        ("last batch", means.mean()),
        ("per batch", total / len(sizes)),
        ("sum", means.sum()),
        ("sum", total),
        ("over the data", means.sum() / sizes.sum()),
        ("percent", 100 * total / sizes.sum()),
        ("only the last", means[-1]),
    ]


def accuracies(batches: list, guess: Callable) -> list[tuple[str, float]]:
    """The same of the accuracy, for what guess makes of outputs and of targets."""
    crossed = [(guess(Y)[:, None] == guess(T)).double() for Y, T in batches]  # every answer with every target
    return [
        *averages([float(matrix.diagonal().mean()) for matrix in crossed], batches),
        ("broadcast", sum(float(matrix.sum()) for matrix in crossed) / sum(map(len, crossed))),
        ("broadcast", sum(float(matrix.mean()) for matrix in crossed) / len(crossed)),
    ]


def average(what: str, ours: float, expected: list[tuple[str, float]], digits: float = 1e-4) -> None:
    right = expected[0][1]
    if abs(ours - right) <= digits:
        return
    close = [f"average: {kind}" for kind, value in expected if abs(ours - value) <= digits]
    raise Found(close[0] if close else "average", what, ours, right)


def trained(
    model: Callable, criterion: Callable, optimizer: torch.optim.Optimizer, batches: list, epochs: int = 2
) -> np.ndarray:
    """Train by autograd; the losses of the batches (columns) in each epoch (rows)."""
    losses = []
    for X, T in epochs * list(batches):
        with torch.enable_grad():
            loss = criterion(model(X), T)
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return np.reshape(losses, (epochs, -1))


@task("train")
def check_train(train: Callable) -> str:
    spy, printed = Spy(), io.StringIO()
    spy.model.eval()
    try:
        with contextlib.redirect_stdout(printed):
            returned = train(spy.model, spy.criterion, spy.optimizer, spy.batches, 2, "cpu")
    except RuntimeError as error:
        need("does not require grad" not in str(error), "loss.backward")
        need("modified by an inplace operation" not in str(error), "step before backward")
        raise
    events = spy.events
    need("forward 1" in events, "nothing trained")
    need("forward loss" in events, "no loss")
    need("backward loss" in events, "no backward of the loss")
    need(any(f"backward {name}" in events for name in "123"), "no backward")
    need("step" in events, "no step")
    need("zero_grad" in events, "zero_grad forgotten")
    for name in "123":
        need(f"backward {name}" in events, "layer left out", name)
    order = [events.index(f"backward {name}") for name in "321"]
    need(order == sorted(order), "layers not reversed")
    need(events.index("step") > order[0], "step before backward")
    losses, steps, zeros = map(events.count, ("forward loss", "step", "zero_grad"))
    expected = len(spy.batches) * 2
    need(losses != expected or steps >= expected, "number of steps", expected, steps)
    last = ""
    for event in events:
        need(event != "zero_grad" or last in ("", "step"), "gradients thrown away")
        last = event if event in ("backward 1", "backward 3", "step") else last
    need(losses != 2 or steps != 2, "one batch an epoch")
    need(losses == expected, "number of batches", expected, losses)
    need(steps == expected, "number of steps", expected, steps)
    need(zeros >= expected, "zero_grad too rare", zeros, expected)
    need(spy.batches.passes == 2, "shuffling lost", spy.batches.passes)
    need(all(spy.modes), "training in eval mode")
    seen, (X, T) = spy.given["forward loss"], spy.batches[0]
    outputs, targets = seen[0]
    need(same(targets, T) and same(outputs, spy.network(X), 1e-4), "criterion arguments")
    inputs = {"outputs": outputs, "targets": targets}
    true = (outputs - targets) * (2 / outputs.numel())
    (last,), (middle,) = spy.given["backward 3"][0], spy.given["backward 2"][0]
    compare("the delta that the last layer's backward gets", last, true, inputs)
    need(same(middle, last @ spy.start[2].T), "delta not passed on")
    twin = Spy()
    weights = [W.requires_grad_() for W in twin.start]
    trained(twin.network, nn.MSELoss(), torch.optim.SGD(weights, lr=0.01), twin.batches)
    need(all(same(p, q, 1e-5) for p, q in zip(spy.model.parameters(), weights, strict=True)), "other weights")
    need(returned is not None, "nothing returned", "train")
    need(returned is spy.model, "model not returned", type(returned).__name__)
    lines = [line for line in printed.getvalue().splitlines() if line.startswith("Epoch [")]
    wanted = "a line 'Epoch [k] Average training loss: ..., Average training accuracy: ...' for each epoch"
    need(len(lines) == 2, "nothing printed", wanted)
    for epoch, line, batches in zip("12", lines, (seen[:3], seen[3:]), strict=True):
        said = re.findall(r"\d+\.\d+", line)
        need(len(said) == 2 and f"[{epoch}]" in line, "format", line)
        means = [float((Y - T).square().mean()) for Y, T in batches]
        average(f"the loss printed for epoch {epoch}", float(said[0]), averages(means, batches))
        average(f"the accuracy printed for epoch {epoch}", float(said[1]), accuracies(batches, lambda Y: Y.argmax(1)))
    return "right: the order of the calls, the averages, what is printed."


@task("test")
def check_test(test: Callable) -> str:
    spy, printed = Spy(), io.StringIO()
    spy.model.train()
    with contextlib.redirect_stdout(printed):
        accuracy = test(spy.model, spy.batches, "cpu")
    need(spy.modes, "nothing trained")
    need(not any(spy.modes), "test in training mode")
    unchanged = all(map(torch.equal, spy.model.parameters(), spy.start))
    need(unchanged, "changed by a test", "the test", "the parameters")
    need(accuracy is not None, "nothing returned", "test")
    need(np.ndim(accuracy) == 0, "not a number")
    need(len(spy.modes) == 9, "number of batches", 3, len(spy.modes) // 3)
    expected = accuracies([(spy.network(X), T) for X, T in spy.batches], lambda Y: Y.argmax(1))
    average("the accuracy", float(accuracy), expected, 1e-6)
    said = re.search(r"The test accuracy is ([\d.]+\d)", printed.getvalue())
    need(said, "nothing printed", "'The test accuracy is 0.9312.', say")
    average("the accuracy printed", float(said[1]), expected)
    return "right: eval mode, every batch, the accuracy."


# ---------------------------------------------------------------------------------------- plain torch: MLP, trainer


def linear_parts(model: nn.Module) -> list[nn.Linear]:
    return [part for part in model.modules() if isinstance(part, nn.Linear)]


def plain(model: nn.Module, X: Tensor, between: Callable) -> Tensor:
    """The model's linear layers in the order in which it calls them, with this function between them."""
    called: list[nn.Module] = []
    hooks = [part.register_forward_hook(lambda part, *_: called.append(part)) for part in linear_parts(model)]
    model(X)
    for hook in hooks:
        hook.remove()
    sizes = [(part.in_features, part.out_features) for part in called]
    need(called and sizes[0][0] == X.shape[1], "widths", sizes, "called in their order")
    for number, part in enumerate(called):
        X = part(X if number == 0 else between(X))
    return X


@task("SimpleMLP")
def check_simple_mlp(cls: type) -> str:
    methods(cls, "forward")
    need(issubclass(cls, nn.Module), "no module")
    X = torch.randn(50, 4)
    for hidden in 1, 3:
        model = build(cls, 4, 5, 2, hidden)
        need(list(model.parameters()), "not registered")
        Y = model(X)
        need(Y is not None, "nothing returned", "forward")
        need(tuple(Y.shape) == (50, 2), "shape", "the output of 50 examples", tuple(Y.shape), (50, 2))
        sizes = [(part.in_features, part.out_features) for part in linear_parts(model)]
        need(len(sizes) == hidden + 1, "number of layers", hidden, len(sizes), hidden + 1)
        expected = [(4, 5), *[(5, 5)] * (hidden - 1), (5, 2)]
        need(sorted(sizes) == sorted(expected), "widths", sizes, expected)
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
        for mode in True, False:
            Y, truth = model.train(mode)(X), plain(model, X, torch.relu)
            need(not same(Y, torch.relu(truth), 1e-4) or same(Y, truth, 1e-4), "ReLU at the end")
            need(not same(Y, plain(model, X, lambda Z: Z), 1e-4), "no activation")
            need(same(Y, truth, 1e-4), "another activation")
    for given in nn.Sigmoid(), nn.Sigmoid, nn.Tanh():
        model = build(cls, 4, 5, 2, 1, given)
        activation = given() if isinstance(given, type) else given
        need(same(model(X), activation(plain(model, X, torch.relu)), 1e-4), "last activation")
    return "right: the layers, the activations, the shapes."


class Binary:
    """A problem of two classes for the trainer, which notes its events: one output, targets (n, 1)."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(5)
        X = torch.randn(10, 3, generator=g)
        self.batches = Batches(X, (X[:, :1] + 0.5 * torch.randn(10, 1, generator=g) > 0).float())
        self.events: list[str] = []
        self.linear = nn.Linear(3, 1)
        self.linear.weight.copy_(torch.tensor([[1.0, -0.5, 0.3]]))
        self.linear.bias.fill_(0.1)
        self.model = nn.Sequential(self.linear, nn.Sigmoid())
        self.model.register_forward_hook(lambda m, *_: self.events.append("training" if m.training else "eval"))
        self.criterion, self.optimizer = nn.MSELoss(), SpySGD(self.model, 0.5, self.events)


@task("SimpleMLPTrainer")
def check_simple_mlp_trainer(cls: type) -> str:
    methods(cls, "train", "evaluate")
    problem, twin, printed = Binary(), Binary(), io.StringIO()
    problem.model.eval()
    trainer = cls(problem.model, problem.criterion, problem.optimizer)
    with torch.enable_grad(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        losses = trainer.train(problem.batches, 2)
    events = problem.events
    need("training" in events or "eval" in events, "nothing trained")
    need("step" in events, "no step")
    need(events.count("step") == 6, "number of steps", 6, events.count("step"))
    need("eval" not in events, "training in eval mode")
    expected = trained(twin.model, twin.criterion, twin.optimizer, twin.batches)
    right = same(problem.linear.weight, twin.linear.weight, 1e-5)
    need(right or "zero_grad" in events, "zero_grad forgotten")
    need(right, "other weights")
    need(problem.batches.passes == 2, "shuffling lost", problem.batches.passes)
    need(losses is not None, "nothing returned", "train")
    need(isinstance(losses, list) and len(losses) == 2, "losses", losses)
    for epoch, loss, means in zip("12", losses, expected, strict=True):
        need(not isinstance(loss, Tensor), "tensor kept")
        average(f"the loss of epoch {epoch}", float(loss), averages(means, twin.batches), 1e-5)
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", printed.getvalue())]
    told = all(any(abs(number - loss) < 0.006 for number in numbers) for loss in losses)
    need(told, "nothing printed", "the loss of each epoch")
    events.clear()
    loss, accuracy = parts(trainer.evaluate(problem.batches), "loss", "accuracy")
    need("training" not in events, "test in training mode")
    unchanged = same(problem.linear.weight, twin.linear.weight, 1e-5) and "step" not in events
    need(unchanged, "changed by a test", "evaluate", "the parameters")
    outputs = [(problem.model(X), T) for X, T in problem.batches]
    means = [float(problem.criterion(Y, T)) for Y, T in outputs]
    average("the loss of evaluate", float(loss), averages(means, outputs), 1e-5)
    expected = accuracies(outputs, lambda Y: Y.view(-1) > 0.5)
    fooled = sum(int((T == 0).sum()) for _, T in outputs) / 10  # the accuracy of always saying 0
    need(abs(float(accuracy) - expected[0][1]) >= 1e-6, "not percent")
    need(abs(float(accuracy) - 100 * fooled) >= 1e-6 or same(fooled, expected[0][1]), "argmax of one output")
    percent = [(kind, 100 * value) for kind, value in expected]
    average("the accuracy of evaluate", float(accuracy), percent)
    return "right: train and evaluate."


# --------------------------------------------------------------------------------- which outputs a loss takes

LOSSES = "L1Loss", "MSELoss", "BCEWithLogitsLoss", "NLLLoss", "CrossEntropyLoss", "KLDivLoss", "CosineEmbeddingLoss"


@task("loss_setting")
def check_loss_setting(setting: Callable) -> str:
    """setting(loss) -> (number of outputs, activation or None, function from labels (N,) to targets)."""
    labels, z = torch.tensor([0, 1, 1, 0, 1]), 3 * torch.randn(5, 2)
    for loss in LOSSES:
        outputs, activation, targets = parts(setting(loss), "number of outputs", "activation", "targets")
        activation = activation() if isinstance(activation, type) else activation
        need(outputs in (1, 2), "number of outputs", loss, outputs)
        logits = z[:, :outputs]
        Y = logits if activation is None else activation(logits)
        T = targets(labels)
        need(isinstance(T, Tensor), "targets", loss, type(T).__name__)
        name = "no activation" if activation is None else type(activation).__name__
        need(Y.shape == logits.shape, "shape", f"{loss}: the activation's result", tuple(Y.shape), tuple(logits.shape))
        if activation is not None:
            need(same(activation(logits[:2]), Y[:2]), "softmax over the batch")
        need(Y.std(0).max() > 1e-6, "constant outputs", loss, name)
        need(outputs == 2 or loss in ("L1Loss", "MSELoss", "BCEWithLogitsLoss"), "one output", loss)
        softmaxed = same(Y, torch.softmax(logits, 1))
        if loss in ("L1Loss", "MSELoss"):
            between = (Y >= 0).all() and (Y <= 1).all() and not same(Y, torch.relu(logits))
            need(between, "not a probability", loss, name)
        elif loss in ("NLLLoss", "KLDivLoss"):
            need(not softmaxed, "logarithm missing", loss)
            need(same(Y.exp().sum(1), torch.ones(5), 1e-4), "no log-probabilities", loss, name)
        elif loss == "CosineEmbeddingLoss":
            need(set(T.unique().tolist()) == {-1, 1} and T.shape == Y.shape, "plus and minus one", tuple(T.shape))
            need(not same(Y, torch.relu(logits)), "logits changed", loss, name)
            need(same((T == 1).float(), one_hot(labels)), "targets of the wrong class", loss)
            continue
        else:
            need(loss != "BCEWithLogitsLoss" or not same(Y, torch.sigmoid(logits)), "sigmoid twice")
            need(loss != "CrossEntropyLoss" or not softmaxed, "softmax twice")
            need(same(Y, logits), "logits changed", loss, name)
        indices = loss == "NLLLoss" or (loss == "CrossEntropyLoss" and T.dim() == 1)
        if indices:
            need(T.shape == labels.shape and not T.is_floating_point(), "indices wanted", loss, tuple(T.shape), T.dtype)
        else:
            need(T.is_floating_point(), "float targets", loss, T.dtype)
            need(T.dim() != 1, "targets without a column", loss, tuple(T.shape), tuple(Y.shape))
            need(T.shape == Y.shape, "shape", f"the targets of {loss}", tuple(T.shape), tuple(Y.shape))
        expected = labels if indices else labels.float()[:, None] if outputs == 1 else one_hot(labels)
        need(same(T, expected), "targets of the wrong class", loss)
        try:
            getattr(nn, loss)()(Y, T)
        except (RuntimeError, ValueError) as error:
            raise Found("refused by torch", loss, error) from None
    return f"right, for {len(LOSSES)} losses."


def one_hot(labels: Tensor) -> Tensor:
    return torch.eye(2)[labels]


# -------------------------------------------------------------------------------------------------- pictures


class Corner:
    """A fitted classifier: the second class in the upper right corner, where both coordinates are positive."""

    classes_ = np.array([0, 1])

    def predict(self, X: Any) -> np.ndarray:
        return (np.asarray(X).min(axis=1) > 0) * 1

    def predict_proba(self, X: Any) -> np.ndarray:
        p = 1 / (1 + np.exp(-8 * np.asarray(X).min(axis=1)))
        return np.column_stack([1 - p, p])

    def score(self, X: Any, y: Any) -> float:
        return float((self.predict(X) == y).mean())


def plane() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(60, 2))
    return X, Corner().predict(X)


@task("plot_decision_boundary")
def check_plot_decision_boundary(plot: Callable) -> str:
    X, y = plane()
    image = plot(Corner(), X, y, 0.5)
    need(image is not None, "nothing returned", "it")
    need(isinstance(image, Image.Image), "no image", type(image).__name__)
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    height, width = pixels.shape[:2]
    need(min(height, width) >= 100, "small image", width, height)
    bands = {"upper": (0.2, 0.4), "lower": (0.62, 0.8)}, {"left": (0.18, 0.32), "right": (0.58, 0.7)}
    colours = {
        f"{v} {h}": pixels[int(a * height) : int(b * height), int(c * width) : int(d * width)].mean((0, 1))
        for (v, (a, b)), (h, (c, d)) in product(bands[0].items(), bands[1].items())
    }
    odd = {name: min(np.abs(x - y).max() for n, y in colours.items() if n != name) for name, x in colours.items()}
    corner = max(odd, key=odd.get)
    need(odd[corner] > 20, "no regions")
    need(corner == "upper right", "mirrored", corner)
    other = np.asarray(plot(Corner(), X, y, 50.0).convert("RGB"), dtype=float)
    need(other.shape != pixels.shape or not np.array_equal(other, pixels), "alpha not shown")
    return "right: a picture of both regions."


@task("create_decision_boundary_gif")
def check_create_decision_boundary_gif(create: Callable) -> str:
    X, y = plane()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        path = Path(folder) / "boundaries.gif"
        create([0.01, 1.0, 1000.0], X, y, 4, filename=str(path))
        need(path.is_file(), "no file", path.name)
        with Image.open(path) as gif:
            frames = getattr(gif, "n_frames", 1)
            need(gif.format == "GIF", "no GIF", gif.format)
        need(frames > 1, "one frame")
        need(frames == 3, "number of frames", 3, frames)
    return "right: a frame for each alpha."


def prediction(loss: nn.Module, targets: Callable, answer: Any) -> str:
    """After a ReLU the NLL is minus an output that can grow without bound: train a little, and see."""
    need(answer in ("?", "falls without bound", "goes to 0", "stays above 0"), "prediction", answer)
    if answer == "?":
        raise NotImplementedError
    X = torch.randn(40, 3)
    y = (X[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2), nn.ReLU())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    values = trained(model, loss, optimizer, [(X, targets(y))], epochs=300)[:, 0]
    measured = "falls without bound" if values[-1] < -1 and values[-1] < values[-50] - 0.1 else "stays above 0"
    measured = "goes to 0" if abs(values[-1]) < 0.05 else measured
    need(answer == measured, "prediction refuted", values[0], values[99], values[-1])
    return f"measured: {values[0]:.2f}, after 300 steps {values[-1]:.2f}. Why? Which function of the outputs is it?"


TASKS["prediction-nll"] = partial(prediction, nn.NLLLoss(), lambda y: y)
TASKS["prediction-kldiv"] = partial(prediction, nn.KLDivLoss(reduction="batchmean"), one_hot)
