"""How checker.py checks the answers in code: layers, losses, optimizers, loops."""

import contextlib
import inspect
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

from checker import Case, Found, array, judge, need, same, task

# ----------------------------------------------------------------------------------------------------------- layers

SHAPES = [(1, 1, 1), (2, 1, 1), (1, 2, 3), (2, 3, 2), (4, 3, 2), (5, 2, 6), (3, 7, 4), (6, 4, 4)]  # N, inputs, outputs


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def methods(cls: Any, *names: str) -> list[Callable]:
    """The student's own methods, without what the base class wraps around them."""
    need(inspect.isclass(cls), "no class", type(cls).__name__)
    found = []
    for name in names:
        method = getattr(cls, name, None)
        need(callable(method), "no method", name)
        found.append(inspect.unwrap(method))
    return found


def build(cls: type, *arguments: Any, **named: Any) -> Any:
    try:
        layer = cls(*arguments, **named)
    except AttributeError as error:
        need("before Module.__init__" not in str(error), "super")
        raise
    need("_parameters" in vars(layer), "super")
    return layer


def parameter(layer: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    value = getattr(layer, name, None)
    need(value is not None, "no attribute", name)
    need(isinstance(value, nn.Parameter), "no parameter", name, type(value).__name__)
    need(tuple(value.shape) == shape, "parameter shape", name, tuple(value.shape), shape)


def call_forward(layer: Any, forward: Callable, *inputs: Tensor) -> Tensor:
    before = [x.clone() for x in inputs]
    Y = forward(layer, *inputs)
    need(Y is not None, "nothing returned", "forward")
    need(isinstance(Y, Tensor), "no tensor", "forward", type(Y).__name__)
    for x, old in zip(inputs, before, strict=True):
        need(torch.equal(x, old), "input modified", "forward")
    expected = inputs[0].dtype
    need(Y.dtype == expected, "dtype", "forward", expected, Y.dtype)
    return Y


def call_backward(layer: Any, backward: Callable, delta: Tensor, *inputs: Tensor) -> Tensor:
    before, kept = delta.clone(), [x.clone() for x in inputs]
    parameters = {name: p.detach().clone() for name, p in getattr(layer, "named_parameters", dict)()} if inputs else {}
    result = backward(layer, delta)
    need(result is not None, "nothing returned", "backward")
    need(isinstance(result, Tensor), "no tensor", "backward", type(result).__name__)
    need(torch.equal(delta, before), "delta modified")
    for x, old in zip(inputs, kept, strict=True):
        need(torch.equal(x, old), "input modified", "backward")
    for name, old in parameters.items():
        need(torch.equal(getattr(layer, name), old), "parameters changed", "backward", name)
    return result


@dataclass
class LayerTask:
    """A layer by its definition; what is not given here is found by autograd."""

    arguments: Callable  # (inputs, outputs) -> the arguments of the class
    definition: Callable  # (X, parameters, layer) -> Y, in torch
    outputs: bool = False  # has it another number of outputs than of inputs?
    parameters: dict[str, Callable] = field(default_factory=dict)  # name -> (inputs, outputs) -> shape
    wrong_Y: Callable = lambda X, p, layer: {}
    wrong_gradients: Callable = lambda X, p, layer, delta: {}  # what -> kind -> (text, value)


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
    for (N, D, K), training in [(shape, True) for shape in shapes] + [(shape, False) for shape in shapes[3:]]:
        layer = build(cls, *task.arguments(D, K))
        for name, shape in task.parameters.items():
            parameter(layer, name, shape(D, K))
        layer.double().train(training)
        for p in [*layer.parameters(), *layer.buffers()]:
            p.copy_(torch.randn_like(p))
        for sign in ("any", "positive"):
            X = randn(N, D) if sign == "any" else randn(N := N + 2, D).abs()  # another batch through the same layer
            tags = {"a batch of one"} if N == 1 else set()
            tags |= {"negative inputs"} if (X < 0).any() else set()
            tags |= set() if training else {"eval mode"}
            p = {name: getattr(layer, name).detach().clone() for name in task.parameters}
            with torch.enable_grad():
                leaves = {
                    "X": X.clone().requires_grad_(),
                    **{name: q.clone().requires_grad_() for name, q in p.items()},
                }
                truth = task.definition(leaves["X"], leaves, layer)
            delta = randn(*truth.shape)
            true = torch.autograd.grad(truth, list(leaves.values()), delta, allow_unused=True)
            true = {f"dL/d{name}": g for name, g in zip(leaves, true, strict=True)}
            inputs = {"X": X, **p}
            Y = call_forward(layer, forward, X)
            values.append(Case("Y", Y, truth, inputs, task.wrong_Y(X, p, layer), tags=tags))
            if not same(Y, truth):
                continue
            for q in layer.parameters():
                q.grad = None
            dX = call_backward(layer, backward, delta, X)
            ours = {"dL/dX": dX} | {f"dL/d{name}": gradient(layer, name) for name in task.parameters}
            first = {what: g.clone() for what, g in ours.items()}
            wrong = task.wrong_gradients(X, p, layer, delta)
            width = truth.shape[1]
            scales = {"N (the batch)": N, "1/N (the batch)": 1 / N, "2": 2, "1/2": 0.5}
            scales |= {"the number of outputs": width, "1/(number of outputs)": 1 / width}
            for what, g in first.items():
                case_inputs = inputs | {"delta": delta}
                gradients.append(Case(what, g, true[what], case_inputs, wrong.get(what, {}), scales, tags))
            call_forward(layer, forward, X)
            call_backward(layer, backward, delta, X)
            for name in task.parameters:
                if same(first[f"dL/d{name}"], true[f"dL/d{name}"]):
                    accumulated(f"dL/d{name}", getattr(layer, name).grad, first[f"dL/d{name}"])
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
        try:
            Y = call_forward(layer, forward, X)
            dX = call_backward(layer, backward, torch.ones_like(X), X)
        except (IndexError, ValueError):
            raise Found("any shape", tuple(X.shape)) from None
        with torch.enable_grad():
            leaf = X.clone().requires_grad_()
            truth = task.definition(leaf, {}, layer)
        (true,) = torch.autograd.grad(truth, leaf, torch.ones_like(X))
        tags = {"large inputs"} if X.abs().max() > 29 else {"inputs with another number of dimensions"}
        cases += [Case("Y", Y, truth, {"X": X}, tags=tags), Case("dL/dX", dX, true, {"X": X}, tags=tags)]
    judge(cases)


def gradient(layer: nn.Module, name: str) -> Tensor:
    grad = getattr(layer, name).grad
    need(grad is not None, "grad missing", name)
    return grad


def accumulated(what: str, second: Tensor, first: Tensor) -> None:
    if not same(second, 2 * first):
        raise Found("grad assigned" if same(second, first) else "grad not accumulated", what)


@task("FCLayer")
def _(cls: type) -> str:
    def wrong_Y(X, p, layer):
        XW = X @ p["W"]
        return {"bias missing": XW, "bias sign": XW - p["b"]}

    def wrong_gradients(X, p, layer, delta):
        square = p["W"].shape[0] == p["W"].shape[1]
        dX = {"weights not transposed": delta @ p["W"]} if square else {}
        return {
            "dL/dX": dX | {"weights missing": delta},
            "dL/db": {"bias times input": (X.sum(1, keepdim=True) * delta).sum(0, keepdim=True)},
            "dL/dW": {"input missing": torch.ones_like(X).T @ delta},
        }

    text = check_layer(
        cls,
        LayerTask(
            lambda D, K: (D, K),
            lambda X, p, layer: X @ p["W"] + p["b"],
            True,
            {"W": lambda D, K: (D, K), "b": lambda D, K: (1, K)},
            wrong_Y,
            wrong_gradients,
        ),
    )
    (W, b), again = ((layer := cls(300, 200)).W, layer.b), cls(300, 200).W
    need(W.requires_grad and b.requires_grad, "not trained")
    need(W.std() > 0, "zeros")
    need(not torch.equal(W, again), "same start")
    need(not b.any(), "bias start")
    expected = (2 / 500) ** 0.5
    need(abs(float(W.std()) / expected - 1) < 0.05, "initial scale", float(W.std()), expected)
    return text


def elementwise(**wrong: Any) -> LayerTask:
    return LayerTask(lambda D, K: (), **wrong)


@task("SigmoidLayer")
def _(cls: type) -> str:
    def gradients(X, p, layer, delta):
        Y = torch.sigmoid(X)
        return {
            "dL/dX": {
                "derivative missing": delta,
                "derivative at X": delta * X * (1 - X),
                "derivative at Y": delta * torch.sigmoid(Y) * (1 - torch.sigmoid(Y)),
                "delta missing": Y * (1 - Y),
                "half a derivative": delta * Y,
                "other half a derivative": delta * (1 - Y),
            }
        }

    return check_layer(
        cls,
        elementwise(
            definition=lambda X, p, layer: torch.sigmoid(X),
            wrong_Y=lambda X, p, layer: {"exponent sign": torch.sigmoid(-X), "another function": torch.tanh(X)},
            wrong_gradients=gradients,
        ),
    )


@task("ReLULayer")
def _(cls: type) -> str:
    return check_layer(
        cls,
        elementwise(
            definition=lambda X, p, layer: torch.relu(X),
            wrong_Y=lambda X, p, layer: {"identity": X, "absolute value": X.abs()},
            wrong_gradients=lambda X, p, layer, delta: {
                "dL/dX": {
                    "derivative missing": delta,
                    "times the output": delta * torch.relu(X),
                    "other side": delta * (X < 0),
                    "delta missing": (X > 0).double(),
                    "relu of delta": torch.relu(delta),
                }
            },
        ),
    )


@task("LeakyReLULayer")
def _(cls: type) -> str:
    def leaky(slope: float) -> LayerTask:
        return LayerTask(
            lambda D, K: (slope,),
            lambda X, p, layer: torch.where(X > 0, X, slope * X),
            wrong_Y=lambda X, p, layer: {
                "slope missing forward": torch.relu(X),
                "slope sign": torch.where(X > 0, X, -slope * X),
                "slope ignored forward": torch.where(X > 0, X, 0.01 * X),
            },
            wrong_gradients=lambda X, p, layer, delta: {
                "dL/dX": {
                    "derivative missing": delta,
                    "slope missing": delta * (X > 0),
                    "slope everywhere": slope * delta,
                    "slope ignored backward": torch.where(X > 0, delta, 0.01 * delta),
                    "times the output": delta * torch.where(X > 0, X, slope * X),
                }
            },
        )

    text = check_layer(cls, leaky(0.3))
    check_layer(cls, leaky(0.1))
    return text


@task("DropoutLayer")
def _(cls: type) -> str:
    forward, backward = methods(cls, "forward", "backward")
    for p in 0.5, 0.2:
        layer, X = build(cls, p).double(), randn(200, 50)
        Y = call_forward(layer.train(), forward, X)
        need(Y.shape == X.shape, "shape", "the output", tuple(Y.shape), tuple(X.shape))
        noise = Y / X
        kept = noise.abs() > 1e-9
        fraction, scale = kept.double().mean().item(), noise[kept].mean().item() if kept.any() else 0.0
        need(fraction < 1, "no dropout")
        need(fraction > 0, "all dropped")
        need(not (kept == kept[:, :1]).all(), "one draw for a row")
        need(not (kept == kept[:1]).all(), "one draw for a column")
        need(len(kept.unique(dim=0)) == 200 and len(kept.unique(dim=1)[0]) == 50, "mask repeated")
        close = abs(fraction - (1 - p)) < 0.03
        if p != 0.5 and not close and abs(fraction - p) < 0.03:
            raise Found("rate reversed", p, fraction)
        need(close, "wrong fraction", p, fraction, 1 - p)
        eval_Y = call_forward(layer.eval(), forward, X)
        if same(noise[kept], torch.ones_like(noise[kept])):
            later = same(eval_Y, (1 - p) * X)
            raise Found("scaled in eval mode" if later else "not scaled")
        if p != 0.5 and same(noise[kept], torch.full_like(noise[kept], 1 / p)):
            raise Found("scaled by 1/p")
        need(same(noise[kept], torch.full_like(noise[kept], 1 / (1 - p))), "wrong scale", scale, 1 / (1 - p))
        need(not same(eval_Y, Y), "dropout in eval mode")
        need((eval_Y != 0).double().mean() > 0.99, "dropout in eval mode")
        need(same(eval_Y, X), "eval mode")
        again = call_forward(layer.train(), forward, X)
        third = call_forward(layer, forward, X)
        need(not same(again, Y) and not same(third, Y) and not same(third, again), "same mask again")
        noise, delta = third / X, randn(200, 50)
        dX = call_backward(layer, backward, delta, X)
        need(dX.shape == X.shape, "shape", "what backward returns", tuple(dX.shape), tuple(X.shape))
        judge(
            [
                Case(
                    "dL/dX",
                    dX,
                    delta * noise,
                    {"noise": noise[:2, :2], "delta": delta[:2, :2]},
                    {
                        "mask missing": delta,
                        "scale missing": delta * (noise != 0),
                        "times the output": delta * third,
                        "dropped kept": delta * (noise == 0),
                    }
                    if not another_mask(dX / delta, noise)
                    else {"another mask": dX},
                )
            ]
        )
        need(same(call_backward(layer, backward, delta, X), dX), "backward forgets")
        call_forward(layer.eval(), forward, X)
        dX = call_backward(layer, backward, delta, X)
        need(same(dX, delta), "backward in eval mode")
    whole = build(cls, 0.0).double().train()
    need(same(call_forward(whole, forward, X), X), "rate 0")
    layer = build(cls, 0.5).train()
    call_forward(layer, forward, X.float())
    return "right: the fraction kept, its scale, eval mode, and the same mask backwards."


def another_mask(ours: Tensor, noise: Tensor) -> bool:
    values = noise.unique()
    looks_like = all((ours - v).abs().min() < 1e-9 for v in values) and len(ours.round(decimals=9).unique()) == len(
        values
    )
    agreement = ((ours.abs() > 1e-9) == (noise != 0)).double().mean()
    return bool(looks_like and 0.05 < agreement < 0.95)


@task("MeanOnlyBatchNormLayer")
def _(cls: type) -> str:
    def mean(X, layer):
        return X.mean(0, keepdim=True) if layer.training else layer.running_mean.double()

    def wrong_Y(X, p, layer):
        centred, g, b = X - mean(X, layer), p["gamma"], p["beta"]
        wrong = {"gamma missing": centred + b, "beta missing": g * centred, "mean not subtracted": g * X + b}
        if layer.training:
            wrong["mean over features"] = g * (X - X.mean(1, keepdim=True)) + b
            wrong["one mean"] = g * (X - X.mean()) + b
        if len(X) > 1:
            std = X.std(0, keepdim=True)
            wrong["divided by std"] = g * centred / std + b
        if not layer.training:
            batch = g * (X - X.mean(0, keepdim=True)) + b
            wrong["batch mean in eval mode"] = batch
        return wrong

    def wrong_gradients(X, p, layer, delta):
        centred, g = X - mean(X, layer), p["gamma"]
        m = delta.mean(0, keepdim=True)
        dX = {
            "mean missing": g * delta,
            "gamma missing backward": delta - m if layer.training else delta,
            "sum for mean": g * (delta - delta.sum(0, keepdim=True)),
            "gamma on one path": g * delta - m,
        }
        if not layer.training:
            dX = {"mean in eval mode": g * (delta - m)}
        return {
            "dL/dX": dX,
            "dL/dgamma": {
                "not centred": (delta * X).sum(0, keepdim=True),
                "output for input": (delta * (g * centred + p["beta"])).sum(0, keepdim=True),
            },
        }

    methods(cls, "forward", "backward")
    layer = build(cls, 3).double()
    need(isinstance(getattr(layer, "running_mean", None), Tensor), "no attribute", "running_mean")
    shape, start = tuple(layer.running_mean.shape), layer.running_mean.clone()
    need(shape == (1, 3), "parameter shape", "running_mean", shape, (1, 3))
    for name, value in ("gamma", 1), ("beta", 0), ("running_mean", 0):
        need(hasattr(layer, name), "no attribute", name)
        need((getattr(layer, name) == value).all(), "starts", name, "ones" if value else "zeros")
    call_forward(layer.eval(), methods(cls, "forward")[0], randn(5, 3) + 4)
    need(torch.equal(layer.running_mean, start), "updated in eval mode")
    need("running_mean" not in dict(layer.named_parameters()), "no parameter wanted", "running_mean")
    with torch.enable_grad():
        call_forward(layer.train(), methods(cls, "forward")[0], randn(5, 3).requires_grad_())
    need(not layer.running_mean.requires_grad, "graph kept", "running_mean")
    layer = build(cls, 3).double()
    shape = lambda D, K: (1, D)  # noqa: E731
    text = check_layer(
        cls,
        LayerTask(
            lambda D, K: (D,),
            lambda X, p, layer: p["gamma"] * (X - mean(X, layer)) + p["beta"],
            False,
            {"gamma": shape, "beta": shape},
            wrong_Y,
            wrong_gradients,
        ),
    )
    layer.running_mean.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    before, X = layer.running_mean.clone(), randn(5, 3) + 4
    forward = methods(cls, "forward")[0]
    call_forward(layer.train(), forward, X)
    m = X.mean(0, keepdim=True)
    judge(
        [
            Case(
                "running_mean after a forward in training",
                layer.running_mean,
                0.9 * before + 0.1 * m,
                {"batch mean": m, "before": before},
                {
                    "running mean not updated": before,
                    "momentum reversed": 0.1 * before + 0.9 * m,
                    "running mean replaced": m,
                },
            )
        ]
    )
    return text


# ------------------------------------------------------------------------------------------------- losses


def check_loss(cls: type, definition: Callable, problems: list[tuple], wrong_L: Callable, wrong_delta: Callable) -> str:
    """problems: (outputs, targets, tags); the wrong values are functions of both."""
    forward, backward = methods(cls, "forward", "backward")
    values, gradients, loss = [], [], build(cls)
    for outputs, targets, tags in problems:
        N, K = outputs.shape
        with torch.enable_grad():
            leaf = outputs.clone().requires_grad_()
            truth = definition(leaf, targets)
        (true,) = torch.autograd.grad(truth, leaf)
        L = call_forward(loss, forward, outputs, targets)
        inputs = {"outputs": outputs, "targets": targets}
        scales = {"N (the batch)": N, "1/N (the batch)": 1 / N, "2": 2, "1/2": 0.5, "N K (all entries)": N * K}
        scales |= {"K (the number of outputs)": K, "1/K (the number of outputs)": 1 / K}
        need(L.numel() == 1, "not averaged", tuple(L.shape))
        values.append(Case("the loss", L.reshape(()), truth, inputs, wrong_L(outputs, targets), scales, tags))
        if same(L.reshape(()), truth):
            kept = [outputs.clone(), targets.clone()]
            delta = backward(loss)
            need(delta is not None, "nothing returned", "backward")
            need(torch.equal(outputs, kept[0]), "input modified", "backward")
            gradients.append(Case("dL/dY", delta, true, inputs, wrong_delta(outputs, targets), scales, tags))
    judge(values)
    judge(gradients)
    return f"right, on {len(problems)} random inputs, value and gradient."


LOSS_SHAPES = [(1, 2), (2, 2), (3, 4), (5, 3), (4, 10)]


@task("MSELoss")
def _(cls: type) -> str:
    problems = [
        (randn(N, K), randn(N, K), {"a batch of one"} if N == 1 else set()) for N, K in [(1, 1), (3, 1), *LOSS_SHAPES]
    ]
    return check_loss(
        cls,
        lambda Y, T: ((Y - T) ** 2).mean(),
        problems,
        lambda Y, T: {
            "not squared": (Y - T).mean(),
            "absolute differences": (Y - T).abs().mean(),
            "root": ((Y - T) ** 2).mean().sqrt(),
        },
        lambda Y, T: {"only the sign": (Y - T).sign() / Y.numel()},
    )


@task("CrossEntropyLoss")
def _(cls: type) -> str:
    def rows(N, K):
        return torch.softmax(2 * randn(N, K), 1)

    def indices(T, K):
        return T if T.dim() == 2 else torch.eye(K, dtype=torch.float64)[T]

    def definition(Y, T):
        return -(indices(T, Y.shape[1]) * torch.log_softmax(Y, 1)).sum(1).mean()

    def wrong_L(Y, T):
        T, s = indices(T, Y.shape[1]), torch.softmax(Y, 1)
        return {
            "softmax twice": -(T * torch.log_softmax(s, 1)).sum(1).mean(),
            "no softmax": -(T * Y.log()).sum(1).mean(),
            "no logarithm": -(T * s).sum(1).mean(),
            "softmax over the batch": -(T * torch.log_softmax(Y, 0)).sum(1).mean(),
        }

    def wrong_delta(Y, T):
        T, s = indices(T, Y.shape[1]), torch.softmax(Y, 1)
        return {
            "target lost": s / len(Y),
            "softmax missing": (Y - T) / len(Y),
            "no sum over classes": -(T * (1 - s)) / len(Y),
        }

    problems = [(2 * randn(N, K), rows(N, K), {"rows of probabilities"}) for N, K in LOSS_SHAPES]
    check_loss(cls, definition, problems, wrong_L, wrong_delta)
    try:
        methods(cls, "forward")[0](build(cls), randn(3, 4), torch.tensor([0, 3, 1]))
    except Exception as error:
        raise Found("class indices", error) from None
    problems += [(2 * randn(N, K), torch.randint(K, (N,)), {"class indices"}) for N, K in LOSS_SHAPES]
    text = check_loss(cls, definition, problems, wrong_L, wrong_delta)
    large = torch.tensor([[1000.0, 0.0], [0.0, -1000.0]], dtype=torch.float64)
    forward = methods(cls, "forward")[0]
    loss = build(cls)
    L = call_forward(loss, forward, large, torch.tensor([1, 1]))
    need(same(L.reshape(()), 1000.0), "overflow", float(L))
    need(torch.isfinite(methods(cls, "backward")[0](loss)).all(), "overflow", float(L))
    return text


# ------------------------------------------------------------------------------------------------- optimizers


@task("SGD")
def _(cls: type) -> str:
    methods(cls, "step", "zero_grad")
    cases = []
    for rate in 0.1, 0.5, 2.0:
        p, q = nn.Parameter(randn(3, 2)), nn.Parameter(randn(2))
        p.grad, q.grad = randn(3, 2), randn(2)
        before, grads = [p.detach().clone(), q.detach().clone()], [p.grad.clone(), q.grad.clone()]
        optimizer = cls(iter([p, q]), rate)
        try:
            with torch.enable_grad():
                optimizer.step()
        except RuntimeError as error:
            need("in-place operation" not in str(error), "grad recorded")
            raise
        changed = [not same(x, old) for x, old in zip((p, q), before, strict=True)]
        need(all(changed) or not any(changed), "some parameters")
        for x, old, g in zip((p, q), before, grads, strict=True):
            need(x.grad is not None and torch.equal(x.grad, g), "grad modified")
            cases.append(
                Case(
                    "a parameter after step",
                    x.detach().clone(),
                    old - rate * g,
                    {"before": old, "gradient": g, "rate": torch.tensor(rate)},
                    {
                        "ascent": old + rate * g,
                        "learning rate missing": old - g,
                        "unchanged": old,
                        "old value lost": -rate * g,
                        "divided by the rate": old - g / rate,
                        "sign of the gradient": old - rate * g.sign(),
                    },
                )
            )
        judge(cases)
        for x, g in zip((p, q), grads, strict=True):  # the same gradients once more
            again = x.detach().clone()
            expected = again - rate * g
            if x is p:
                optimizer.step()
                need(not same(x, again), "generator")
            else:
                expected = before[1] - 2 * rate * g
            cases.append(Case("a parameter after two steps", x.detach().clone(), expected, {"gradient": g}))
        optimizer.zero_grad()
        for x in p, q:
            need(x.grad is None or not x.grad.any(), "zero_grad")
    several = [nn.Parameter(randn(2)) for _ in range(3)]
    optimizer = cls(iter(several), 0.3)
    for _ in range(3):  # new gradients, some of them large
        before = [x.detach().clone() for x in several]
        optimizer.zero_grad()
        for x in several:
            x.grad = 100 * randn(2)
        grads = [x.grad.clone() for x in several]
        optimizer.step()
        for x, old, g in zip(several, before, grads, strict=True):
            cases.append(Case("a parameter after several rounds", x.detach().clone(), old - 0.3 * g, {"gradient": g}))
    judge(cases)
    return "right: step, a second step, zero_grad."


def valley(x: Any) -> Any:
    return 100 * (x[1] - x[0] ** 2) ** 2


def slope(x: Any) -> Any:
    return (1 - x[0]) ** 2


def value_and_derivatives(f: Callable, x: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """f, its gradient and its Hessian, by autograd."""
    x = torch.as_tensor(np.array(x, dtype=float))
    with torch.enable_grad():
        return float(f(x)), jacobian(f, x).numpy(), hessian(f, x).numpy()


POINTS = [np.array(p) for p in [(0.0, 0.0), (1.0, 1.0), (0.0, 2.0), (2.0, -1.0), (-1.5, 0.5), (0.3, -0.7)]]


def parts(result: Any, *names: str) -> tuple:
    need(result is not None, "nothing returned", "it")
    need(
        isinstance(result, tuple | list) and len(result) == len(names),
        "not a tuple",
        ", ".join(names),
        type(result).__name__,
    )
    return tuple(result)


def rosenbrock_cases(f: Callable, *names: str) -> list[Case]:
    """Cases for (value, grad) or (value, grad, hessian), each with what it becomes by the usual mistakes."""
    cases = []
    for x in POINTS:
        copy = x.copy()
        result = dict(zip(names, parts(f(copy), *names), strict=True))
        need(np.array_equal(copy, x), "input modified", "it")
        for name in names[1:]:
            need(isinstance(result[name], np.ndarray), "no array", name, type(result[name]).__name__)
        v1, g1, H1 = value_and_derivatives(valley, x)
        v2, g2, H2 = value_and_derivatives(slope, x)
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
    return cases


@task("rosenbrock")
def _(f: Callable) -> str:
    judge(rosenbrock_cases(f, "value", "grad"))
    return f"right, at {len(POINTS)} points."


@task("rosenbrock_hessian")
def _(f: Callable) -> str:
    judge(rosenbrock_cases(f, "value", "grad", "hessian"))
    return f"right, at {len(POINTS)} points."


class Quadratic:
    """f = 1/2 (x - m)^T A (x - m)."""

    def __init__(self, A: Any, m: Any, hessian: bool = False) -> None:
        self.A, self.m, self.hessian = np.array(A, float), np.array(m, float), hessian

    def __call__(self, x: Any) -> tuple:
        x = np.array(x, dtype=float)
        grad = self.A @ (x - self.m)
        value = 0.5 * (x - self.m) @ grad
        return (value, grad, self.A.copy()) if self.hessian else (value, grad)


def path_of(history: Any, start: np.ndarray, theta: Any) -> tuple[list, list]:
    """The points and values of a student's history."""
    need(isinstance(history, list) and history, "no history")
    try:
        thetas = [np.array(entry[0], dtype=float) for entry in history]
        values = [float(entry[1][0] if isinstance(entry[1], tuple | list) else entry[1]) for entry in history]
    except (IndexError, TypeError, ValueError):
        raise Found("history entries") from None
    if len(thetas) > 2 and all(np.array_equal(t, thetas[0]) for t in thetas):
        raise Found("history aliased")
    need(np.allclose(thetas[0], start), "start missing", start, thetas[0])
    need(np.allclose(thetas[-1], theta), "end missing")
    return thetas, values


def run_optimizer(optimizer: Callable, f: Callable, start: Any, **options: Any) -> tuple:
    kept = np.array(start, dtype=float)
    theta, history = parts(optimizer(f, start, **options), "theta", "history")
    need(np.array_equal(np.array(start, dtype=float), kept), "start modified")
    return np.asarray(theta, dtype=float), history


@task("GD")
def _(gd: Callable) -> str:
    for A, m, start, alpha in [
        ([[2.0]], [1.0], np.array([3.0]), 0.1),
        ([[2.0, 0.5], [0.5, 1.0]], [1.0, -1.0], np.array([3.0, 2.0]), 0.2),
        ([[1.0, 0.0], [0.0, 0.1]], [0.0, 0.0], [1.0, 1.0], 0.5),
        ([[2.0, 0.5], [0.5, 1.0]], [1.0, -1.0], [3, 2], 0.2),
        ([[2.0, 0.5], [0.5, 1.0]], [1.0, -1.0], np.array([3, 2]), 0.2),
    ]:
        f, x0 = Quadratic(A, m), np.array(start, dtype=float)
        tolerance = 1e-8
        theta, history = run_optimizer(gd, f, start, alpha=alpha, stop_tolerance=tolerance, max_steps=2000)
        reference = [x0]
        while len(reference) < 2001:
            x = reference[-1]
            reference.append(x - alpha * f.A @ (x - f.m))
            if abs(Quadratic(A, m)(reference[-1])[0] - Quadratic(A, m)(x)[0]) < tolerance:
                break
        thetas, values = path_of(history, x0, theta)
        need(len(thetas) > 1, "no update")
        g = f.A @ (x0 - f.m)
        first = {"theta0": x0, "gradient": g, "alpha": np.array(alpha)}
        judge(
            [
                Case(
                    "theta after one update",
                    thetas[1],
                    reference[1],
                    first,
                    {
                        "ascent": x0 + alpha * g,
                        "alpha missing": x0 - g,
                        "normalised": x0 - alpha * g / np.linalg.norm(g),
                        "old value lost": -alpha * g,
                    },
                )
            ]
        )
        n = min(len(thetas), len(reference))
        for k in range(2, n):
            if not same(thetas[k], reference[k]):
                stale = reference[k - 1] - alpha * f.A @ (reference[k - 2] - f.m)
                kind = (
                    "stale gradient"
                    if same(thetas[k], thetas[k - 1] - alpha * g) or same(thetas[k], stale)
                    else "later update"
                )
                raise Found(kind, k)
        true_values = [Quadratic(A, m)(t)[0] for t in thetas]
        need(np.allclose(values, true_values), "stale value")
        for entry, point in zip(history, thetas, strict=True):
            grad = entry[2] if len(entry) > 2 else entry[1][1] if isinstance(entry[1], tuple | list) else None
            need(grad is not None, "history entries")
            need(same(grad, f.A @ (point - f.m)), "stale value")
        if len(thetas) != len(reference):
            rules = stopping_rules(reference, f, tolerance)
            rules_met = [name for name, count in rules.items() if count == len(thetas)]
            said = f"; {rules_met[0]} would stop there" if rules_met else ""
            raise Found("stopping rule", len(thetas) - 1, len(reference) - 1, said)
    f = Quadratic([[1.0]], [0.0])
    theta, history = run_optimizer(gd, f, np.array([1.0]), alpha=0.01, stop_tolerance=1e-12, max_steps=7)
    need(len(history) == 8, "max_steps", len(history) - 1)
    f = Quadratic([[1.0]], [0.0])
    theta, history = run_optimizer(gd, f, np.array([1.0]), alpha=2.5, stop_tolerance=1e-8, max_steps=20)
    need(len(history) == 21, "stops on a rise")
    return "right: the path, its history, the stopping rule; the start is left alone."


def stopping_rules(reference: list, f: Quadratic, tolerance: float) -> dict[str, int]:
    """How long the path would be under other rules."""
    x, counts = reference[0], {}
    alpha = (reference[0] - reference[1])[0] / (f.A @ (x - f.m))[0]
    for k in range(2000):
        grad = f.A @ (x - f.m)
        if np.linalg.norm(grad) < tolerance:
            counts.setdefault("the length of the gradient", k + 1)
        if np.linalg.norm(alpha * grad) < tolerance:
            counts.setdefault("the length of the step", k + 2)
        x = x - alpha * grad
    return counts


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


@task("Newton")
def _(newton: Callable) -> str:
    A, m = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, -2.0])
    f, x0 = Quadratic(A, m, hessian=True), np.array([4.0, 1.0])
    theta, history = run_optimizer(newton, f, x0.copy(), stop_tolerance=1e-9, max_steps=100)
    thetas, values = path_of(history, x0, theta)
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
    judge(
        [
            Case(
                "the direction of a step",
                unit(thetas[1] - x0),
                unit(m - x0),
                inputs,
                {k: unit(p) for k, p in wrong.items()},
            )
        ]
    )
    need(same(thetas[1], m), "not a full step")
    need(len(thetas) == 2, "too many updates", len(thetas) - 1)

    theta, history = run_optimizer(newton, f, [4, 1], alpha=0.5, stop_tolerance=1e-9, max_steps=3)
    need(same(history[1][0], (x0 + m) / 2), "alpha ignored")
    need(len(history) == 4, "max_steps of Newton", len(history) - 1)
    theta, history = run_optimizer(newton, f, m.copy(), stop_tolerance=1e-9, max_steps=3)
    need(len(history) == 1, "goes on at the minimum")

    def rosen(x):
        return value_and_derivatives(lambda x: valley(x) + slope(x), x)

    def log_cosh(x):
        return value_and_derivatives(lambda x: torch.log(torch.cosh(x[0])), x)

    theta, history = run_optimizer(newton, log_cosh, np.array([1.2]), stop_tolerance=1e-9, max_steps=3)
    pure = 1.2 - np.sinh(2.4) / 2
    need(not same(history[1][0], [pure]), "no line search")

    def double_well(x):
        return value_and_derivatives(lambda x: x[0] ** 4 - x[0] ** 2, x)

    theta, history = run_optimizer(newton, double_well, np.array([0.1]), stop_tolerance=1e-9, max_steps=60)
    need(abs(theta[0]) > 0.6, "towards a maximum", theta[0])
    length = np.linalg.norm(double_well(theta)[1])
    need(length < 1e-8 or len(history) > 60, "stops early", length)
    for start in (0.0, 2.0), (-1.2, 1.0), (2.0, 2.0):
        theta, history = run_optimizer(newton, rosen, np.array(start), stop_tolerance=1e-9, max_steps=500)
        thetas, values = path_of(history, np.array(start), theta)
        if any(b > a + 1e-9 * max(1, abs(a)) for a, b in pairwise(values)):
            raise Found("value rises")
        need(len(thetas) < 100, "slow", start, len(thetas) - 1)
        need(np.allclose(theta, 1, atol=1e-5), "not converged", start, theta)

    return "right: the direction, the line search, negative curvature, the stopping rule."


# ------------------------------------------------------------------------------------------------- training loops


class Spy:
    """A network of three layers y = x W, a squared loss and an optimizer, which go by autograd and note in
    ``events`` what is done to them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.modes: list[bool] = []
        spy = self

        class SpyLayer(nn.Module):
            def __init__(self, name, W):
                super().__init__()
                self.name, self.W = name, nn.Parameter(W)

            def forward(self, X):
                spy.events.append(f"forward {self.name}")
                spy.modes.append(self.training)
                with torch.enable_grad():
                    self.X = X.detach().requires_grad_()
                    self.Y = self.X @ self.W
                return self.Y.detach()

            def backward(self, delta):
                spy.events.append(f"backward {self.name}")
                spy.deltas.append(delta.clone())
                self.Y.backward(delta)
                return self.X.grad

        class SpyLoss(nn.Module):
            def forward(self, outputs, targets):
                spy.events.append("loss")
                spy.outputs.append((outputs.detach().clone(), targets.clone()))
                with torch.enable_grad():
                    self.Y = outputs.detach().requires_grad_()
                    self.L = (self.Y - targets).square().mean()
                return self.L.detach()

            def backward(self):
                spy.events.append("backward of the loss")
                self.L.backward()
                return self.Y.grad

        class SpySGD(torch.optim.SGD):
            def zero_grad(self, *arguments, **named):
                spy.events.append("zero_grad")
                super().zero_grad(*arguments, **named)

            def step(self, *arguments):
                spy.events.append("step")
                super().step(*arguments)

        g = torch.Generator().manual_seed(3)
        self.deltas, self.outputs = [], []
        weights = [torch.randn(3, 3, generator=g) for _ in range(3)]
        self.start = [W.clone() for W in weights]
        self.model = nn.Sequential(*(SpyLayer(i, W) for i, W in enumerate(weights, 1)))
        self.criterion, self.optimizer = SpyLoss(), SpySGD(self.model.parameters(), lr=0.01)


class SpyLoader:
    """Batches of 4, 4 and 2 examples, which counts how often it is gone through."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(4)
        X = torch.randn(10, 3, generator=g)
        T = torch.eye(3)[torch.tensor([0, 1, 1, 2, 2, 1, 0, 1, 2, 0])]
        self.batches = list(zip(X.split(4), T.split(4), strict=True))
        self.dataset, self.batch_size, self.passes = torch.utils.data.TensorDataset(X, T), 4, 0

    def __iter__(self) -> Iterator:
        self.passes += 1
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def right_answers(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.argmax(1) == targets.argmax(1)


def averages(batches: list[tuple[Tensor, Tensor]]) -> dict[str, dict[str, float]]:
    """Loss and accuracy over the batches, and what they become by the usual mistakes."""
    n = [len(T) for _, T in batches]
    losses = [float((Y - T).square().mean()) for Y, T in batches]
    right = [float(right_answers(Y, T).sum()) for Y, T in batches]
    crossed = [float((Y.argmax(1)[:, None] == T.argmax(1)[None]).sum()) for Y, T in batches]
    total = sum(n)
    return {
        "loss": {
            "right": np.dot(losses, n) / total,
            "last batch": sum(losses) / len(n),
            "sum": sum(losses),
            "weighted sum": float(np.dot(losses, n)),
            "over the data": sum(losses) / total,
            "only the last": losses[-1],
        },
        "accuracy": {
            "right": sum(right) / total,
            "last batch": sum(r / k for r, k in zip(right, n, strict=True)) / len(n),
            "sum": sum(right),
            "per batch": sum(right) / len(n),
            "percent": 100 * sum(right) / total,
            "only the last": right[-1] / n[-1],
            "broadcast": sum(crossed) / total,
            "broadcast mean": float(np.mean([c / k**2 for c, k in zip(crossed, n, strict=True)])),
        },
    }


def average(what: str, ours: float, expected: dict[str, float], digits: float = 1e-4) -> None:
    if abs(ours - expected["right"]) <= digits:
        return
    for kind, value in expected.items():
        if abs(ours - value) <= digits:
            raise Found(f"average: {kind}", what, ours, expected["right"])
    raise Found("average", what, ours, expected["right"])


def trained(batches: list) -> list[Tensor]:
    """The spy's weights after two epochs of plain gradient steps."""
    weights = [W.requires_grad_() for W in Spy().start]
    optimizer = torch.optim.SGD(weights, lr=0.01)
    with torch.enable_grad():
        for X, T in batches + batches:
            optimizer.zero_grad()
            (X @ weights[0] @ weights[1] @ weights[2] - T).square().mean().backward()
            optimizer.step()
    return weights


@task("train")
def _(train: Callable) -> str:
    spy, loader, printed = Spy(), SpyLoader(), io.StringIO()
    spy.model.eval()
    try:
        with contextlib.redirect_stdout(printed):
            returned = train(spy.model, spy.criterion, spy.optimizer, loader, 2, "cpu")
    except RuntimeError as error:
        need("does not require grad" not in str(error), "loss.backward")
        need("modified by an inplace operation" not in str(error), "step before backward")
        raise
    events = spy.events
    need("forward 1" in events, "nothing trained")
    losses = [i for i, event in enumerate(events) if event == "loss"]
    need(losses, "no loss")
    need("backward of the loss" in events, "no backward of the loss")
    need(any(event.startswith("backward ") and event[-1].isdigit() for event in events), "no backward")
    need("step" in events, "no step")
    need("zero_grad" in events, "zero_grad forgotten")
    for name in "123":
        need(f"backward {name}" in events, "layer left out", name)
    bounds = [*losses, len(events)]
    batch = events[losses[0] : bounds[1]]
    order = [batch.index(e) for e in ("backward 3", "backward 2", "backward 1") if e in batch]
    need(order == sorted(order), "layers not reversed")
    first_step, first_backward = events.index("step"), events.index("backward 3")
    need(first_step > first_backward, "step before backward")
    per_epoch, steps = len(loader.batches), events.count("step")
    full = len(losses) == 2 * per_epoch
    need(not full or steps >= 2 * per_epoch, "number of steps", 2 * per_epoch, steps)
    zero = [i for i, e in enumerate(events) if e == "zero_grad"]
    for i in zero:
        before = events[:i][::-1]
        after_backward = next((e for e in before if e.startswith(("backward 1", "backward 3", "step"))), "")
        need(not after_backward.startswith("backward"), "gradients thrown away")
    need(len(losses) != 2 or events.count("step") != 2, "one batch an epoch")
    need(len(losses) == 2 * per_epoch, "number of batches", 2 * per_epoch, len(losses))
    need(steps == 2 * per_epoch, "number of steps", 2 * per_epoch, steps)
    need(len(zero) >= 2 * per_epoch, "zero_grad too rare", len(zero), 2 * per_epoch)
    need(loader.passes == 2, "shuffling lost", loader.passes)
    need(all(spy.modes), "training in eval mode")
    outputs, targets = spy.outputs[0]
    first_X, first_T = loader.batches[0]
    need(
        same(targets, first_T) and same(outputs, first_X @ spy.start[0] @ spy.start[1] @ spy.start[2], 1e-4),
        "criterion arguments",
    )
    true = (outputs - targets) * (2 / outputs.numel())
    judge(
        [
            Case(
                "the delta that the last layer's backward gets",
                spy.deltas[0],
                true,
                {"outputs": outputs, "targets": targets},
            )
        ]
    )
    need(same(spy.deltas[1], spy.deltas[0] @ spy.start[2].T), "delta not passed on")
    need(
        all(same(p, q, 1e-5) for p, q in zip(spy.model.parameters(), trained(loader.batches), strict=True)),
        "other weights",
    )
    need(returned is not None, "nothing returned", "train")
    need(returned is spy.model, "model not returned", type(returned).__name__)
    lines = [line for line in printed.getvalue().splitlines() if line.startswith("Epoch [")]
    need(
        len(lines) == 2,
        "nothing printed",
        "a line 'Epoch [k] Average training loss: ..., Average training accuracy: ...' for each epoch",
    )
    for k, line in enumerate(lines):
        said = re.findall(r"\d+\.\d+", line)
        need(len(said) == 2 and f"[{k + 1}]" in line, "format", line)
        loss, accuracy = map(float, said)
        expected = averages(spy.outputs[k * per_epoch : (k + 1) * per_epoch])
        average(f"the loss printed for epoch {k + 1}", loss, expected["loss"])
        average(f"the accuracy printed for epoch {k + 1}", accuracy, expected["accuracy"])
    return "right: the order of the calls, the averages, what is printed."


@task("test")
def _(test: Callable) -> str:
    spy, loader, printed = Spy(), SpyLoader(), io.StringIO()
    before = [p.detach().clone() for p in spy.model.parameters()]
    spy.model.train()
    with contextlib.redirect_stdout(printed):
        accuracy = test(spy.model, loader, "cpu")
    need(spy.modes, "nothing trained")
    need(not any(spy.modes), "test in training mode")
    for p, old in zip(spy.model.parameters(), before, strict=True):
        need(torch.equal(p, old), "changed by a test", "the test", "the parameters")
    need(accuracy is not None, "nothing returned", "test")
    need(np.ndim(accuracy) == 0, "not a number")
    need(len(spy.modes) == 3 * len(loader.batches), "number of batches", len(loader.batches), len(spy.modes) // 3)
    batches = [(X @ before[0] @ before[1] @ before[2], T) for X, T in loader.batches]
    average("the accuracy", float(accuracy), averages(batches)["accuracy"], 1e-6)
    said = re.search(r"The test accuracy is ([\d.]+\d)", printed.getvalue())
    need(said, "nothing printed", "'The test accuracy is 0.9312.', say")
    average("the accuracy printed", float(said[1]), averages(batches)["accuracy"])
    return "right: eval mode, every batch, the accuracy."


# ---------------------------------------------------------------------------------------- plain torch: MLP, trainer


def plain(model: nn.Module, X: Tensor, between: Callable) -> Tensor:
    """The model's linear layers in the order in which it calls them, with this function between them."""
    called: list[nn.Module] = []
    parts = [part for part in model.modules() if isinstance(part, nn.Linear)]
    hooks = [part.register_forward_hook(lambda part, *_: called.append(part)) for part in parts]
    model(X)
    for hook in hooks:
        hook.remove()
    sizes = [(part.in_features, part.out_features) for part in called]
    need(called and sizes[0][0] == X.shape[1], "widths", sizes, "called in their order")
    for number, part in enumerate(called):
        X = part(X if number == 0 else between(X))
    return X


@task("SimpleMLP")
def _(cls: type) -> str:
    methods(cls, "forward")
    need(issubclass(cls, nn.Module), "no module")
    X = torch.randn(50, 4)
    for hidden in 1, 3:
        model = build(cls, 4, 5, 2, hidden)
        linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
        need(list(model.parameters()), "not registered")
        Y = model(X)
        need(Y is not None, "nothing returned", "forward")
        need(tuple(Y.shape) == (50, 2), "shape", "the output of 50 examples", tuple(Y.shape), (50, 2))
        need(len(linear) == hidden + 1, "number of layers", hidden, len(linear), hidden + 1)
        sizes = [(part.in_features, part.out_features) for part in linear]
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


class Batches(list):
    """Batches of 4, 4 and 2, with what a loader tells of itself."""

    dataset, batch_size, passes = range(10), 4, 0

    def __iter__(self) -> Iterator:
        self.passes += 1
        return super().__iter__()


class Brier:
    """A binary problem for the trainer, which notes its events: batches of 4, 4 and 2, targets (n, 1)."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(5)
        X = torch.randn(10, 3, generator=g)
        T = (X[:, :1] + 0.5 * torch.randn(10, 1, generator=g) > 0).float()
        self.batches = Batches(zip(X.split(4), T.split(4), strict=True))
        self.events: list[str] = []
        problem = self

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(3, 1)

            def forward(self, X):
                problem.events.append("training" if self.training else "eval")
                return torch.sigmoid(self.linear(X))

        class Optimizer(torch.optim.SGD):
            def step(self, *arguments):
                problem.events.append("step")
                return super().step(*arguments)

            def zero_grad(self, *arguments, **named):
                problem.events.append("zero_grad")
                return super().zero_grad(*arguments, **named)

        self.model = Net()
        self.model.load_state_dict(
            {"linear.weight": torch.tensor([[1.0, -0.5, 0.3]]), "linear.bias": torch.tensor([0.1])}
        )
        self.criterion, self.optimizer = nn.MSELoss(), Optimizer(self.model.parameters(), lr=0.5)


@task("SimpleMLPTrainer")
def _(cls: type) -> str:
    methods(cls, "train", "evaluate")
    problem, printed = Brier(), io.StringIO()
    problem.model.eval()
    trainer = cls(problem.model, problem.criterion, problem.optimizer)
    with torch.enable_grad(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        losses = trainer.train(problem.batches, 2)
    events = problem.events
    need("training" in events or "eval" in events, "nothing trained")
    need("step" in events, "no step")
    need(events.count("step") == 6, "number of steps", 6, events.count("step"))
    need("eval" not in events, "training in eval mode")
    twin = Brier()
    expected = []
    for _ in range(2):
        numbers = []
        for X, T in twin.batches:
            with torch.enable_grad():
                loss = twin.criterion(twin.model(X), T)
                twin.optimizer.zero_grad()
                loss.backward()
            twin.optimizer.step()
            numbers.append((float(loss), len(X)))
        values, n = np.array(numbers).T
        expected.append(
            {
                "right": values @ n / n.sum(),
                "last batch": values.mean(),
                "sum": values.sum(),
                "weighted sum": values @ n,
                "over the data": values.sum() / n.sum(),
                "only the last": values[-1],
            }
        )
    right = same(problem.model.linear.weight, twin.model.linear.weight, 1e-5)
    need(right or "zero_grad" in events, "zero_grad forgotten")
    need(right, "other weights")
    need(problem.batches.passes == 2, "shuffling lost", problem.batches.passes)
    need(losses is not None, "nothing returned", "train")
    need(isinstance(losses, list) and len(losses) == 2, "losses", losses)
    for k, loss in enumerate(losses):
        need(not isinstance(loss, Tensor), "tensor kept")
        average(f"the loss of epoch {k + 1}", float(loss), expected[k], 1e-5)
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", printed.getvalue())]
    told = all(any(abs(number - loss) < 0.006 for number in numbers) for loss in losses)
    need(told, "nothing printed", "the loss of each epoch")
    problem.events.clear()
    before = problem.model.linear.weight.detach().clone()
    result = trainer.evaluate(problem.batches)
    loss, accuracy = parts(result, "loss", "accuracy")
    need("training" not in problem.events, "test in training mode")
    need(
        torch.equal(problem.model.linear.weight, before) and "step" not in problem.events,
        "changed by a test",
        "evaluate",
        "the parameters",
    )
    outputs = [(problem.model(X), T) for X, T in problem.batches]
    n = [len(T) for _, T in outputs]
    values = [float((Y - T).square().mean()) for Y, T in outputs]
    right = [float(((Y > 0.5) == (T > 0.5)).sum()) for Y, T in outputs]
    crossed = [float(((Y > 0.5).view(-1) == (T > 0.5)).sum()) for Y, T in outputs]
    largest = [float((Y.argmax(1) == T.view(-1)).sum()) for Y, T in outputs]
    average(
        "the loss of evaluate",
        float(loss),
        {
            "right": np.dot(values, n) / 10,
            "last batch": sum(values) / 3,
            "sum": sum(values),
            "over the data": sum(values) / 10,
            "only the last": values[-1],
        },
        1e-5,
    )
    if abs(float(accuracy) - sum(right) / 10) < 1e-6:
        raise Found("not percent")
    if abs(float(accuracy) - 10 * sum(largest)) < 1e-6 and sum(largest) != sum(right):
        raise Found("argmax of one output")
    average(
        "the accuracy of evaluate",
        float(accuracy),
        {
            "right": 10 * sum(right),
            "broadcast": 10 * sum(crossed),
            "last batch": 100 * sum(r / k for r, k in zip(right, n, strict=True)) / 3,
            "only the last": 100 * right[-1] / n[-1],
        },
        1e-4,
    )
    return "right: train and evaluate."


# --------------------------------------------------------------------------------- which outputs a loss takes

LOSSES = "L1Loss", "MSELoss", "BCEWithLogitsLoss", "NLLLoss", "CrossEntropyLoss", "KLDivLoss", "CosineEmbeddingLoss"


@task("loss_setting")
def _(setting: Callable) -> str:
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
        _setting(loss, outputs, logits, Y, T, labels, name)
        if loss != "CosineEmbeddingLoss":
            try:
                getattr(nn, loss)()(Y, T)
            except (RuntimeError, ValueError) as error:
                raise Found("refused by torch", loss, error) from None
    return f"right, for {len(LOSSES)} losses."


def _setting(loss: str, outputs: int, logits: Tensor, Y: Tensor, T: Tensor, labels: Tensor, name: str) -> None:
    sums, positive = Y.exp().sum(1), (Y >= 0).all()
    if loss in ("L1Loss", "MSELoss"):
        need(positive and (Y <= 1).all() and not same(Y, torch.relu(logits)), "not a probability", loss, name)
    if loss == "BCEWithLogitsLoss":
        need(not same(Y, torch.sigmoid(logits)), "sigmoid twice")
        need(same(Y, logits), "logits changed", loss, name)
    if loss == "CrossEntropyLoss":
        need(outputs == 2, "one output", loss)
        need(not same(Y, torch.softmax(logits, 1)), "softmax twice")
        need(same(Y, logits), "logits changed", loss, name)
    if loss in ("NLLLoss", "KLDivLoss"):
        need(outputs == 2, "one output", loss)
        need(not same(Y, torch.softmax(logits, 1)), "logarithm missing", loss)
        need(same(sums, torch.ones(5), 1e-4), "no log-probabilities", loss, name)
    if loss == "CosineEmbeddingLoss":
        need(set(T.unique().tolist()) == {-1, 1} and T.shape == Y.shape, "plus and minus one", tuple(T.shape))
        need(outputs == 2, "one output", loss)
        need(not same(Y, torch.relu(logits)), "logits changed", loss, name)
        need(same((T == 1).float(), one_hot(labels)), "targets of the wrong class", loss)
        return
    if loss == "NLLLoss" or (loss == "CrossEntropyLoss" and T.dim() == 1):
        need(T.shape == labels.shape and not T.is_floating_point(), "indices wanted", loss, tuple(T.shape), T.dtype)
        need(torch.equal(T, labels), "targets of the wrong class", loss)
        return
    need(T.is_floating_point(), "float targets", loss, T.dtype)
    need(not (T.dim() == 1 and Y.dim() == 2), "targets without a column", loss, tuple(T.shape), tuple(Y.shape))
    need(T.shape == Y.shape, "shape", f"the targets of {loss}", tuple(T.shape), tuple(Y.shape))
    expected = labels.float()[:, None] if outputs == 1 else one_hot(labels)
    need(same(T, expected), "targets of the wrong class", loss)


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
def _(plot: Callable) -> str:
    X, y = plane()
    image = plot(Corner(), X, y, 0.5)
    need(image is not None, "nothing returned", "it")
    need(isinstance(image, Image.Image), "no image", type(image).__name__)
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    height, width = pixels.shape[:2]
    need(min(height, width) >= 100, "small image", width, height)
    need(pixels.std() > 1, "blank image")
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
def _(create: Callable) -> str:
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


@task("prediction-nll")
def _(answer: str) -> str:
    """After a ReLU the NLL is minus an output that can grow without bound: train a little, and see."""
    return prediction(answer, nn.NLLLoss(), lambda y: y)


@task("prediction-kldiv")
def _(answer: str) -> str:
    return prediction(answer, nn.KLDivLoss(reduction="batchmean"), one_hot)


def prediction(answer: Any, loss: nn.Module, targets: Callable) -> str:
    need(answer in ("?", "falls without bound", "goes to 0", "stays above 0"), "prediction", answer)
    if answer == "?":
        raise NotImplementedError
    X = torch.randn(40, 3)
    y = (X[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2), nn.ReLU())
    optimizer, values = torch.optim.Adam(model.parameters(), lr=0.02), []
    with torch.enable_grad():
        for _ in range(300):
            value = loss(model(X), targets(y))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(float(value))
    measured = "falls without bound" if values[-1] < -1 and values[-1] < values[-50] - 0.1 else "stays above 0"
    measured = "goes to 0" if abs(values[-1]) < 0.05 else measured
    need(answer == measured, "prediction refuted", values[0], values[99], values[-1])
    return f"measured: {values[0]:.2f}, after 300 steps {values[-1]:.2f}. Why? Which function of the outputs is it?"
