"""The checks that earn their place: what was expected, what came, what to do.

Without one of them a wrong number would come out in silence, a loop would not end, a training
would change nothing, or a student's mistake would end in a message that does not help. They
run around the mathematics, not in it: at the edge of each layer and loss (Checked), where a
loop starts, and on each batch's values as they come.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from inspect import signature
from itertools import chain
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


def check_number(
    what: str, value: Any, interval: str = "(-inf, inf)", whole: bool = False
) -> Any:
    """value as a float, or an int if whole; interval is written as "(0, inf)" or "[0, 1)".

    Raises ValueError outside it, TypeError unless it is a real number, or an integer if whole.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral if whole else Real):
        kind = "an integer" if whole else "a number"
        raise TypeError(f"{what} must be {kind}, got {value!r}")
    x, (low, high) = float(value), map(float, interval[1:-1].split(","))
    above = low < x or (low == x and interval[0] == "[")
    below = x < high or (x == high and interval[-1] == "]")
    if not (above and below):
        raise ValueError(f"{what} must be in {interval}, got {value}")
    return int(value) if whole else x


# ---------------------------------------------------------------- the edge of a layer or a loss


def around_init(init: Callable) -> Callable:
    def checked(self, *arguments, **named):
        init(self, *arguments, **named)
        if "_parameters" not in vars(self):
            raise TypeError(f"{type(self).__name__}: begin __init__ with super().__init__()")

    return checked


def around_forward(forward: Callable) -> Callable:
    def checked(self, *inputs, **named):
        call = forward.__get__(self)
        if type(self).forward is not checked:
            return call(*inputs, **named)
        if named:
            inputs = signature(call).bind(*inputs, **named).args
        self.check_input(*inputs)
        if type(inputs[0]) is nn.Parameter:  # self.X = X would make it a parameter of the layer
            inputs = (inputs[0].view_as(inputs[0]), *inputs[1:])
        Y = call(*inputs)
        self.check_output(Y)
        remember(self, inputs[0].shape, Y.shape)
        return Y

    return checked


def around_backward(backward: Callable) -> Callable:
    def checked(self, *delta, **named):
        call = backward.__get__(self)
        if type(self).backward is not checked:
            return call(*delta, **named)
        last = check_delta(self, *delta, *named.values())
        with torch.no_grad() if torch.is_grad_enabled() else NO_CONTEXT:
            delta_next = call(*delta, **named)
        if delta_next is not None or self.needs_input_grad:
            check_shape(self, "the gradient that backward returns", delta_next, last["X"])
        last["left"] = None  # it was right
        return delta_next

    return checked


NO_CONTEXT = nullcontext()
AROUND = {"__init__": around_init, "forward": around_forward, "backward": around_backward}


class Checked:
    """Base of the layers and losses: checks around each forward and backward that a class has.
    (Where one calls super().forward or super().backward, only around the outer one.)"""

    needs_input_grad = True  # if False, backward may return None (the first FCLayer in a loop)
    last_forward: dict | None = None  # what the next backward is checked by

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own, bases = vars(cls), [vars(c) for c in cls.__mro__[1:] if issubclass(c, Checked)]
        forward_alone = "forward" in own and "backward" not in own and hasattr(cls, "backward")
        if forward_alone and any("forward" in base for base in bases):
            what = f"{cls.__name__} has a forward of its own, but the backward of another"
            advice = "write its backward, too (or, if it fits, backward = Base.backward)"
            raise TypeError(f"{what}: {advice}")
        cls.name = own.get("name", cls.__name__)
        for name in AROUND.keys() & own.keys():
            method = own[name]
            checked = wraps(method)(AROUND[name](method))
            checked.unchecked = method  # for whoever wants to look at it alone
            setattr(cls, name, checked)

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) is Tensor and name in vars(self):  # nn.Module's takes four times as long
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)

    def check_output(self, Y: Any) -> None:
        if not isinstance(Y, Tensor):
            raise TypeError(f"{self}: forward returned no tensor; is a return missing?")


def remember(module: nn.Module, X_shape: torch.Size, Y_shape: torch.Size) -> None:
    """Keep what the next backward is checked by, in last_forward.

    Of a layer or loss whose backward was right for this shape, not what forward left in it: a
    program that changes that has done so the first time. (Where autograd is on, each time.)
    """
    last = module.last_forward
    right = last and last["left"] is None and last["X"] == X_shape
    left = None if right and not torch.is_grad_enabled() else left_in(module)
    vars(module)["last_forward"] = {"of": id(module), "X": X_shape, "Y": Y_shape, "left": left}


def left_in(module: nn.Module) -> list[tuple[int, int]] | None:
    """The state of each tensor in the module. A tensor with a graph is replaced by the same
    without, which can be copied."""
    attributes = vars(module)
    if torch.is_grad_enabled():
        for name, value in attributes.items():
            attributes[name] = without_graph(value)
    values = chain(attributes.values(), attributes["_parameters"].values())
    return state(t for t in values if isinstance(t, Tensor))


def state(tensors: Iterable[Tensor]) -> list[tuple[int, int]] | None:
    """Of each tensor: where it is, and how often it was changed in place."""
    try:
        return [(t.data_ptr(), t._version) for t in tensors]
    except RuntimeError:  # torch.inference_mode counts no changes
        return None


def without_graph(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach() if value.requires_grad else value
    return type(value)(map(without_graph, value)) if type(value) in (tuple, list) else value


def check_delta(module: nn.Module, *delta: Any) -> dict:
    """What is known of the last forward; RuntimeError or ValueError unless there was one, its Y
    has the shape of delta, and what it left is unchanged."""
    last = module.last_forward
    if not last or last["of"] != id(module):  # or that of a layer of which this is a copy
        raise RuntimeError(f"{module}: backward before forward; call it on an input first")
    for d in delta:
        check_shape(module, "delta, the gradient at its output,", d, last["Y"])
    if last["left"] is not None and last["left"] != left_in(module):
        what = "its parameters, or what forward left in it, were changed before backward"
        raise RuntimeError(f"{module}: {what}; change a copy, or step after backward")
    return last


def check_shape(module: nn.Module, what: str, value: Any, shape: torch.Size) -> None:
    """ValueError unless value has this shape: another might be broadcast."""
    if getattr(value, "shape", None) != shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{module}: {what} must have shape {tuple(shape)}, got {got}")


def check_layer_input(layer: Any, X: Tensor) -> None:
    """TypeError unless X is of floats, ValueError unless (N, layer.width) if it has a width."""
    if not isinstance(X, Tensor) or not X.is_floating_point():
        got = X.dtype if isinstance(X, Tensor) else type(X).__name__
        raise TypeError(f"{layer}: expected a tensor of floats, got {got}; use X.float()")
    width, shape = layer.width, X.shape
    if width is not None and (len(shape) != 2 or shape[1] != width or not shape[0]):
        got = f"{tuple(shape)}; one row is one example (images: X.flatten(1)), N > 0"
        raise ValueError(f"{layer}: expected an input of shape (N, {width}), got {got}")


# --------------------------------------------------------------------------------------- losses


def needed(kind: str, T: Tensor) -> str | None:
    """In words what rows T (N, K) of targets of this kind must be, if they are not."""
    if kind == "probabilities" and not (T.min() >= 0 and T.max() <= 1):
        return "targets from 0 to 1"
    if kind == "distributions":
        rounding = 1e-6 * T.shape[1]  # they may have been computed in float32
        if not (T.min() >= 0 and (T.sum(1) - 1).abs().max() <= rounding):
            return "rows of probabilities, which sum to 1 (several labels: BCEWithLogitsLoss)"
    if kind == "signs" and not ((T.abs() == 1).all() and (T.sum(1) == 2 - T.shape[1]).all()):
        return "targets of +1 (the example's class) and -1 (all others)"
    return None


def check_loss_input(loss: Any, outputs: Tensor, targets: Tensor) -> None:
    """TypeError or ValueError unless outputs and targets are what loss.takes: another shape
    would be broadcast, and give a wrong loss without a word."""
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        got = f"{type(outputs).__name__} and {type(targets).__name__}"
        raise TypeError(f"{loss.name}: outputs and targets must be tensors, got {got}")
    if outputs.dim() != 2 or not len(outputs):
        got = f"{tuple(outputs.shape)}; leave out squeeze() and flatten()"
        raise ValueError(f"{loss.name}: the outputs must have shape (N, K), N > 0, got {got}")
    (N, K), rows, kind = outputs.shape, targets.is_floating_point(), loss.takes.split(" or ")[0]
    if K < 2 and kind in ("distributions", "signs", "indices"):
        advice = "with one output use BCEWithLogitsLoss and float targets (N, 1)"
        raise ValueError(f"{loss.name} needs at least 2 outputs, one for each class; {advice}")
    indices = "indices" in loss.takes and targets.dtype == torch.long
    if not (kind != "indices" if rows else indices):
        types = "indices are of type torch.long, all others floats"
        raise TypeError(f"{loss.name} takes {loss.takes}, got {targets.dtype}; {types}")
    expected = (N, K) if rows else (N,)
    if targets.shape != expected:
        shapes = f"outputs have shape {(N, K)} and the targets {tuple(targets.shape)}"
        raise ValueError(f"{loss.name}: the {shapes}, expected {expected}")
    if not rows:
        used = targets if loss.ignored is None else targets[targets != loss.ignored]
        if len(used) and not 0 <= used.min() <= used.max() < K:
            found = f"{int(used.min())} to {int(used.max())}"
            raise ValueError(f"{loss.name}: class indices go from 0 to {K - 1}, found {found}")
    elif targets.dtype != outputs.dtype:
        got = f"the outputs are {outputs.dtype}, the targets {targets.dtype}"
        raise TypeError(f"{loss.name}: {got}; use targets.to(outputs.dtype)")
    elif expected := needed(kind, targets):
        found = f"{float(targets.min()):g} to {float(targets.max()):g}"
        sums = f"{float(targets.sum(1).min()):.9g} to {float(targets.sum(1).max()):.9g}"
        raise ValueError(f"{loss.name} needs {expected}; found {found}, sums of {sums}")


def check_loss_output(loss: Any, value: Any) -> None:
    """TypeError unless the value of a loss is one number in a tensor."""
    if not isinstance(value, Tensor) or value.dim():
        got = value.shape if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{loss.name} must return one number in a tensor, the mean; got {got}")


def check_reduction(reduction: Any, batchmean: bool = False) -> None:
    """ValueError unless a loss averages: the loops weigh each batch by its size."""
    if reduction != "mean" and not (batchmean and reduction == "batchmean"):
        raise ValueError(f"averages need a criterion with reduction='mean', got {reduction!r}")


def check_criterion(criterion: Any) -> None:
    """Raise unless this may be a criterion(outputs, targets) that averages over the batch."""
    if isinstance(criterion, type):
        raise TypeError(f"the criterion is a class; use an object, {criterion.__name__}()")
    if type(criterion) is nn.CosineEmbeddingLoss:
        raise TypeError("use CosineEmbeddingLoss of losses.py, which takes (outputs, targets)")
    if isinstance(criterion, Checked) and not hasattr(criterion, "backward"):
        raise TypeError(f"{criterion.name} has no backward(), the gradient at the outputs")
    divergence = "kl" in repr(criterion).lower()
    check_reduction(option(criterion, "reduction", "mean"), batchmean=divergence)


def option(criterion: Any, name: str, default: Any) -> Any:
    """An option of a criterion: of an object, or of a function with functools.partial."""
    return getattr(criterion, "keywords", {}).get(name, getattr(criterion, name, default))


def check_reading(outputs: Tensor, targets: Tensor, yes_or_no: bool) -> None:
    """ValueError where outputs cannot be read as classes: a single one whose threshold is not
    known, or targets of another shape, with which they would be broadcast."""
    if not yes_or_no and outputs.shape[1] < 2:
        advice = "say correct=above(0) for logits, correct=above(0.5) for probabilities"
        what = "where does class 1 begin? Pass a criterion of torch or losses.py"
        raise ValueError(f"{what}, or {advice}")
    if targets.shape != outputs.shape and (yes_or_no or targets.shape != outputs.shape[:1]):
        shapes = f"{tuple(outputs.shape)} and targets of {tuple(targets.shape)}"
        raise ValueError(f"outputs of shape {shapes} do not fit")


def check_answers(right: Any, n: int) -> None:
    """ValueError unless right says of each answer whether it is right, n at most."""
    if getattr(right, "dtype", None) != torch.bool or right.dim() != 1 or len(right) > n:
        got = (right.dtype, *right.shape) if isinstance(right, Tensor) else type(right).__name__
        raise ValueError(f"correct must return True or False for each of {n} rows, got {got}")


# --------------------------------------------------------------------------------------- loops


def check_model(model: Any) -> None:
    """TypeError unless model is an nn.Module in which PyTorch finds all layers."""
    if not isinstance(model, nn.Module):
        got = f"class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"the model must be an object such as nn.Sequential(...), got {got}")
    modules = set(model.modules())
    for module in modules:
        for name, value in vars(module).items():
            if not modules.issuperset(modules_in(value)):
                what = f"{type(module).__name__}.{name} is a plain {type(value).__name__}"
                advice = "whose layers PyTorch does not register; make it an nn.ModuleList"
                raise TypeError(f"{what}, {advice}")


def modules_in(value: Any) -> Iterator[nn.Module]:
    """The modules in a plain list, tuple, set or dict, nested or not."""
    if isinstance(value, list | tuple | set | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from [part] if isinstance(part, nn.Module) else modules_in(part)


def check_sequence(model: Any) -> None:
    """TypeError unless model is a list of layers, or an nn.Sequential of them alone."""
    forward = getattr(type(model), "forward", None)
    if not isinstance(model, list | tuple) and forward is not nn.Sequential.forward:
        advice = "use an nn.Sequential of layers that have one, without torch.compile or jit"
        raise TypeError(f"{type(model).__name__} has no backward(delta); {advice}")


HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
HOOKS += "forward", "_compiled_call_impl"


def check_layers(model: Any) -> list[nn.Module]:
    """The layers of a (nested) nn.Sequential. TypeError where one has no backward, ValueError
    where that would not be right: a layer used twice, hooks, pruning, frozen parameters."""
    check_model(model)
    layers = list(flatten(model))
    for module in model.modules():
        if any(vars(module).get(name) for name in HOOKS) or hasattr(module, "parametrizations"):
            what = "a hook (as pruning is), a parametrization, or another or compiled forward"
            raise ValueError(f"{type(module).__name__} has {what}: backward does not see it")
    if len(set(layers)) < len(layers):
        raise ValueError("a layer is used twice, but remembers one forward; make two layers")
    if not all(p.requires_grad for p in model.parameters()):
        raise ValueError("requires_grad=False has no effect here; leave p out of SGD(params)")
    return layers


def flatten(model: nn.Module) -> Iterator[nn.Module]:
    if hasattr(model, "backward"):
        yield model
    else:
        check_sequence(model)
        for part in model:
            yield from flatten(part)


def check_optimizer(optimizer: Any, trained: Iterable, strict: bool = True) -> None:
    """ValueError for parameters of another model: any of them (strict), or nothing but those.
    TypeError for an optimizer that keeps the generator model.parameters()."""
    groups = getattr(optimizer, "param_groups", [{"params": getattr(optimizer, "params", ())}])
    for part in getattr(optimizer, "__dict__", {}), *groups:
        for name, value in part.items():
            if getattr(value, "gi_code", None) is nn.Module.parameters.__code__:
                what = f"{type(optimizer).__name__}.{name} is a generator, empty after one pass"
                raise TypeError(f"{what}: nothing would be trained; keep list(params)")
    stepped = {p for group in groups for p in group["params"]}
    foreign = stepped - set(trained)
    if stepped and (foreign if strict else len(foreign) == len(stepped)):
        some = f"{len(foreign)} of the optimizer's {len(stepped)} parameters"
        advice = "was it made before the model's cell was run again? Make it after the model"
        raise ValueError(f"{some} are not the model's: {advice}")


def check_loader(loader: Any, passes: int = 1) -> None:
    """TypeError unless loader gives batches, as often as needed (it is not started: that would
    draw random numbers); ValueError under autocast, in which no loop here is right."""
    kind = type(loader).__name__
    if isinstance(loader, Dataset):
        raise TypeError(f"expected batches (X, targets), got {kind}; use BatchLoader({kind})")
    if passes > 1 and isinstance(loader, Iterator):
        raise TypeError(f"{kind} gives its batches once, not {passes} times; use a BatchLoader")
    if torch.ones(1, 1).mm(torch.ones(1, 1)).dtype != torch.float32:
        raise ValueError("leave out torch.autocast, which changes types between the layers")


def check_batches(loader: Iterable, model: nn.Module, device: Any) -> Iterator[tuple]:
    """The batches (X, targets) of loader, on device; TypeError or ValueError for something else
    in one of them, or none."""
    dtype = next((p.dtype for p in model.parameters()), None)
    number = 0
    for number, batch in enumerate(loader, start=1):
        parts = batch if isinstance(batch, tuple | list) else [batch]
        if len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
            got = ", ".join(type(part).__name__ for part in parts)
            raise TypeError(f"batch {number}: expected two tensors (X, targets), got {got}")
        X, targets = parts
        if len(X) != len(targets):
            shapes = f"{tuple(X.shape)}, but targets of {tuple(targets.shape)}"
            raise ValueError(f"batch {number}: X of shape {shapes}")
        if X.dtype != dtype and dtype is not None and X.is_floating_point():
            advice = f"the parameters are {dtype}: use X.to({dtype})"
            raise TypeError(f"batch {number}: X is {X.dtype}, {advice}")
        yield X.to(device), targets.to(device)
    if not number:
        raise ValueError("the loader is empty; give it at least one example")


def check_loss(loss: Tensor, X: Tensor, targets: Tensor) -> float:
    """The loss as a number; FloatingPointError, with the reason, unless it is finite."""
    value = loss.item()
    if isfinite(value):
        return value
    for what, tensor in ("inputs X", X), ("targets", targets):
        if not torch.isfinite(tensor).all():
            raise FloatingPointError(f"the {what} of a batch have nan or inf in them")
    cause = "does the criterion divide by 0, or ignore all of a batch's targets?"
    raise FloatingPointError(f"the loss is {value}: is the learning rate too large, or {cause}")


@contextmanager
def check_epoch(model: nn.Module, optimizer: Any, by_hand: bool) -> Iterator[None]:
    """Around an epoch: FloatingPointError if it leaves nan or inf in a parameter, RuntimeError
    where torch's optimizer leaves one out in silence, a warning if none has changed."""
    parameters = dict(model.named_parameters())
    before = [p.detach().clone() for p in parameters.values()]
    yield
    stepped = {p for group in getattr(optimizer, "param_groups", []) for p in group["params"]}
    for name, p in parameters.items():
        if not torch.isfinite(p).all():
            reason = "is the learning rate too large, or the gradient inf?"
            raise FloatingPointError(f"the last step has left nan or inf in {name}: {reason}")
        if by_hand and p in stepped and p.grad is None:
            raise RuntimeError(f"{name} has no gradient: backward must add to its .grad")
    gradients = [p.grad for p in parameters.values() if p.grad is not None]
    if any(map(torch.any, gradients)) and all(map(torch.equal, parameters.values(), before)):
        reason = "does the optimizer step them, and is the learning rate large enough?"
        warn(f"no parameter has changed in this epoch, though the gradient is not 0: {reason}")


# ----------------------------------------------------------------------------------- optimizers


def check_parameters(params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """params as a list; TypeError or ValueError unless they are parameters, each once."""
    params = list(params)
    good = [isinstance(p, Tensor) and p.is_floating_point() and p.is_leaf for p in params]
    if not params or not all(good):
        raise TypeError("SGD: expected parameters; pass model.parameters(), not yet used")
    if len(set(params)) < len(params):
        raise ValueError("SGD: a parameter comes twice, and would be stepped twice")
    return params


def check_step(step: Callable) -> Callable:
    """Around SGD.step: RuntimeError, before any change, if a gradient is missing or stale."""

    @wraps(step)
    def checked(self):
        fused = hasattr(self, "layers")  # FusedSGD
        for p in self.params:
            factors = fused and vars(p).get("factors")
            if p.grad is None and not factors:
                what = f"a parameter of shape {tuple(p.shape)}"
                raise RuntimeError(f"SGD: {what} has no gradient; call backward on every layer")
            if factors and state(factors) != p.factors_were:
                what = "X or delta of an FCLayer was changed in place between backward and step"
                raise RuntimeError(f"FusedSGD: {what}; change a copy, or train with SGD")
        step(self)

    return checked


def check_start(
    name: str, f: Any, theta0: Any, alpha: Any, stop_tolerance: Any, max_steps: Any
) -> tuple[np.ndarray, "Function", float]:
    """theta0 as a new vector of floats, f with its results checked, and alpha as a float."""
    alpha = check_number(f"{name}: alpha", alpha, "(0, inf)")
    check_number(f"{name}: stop_tolerance", stop_tolerance, "(0, inf)")
    if check_number(f"{name}: max_steps", max_steps, "(0, inf)") % 1:
        raise ValueError(f"{name}: max_steps must be a whole number, got {max_steps}")
    theta = np.array(theta0, dtype=float)
    if theta.ndim != 1 or not theta.size or not np.isfinite(theta).all():
        raise ValueError(f"{name}: theta0 must be a vector of finite numbers, got {theta0!r}")
    return theta, Function(name, f), alpha


class Function:
    """f with its results checked: a float and new arrays, of the right number and shapes,
    finite. (Newton may try a point where they are not: no step goes to a value of nan.)
    """

    def __init__(self, name: str, f: Callable) -> None:
        self.parts = {"value": 0, "grad": 1} | ({} if name == "GD" else {"hessian": 2})
        self.name, self.f, self.calls, self.value = name, f, 0, np.nan

    def __call__(self, theta: np.ndarray) -> tuple:
        with np.errstate(all="ignore"):  # what is not finite is looked for below
            results = self.f(theta.copy())
        if not isinstance(results, tuple) or len(results) != len(self.parts):
            got = len(results) if isinstance(results, tuple) else type(results).__name__
            raise ValueError(f"{self.name}: f must return ({', '.join(self.parts)}), got {got}")
        results = [np.asarray(result).astype(float) for result in results]
        for (part, ndim), result in zip(self.parts.items(), results, strict=True):
            if result.shape != (shape := theta.shape * ndim):
                got = f"a {part} of shape {result.shape}, not {shape}"
                raise ValueError(f"{self.name}: f returned {got}")
            if self.name == "GD" or not self.calls:
                check_finite(self.name, self.calls, part, result)
        self.calls += 1
        self.value = float(results[0])
        return np.nan if self.value == -np.inf else self.value, *results[1:]


def check_finite(name: str, update: int, what: str, result: Any) -> None:
    """FloatingPointError, which names the update, unless the result is finite."""
    if not np.isfinite(result).all():
        advice = "is alpha too large, or do f or its derivatives not exist near theta0?"
        raise FloatingPointError(f"{name}, update {update}: the {what} is {result}; {advice}")


def check_symmetric(H: np.ndarray, n: int) -> np.ndarray:
    """(H + H^T)/2; ValueError if H is not (n, n), as it would be broadcast, or if they differ
    by more than the rounding of float32 explains."""
    H = np.asarray(H, dtype=float)
    if H.shape != (n, n):
        raise ValueError(f"the hessian must have shape {(n, n)}, as grad, got {H.shape}")
    difference = np.abs(H - H.T).max()
    if difference > 1e-4 * np.abs(H).max():
        raise ValueError(f"a hessian is symmetric (theory Q4), got {difference:g} apart")
    return (H + H.T) / 2


def warn_gd_end(history: list, alpha: float, stop_tolerance: float) -> None:
    """Warn if GD took all its steps, climbed, or stopped where the gradient promises a fall."""
    (_, first, _), (_, before, _), (_, last, grad) = history[0], *history[-2:]
    updates, change = len(history) - 1, abs(last - before)
    promised = alpha * float(grad @ grad)
    if change >= stop_tolerance:
        advice = "raise max_steps or stop_tolerance (lower alpha, if f goes up and down)"
        warn(f"GD: f changes by {change:.1e} after max_steps = {updates} updates; {advice}")
    elif last > first or promised > 1000 * stop_tolerance:
        found = f"f went from {first:g} to {last:g}, alpha |grad f|^2 is {promised:.1e}"
        reason = "is the gradient wrong (its sign?), alpha too large, or f too coarse?"
        warn(f"GD: stopped after {updates} updates at no minimum: {found}; {reason}")


def warn_newton_end(history: list, f: Function, tolerance: float, max_steps: float) -> None:
    """Warn if Newton took all its steps, or found none that lowers f."""
    norm = np.linalg.norm(history[-1].grad)
    check_finite("Newton", len(history) - 1, "norm of the grad", norm)
    if norm >= tolerance and len(history) > max_steps:
        advice = "raise max_steps or stop_tolerance"
        warn(f"Newton: |grad f| is {norm:.1e} after max_steps = {max_steps} updates; {advice}")
    elif norm >= tolerance:
        check_finite("Newton", len(history), "value", f.value)
        reason = "is it rounding, a wrong gradient (its sign?), or a noisy f?"
        warn(f"Newton: no step lowers f, though |grad f| is {norm:.1e}; {reason}")


def warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
