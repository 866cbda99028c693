"""The checks of input, in one place: what was expected, what came, what to do.

The modules of the mathematics declare what they take, and this one, which imports none of them, interprets that:

* a layer its ``width`` and, as a loss does, the names of what forward ``keeps`` for backward (class Checked);
* a loss the outputs and targets that it takes (TAKES);
* an optimizer its parameters, and GD and Newton the results that they need from f (start).

Objects are checked once, where a loop starts and before a batch is drawn; values as they come.
"""

import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

# ---------------------------------------------------------------------------------------------------- numbers


def number(
    what: str,
    value: Any,
    low: float = float("-inf"),
    high: float = float("inf"),
    *,
    above: bool = False,
    below: bool = False,
    whole: bool = False,
) -> Any:
    """value as a float, or an int if whole.

    Raises ValueError unless it is finite and from low to high (above: not low itself; below: not high itself),
    TypeError unless it is a real number, or of an integer type if whole.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral if whole else Real):
        raise TypeError(f"{what} must be {'an integer' if whole else 'a number'}, got {value!r}")
    try:
        x = float(value)
    except OverflowError:
        x = float("inf")
    if not isfinite(x) or x < low or x > high or (above and x == low) or (below and x == high):
        if high < float("inf"):
            expected = f"in {'(' if above else '['}{low}, {high}{')' if below else ']'}"
        elif above:
            expected = "positive and finite" if low == 0 else f"finite and above {low}"
        else:
            expected = "finite" if low == float("-inf") else f"finite and at least {low}"
        raise ValueError(f"{what} must be {expected}, got {value}")
    return int(value) if whole else x


def flag(what: str, value: Any) -> None:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{what} must be True or False, got {value!r}")


# ----------------------------------------------------------------------------------- the edge of a layer or loss


class Checked:
    """Base of the layers and losses: checks around every forward and backward, whose bodies then need none.

    Besides their input: backward comes after forward, and nothing that it reads has been changed in between; what it
    returns has the shape of forward's input and no graph. What forward keeps is neither copied nor pickled.
    """

    keeps: tuple[str, ...] = ()  # the attributes that forward sets for backward
    needs_input_grad: bool | None = None  # True in a class whose backward returns None where it is set to False
    _seen: tuple | None = None  # by forward: shapes, type, state of what backward reads

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "backward" in own and "needs_input_grad" not in own:
            cls.needs_input_grad = None  # this backward may need what super().backward returns
        if "forward" in own and "backward" not in own and hasattr(cls, "backward"):
            raise TypeError(
                f"{cls.__name__} has a forward of its own, but the backward of another: write its backward, too (or, "
                "if it fits, backward = Base.backward)"
            )
        for name, checked in ("forward", _checked_forward), ("backward", _checked_backward):
            if name in own:
                setattr(cls, name, checked(own[name]))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.keeps:
            self.__dict__[name] = value  # a plain attribute, even where it is an nn.Parameter, and set at once
        else:
            super().__setattr__(name, value)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name not in (*self.keeps, "_seen")}


def _checked_forward(forward: Callable) -> Callable:
    @wraps(forward)
    def checked(self, *inputs, **named):
        self.check_input(*inputs, **named)
        Y = forward(self, *inputs, **named)
        if not isinstance(Y, Tensor):
            raise TypeError(f"{self}: forward returned {type(Y).__name__}, expected a tensor; is a return missing?")
        attributes = self.__dict__
        if torch.is_grad_enabled():
            for name in self.keeps:
                if name in attributes:
                    attributes[name] = attributes[name].detach()
        X = inputs[0] if inputs else next(iter(named.values()))
        attributes["_seen"] = X.shape, Y.shape, Y.dtype, _state(self)
        return Y

    return checked


def _checked_backward(backward: Callable) -> Callable:
    @wraps(backward)
    def checked(self, *delta, **named):
        if self._seen is None:
            raise RuntimeError(f"{self}: backward before forward; call it on an input first")
        input_shape, shape, dtype, state = self._seen
        for d in (*delta, *named.values()):
            if not isinstance(d, Tensor) or d.shape != shape or d.dtype != dtype:
                _wrong_delta(self, d, shape, dtype)
        if state != _state(self):
            raise RuntimeError(
                f"{self}: its parameters, or what forward kept ({', '.join(self.keeps)}), were changed before "
                "backward, whose result would be wrong; change a copy, or step after backward"
            )
        if torch.is_grad_enabled():
            with torch.no_grad():
                result = backward(self, *delta, **named)
        else:
            result = backward(self, *delta, **named)
        if result is None and self.needs_input_grad is False:
            return None
        if not isinstance(result, Tensor) or result.shape != input_shape:
            got = tuple(result.shape) if isinstance(result, Tensor) else result
            raise ValueError(
                f"{self}: backward must return the gradient at the input, of shape {tuple(input_shape)}, got {got}"
            )
        return result

    return checked


def _wrong_delta(module: nn.Module, delta: Any, shape: torch.Size, dtype: torch.dtype) -> None:
    if not isinstance(delta, Tensor):
        raise TypeError(f"{module}: delta must be a torch.Tensor, got {type(delta).__name__}")
    if delta.shape != shape:
        raise ValueError(f"{module}: delta must have the output's shape {tuple(shape)}, got {tuple(delta.shape)}")
    raise TypeError(f"{module}: delta must have the output's type {dtype}, got {delta.dtype}; use delta.to({dtype})")


def _state(module: nn.Module) -> list[int] | None:
    """Of each tensor that backward reads: where it is, and how often it has been changed in place."""
    attributes, state = module.__dict__, []
    try:
        for name in module.keeps:
            tensor = attributes[name]
            state += tensor.data_ptr(), tensor._version
        for p in attributes["_parameters"].values():
            if p is not None:
                state += p.data_ptr(), p._version
    except KeyError as error:
        raise TypeError(f"{module}: keeps names {error}, but forward did not set it") from error
    except RuntimeError:  # torch.inference_mode does not count changes
        return None
    return state


def layer_input(layer: Checked, X: Tensor) -> None:
    """Raise unless X is floating point and, where the layer has a width, (N, width), N > 0; of its parameters' type."""
    if not isinstance(X, Tensor):
        raise TypeError(f"{layer}: expected a torch.Tensor, got {type(X).__name__}; use torch.as_tensor(X)")
    if X.layout is not torch.strided:
        raise TypeError(f"{layer}: expected a dense tensor, got {X.layout}; use X.to_dense()")
    if not X.is_floating_point():
        raise TypeError(f"{layer}: expected a floating-point input, got {X.dtype}; use X.float()")
    width = layer.width
    if width is not None and (X.dim() != 2 or X.shape[1] != width or not len(X)):
        raise ValueError(
            f"{layer}: expected an input of shape (N, {width}) with N > 0, got {tuple(X.shape)}; one row is one "
            "example: flatten images with X.flatten(1)"
        )
    for p in layer._parameters.values():
        if p is not None and p.dtype != X.dtype:
            raise TypeError(f"{layer}: the parameters are {p.dtype}, the input is {X.dtype}; use X.to({p.dtype})")


# What a loss can be defined for, outputs being (N, K): targets "indices" (N,), integers from 0 to K - 1, K >= 2, or
# floating-point rows (N, K): K is at least the number here, and the values are as the function and its words say.
ANY = (lambda T: True), ""
ROWS = {
    "numbers": (1, *ANY),
    "log-probabilities": (2, *ANY),
    "probabilities": (1, lambda T: T.min() >= 0 and T.max() <= 1, "targets from 0 to 1"),
    "distributions": (
        2,
        lambda T: T.min() >= 0 and bool(((T.sum(1) - 1).abs() <= 8 * T.shape[1] * torch.finfo(T.dtype).eps).all()),
        "rows of probabilities, which sum to 1 up to rounding (several labels a row: BCEWithLogitsLoss)",
    ),
    "signs": (
        2,
        lambda T: bool((T.abs() == 1).all() and (T.sum(1) == 2 - T.shape[1]).all()),
        "targets of +1 (the example's class) and -1 (all others)",
    ),
}
# A loss's ``takes``: the kind of rows, if any, and whether it takes indices.
TAKES = {
    **{kind: (kind, False) for kind in ROWS},
    "indices": (None, True),
    "numbers or indices": ("numbers", True),
    "distributions or indices": ("distributions", True),
}


def loss_input(loss: Any, outputs: Tensor, targets: Tensor) -> None:
    """Raise unless outputs and targets are what loss.takes: another shape would be broadcast and give a wrong loss
    without a word. TypeError for the wrong kind, ValueError for a wrong shape or wrong values."""
    name, (kind, indices) = loss.name, TAKES[loss.takes]
    smallest, good, needed = ROWS[kind] if kind else (2, *ANY)
    for what, tensor in ("outputs", outputs), ("targets", targets):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: the {what} must be a torch.Tensor, got {type(tensor).__name__}")
        if tensor.layout is not torch.strided:
            raise TypeError(f"{name}: the {what} must be a dense tensor, got {tensor.layout}; use to_dense()")
    if outputs.dim() != 2 or not len(outputs):
        raise ValueError(
            f"{name}: the outputs must have shape (N, K), a row for each of N > 0 examples, got "
            f"{tuple(outputs.shape)}; for one output a row leave out squeeze() and flatten()"
        )
    if not outputs.is_floating_point():
        raise TypeError(f"{name}: the outputs must be floating point, got {outputs.dtype}")
    N, K = outputs.shape
    if smallest > K:
        raise ValueError(
            f"{name} needs at least {smallest} outputs, one for each class, got {K}; with a single output use "
            "BCEWithLogitsLoss"
        )
    rows = targets.is_floating_point()
    if rows and kind is None:
        raise TypeError(f"{name} needs class indices of shape (N,) and type torch.long, got {targets.dtype}")
    if not rows and not indices:
        raise TypeError(f"{name} needs floating-point targets of shape {(N, K)}, got {targets.dtype}")
    if not rows and targets.dtype != torch.long:
        raise TypeError(f"{name} needs class indices of shape (N,) and type torch.long, got {targets.dtype}")
    expected = (N, K) if rows else (N,)
    if targets.shape != expected:
        what = "floating-point targets" if rows else "class indices (integers)"
        reason = "; other shapes would be broadcast and give a wrong loss" if rows else ""
        raise ValueError(
            f"{name}: the outputs have shape {(N, K)} and the {what} {tuple(targets.shape)}, expected "
            f"{expected}{reason}"
        )
    if not rows:
        used = targets if (ignored := getattr(loss, "ignored", None)) is None else targets[targets != ignored]
        if len(used) and not 0 <= used.min() <= used.max() < K:
            raise ValueError(
                f"{name}: the model has {K} outputs, so class indices go from 0 to {K - 1}; found {int(used.min())} to "
                f"{int(used.max())}"
            )
    elif targets.dtype != outputs.dtype:
        raise TypeError(
            f"{name}: the outputs are {outputs.dtype}, the targets {targets.dtype}; use targets.to(outputs.dtype)"
        )
    elif not good(targets):
        sums = targets.sum(1)
        farthest = float(sums[(sums - 1).abs().argmax()])
        found = f"{float(targets.min()):g} to {float(targets.max()):g}, and a row that sums to {farthest:.12g}"
        raise ValueError(f"{name} needs {needed}; found {found}")


def plain_options(name: str, arguments: tuple, options: dict) -> None:
    """Raise TypeError or ValueError for an option of torch's that the hand-written loss does not have."""
    if arguments:
        raise TypeError(
            f"{name} takes its options by name; the loss of outputs and targets is {name}()(outputs, targets)"
        )
    theirs = inspect.signature(getattr(nn, name, nn.Module)).parameters
    for option, value in options.items():
        if option not in theirs:
            raise TypeError(f"{name} has no option {option}")
        if option == "reduction":
            mean(value, divides=False)
        elif value is not (plain := theirs[option].default) and not (isinstance(value, Real) and value == plain):
            raise ValueError(
                f"losses.{name} has no {option}; use torch.nn.{name}({option}=...), which train differentiates by "
                "autograd"
            )


def mean(reduction: Any, divides: bool) -> None:
    """Raise ValueError unless a loss averages over the batch: the loops weigh each batch by its size."""
    if reduction != "mean" and not (divides and reduction == "batchmean"):
        raise ValueError(f"averages need a criterion with reduction='mean', got {reduction!r}")


def option(criterion: Any, name: str, default: Any) -> Any:
    """An option of a criterion: of an object, or of a function with functools.partial."""
    return getattr(criterion, "keywords", {}).get(name, getattr(criterion, name, default))


def one_number(loss: Any, value: Tensor) -> Tensor:
    """The value of a loss; TypeError or ValueError unless it is one number in a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{loss.name} must return a torch.Tensor of one number, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{loss.name} must return a floating-point number, got {value.dtype}")
    if value.dim():
        raise ValueError(f"{loss.name} must return one number, got shape {tuple(value.shape)}; use reduction='mean'")
    return value


def differentiable(loss: Any) -> None:
    """Raise RuntimeError for a value that autograd cannot follow, or that has a graph through the model."""
    if loss.value is None:
        raise RuntimeError(
            f"{loss.name}: call it inside torch.no_grad(); outside, autograd's loss.backward() does it all"
        )
    if loss.value.grad_fn is None:
        raise RuntimeError(
            f"{loss.name}: autograd cannot follow its value; do not use .item(), .detach() or NumPy in it"
        )


def answers(right: Any, n: int) -> Tensor:
    """Which answers are right, as correct says; TypeError or ValueError unless that is one number for each, n at
    most."""
    if not isinstance(right, Tensor):
        raise TypeError(f"correct must return a tensor, which answers are right, got {type(right).__name__}")
    if right.dim() != 1 or len(right) > n:
        raise ValueError(
            f"correct must return a tensor (N,), which of N = {n} answers are right, got {tuple(right.shape)}"
        )
    if right.dtype != torch.bool and not right.isnan().all():
        raise TypeError(f"correct must return True or False for each answer, got {right.dtype}")
    return right


def same_shape(outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError for class indices where each output is a yes or a no."""
    tensors(outputs, targets)
    if outputs.shape != targets.shape:
        raise ValueError(
            f"above reads targets of the outputs' shape {tuple(outputs.shape)}, got {tuple(targets.shape)}: for class "
            "indices leave out correct=above(...)"
        )


def tensors(*things: Any) -> None:
    for thing in things:
        if not isinstance(thing, Tensor):
            raise TypeError(f"outputs and targets must be tensors, got {type(thing).__name__}; use torch.as_tensor")


def single_output(outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError where the largest of a row says nothing, as there is one, or the targets belong to others."""
    tensors(outputs, targets)
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"the outputs have shape {tuple(outputs.shape)}: where does class 1 begin? Pass the criterion if it is one "
            "of torch's or losses.py's, or say it: correct=above(0) for logits, correct=above(0.5) for probabilities"
        )
    if targets.shape not in (outputs.shape, outputs.shape[:1]):
        raise ValueError(f"the outputs have shape {tuple(outputs.shape)}, the targets {tuple(targets.shape)}")


# ------------------------------------------------------------------------------------------ the start of a loop


def instance(what: str, thing: Any, example: str) -> None:
    """Raise TypeError for a class where an object is expected."""
    if isinstance(thing, type):
        raise TypeError(f"the {what} is the class {thing.__name__}, expected an object such as {example}")


def model(thing: Any) -> None:
    """Raise unless thing is an nn.Module with something in it."""
    instance("model", thing, "nn.Sequential(FCLayer(784, 10))")
    if not isinstance(thing, nn.Module):
        raise TypeError(
            f"the model must be an nn.Module, got {type(thing).__name__}; put layers into nn.Sequential(...)"
        )
    if type(thing).forward is nn.Module.forward:
        raise TypeError(f"a {type(thing).__name__} has no forward; put the layers into nn.Sequential(...)")
    if any(isinstance(part, nn.Sequential) and None in [*part] for part in thing.modules()):
        raise TypeError("the model has a None in an nn.Sequential; leave it out")
    if any(isinstance(part, nn.Sequential) and not len(part) for part in thing.modules()):
        raise ValueError("the model is, or has in it, an empty nn.Sequential; give it at least one layer")


def flatten(whole: nn.Module) -> Iterator[nn.Module]:
    """The layers of a (nested) nn.Sequential, in order."""
    if type(whole).forward is nn.Sequential.forward and not hasattr(whole, "backward"):
        for part in whole:
            yield from flatten(part)
    else:
        yield whole


def chain(whole: Any) -> list[nn.Module]:
    """The layers of a (nested) nn.Sequential, each with a backward, if they are all that it computes.

    TypeError where a layer has no backward, ValueError where a layer or a parameter is used twice, where a parameter is
    frozen by requires_grad=False, which a hand-written backward does not look at, or where a hook may change forward.
    """
    model(whole)
    layers = list(flatten(whole))
    for i, layer in enumerate(layers):
        if not hasattr(layer, "backward"):
            reason = "; its forward is its own" if isinstance(layer, nn.Sequential) else ""
            raise TypeError(
                f"layer {i}, {layer}, has no backward(delta){reason}; build the model as an nn.Sequential of layers "
                "from layers.py, e.g. FCLayer"
            )
    everywhere = nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks
    for module in whole.modules():
        hooked = everywhere or module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
        if hooked or module._backward_pre_hooks or "forward" in vars(module) or hasattr(module, "parametrizations"):
            raise ValueError(
                f"{module} has a hook, a parametrization or a forward of its own (pruning is a hook): what it computes "
                "is not what backward differentiates; remove it before training (torch.nn.utils.prune.remove for "
                "pruning)"
            )
    if len(set(layers)) < len(layers):
        raise ValueError("a layer is used twice in the model, but it remembers only one forward; make two layers")
    parameters = [p for layer in layers for p in layer.parameters()]
    if len(set(parameters)) < len(parameters):
        raise ValueError("a parameter belongs to two layers; give each layer its own")
    if not all(p.requires_grad for p in parameters):
        raise ValueError("requires_grad=False has no effect here; freeze a layer by leaving it out of SGD(params)")
    return layers


def criterion(thing: Any) -> None:
    """Raise unless thing can be called as criterion(outputs, targets) and averages over the batch."""
    instance("criterion", thing, f"{getattr(thing, '__name__', 'MSELoss')}() (with parentheses)")
    if type(thing) is nn.CosineEmbeddingLoss:
        raise TypeError(
            "torch's CosineEmbeddingLoss compares pairs of vectors; losses.CosineEmbeddingLoss takes (outputs, targets)"
        )
    of_two("criterion", thing, "a loss such as MSELoss()")
    for name in "size_average", "reduce":
        if option(thing, name, None) is not None:
            raise ValueError(f"the criterion has the outdated option {name}; use reduction='mean'")
    kind = f"{type(thing).__name__} {getattr(option(thing, 'func', thing), '__name__', '')}".lower()
    mean(option(thing, "reduction", "mean"), divides="kl" in kind)


def of_two(what: str, thing: Any, example: str) -> None:
    """Raise TypeError unless thing can be called as thing(outputs, targets)."""
    if not callable(thing):
        raise TypeError(f"the {what} must be {example}, got {thing!r}")
    try:
        inspect.signature(thing.forward if isinstance(thing, nn.Module) else thing).bind("outputs", "targets")
    except ValueError:  # a function of C has no signature
        pass
    except TypeError as error:
        raise TypeError(
            f"the {what} must be {example}, called as (outputs, targets); {thing} is not: {error}"
        ) from None


def reading(correct: Any) -> None:
    """Raise TypeError unless correct is None or can be called as correct(outputs, targets)."""
    if correct is not None:
        instance("correct", correct, "accuracy.largest")
        of_two("correct", correct, "accuracy.largest, accuracy.above(0) or the like")


def optimizer(thing: Any, trained: Iterable[nn.Parameter], strict: bool = True) -> None:
    """Raise unless thing is an optimizer of these parameters: of them only (strict), or of some of them.

    TypeError for something else, or one whose step needs a closure; ValueError for the parameters of another model.
    """
    instance("optimizer", thing, "SGD(model.parameters(), 0.1)")
    if not (hasattr(thing, "step") and hasattr(thing, "zero_grad")):
        raise TypeError(
            "the optimizer must have step() and zero_grad(), as SGD(model.parameters(), 0.1) has, got "
            f"{type(thing).__name__}"
        )
    for parameter in inspect.signature(thing.step).parameters.values():
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise TypeError(
                f"{type(thing).__name__}.step needs a {parameter.name}, which evaluates the loss again; take an "
                "optimizer with one gradient a step, e.g. SGD"
            )
    groups = getattr(thing, "param_groups", None)
    stepped = set(getattr(thing, "params", ())) if groups is None else {p for group in groups for p in group["params"]}
    foreign = stepped - set(trained)
    if stepped and (foreign if strict else len(foreign) == len(stepped)):
        raise ValueError(
            f"{len(foreign)} of the {len(stepped)} parameters of the optimizer are not the model's: it was made for "
            "another model, perhaps before the model's cell was run again; make the optimizer after the model"
        )


def loop(batches: Any, place: Any, correct: Any, passes: int = 1) -> None:
    """Raise unless a loop can run over these batches, so often, on this device, with this reading of answers."""
    loader(batches, passes)
    device(place)
    reading(correct)


def loader(thing: Any, passes: int = 1) -> None:
    """Raise unless thing gives batches, as often as needed. It is not started: that would draw random numbers."""
    if (
        isinstance(thing, Dataset)
        or not isinstance(thing, Iterable)
        or isinstance(thing, str | Tensor | np.ndarray | dict)
    ):
        raise TypeError(
            f"expected batches (X, targets), got {type(thing).__name__}; use BatchLoader(TensorDataset(X, targets), 32)"
        )
    if passes > 1 and isinstance(thing, Iterator):
        raise TypeError(
            f"{type(thing).__name__} gives its batches only once, but {passes} epochs need them {passes} times; use a "
            "BatchLoader, a DataLoader or a list"
        )


def device(thing: Any) -> None:
    """Raise ValueError unless thing names a device of this machine on which tensors have values."""
    try:
        if not isinstance(thing, str | torch.device) or torch.empty(0, device=thing).is_meta:
            raise RuntimeError
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = f" ({' '.join(str(error).split())[:100]})" if str(error) else ""
        raise ValueError(
            f"the device must be 'cpu', or 'cuda' or the like if it is there, got {thing!r}{reason}"
        ) from error


def batches(source: Iterable, device: str | torch.device, kind: str = "loader") -> Iterator[tuple[Tensor, Tensor]]:
    """The batches (X, targets) of source, on device.

    Raises TypeError or ValueError for something else in one of them, ValueError if there are none.
    """
    number = 0
    for number, batch in enumerate(source, start=1):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            got = f"{len(batch)} things" if isinstance(batch, tuple | list) else type(batch).__name__
            raise TypeError(f"batch {number}: expected (X, targets), got {got}; use TensorDataset(X, targets)")
        X, targets = batch
        if not isinstance(X, Tensor) or not isinstance(targets, Tensor):
            other = targets if isinstance(X, Tensor) else X
            raise TypeError(
                f"batch {number}: X and targets must be tensors, got {type(other).__name__}; use torch.as_tensor"
            )
        if X.shape[:1] != targets.shape[:1]:
            raise ValueError(f"batch {number}: X of shape {tuple(X.shape)}, but targets of {tuple(targets.shape)}")
        yield X.to(device), targets.to(device)
    if not number:
        raise ValueError(f"the {kind} is empty; give it at least one example")


def trainable(loss: Tensor) -> None:
    """Raise RuntimeError for a loss that no parameter can change."""
    if not loss.requires_grad:
        raise RuntimeError("the loss depends on no parameter with requires_grad; unfreeze one, or mend the criterion")


def same_type(module: nn.Module, X: Tensor) -> None:
    """Raise TypeError for floating-point data of another type than the parameters', such as NumPy's float64."""
    for p in module.parameters():
        if X.is_floating_point() and X.dtype != p.dtype:
            raise TypeError(f"the parameters are {p.dtype}, the batch is {X.dtype}; use X.to({p.dtype})")
        break


def finite_loss(value: float, n: float, batch: int, optimizer: Any = None) -> None:
    """Raise FloatingPointError, which names the learning rate of the optimizer, if any, unless the loss is finite."""
    if not isfinite(value):
        rate = getattr(optimizer, "learning_rate", None) or getattr(optimizer, "param_groups", [{}])[0].get("lr")
        reason = (
            f"learning rate {rate} is probably too large, or the data are not finite"
            if rate
            else "are the data finite?"
        )
        raise FloatingPointError(
            f"batch {batch}: the loss is {value}; {reason if n else 'all of its targets are ignored'}"
        )


@contextmanager
def epoch(number: int) -> Iterator[None]:
    """Name the epoch in a FloatingPointError."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"epoch {number}, {error}") from None


def accuracy(value: float) -> None:
    if not isfinite(value):
        raise ValueError("the targets are no classes, so there is no accuracy; for labels of your own pass correct=")


def finite_outputs(outputs: Tensor) -> None:
    """Raise FloatingPointError unless the outputs are finite, TypeError if they are no tensor."""
    if not isinstance(outputs, Tensor):
        raise TypeError(f"the model must return a tensor of outputs, got {type(outputs).__name__}")
    if not torch.isfinite(outputs).all():
        raise FloatingPointError("the outputs are not finite; are the data finite, or has training diverged?")


def mlp(input_dim: int, hidden_dim: int, output_dim: int, num_hidden_layers: int, last: Any) -> None:
    """Raise TypeError or ValueError for arguments that SimpleMLP cannot be built of."""
    sizes = dict(input_dim=input_dim, hidden_dim=hidden_dim, output_dim=output_dim, num_hidden_layers=num_hidden_layers)
    for name, size in sizes.items():
        number(f"SimpleMLP: {name}", size, 1, whole=True)
    if last is not None and not (
        isinstance(last, nn.Module) or (isinstance(last, type) and issubclass(last, nn.Module))
    ):
        raise TypeError(f"SimpleMLP: last_layer_activation_fn must be a module such as nn.Sigmoid(), got {last!r}")


def mlp_input(model: nn.Module, X: Any) -> None:
    """Raise TypeError or ValueError for an input that SimpleMLP was not made for."""
    width = model.model[0].in_features
    if not isinstance(X, Tensor) or not X.is_floating_point():
        got = X.dtype if isinstance(X, Tensor) else type(X).__name__
        raise TypeError(f"SimpleMLP: expected a tensor of floating-point numbers, got {got}; use X.float()")
    if X.dim() != 2 or X.shape[1] != width:
        raise ValueError(f"SimpleMLP: expected an input of shape (N, {width}), got {tuple(X.shape)}; use X.flatten(1)")


# ------------------------------------------------------------------------------------------------ SGD, GD, Newton


def parameters(params: Any) -> list[nn.Parameter]:
    """params as a list; TypeError or ValueError if they are not parameters, none, or one of them comes twice."""
    if isinstance(params, Tensor):
        raise TypeError("SGD: expected an iterable of parameters such as model.parameters(), got one tensor")
    if not isinstance(params, Iterable) or isinstance(params, np.ndarray):
        raise TypeError(f"SGD: expected parameters, got {type(params).__name__}; pass model.parameters()")
    params = list(params)
    if not params:
        raise ValueError("SGD: no parameters to train; pass model.parameters() (once: it is an iterator)")
    for p in params:
        if not isinstance(p, Tensor):
            raise TypeError(f"SGD: expected parameters, got {type(p).__name__}; pass model.parameters()")
        if not p.is_floating_point() or not p.is_leaf:
            raise TypeError(f"SGD: expected parameters, got a computed or {p.dtype} tensor; pass model.parameters()")
    if len(set(params)) < len(params):
        raise ValueError("SGD: a parameter comes twice and would be stepped twice; pass each one once")
    return params


def update(step: Callable) -> Callable:
    """The step of an optimizer, outside any graph; RuntimeError before it changes anything if a gradient is missing."""

    @wraps(step)
    def checked(self):
        if type(self.learning_rate) is not float or not 0 < self.learning_rate < float("inf"):
            number("SGD: learning_rate", self.learning_rate, 0, above=True)
        for p in self.params:
            if p.grad is None:
                raise RuntimeError(
                    f"SGD: a parameter of shape {tuple(p.shape)} has no gradient; call backward on every layer of the "
                    "model before step"
                )
        if torch.is_grad_enabled():
            with torch.no_grad():
                step(self)
        else:
            step(self)

    return checked


def coordinates(x: Any, n: int) -> np.ndarray:
    """x as an array of floats of shape (n, ...)."""
    try:
        array = numbers(x)
    except (TypeError, ValueError) as error:
        raise TypeError(f"expected numbers of shape ({n},), or ({n}, ...) for many points, got {x!r}") from error
    if array.shape[:1] != (n,):
        raise ValueError(f"expected x of shape ({n},), or ({n}, ...) for many points, got {array.shape}")
    return array


def start(
    name: str, f: Any, theta0: Any, alpha: Any, stop_tolerance: Any, max_steps: Any
) -> tuple[np.ndarray, "Function", float]:
    """theta0 as a new vector of floats, f with its results checked, and alpha as a float."""
    f = Function(name, f, f"; alpha = {alpha} is probably too large" if name == "GD" else "")
    alpha = number(f"{name}: alpha", alpha, 0, above=True)
    for what, value in ("stop_tolerance", stop_tolerance), ("max_steps", max_steps):
        number(f"{name}: {what}", value, 0, above=True)
    if max_steps != int(max_steps):
        raise ValueError(f"{name}: max_steps must be a whole number, got {max_steps}")
    try:
        theta = numbers(theta0)
    except TypeError:
        theta = np.array(np.nan)
    if theta.ndim != 1 or not theta.size or not np.isfinite(theta).all():
        raise ValueError(f"{name}: theta0 must be a vector of finite numbers such as [0.0, 2.0], got {theta0!r}")
    return theta, f, alpha


def numbers(x: Any) -> np.ndarray:
    """x as an array of floats; TypeError if it is not made of real numbers."""
    try:
        array = np.asarray(x)
        good = array.dtype.kind in "iuf" or (
            array.dtype.kind == "O" and all(isinstance(v, Real) and not isinstance(v, bool) for v in array.flat)
        )
        if good:
            return array.astype(float)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"expected real numbers: {error}") from error
    raise TypeError(f"expected real numbers, got {array.dtype}")


class Function:
    """f with its results checked: a float and new arrays, of the right number and shapes, finite, a hessian symmetric.

    Newton may try a point where they are not finite; the value there is then nan, to which no step goes.
    """

    def __init__(self, name: str, f: Any, cure: str) -> None:
        self.parts = ("value", "grad") if name == "GD" else ("value", "grad", "hessian")
        if not callable(f):
            raise TypeError(f"{name}: f must be a function theta -> ({', '.join(self.parts)}), got {f!r}")
        self.name, self.f, self.cure, self.calls = name, f, cure, 0
        self.eps = np.finfo(float).eps  # of the coarsest type of number that f has returned

    def __call__(self, theta: np.ndarray) -> tuple:
        n = len(theta)
        with np.errstate(all="ignore"):  # what is not finite is looked for below
            result = self.f(theta.copy())
        if not isinstance(result, tuple | list) or len(result) != len(self.parts):
            got = f"{len(result)} of them" if isinstance(result, tuple | list) else type(result).__name__
            raise ValueError(f"{self.name}: f must return ({', '.join(self.parts)}), got {got}")
        try:
            value, *arrays = (numbers(part) for part in result)
        except TypeError as error:
            raise ValueError(f"{self.name}: f must return numbers and NumPy arrays: {error}") from error
        for part, what, shape in zip((value, *arrays), self.parts, [(), (n,), (n, n)], strict=False):
            if part.shape != shape:
                raise ValueError(
                    f"{self.name}: theta has shape {theta.shape}, f returned a {what} of {part.shape}, not {shape}"
                )
        raw = [np.asarray(part).dtype for part in result]
        self.eps = max([self.eps, *(np.finfo(dtype).eps for dtype in raw if dtype.kind == "f")])
        if self.name == "GD" or not self.calls:
            finite(self.name, self.calls, self.parts, (value, *arrays), self.cure)
        elif np.isneginf(value):
            value = np.nan
        if len(arrays) == 2:
            arrays[1] = symmetric(arrays[1], self.eps)
        self.calls += 1
        return float(value), *arrays


def finite(name: str, update: int, parts: tuple[str, ...], results: tuple, cure: str = "") -> None:
    """Raise FloatingPointError, which names the update, unless all results are finite."""
    for what, part in zip(parts, results, strict=True):
        if not np.isfinite(part).all():
            advice = cure if update else "; choose a theta0 where f and its derivatives are finite"
            raise FloatingPointError(f"{name}, update {update}: the {what} is {part}{advice}")


def symmetric(H: np.ndarray, eps: float) -> np.ndarray:
    """(H + H^T)/2 where rounding explains that they differ, by up to half the digits that numbers with this eps have.

    Raises ValueError above.
    """
    with np.errstate(invalid="ignore"):
        difference = np.abs(H - H.T).max()
    if difference > eps**0.5 * np.abs(H).max():
        raise ValueError(
            f"expected a symmetric hessian (theory Q4), got one that is not symmetric: {difference:g} apart"
        )
    return (H + H.T) / 2


def newton_arguments(grad: Any, hessian: Any) -> tuple[np.ndarray, np.ndarray]:
    """grad (n,) and a symmetric hessian (n, n) as finite arrays."""
    grad, hessian = numbers(grad), numbers(hessian)
    if grad.ndim != 1 or not grad.size or hessian.shape != 2 * grad.shape:
        raise ValueError(f"expected grad (n,) and hessian (n, n), n > 0, got {grad.shape} and {hessian.shape}")
    if not (np.isfinite(grad).all() and np.isfinite(hessian).all()):
        raise FloatingPointError("expected finite derivatives, got a grad or hessian with nan or inf in it")
    return grad, symmetric(hessian, np.finfo(float).eps)


def line_search_arguments(theta: Any, p: Any, t: Any, slope: Any) -> tuple[np.ndarray, np.ndarray]:
    """theta and p as finite vectors of one shape; TypeError or ValueError also unless t > 0 and slope < 0."""
    theta, p = numbers(theta), numbers(p)
    if theta.ndim != 1 or theta.shape != p.shape or not (np.isfinite(theta).all() and np.isfinite(p).all()):
        raise ValueError(f"line_search: expected finite theta (n,) and p (n,), got {theta} and {p}")
    number("line_search: t", t, 0, above=True)
    number("line_search: minus the slope", -slope, 0, above=True)
    return theta, p


def gd_end(history: list, alpha: float, stop_tolerance: float) -> None:
    """Warn if GD took all its steps, or stopped where the gradient says that f is not done falling."""
    updates, change = len(history) - 1, abs(history[-1].value - history[-2].value)
    with np.errstate(over="ignore"):
        promised = alpha * float(history[-1].grad @ history[-1].grad)
    if change >= stop_tolerance:
        _warn(
            f"GD: stopped after max_steps = {updates} updates, the last of which changed f by {change:.1e} "
            f"(stop_tolerance = {stop_tolerance}); raise max_steps or stop_tolerance, or change alpha: larger if f "
            "still falls, smaller if it goes up and down"
        )
    elif history[-1].value > history[0].value:
        _warn(
            f"GD: f is larger at the end, {history[-1].value:g}, than at the start, {history[0].value:g}: the "
            "gradient has the wrong sign, or alpha is too large"
        )
    elif promised > 1000 * stop_tolerance:
        _warn(
            f"GD: update {updates} changed f by only {change:.1e}, which is the rule to stop, but alpha |grad f|^2 = "
            f"{promised:.1e}: this is no minimum; a step may have crossed the valley (choose a smaller alpha), or the "
            "gradient is wrong, or f is too coarse to see a change"
        )


def newton_end(
    history: list, p: np.ndarray, tried: float | None, stop_tolerance: float, max_steps: float, eps: float
) -> None:
    """Warn if Newton took all its steps, or found no step along p that lowers f, and why; tried is then the last
    value."""
    theta, value, grad = history[-1]
    norm = np.linalg.norm(grad)
    end = f"the norm of the gradient is {norm:.1e} (stop_tolerance = {stop_tolerance})"
    finite("Newton", len(history) - 1, ("grad",), (grad,))
    if tried is not None:
        finite("Newton", len(history), ("value",), (tried,))
        rounding = eps * (abs(value) + np.abs(grad) @ np.abs(theta))
        if -(p @ grad) <= 100 * rounding:
            reason = "rounding leaves no step that lowers f"
        else:
            reason = "no step lowers f, though its gradient says so: the gradient is wrong (its sign?), or f is noisy"
        _warn(f"Newton: stopped at update {len(history)}, where {reason}; {end}")
    elif norm >= stop_tolerance:
        _warn(f"Newton: stopped after max_steps = {max_steps} updates; {end}; raise max_steps or stop_tolerance")


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


# ------------------------------------------------------------------------------------------------------ pictures


def plane(train: tuple[Any, Any], test: tuple[Any, Any]) -> None:
    """Raise TypeError or ValueError unless train, and test unless it is (None, None), are (N, 2) numbers and N
    labels."""
    if (test[0] is None) != (test[1] is None):
        raise ValueError("X_test and y_test belong together, got only one of them")
    kinds = []
    for X, y in (train,) if test[0] is None else (train, test):
        X, y = array("X", X), array("y", y)
        if X.ndim != 2 or X.shape[1] != 2:
            raise ValueError(f"expected X of shape (N, 2), got {X.shape}: a picture has two features")
        if X.dtype.kind not in "iuf":
            raise TypeError(f"expected numbers in X, got {X.dtype}")
        if not np.isfinite(X).all():
            raise ValueError(f"expected finite numbers in X, got {X[~np.isfinite(X)][0]}")
        if y.shape != (len(X),):
            raise ValueError(f"expected one label for each of the {len(X)} rows of X, got shape {y.shape}")
        kinds.append({*y.tolist()})
    if len(kinds[0]) != 2:
        raise ValueError(f"expected labels of two classes, got {[*kinds[0]][:5]}")
    if not kinds[-1] <= kinds[0]:
        raise ValueError(f"expected test labels among {[*kinds[0]]}, got {sorted(kinds[-1], key=str)[:5]}")


def array(what: str, x: Any) -> np.ndarray:
    try:
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"expected an array for {what}: {error}") from error


def boundary(model: Any, train: tuple[Any, Any], test: tuple[Any, Any]) -> None:
    """Raise TypeError or ValueError unless model is a fitted classifier of the two classes of these points."""
    if not (hasattr(model, "predict_proba") and hasattr(model, "classes_")):
        raise TypeError(f"expected a fitted scikit-learn classifier with predict_proba, got {type(model).__name__}")
    plane(train, test)
    classes, labels = (sorted({*np.asarray(values).tolist()}, key=str) for values in (model.classes_, train[1]))
    if classes != labels:
        raise ValueError(f"the model knows the classes {classes}, the labels are {labels}")
    if getattr(model, "n_features_in_", 2) != 2:
        raise ValueError(f"the model was fitted on {model.n_features_in_} features, but a picture has two")


def gif(alphas: Any, n_neurons: int, filename: Any) -> tuple[list[float], Path]:
    """The alphas and the path of an animation; TypeError, ValueError or FileNotFoundError if it could not be made."""
    if not isinstance(alphas, Iterable) or isinstance(alphas, str | bytes):
        raise TypeError(f"alpha_values must be a list of numbers, e.g. np.logspace(-3, 3, 20), got {alphas!r}")
    alphas = list(alphas)
    if not alphas:
        raise ValueError("alpha_values is empty; give it e.g. np.logspace(-3, 3, 20)")
    alphas = [number("alpha", alpha, 0) for alpha in alphas]
    number("n_neurons", n_neurons, 1, whole=True)
    if not isinstance(filename, str | os.PathLike):
        raise TypeError(f"filename must be a path, got {filename!r}")
    path = Path(filename)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"filename must end in .gif, got {path.name}")
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise FileNotFoundError(f"cannot write a file {path}: no such folder, or no right to; give another filename")
    return alphas, path
