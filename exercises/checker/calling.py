"""Calling a student's class or function: what is missing, forgotten or changed is named."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

from .core import need


def methods(cls: Any, *names: str) -> list[Callable]:
    """The student's methods, with decorators of the student's own, without what layers.Layer puts around them."""
    need(inspect.isclass(cls), "no class", f"expected a class, got {type(cls).__name__}.")
    found = [getattr(cls, name, None) for name in names]
    for name, method in zip(names, found, strict=True):
        need(callable(method) and method is not nn.Module.forward, "no method", f"it has no method called {name}.")
    # wraps, in a decorator put on later, copies the attribute unchecked, too
    ours = [getattr(method, "__wrapped__", method) is getattr(method, "unchecked", None) for method in found]
    return [method.unchecked if own else method for method, own in zip(found, ours, strict=True)]


def build(cls: type, *arguments: Any, **named: Any) -> Any:
    """An instance of a subclass of nn.Module."""
    orphan = "the class is no nn.Module, as a layer, a loss or a model must be: is its base class missing?"
    need(issubclass(cls, nn.Module), "no base", orphan)
    text = "__init__ does not begin with super().__init__(), which every layer needs before its own attributes."
    try:
        layer = cls(*arguments, **named)
    except (AttributeError, TypeError) as error:  # torch's, and that of layers.Layer
        need(not re.search(r"(before Module|super\(\))\.__init__", str(error)), "super", text)
        raise
    need("_parameters" in vars(layer), "super", text)
    return layer


def returned(name: str, value: Any) -> Any:
    need(value is not None, "nothing returned", f"{name} returns nothing: is a return missing?")
    return value


def parts(result: Any, *names: str) -> tuple:
    """The parts of what should be a tuple."""
    right = isinstance(returned("it", result), tuple | list) and len(result) == len(names)
    got = f"{len(result)} things" if isinstance(result, tuple | list) else type(result).__name__
    need(right, "not a tuple", f"it should return ({', '.join(names)}), got {got}.")
    return tuple(result)


def call(name: str, method: Callable, layer: Any, arguments: tuple, kept: tuple) -> Tensor:
    """What forward or backward returns: a tensor, without a change of what is to be kept."""
    before = [x.clone() for x in kept]
    result = returned(name, method(layer, *arguments))
    need(isinstance(result, Tensor), "no tensor", f"{name} returns {type(result).__name__}, expected a tensor.")
    changed = f"{name} changes what it is given; the caller still needs it. Compute in a new tensor."
    need(all(map(torch.equal, kept, before)), "input modified", changed)
    return result


def call_forward(layer: Any, forward: Callable, *inputs: Tensor) -> Tensor:
    Y = call("forward", forward, layer, inputs, inputs)
    dtype = inputs[0].dtype
    need(Y.dtype == dtype, "dtype", f"forward turns {dtype} into {Y.dtype}: keep the type of its input.")
    return Y


def parameter(layer: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    """Has it a parameter of this name and shape?"""
    value = getattr(layer, name, None)
    need(value is not None, "no attribute", f"it has no attribute called {name}.")
    plain = f"{name} is a plain {type(value).__name__}. Only what is wrapped in nn.Parameter is found by "
    need(isinstance(value, nn.Parameter), "no parameter", f"{plain}model.parameters(), and trained.")
    right = tuple(value.shape) == shape
    need(right, "parameter shape", f"{name} has shape {tuple(value.shape)}, expected {shape}.")


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def derive(
    definition: Callable, *inputs: Tensor, delta: Tensor | None = None
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """The value of a definition, a random delta for it (1 for a loss), and dL/d of each input, by autograd."""
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = definition(*leaves)
        if delta is None:
            delta = randn(*value.shape) if value.dim() else torch.ones_like(value)
        gradients = torch.autograd.grad((value * delta).sum(), leaves)
    return value.detach(), delta.detach(), gradients


def gradient(function: Callable, x: Tensor, delta: Tensor) -> Tensor:
    """dL/dx by autograd, where dL/d(function of x) is delta."""
    return derive(function, x, delta=delta)[2][0]


def tensor(x: Any) -> Tensor:
    return torch.as_tensor(np.asarray(x, dtype=float))


def derivative(f: Callable, x: Any) -> np.ndarray:
    """The Jacobian of f at x, by autograd."""
    with torch.enable_grad():
        return jacobian(f, tensor(x)).numpy()


def second_derivative(f: Callable, x: Any) -> np.ndarray:
    with torch.enable_grad():
        return hessian(f, tensor(x)).numpy()


def factors(Y: Tensor) -> dict[str, float]:
    """By name, what a loss or a gradient is often multiplied with or divided by."""
    N, K = Y.shape
    found = {"N (the batch)": N, "K (the number of outputs)": K, "N K (all entries)": N * K, "2": 2}
    return found | {f"1/{name}": 1 / value for name, value in found.items()}
