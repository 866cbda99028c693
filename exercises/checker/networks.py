"""How the network of plain torch.nn is checked, and what is said of losses."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from .calling import build, methods, parts, returned
from .compare import same
from .core import TASKS, Found, need, task
from .training import descend

Calls = list[tuple[nn.Linear, Tensor, Tensor]]  # of the linear layers, in order: layer, input, output


def run(model: nn.Module, X: Tensor) -> tuple[Tensor, Calls]:
    """The model's output, and the calls of linear layers, also of those that are hidden from model.modules()."""
    calls: Calls = []
    linear = nn.Linear.forward

    def forward(layer, input):
        Y = linear(layer, input)
        if not (calls and calls[-1][0] is layer and same(calls[-1][1], input)):  # it may be asked twice
            calls.append((layer, input.clone(), Y.clone()))  # a ReLU in place would change them
        return Y

    with mock.patch.object(nn.Linear, "forward", forward):
        Y = returned("forward", model(X))
    need(isinstance(Y, Tensor), "no tensor", f"forward returns {type(Y).__name__}, expected a tensor.")
    return Y, calls


@task("SimpleMLP")
def check_simple_mlp(cls: type) -> str:
    methods(cls)
    need(issubclass(cls, nn.Module), "no module", "it should be a subclass of nn.Module.")
    need(cls.forward is not nn.Module.forward, "no method", "it has no method called forward.")
    for hidden in 1, 2, 3:
        for outputs in 2, 1:
            judge_network(build(cls, 4, 5, outputs, hidden), hidden, outputs)
    _, calls = run(build(cls, 4, 5, 2), torch.randn(3, 4))
    default = f"without num_hidden_layers it has {len(calls) - 1} hidden layers, and not the signature's default."
    need(len(calls) == 2, "default", default)
    for given in nn.Sigmoid(), nn.Tanh(), nn.Softmax(dim=1), nn.Sigmoid:
        judge_last(cls, given)
    return "right: the layers, the activations, the shapes."


def judge_network(model: nn.Module, hidden: int, outputs: int, last: nn.Module | None = None) -> None:
    """Is this the network, with random parameters, and with this last activation?"""
    run(model, torch.randn(2, 4))  # lazy layers are made now
    for p in model.parameters():
        p.copy_(torch.randn_like(p))
    for N, training in (50, True), (50, False), (1, False):
        X = torch.randn(N, 4)
        Y, calls = run(model.train(training), X)
        judge_layers(model, calls, hidden, outputs)
        shape = f"with {outputs} output(s) the result for {N} example(s) has shape {tuple(Y.shape)}"
        expected = f"expected ({N}, {outputs})"
        squeezed = Y.dim() < 2 and Y.numel() == N * outputs
        need(not squeezed, "squeezed", f"{shape}, {expected}: is a dimension squeezed away?")
        need(tuple(Y.shape) == (N, outputs), "shape", f"{shape}, {expected}.")
        if N > 1:  # of a single example all units may be positive
            judge_between(model, X, calls)
            judge_end(Y, calls[-1][2], last)
    with torch.enable_grad():
        Y, parameters = model(X), list(model.parameters())
        found = torch.autograd.grad(Y.sum(), parameters, allow_unused=True) if Y.requires_grad else [None]
    cut = "a parameter gets no gradient: forward cuts the graph (detach, no_grad), or does not use it."
    need(all(gradient is not None for gradient in found), "no gradient", cut)


def judge_layers(model: nn.Module, calls: Calls, hidden: int, outputs: int) -> None:
    """Are there the right linear layers, called in the right order?"""
    registered, called = {m for m in model.modules() if isinstance(m, nn.Linear)}, [layer for layer, *_ in calls]
    lost = sum(layer not in registered for layer in set(called))
    places = "They are found in attributes, in nn.Sequential and in nn.ModuleList, not in a plain list or in forward."
    known = f"model.parameters() does not know {lost} of the linear layers that are called. {places}"
    need(not lost, "not registered", known)
    have = f"with num_hidden_layers={hidden} it"
    unused = f"{have} has {len(registered)} linear layers, of which it calls {len(set(called))}."
    need(registered == set(called), "layer left out", unused)
    twice = f"{have} has {len(registered)} linear layers, and calls one of them several times."
    need(len(called) == len(registered), "shared layer", twice)
    expected = [(4, 5), *[(5, 5)] * (hidden - 1), (5, outputs)]
    number = f"{have} has {len(called)} linear layers, expected {len(expected)}."
    need(len(called) == len(expected), "number of layers", number)
    sizes = [(layer.in_features, layer.out_features) for layer in called]
    need(sizes == expected, "widths", f"the linear layers are {sizes}, expected {expected}.")


def judge_between(model: nn.Module, X: Tensor, calls: Calls) -> None:
    """Does the first linear layer get the input, and each other one the ReLU of what the one before it gave?"""
    names = {type(part).__name__ for part in model.modules() if not list(part.children())}
    others = sorted(names - {"Linear", "ReLU"})
    has = f" The network has {', '.join(others)}." if others else ""
    need(same(calls[0][1], X), "input changed", f"the first linear layer does not get the input as it is.{has}")
    for number, ((_, _, before), (_, given, _)) in enumerate(pairwise(calls), 1):
        where = f"between the linear layers {number} and {number + 1}"
        need(not same(given, before), "no activation", f"{where} there is no activation.")
        need(same(given, before.relu()), "another activation", f"{where} there is something else than a ReLU.{has}")


def judge_end(Y: Tensor, last: Tensor, given: nn.Module | None) -> None:
    """Is the output that of the last linear layer, after the given activation if there is one?"""
    if same(Y, last if given is None else given(last)):
        return
    if given is None:
        need(not same(Y, last.relu()), "ReLU at the end", "a ReLU comes after the last linear layer.")
        functions = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "softmax": softmax, "log_softmax": log_softmax}
        for name, function in functions.items():
            at_end = f"the last linear layer is followed by a {name} when no last_layer_activation_fn is given."
            need(not same(Y, function(last)), "activation at the end", at_end)
        raise Found("changed at the end", "the output is not that of the last linear layer: what comes after it?")
    name = type(given).__name__
    ignored = f"last_layer_activation_fn is {name}, and is not applied to the output."
    need(not same(Y, last), "last activation", ignored)
    relu = "a ReLU comes after the last linear layer, before last_layer_activation_fn."
    need(not same(Y, given(last.relu())), "ReLU at the end", relu)
    need(not same(Y, given(given(last))), "last activation twice", f"{name} is applied twice at the end.")
    other = f"last_layer_activation_fn is {name}; what is applied to the last linear layer's output is something else."
    raise Found("another last activation", other)


def judge_last(cls: type, given: Any) -> None:
    """Is a last activation used, given as a module or as a class?"""
    one, last = ("class", given()) if isinstance(given, type) else ("module", given)
    try:
        judge_network(build(cls, 4, 5, 2, 2, given), 2, 2, last)
    except TypeError as error:
        raise Found(f"{one} given", f"it fails when last_layer_activation_fn is a {one}: {error}.") from None


# --------------------------------------------------------------------------------- which outputs a loss takes

LOSSES = "L1Loss", "MSELoss", "BCEWithLogitsLoss", "NLLLoss", "CrossEntropyLoss", "KLDivLoss", "CosineEmbeddingLoss"
softmax, log_softmax = partial(torch.softmax, dim=1), partial(torch.log_softmax, dim=1)


@task("loss_setting")
def check_loss_setting(setting: Callable) -> str:
    """setting(loss) -> (number of outputs, activation or None, function from labels (N,) to targets)."""
    labels, others, z = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([1, 1, 0, 0, 1, 0]), 3 * torch.randn(5, 2)
    for loss in LOSSES:
        result = setting(loss)
        need(result is not None, "nothing returned", f"it returns nothing for {loss}.")
        outputs, activation, targets = parts(result, "number of outputs", "activation", "targets")
        whole = isinstance(outputs, int) and outputs in (1, 2)
        need(whole, "number of outputs", f"{loss}: expected 1 or 2 outputs for two classes, got {outputs!r}.")
        activation = activation() if isinstance(activation, type) else activation
        called = f"{loss}: the activation should be None, a module or a function, got {activation!r}."
        need(activation is None or callable(activation), "activation", called)
        function = f"{loss}: the targets should be a function of the labels, got {type(targets).__name__}."
        need(callable(targets), "targets", function)
        logits = z[:, :outputs]
        Y, T = logits if activation is None else activation(logits), targets(labels)
        need(isinstance(T, Tensor), "targets", f"{loss}: the targets should be a tensor, got {type(T).__name__}.")
        judge_outputs(loss, activation, logits, Y)
        judge_targets(loss, Y, T, labels)
        alone = (
            f"{loss}: where all labels of a batch are 0, the targets have another shape; there are two classes still."
        )
        need(targets(labels[:1]).shape[1:] == T.shape[1:], "classes of the batch", alone)
        given = f"{loss}: for other labels the targets are the same: make them from what the function is given."
        need(not torch.equal(targets(others), T), "labels ignored", given)
    return f"right, for {len(LOSSES)} losses."


def judge_outputs(loss: str, activation: Any, logits: Tensor, Y: Tensor) -> None:
    name = "no activation" if activation is None else getattr(activation, "__name__", type(activation).__name__)
    need(isinstance(Y, Tensor), "activation", f"{loss}: the activation returns {type(Y).__name__}, expected a tensor.")
    shapes = f"{loss}: the activation turns shape {tuple(logits.shape)} into {tuple(Y.shape)}."
    need(Y.shape == logits.shape, "shape", shapes)
    batch = f"{loss}: what the activation gives for an example depends on the others in the batch."
    need(activation is None or same(activation(logits[:2]), Y[:2]), "softmax over the batch", batch)
    constant = f"{loss}: with {name} the outputs do not depend on the logits."
    need(Y.std(0).max() > 1e-6, "constant outputs", constant)
    one = f"{loss} needs an output for each class."
    need(Y.shape[1] == 2 or loss in LOSSES[:3], "one output", one)
    softmaxed = same(Y, softmax(logits))
    if loss in ("L1Loss", "MSELoss"):
        between = (Y >= 0).all() and (Y <= 1).all()
        apart = f"{loss} compares with 0 and 1, but with {name} the outputs are not between them."
        need(between, "not a probability", apart)
    elif loss in ("NLLLoss", "KLDivLoss"):
        need(not softmaxed, "logarithm missing", f"{loss} takes log-probabilities; yours are probabilities.")
        sums = f"{loss} takes log-probabilities, whose exponentials sum to 1; with {name} they do not."
        need(same(Y.exp().sum(1), torch.ones(5), 1e-4), "no log-probabilities", sums)
    elif loss == "CosineEmbeddingLoss":
        dead = f"{loss} looks at the outputs' direction; with {name} all of an example may be 0, and have none."
        need(not same(Y, torch.relu(logits)), "logits changed", dead)
        negative = f"{loss} wants the class's output large; with {name} none is ever positive."
        need((Y > 0).any(), "never positive", negative)
    else:
        sigmoid = "BCEWithLogitsLoss contains the sigmoid; with another one in the network it is applied twice."
        need(loss != "BCEWithLogitsLoss" or not same(Y, torch.sigmoid(logits)), "sigmoid twice", sigmoid)
        twice = "CrossEntropyLoss contains the softmax; with another one in the network it is applied twice."
        need(loss != "CrossEntropyLoss" or not softmaxed, "softmax twice", twice)
        again = "CrossEntropyLoss contains the log-softmax; another one in the network is computed for nothing."
        need(loss != "CrossEntropyLoss" or not same(Y, log_softmax(logits)), "log-softmax twice", again)
        need(same(Y, logits), "logits changed", f"{loss} takes logits, of any sign; yours have passed {name}.")


def judge_targets(loss: str, Y: Tensor, T: Tensor, labels: Tensor) -> None:
    rows, shape = torch.eye(2)[labels], tuple(T.shape)
    wrong_class = f"{loss}: the targets for the labels {labels.tolist()} are {T.tolist()}."
    if loss == "CosineEmbeddingLoss":
        signs = f"{loss} takes +1 at the class and -1 elsewhere, one for each output; yours are {T.unique().tolist()}"
        right = set(T.unique().tolist()) == {-1, 1} and T.shape == Y.shape
        need(right, "plus and minus one", f"{signs}, of shape {shape}.")
        need(same((T == 1).float(), rows), "targets of the wrong class", wrong_class)
        return
    indices = loss == "NLLLoss" or (loss == "CrossEntropyLoss" and T.dim() == 1)
    if indices:
        whole = f"{loss} takes class indices, whole numbers of shape (N,); got shape {shape}, {T.dtype}."
        need(T.shape == labels.shape and not T.is_floating_point(), "indices wanted", whole)
    else:
        either = "class indices of shape (N,), or rows of floats" if loss == "CrossEntropyLoss" else "floats"
        need(T.is_floating_point(), "float targets", f"{loss} takes {either}; got shape {shape}, {T.dtype}.")
        shapes = f"{loss}: the targets have shape {shape}, the outputs {tuple(Y.shape)}."
        column = f"{shapes} Write them in the outputs' shape; broadcasting would compare every one with every other."
        need(T.dim() != 1, "targets without a column", column)
        need(T.shape == Y.shape, "shape", shapes)
        need(T.isfinite().all(), "infinite targets", f"{loss}: there are targets that are not finite.")
    expected = labels if indices else labels.float()[:, None] if Y.shape[1] == 1 else rows
    need(same(T, expected), "targets of the wrong class", wrong_class)
    try:
        getattr(nn, loss)()(Y, T)
    except (RuntimeError, ValueError) as error:
        raise Found("refused by torch", f"{loss} refuses these outputs and targets: {error}.") from None


# --------------------------------------------------------------------------------------------- two predictions


def judge_prediction(loss: nn.Module, last: nn.Module, targets: Callable, answer: Any) -> str:
    """Train a network with this last layer, and see where the loss goes."""
    answer = answer.strip(" .").lower() if isinstance(answer, str) else answer
    choices = "falls without bound", "goes to 0", "stays above 0"
    if answer in ("?", ""):
        raise NotImplementedError
    need(answer in choices, "prediction", f"expected one of {', '.join(map(repr, choices))}, got {answer!r}.")
    X = torch.randn(40, 3)
    y = (X[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2), last)
    model[2].bias.fill_(1.0)  # so that a ReLU is not dead from the start
    values = minimized(model, lambda: loss(model(X), targets(y)))
    first, middle, end = values[0], values[99], values[-1]
    measured = "falls without bound" if end < -1 and end < 2 * middle else "stays above 0"
    measured = "goes to 0" if abs(end) < 0.01 else measured
    steps = f"{first:.2f} at first, {middle:.2f} after 100 steps, {end:.2f} after {len(values)}"
    need(answer == measured, "prediction refuted", f"the measurement says otherwise: {steps}.")
    return f"measured: {steps}. Why? Do the exponentials of an example's outputs still sum to 1?"


def minimized(model: nn.Module, loss: Callable) -> list[float]:
    """The values of the loss in 300 steps downhill, of a fixed length in each parameter."""
    parameters, values = list(model.parameters()), []
    for _ in range(300):
        with torch.enable_grad():
            value = loss()
        descend(parameters, [g.sign() for g in torch.autograd.grad(value, parameters)], 0.02)
        values.append(float(value))
    return values


TASKS["prediction-nll"] = partial(judge_prediction, nn.NLLLoss(), nn.ReLU(), lambda y: y)
TASKS["prediction-kldiv"] = partial(
    judge_prediction, nn.KLDivLoss(reduction="batchmean"), nn.LogSigmoid(), lambda y: torch.eye(2)[y]
)
