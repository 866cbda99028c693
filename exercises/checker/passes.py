"""What holds for every hand-written layer: its forward and its backward against autograd on its definition."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from .calling import build, call, call_forward, derive, factors, methods, parameter, randn
from .compare import Case, judge, same
from .core import Found, need

SHAPES = [(1, 1, 1), (2, 1, 1), (1, 2, 3), (2, 3, 2), (4, 3, 2), (5, 2, 6), (3, 7, 4), (6, 4, 4)]  # N, inputs, outputs
SQUARE = [(4, 3, 3), (5, 4, 4), (6, 2, 2), (7, 5, 5)]
SHARED = "two instances overwrite each other's memory: keep what backward needs in self, not in the class or outside."


@dataclass
class LayerTask:
    """A layer by its definition; what is not given here is found by autograd."""

    definition: Callable  # (layer, X, *parameters) -> Y, in torch
    wrong: Callable  # (layer, delta, true gradients, X, *parameters) -> what, "Y" or "dL/dX" -> Mistakes
    parameters: dict[str, Callable] = field(default_factory=dict)  # name -> (inputs, outputs) -> shape
    arguments: Callable = lambda D, K: ()  # (inputs, outputs) -> the arguments of the class
    state: tuple[str, ...] = ()  # the names of tensors that are no parameters


class AnyGrad(nn.Parameter):
    grad = None  # a plain attribute, where torch's takes only the parameter's shape and type


def check_layer(cls: type, task: LayerTask) -> str:
    forward, backward = methods(cls, "forward", "backward")
    found = all_batches(cls, task, forward, backward)
    independent(partial(build, cls, *task.arguments(3, 2)), forward, backward)
    if not task.parameters:
        any_shape(cls, task, forward, backward)
    as_built(cls, task, forward, backward)
    return f"right, on {found} random inputs of {len(SHAPES)} shapes, forward and backward."


def all_batches(cls: type, task: LayerTask, forward: Callable, backward: Callable) -> int:
    cases: tuple[list[Case], list[Case]] = [], []  # on Y; on the gradients
    run = partial(batches, cls, task, forward, backward)
    try:
        run(SHAPES, cases)
    except Found:
        raise
    except Exception:
        named_mistake(cases)  # an error may be the consequence of one
        with suppress(RuntimeError, IndexError):  # what is it where sizes do not matter?
            run(SQUARE, ([], []), any_grad=True)
        raise
    return len(cases[0])


def batches(cls, task, forward, backward, shapes, cases, any_grad=False) -> None:
    for (N, D, K), training in [*product(shapes, [True]), *product(shapes[3:], [False])]:
        layer = prepared(cls, task, D, K).train(training)
        if any_grad:
            for p in layer.parameters():
                p.__class__ = AnyGrad
        for X in randn(N, D), randn(N + 2, D).abs():  # another batch through the same layer
            for known, new in zip(cases, one_batch(layer, task, forward, backward, X), strict=True):
                known += new
    for known in cases:
        judge(known)


def prepared(cls: type, task: LayerTask, D: int, K: int) -> Any:
    """A layer in float64, with random numbers in its parameters."""
    layer = build(cls, *task.arguments(D, K))
    for name, shape in task.parameters.items():
        parameter(layer, name, shape(D, K))
    for name in [*task.parameters, *task.state]:
        ours, usual = getattr(layer, name).dtype, torch.get_default_dtype()
        text = f"{name} is of type {ours}, and does not fit inputs and parameters of PyTorch's usual {usual}."
        need(ours == usual, "parameter type", text)
    wanted = [getattr(layer, name) for name in task.parameters]
    for name, p in layer.named_parameters():
        text = f"{name} is an nn.Parameter: the optimizer would look for its gradient. It should not be trained."
        need(any(p is q for q in wanted), "extra parameter", text)
    double(layer)
    for value in [*wanted, *(getattr(layer, name) for name in task.state)]:
        value.copy_(torch.randn_like(value))
    return layer


def double(layer: nn.Module) -> nn.Module:
    """To float64, also what is a plain attribute."""
    for value in vars(layer).values():
        if isinstance(value, Tensor) and value.is_floating_point():
            value.data = value.double()
    return layer.double()


def one_batch(layer: Any, task: LayerTask, forward: Callable, backward: Callable, X: Tensor) -> tuple[list, list]:
    """What is to be compared after forward and backward: of Y, and of the gradients if Y is right."""
    tags = {"a batch of one"} if len(X) == 1 else set()
    tags |= {"negative inputs"} if (X < 0).any() else set()
    tags |= set() if layer.training else {"eval mode"}
    inputs = {"X": X} | {name: getattr(layer, name).detach().clone() for name in task.parameters}
    truth, delta, true = derive(partial(task.definition, layer), *inputs.values())
    wrong = task.wrong(layer, delta, true, *inputs.values())
    Y = call_forward(layer, forward, X)
    value = Case("Y", Y, truth, inputs, wrong.get("Y", {}), tags=tags)
    if not same(Y, truth):
        return [value], []
    for p in layer.parameters():
        p.grad = None
    ours = first_backward(layer, backward, delta, X)
    for name in task.parameters:
        grad = getattr(layer, name).grad
        text = f"backward does not store dL/d{name}, a tensor: it belongs into self.{name}.grad."
        need(isinstance(grad, Tensor), "grad missing", text)
        ours.append(grad.clone())
    gradients = [
        Case(f"dL/d{name}", g, t, inputs | {"delta": delta}, wrong.get(f"dL/d{name}", {}), factors(truth), tags)
        for name, g, t in zip(inputs, ours, true, strict=True)
    ]
    call_forward(layer, forward, X)
    call_backward(layer, backward, delta, X)
    for case, name in zip(gradients[1:], task.parameters, strict=True):
        again = getattr(layer, name).grad
        if same(case.ours, case.truth) and not same(again, 2 * case.ours):
            text = f"after a second pass .grad is not twice {case.what}: add to what is there, as autograd does."
            raise Found("grad assigned", text)
    return [value], gradients


def first_backward(layer: Any, backward: Callable, delta: Tensor, X: Tensor) -> list[Tensor]:
    try:
        return [call_backward(layer, backward, delta, X).clone()]
    except (TypeError, AttributeError) as error:
        if "NoneType" not in str(error):
            raise
        for p in layer.parameters():
            p.grad = torch.zeros_like(p)
        call_backward(layer, backward, delta, X)
        text = "backward fails where a parameter's .grad is None, as it is at the start and after zero_grad."
        raise Found("grad is None", text) from None


def call_backward(layer: Any, backward: Callable, delta: Tensor, X: Tensor) -> Tensor:
    kept = dict(layer.named_parameters()) | {"running_mean": getattr(layer, "running_mean", delta)}
    before, values = delta.clone(), [value.detach().clone() for value in kept.values()]
    dX = call("backward", backward, layer, (delta,), (X,))
    text = "backward changes the delta that it is given; the caller may still need it. Compute in a new tensor."
    need(torch.equal(delta, before), "delta modified", text)
    for (name, now), old in zip(kept.items(), values, strict=True):
        text = f"backward changes {name}. All that it changes are the gradients in .grad."
        need(torch.equal(getattr(layer, name, now), old), "parameters changed", text)
    text = f"backward turns {delta.dtype} into {dX.dtype}: keep the type of its input."
    need(dX.dtype == delta.dtype, "dtype", text)
    return dX


def named_mistake(cases: tuple[list[Case], list[Case]]) -> None:
    for known in cases:
        try:
            judge(known)
        except Found as found:
            if any(found.kind in case.wrong for case in known):
                raise


def independent(make: Callable, forward: Callable, backward: Callable) -> None:
    """Two layers of a network do not meet in each other's memory."""
    a, b = (double(make()).train() for _ in range(2))
    X = randn(4, 3)
    delta = randn(*call_forward(a, forward, X).shape)

    def gradients():
        for p in a.parameters():
            p.grad = None
        return [call_backward(a, backward, delta, X), *(p.grad.clone() for p in a.parameters())]

    alone = gradients()
    call_forward(a, forward, X)
    call_forward(b, forward, randn(4, 3))
    need(all(map(same, gradients(), alone)), "shared memory", SHARED)


def check_elementwise(cls: type, function: Callable, mistakes: Callable, *arguments: float) -> str:
    """mistakes: (X, Y, delta, the true dL/dX) -> those on Y, and those on dL/dX."""

    def wrong(layer, delta, true, X):
        (dX,), Y = true, function(X)
        forwards, backwards = mistakes(X, Y, delta, dX)
        times = "delta is multiplied by the layer's {}, which is not what the chain rule multiplies with."
        any_activation = {
            "derivative missing": (delta, "dL/dX is delta unchanged: the derivative of the activation is missing."),
            "delta missing": (dX / delta, "dL/dX does not contain delta: the chain rule multiplies with it."),
            "times the output": (delta * Y, times.format("output")),
            "times the input": (delta * X, times.format("input")),
            "function of delta": (function(delta), "the activation is applied to delta. What counts is the input."),
        }
        return {"Y": forwards, "dL/dX": backwards | any_activation}

    return check_layer(cls, LayerTask(lambda layer, X: function(X), wrong, arguments=lambda D, K: arguments))


def any_shape(cls: type, task: LayerTask, forward: Callable, backward: Callable) -> None:
    """An elementwise layer takes any shape, large numbers, and 0."""
    layer, cases = double(build(cls, *task.arguments(3, 2))).train(), []
    for X in randn(2, 3, 4), randn(5), torch.tensor([[30.0, -30.0], [1000.0, -1000.0]], dtype=torch.float64):
        truth, delta, (true,) = derive(partial(task.definition, layer), X)
        try:
            Y = call_forward(layer, forward, X)
            dX = call_backward(layer, backward, delta, X)
        except (IndexError, ValueError, RuntimeError):
            text = f"an input of shape {tuple(X.shape)} fails: the layer is elementwise, and takes any shape."
            raise Found("any shape", text) from None
        tags = {"large inputs"} if X.abs().max() > 29 else {"inputs with another number of dimensions"}
        cases += [Case("Y", Y, truth, {"X": X}, tags=tags), Case("dL/dX", dX, true, {"X": X}, tags=tags)]
    judge(cases)
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    finite = call_forward(layer, forward, zeros).isfinite() & call_backward(layer, backward, zeros, zeros).isfinite()
    need(finite.all(), "not finite at 0", "for an input of 0 the output, or the gradient, is not a number.")


def as_built(cls: type, task: LayerTask, forward: Callable, backward: Callable) -> None:
    """In PyTorch's usual type, in both modes."""
    layer, X = build(cls, *task.arguments(3, 2)), torch.randn(4, 3)
    for training in True, False:
        Y = call_forward(layer.train(training), forward, X)
        call_backward(layer, backward, torch.ones_like(Y), X)
