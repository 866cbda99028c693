"""How the loops and the trainer are checked: by what they do to a network that tells, in which order."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from .calling import derive, factors, methods, parts, returned
from .compare import Case, judge, same
from .core import Printed, need, task
from .training import ABOVE, EPOCHS, ROWS, SIZES, Batches, Problem, SpySGD, average, judge_both


class SpyModule(nn.Module):
    """A layer or a loss, by autograd, which tells a spy what is done to it."""

    def __init__(self, spy: "Spy", name: str, function: Callable, *weights: Tensor) -> None:
        super().__init__()
        self.spy, self.name, self.function, self.weights = spy, name, function, nn.ParameterList(weights)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def forward(self, X, *targets):
        self.spy.note(f"forward {self.name}", X, *targets)
        self.mode, self.X = self.training, X.clone().detach().requires_grad_()
        self.spy.called.append(self.training)
        self.Y = self.function(self.X, *(T.clone() for T in targets), *(W.clone() for W in self.weights))
        return self.Y.detach().clone()

    @torch.inference_mode(False)
    @torch.enable_grad()
    def backward(self, *delta):
        self.spy.note(f"backward {self.name}", *delta)
        got = ", ".join(str(tuple(d.shape)) if isinstance(d, Tensor) else type(d).__name__ for d in delta)
        if self.name == "loss":
            need(not delta, "criterion.backward", "criterion.backward() takes no argument.")
        else:
            expected = str(tuple(self.Y.shape))
            shapes = f"backward of layer {self.name} is given {got}; its output has shape {expected}."
            need(got == expected, "delta", shapes)
            self.spy.modes.append(self.mode)
        value = (self.Y * delta[0].clone()).sum() if delta else self.Y
        dX, *gradients = torch.autograd.grad(value, [self.X, *self.weights], retain_graph=True)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient if weight.grad is None else weight.grad + gradient
        return dX


class Spy(Problem):
    """Three layers y = x W, a squared loss, an optimizer and batches; and what they are given, by event."""

    def __init__(self) -> None:
        self.events, self.given = [], defaultdict(list)
        self.called: list[bool] = []  # of each forward, is it in training mode?
        self.modes: list[bool] = []  # of each backward, was its forward?
        g = torch.Generator().manual_seed(213)  # the usual mistakes give different numbers
        self.start = [torch.randn(3, 3, generator=g) for _ in range(3)]
        X = torch.randn(sum(SIZES), 3, generator=g)
        T = torch.eye(3)[torch.randint(3, (sum(SIZES),), generator=g)]
        self.batches = Batches(X, T)
        layers = [SpyModule(self, name, torch.matmul, W.clone()) for name, W in zip("123", self.start, strict=True)]
        self.model = nn.Sequential(*layers)
        self.criterion = SpyModule(self, "loss", nn.functional.mse_loss)
        self.optimizer = SpySGD(self.model, 0.01, self.events)

    def note(self, event: str, *given: Any) -> None:
        self.events += [event, "backward"] if event == "backward 3" else [event]
        self.given[event].append([x.detach().clone() for x in given if isinstance(x, Tensor)])

    def outputs(self, parameters: Sequence[Tensor], X: Tensor) -> Tensor:
        return reduce(torch.matmul, parameters, X)


LINE = "'Epoch [k] Average training loss: ..., Average training accuracy: ...'"
NUMBER = r"(-?\d+\.?\d*(?:e[-+]?\d+)?)"


@task("train")
def check_train(train: Callable) -> str:
    spy, printed = Spy(), Printed()
    spy.model.eval()
    try:
        with torch.enable_grad(), contextlib.redirect_stdout(printed):
            result = train(spy.model, spy.criterion, spy.optimizer, spy.batches, EPOCHS, "cpu")
    except RuntimeError as error:
        asked = "loss.backward() asks autograd; here the layers go backwards, from what criterion.backward() gives."
        need("does not require grad" not in str(error), "loss.backward", asked)
        raise
    judge_calls(spy)
    judge_deltas(spy)
    spy.judge_number_of_steps()
    need(all(spy.modes), "training in eval mode", "the model is in eval mode while it trains: call its train() first.")
    spy.judge_steps()
    kind = type(returned("train", result)).__name__
    need(result is spy.model, "model not returned", f"it should return the model, got {kind}.")
    judge_lines(spy, printed.getvalue())
    return "right: the order of the calls, the gradients, the averages, what is printed."


def judge_calls(spy: Spy) -> None:
    """Is all called, in a right order?"""
    events = spy.events
    need("forward 1" in events, "nothing trained", "the model is never called.")
    need("forward loss" in events, "no loss", "the criterion is never called.")
    first = "criterion.backward() is never called: the first delta comes from there."
    need("backward loss" in events, "no backward of the loss", first)
    missing = [name for name in "123" if f"backward {name}" not in events]
    need(len(missing) < 3, "no backward", "no layer's backward is called.")
    need("step" in events, "no step", "optimizer.step() is never called: nothing is learned.")
    need(not missing, "layer left out", f"the backward of layer {''.join(missing)[:1]} is never called.")
    order = [events.index(f"backward {name}") for name in "321"]
    wrong_way = "the layers' backward is called from the first to the last; delta travels from the last to the first."
    need(order == sorted(order), "layers not reversed", wrong_way)
    early = "optimizer.step() comes before backward: the first step has no gradient."
    need(events.index("step") > order[0], "step before backward", early)


def judge_deltas(spy: Spy) -> None:
    """Is each batch's loss that of the outputs, and is its gradient passed on?"""
    X, T = spy.batches.batches[0]
    outputs, targets = spy.given["forward loss"][0]
    right = same(targets, T) and same(outputs, spy.outputs(spy.start, X), 1e-4)
    meant = "the criterion should be called on the model's outputs and the targets, in this order."
    need(right, "criterion arguments", meant)
    _, _, (true,) = derive(lambda Y: nn.functional.mse_loss(Y, targets), outputs)
    (last,), (middle,) = spy.given["backward 3"][0], spy.given["backward 2"][0]
    given = {"outputs": outputs, "targets": targets}
    judge([Case("the delta that the last layer's backward gets", last, true, given, {}, factors(outputs))])
    lost = "what a layer's backward returns is not passed on to the layer before it."
    need(same(middle, last @ spy.start[2].T), "delta not passed on", lost)


def judge_lines(spy: Spy, printed: str) -> None:
    """A line for each epoch, with the right numbers?"""
    lines = [line for line in printed.splitlines() if re.search(r"epoch \[.*accuracy", line, re.I)]
    lines = [line for line in lines if "average" in line.lower()] or lines
    need(lines, "nothing printed", f"it should print a line {LINE} for each epoch.")
    found = {}
    for line in lines:
        said = re.search(rf"Epoch \[(\w+)(?:/\w+)?\].*?loss\D*?{NUMBER}.*?accuracy\D*?{NUMBER}", line, re.I)
        need(said, "format", f"cannot read the loss and the accuracy in {line[:200]!r}; expected {LINE}.")
        often = f"there is more than one line for epoch {said[1]}: print it when the epoch is over."
        need(said[1] not in found, "printed too often", often)
        found[said[1]] = float(said[2]), float(said[3])
    counted = f"the epochs should be counted from 1 to {EPOCHS}, and are {', '.join(found)}."
    need(list(found) == [str(k + 1) for k in range(EPOCHS)], "epoch numbers", counted)
    for epoch, (loss, rate) in enumerate(found.values(), 1):
        losses, rates = spy.average(epoch, nn.functional.mse_loss), spy.average(epoch, *ROWS)
        judge_both(losses, rates, loss, rate, f"printed for epoch {epoch}")


@task("test")
def check_test(test: Callable) -> str:
    spy, printed = Spy(), Printed()
    spy.model.train()
    with torch.enable_grad(), contextlib.redirect_stdout(printed):
        result = test(spy.model, spy.batches, "cpu")
    need(spy.called, "nothing trained", "the model is never called.")
    training = "the model is in training mode while it is tested: dropout would still drop. Call its eval() first."
    need(not any(spy.called), "test in training mode", training)
    unchanged = all(map(torch.equal, spy.model.parameters(), spy.start))
    need(unchanged, "changed by a test", "the test changes the parameters: measuring must not train.")
    returned("test", result)
    seen = sum(len(X) for (X,) in spy.given["forward 1"])
    some = f"the model is given {seen} of {sum(SIZES)} examples."
    need(seen >= sum(SIZES), "number of batches", some)
    pairs = [(spy.outputs(spy.start, X), T) for X, T in spy.batches.batches]
    expected = average(pairs, *ROWS)
    expected.judge("the accuracy that is returned", result)
    said = re.findall(rf"the test accuracy\D*?{NUMBER}", printed.getvalue(), re.I)
    need(said, "nothing printed", "it should print a line such as 'The test accuracy is 0.9312.'")
    need(len(said) == 1, "printed too often", f"the accuracy is printed {len(said)} times.")
    expected.judge("the accuracy printed", float(said[0]))
    return "right: eval mode, every batch, the accuracy."


class SpyNetwork(nn.Sequential):
    def forward(self, X):
        events, training = self.events, self.training
        events += ["training" if training else "eval"] + len(X) * ["example"]
        Y = super().forward(X)
        if Y.requires_grad:
            Y.register_hook(lambda _: events.extend(["backward"] if training else ["backward", "trained in eval mode"]))
        return Y


class Binary(Problem):
    """A problem of two classes for the trainer: one output, targets (n, 1)."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(17)  # the usual mistakes give different numbers
        X = torch.randn(sum(SIZES), 3, generator=g)
        self.batches = Batches(X, (X[:, :1] + 0.5 * torch.randn(sum(SIZES), 1, generator=g) > 0).float())
        linear = nn.Linear(3, 1)
        linear.weight.copy_(torch.tensor([[1.0, -0.5, 0.3]]))
        linear.bias.fill_(0.1)
        self.model, self.criterion, self.events = SpyNetwork(linear, nn.Sigmoid()), nn.MSELoss(), []
        self.model.events, self.criterion.forward = self.events, self.loss
        self.optimizer = SpySGD(self.model, 0.5, self.events)

    def loss(self, input, target):
        self.events.append("loss")
        shapes = f"the criterion is called on shapes {tuple(input.shape)} and {tuple(target.shape)}"
        need(input.shape == target.shape, "shapes of the loss", f"{shapes}, and compares each with every other.")
        right = bool(((target == 0) | (target == 1)).all())
        need(right, "criterion arguments", "the criterion should be called on outputs and targets, in this order.")
        return nn.functional.mse_loss(input, target)

    def outputs(self, parameters: Sequence[Tensor], X: Tensor) -> Tensor:
        weight, bias = parameters
        return torch.sigmoid(X @ weight.T + bias)


@task("SimpleMLPTrainer")
def check_simple_mlp_trainer(cls: type) -> str:
    methods(cls, "train", "evaluate")
    problem = Binary()
    problem.model.eval()
    trainer = cls(problem.model, problem.criterion, problem.optimizer)
    with torch.enable_grad():
        judge_training(problem, trainer)
        judge_evaluation(problem, trainer)
        judge_training_again(problem, trainer)
    return "right: train and evaluate."


def judge_training(problem: Binary, trainer: Any) -> None:
    printed = Printed()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            losses = trainer.train(problem.batches, EPOCHS)
    except RuntimeError as error:
        cut = "backward finds no graph: it is cut between the model and the loss (detach, item, no_grad)."
        need("does not require grad" not in str(error), "no gradient", cut)
        raise
    events = problem.events
    need({"training", "eval"} & {*events}, "nothing trained", "the model is never called.")
    need("step" in events, "no step", "the step of the optimizer that is given is never called.")
    need("loss" in events, "criterion ignored", "the criterion that is given is never called in train.")
    cut = "the loss's backward is never called, or never reaches the model: is the graph cut (detach, item, no_grad)?"
    need("backward" in events, "no backward", cut)
    early = "step comes before backward: the first step has no gradient."
    need(events.index("backward") < events.index("step"), "step before backward", early)
    problem.judge_number_of_steps()
    need("trained in eval mode" not in events, "training in eval mode", "the model is in eval mode while it trains.")
    problem.judge_steps()
    judge_losses(problem, returned("train", losses), printed.getvalue())


def judge_losses(problem: Binary, losses: Any, printed: str) -> None:
    right = isinstance(losses, list) and len(losses) == EPOCHS
    got = f"{len(losses)} things" if isinstance(losses, list) else type(losses).__name__
    need(right, "losses", f"train should return a list with one loss for each of {EPOCHS} epochs, got {got}.")
    kept = "the losses are tensors, which keep their graphs in memory: turn them into numbers."
    for epoch, loss in enumerate(losses, 1):
        need(not (isinstance(loss, Tensor) and loss.requires_grad), "tensor kept", kept)
        problem.average(epoch, nn.functional.mse_loss).judge(f"the loss of epoch {epoch}", loss)
    numbers = [float(number) for number in re.findall(r"\d+\.\d+(?:e[-+]?\d+)?", printed, re.I)]
    told = all(any(abs(number - loss) < 0.006 for number in numbers) for loss in losses)
    text = "it should print the loss of each epoch, with two decimals at least; among what it prints these are not."
    need(told, "nothing printed", text)


def judge_evaluation(problem: Binary, trainer: Any) -> None:
    problem.events.clear()
    before = problem.optimizer.parameters()
    result = trainer.evaluate(problem.batches)
    loss, rate = parts(result, "loss", "accuracy")
    need("loss" in problem.events, "criterion ignored", "the criterion that is given is never called in evaluate.")
    training = "the model is in training mode while it is tested: dropout would still drop."
    need("training" not in problem.events, "test in training mode", training)
    unchanged = all(map(torch.equal, problem.model.parameters(), before)) and "step" not in problem.events
    need(unchanged, "changed by a test", "evaluate changes the parameters: measuring must not train.")
    seen = problem.events.count("example")
    some = f"evaluate gives the model {seen} of {sum(SIZES)} examples."
    need(seen >= sum(SIZES), "number of batches", some)
    pairs = [(problem.outputs(before, X), T) for X, T in problem.batches.batches]
    losses, rates = average(pairs, nn.functional.mse_loss), average(pairs, *ABOVE)
    rates.percent = True
    judge_both(losses, rates, loss, rate, "of evaluate")


def judge_training_again(problem: Binary, trainer: Any) -> None:
    """After evaluate another epoch: in training mode again, and with one loss?"""
    losses = trainer.train(problem.batches, 1)
    evaluated = "when train is called after evaluate, the model is still in eval mode."
    need("trained in eval mode" not in problem.events, "training in eval mode", evaluated)
    need(len(losses) == 1, "losses", f"when train is called again, for one epoch, it returns {len(losses)} losses.")
