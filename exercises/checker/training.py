"""What every training leaves behind: how often the batches were used, the gradients at each step, averages."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from .calling import derive, factors
from .compare import Case, judge, same
from .core import Found, need

SIZES = 8, 8, 5  # of the batches
EPOCHS = 3


class Batches:
    """A loader, which counts how often it is gone through."""

    batch_size = SIZES[0]

    def __init__(self, X: Tensor, T: Tensor) -> None:
        self.dataset, self.passes = torch.utils.data.TensorDataset(X, T), 0
        self.batches = list(zip(X.split(SIZES), T.split(SIZES), strict=True))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator:
        self.passes += 1
        need(self.passes <= 100, "number of epochs", f"{EPOCHS} epochs are asked for, and it goes on after a hundred.")
        return iter([(X.clone(), T.clone()) for X, T in self.batches])


@dataclass
class Step:
    before: list[Tensor]  # the parameters
    gradients: list[Tensor]
    after: list[Tensor]


def descend(parameters: list[Tensor], gradients: list[Tensor], rate: float) -> None:
    """torch's SGD, without its class, whose first use takes two seconds."""
    options = dict(weight_decay=0.0, momentum=0.0, dampening=0.0, nesterov=False, maximize=False)
    with torch.no_grad():
        sgd(parameters, gradients, [None] * len(parameters), lr=rate, **options)


class SpySGD:
    """An optimizer that notes the parameters before and after each step, and the gradients."""

    def __init__(self, model: nn.Module, rate: float, events: list[str]) -> None:
        self.model, self.rate, self.events, self.steps = model, rate, events, []
        self.param_groups = [{"params": list(model.parameters()), "lr": rate}]

    def parameters(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.model.parameters()]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.model.zero_grad(set_to_none)

    def step(self, closure: Callable | None = None) -> Any:
        with torch.enable_grad():
            loss = closure() if closure else None
        self.events.append("step")
        parameters, before = list(self.model.parameters()), self.parameters()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        descend(parameters, gradients, self.rate)
        self.steps.append(Step(before, gradients, self.parameters()))
        return loss


# ------------------------------------------------------------------------------------------ averages over batches

Measure = Callable[[Tensor, Tensor], Any]  # of a batch's outputs and targets, its mean
Pairs = Iterable[tuple[Tensor, Tensor]]  # of each batch, the outputs and the targets
FULL = "the smaller last batch counts as much as a full one. Weight each batch by its size."


@dataclass
class Average:
    """What is expected, and what it becomes by the usual mistakes: (kind, value, sentence)."""

    right: float
    mistakes: list[tuple[str, float, str]]
    percent: bool = False

    def fits(self, ours: Any) -> bool:
        return number(ours) and abs(float(ours) / (100 if self.percent else 1) - self.right) <= 1e-4

    def judge(self, what: str, ours: Any) -> None:
        """The same, to four decimals?"""
        need(number(ours), "not a number", f"{what} should be a number, got {type(ours).__name__}.")
        if self.fits(ours):
            return
        scale = 100 if self.percent else 1
        value, said = float(ours) / scale, f"{what} is {float(ours):.4f}, expected {scale * self.right:.4f}"
        if self.percent:
            need(abs(float(ours) - self.right) > 1e-4, "not percent", f"{what} should be in percent.")
        elif abs(value / 100 - self.right) < 0.006:
            raise Found("average: percent", f"{said}: a number between 0 and 1 is asked for, not percent.")
        rounded = [("decimals", round(self.right, digits), "it is rounded too much.") for digits in (1, 2, 3)]
        for kind, mistaken, text in self.mistakes + rounded:
            if abs(value - mistaken) <= 1e-4:
                raise Found(kind, f"{said}: {text}")
        raise Found("average", f"{said}.")


def number(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, Tensor) and value.dim() == 0)


def judge_both(losses: Average, rates: Average, loss: Any, rate: Any, where: str) -> None:
    """Are the loss and the accuracy those that are expected?"""
    exchanged = losses.fits(rate) and rates.fits(loss)
    need(not exchanged, "exchanged", "the loss and the accuracy are exchanged.")
    losses.judge(f"the loss {where}", loss)
    rates.judge(f"the accuracy {where}", rate)


def average(pairs: Pairs, measure: Measure, others: tuple = ()) -> Average:
    """Of the batches' means over all examples; others: (kind, another measure, sentence)."""
    means, N = np.array([float(measure(Y, T)) for Y, T in pairs]), sum(SIZES)
    total = means @ SIZES
    mistakes = [
        ("average: last batch", means.mean(), FULL),
        ("average: per batch", total / len(SIZES), "the sum over all examples is divided by the number of batches."),
        ("average: sign", -total / N, "its sign is wrong."),
        ("average: sum", means.sum(), "it is summed, and not divided by anything."),
        ("average: sum", total, "it is summed, and not divided by anything."),
        ("average: over the data", means.sum() / N, "the batches' means are divided by the number of examples."),
        ("average: only the last", means[-1], "it is that of the last batch alone."),
        ("average: only the last", means[-1] * SIZES[-1] / N, "it has the sum over the last batch alone."),
        ("average: last size", total / SIZES[-1], "it is divided by the size of the last batch alone."),
        ("average: full batches", total / (SIZES[0] * len(SIZES)), "the smaller last batch is counted as a full one."),
    ]
    for kind, other, text in others:
        values = np.array([float(other(Y, T)) for Y, T in pairs])
        mistakes += [(kind, value, text) for value in (values @ SIZES / N, values.mean())]
    return Average(total / N, mistakes)


def rows(Y: Tensor) -> Tensor:
    """The answers, if the largest of several outputs is the answer."""
    return Y.argmax(1)


def above(Y: Tensor) -> Tensor:
    """The answers, if the output is a probability."""
    return Y.view(-1) > 0.5


def accuracy(guess: Callable) -> Measure:
    return lambda Y, T: (guess(Y) == guess(T)).double().mean()


def wrong_accuracies(guess: Callable) -> tuple:
    def crossed(Y, T):  # every answer with every target
        return (guess(Y)[:, None] == guess(T)).double()

    broadcast = "comparing (n,) with (n, 1) compares every answer with every target. Give both the same shape."
    equal = "nothing is right: are numbers compared that are hardly ever equal?"
    single = "the outputs are compared one by one, and not an example's answer."
    half = "an example counts as right if each of its outputs is on the right side of 1/2; the largest is the answer."
    columns = "the largest is searched for in the batch's columns, and not in its rows."
    return (
        ("average: broadcast", lambda Y, T: crossed(Y, T).sum() / len(Y), broadcast),
        ("average: broadcast", lambda Y, T: crossed(Y, T).mean(), broadcast),
        ("argmax of the columns", lambda Y, T: (Y.argmax(0) == T.argmax(0)).sum() / len(Y), columns),
        ("share of errors", lambda Y, T: 1 - accuracy(guess)(Y, T), "it is the share of the wrong answers."),
        ("single outputs", lambda Y, T: ((Y > 0.5) == (T > 0.5)).double().mean(), single),
        ("each output above 1/2", lambda Y, T: ((Y > 0.5) == (T > 0.5)).all(1).double().mean(), half),
        (
            "smallest output",
            lambda Y, T: (Y.argmin(1) == guess(T)).double().mean(),
            "the smallest output is the answer.",
        ),
        ("equal numbers", lambda Y, T: 0, equal),
    )


FIRST = "the largest of a single output is always number 0: what does a single output tell?"
ONES = "every answer is 1: is the threshold that of a probability?"
COUNTED = "the answers are counted, and not compared with the targets."
WRONG_GUESSES = (
    ("argmax of one output", lambda Y, T: (T == 0).double().mean(), FIRST),
    ("argmax of one output", lambda Y, T: 1, FIRST),
    ("threshold", lambda Y, T: T.mean(), ONES),
    ("share of ones", lambda Y, T: above(Y).double().mean(), COUNTED),
    ("one class", lambda Y, T: (above(Y) & above(T)).double().mean(), "only the right answers of class 1 are counted."),
)
ROWS = accuracy(rows), wrong_accuracies(rows)  # for average
ABOVE = accuracy(above), WRONG_GUESSES + wrong_accuracies(above)


# ------------------------------------------------------------------------------------- what happened in training


class Problem:
    """A model, a loss, an optimizer and batches; what happens is noted in events, and in the optimizer's steps."""

    events: list[str]
    batches: Batches
    optimizer: SpySGD

    def outputs(self, parameters: Sequence[Tensor], X: Tensor) -> Tensor:
        """What the model would give with these parameters."""
        raise NotImplementedError

    def judge_number_of_steps(self) -> None:
        """A step for each batch of each epoch?"""
        backwards, steps = map(self.events.count, ("backward", "step"))
        passes = self.batches.passes
        expected = EPOCHS * len(SIZES)
        lost = f"the loader is gone through {passes} time(s) for {EPOCHS} epochs"
        new = "a shuffling loader draws a new order each time it is gone through"
        need(steps != expected or passes >= EPOCHS, "shuffling lost", f"{lost}: {new}.")
        called = f"backward is called {backwards} times, and step {steps} times; each batch needs one step."
        need(steps == backwards, "number of steps", called)
        need(steps != EPOCHS or passes < EPOCHS, "one batch an epoch", "only one batch an epoch is used.")
        epochs, rest = divmod(steps, len(SIZES))
        trained = f"{EPOCHS} epochs are asked for, and it trains for {epochs}."
        whole = not rest and (passes < EPOCHS or steps > expected)
        need(not whole, "number of epochs", trained)
        need(steps == expected, "number of batches", f"of {expected} batches in {EPOCHS} epochs {steps} are used.")

    def judge_steps(self) -> None:
        """Has each step the gradient of its batch, and does nothing else change the parameters?"""
        steps, cases, sums = self.optimizer.steps, [], []
        for place, step in enumerate(steps):
            X, T = self.batches.batches[place % len(SIZES)]
            *_, gradients = derive(lambda *p, X=X, T=T: nn.functional.mse_loss(self.outputs(p, X), T), *step.before)
            ours, true = flat(step.gradients), flat(gradients)
            sums = [true, *(old + true for old in sums)]  # of the last batch, of the last two, ...
            added = [x for x in sums if same(ours, x, 1e-4)]  # a float32 is as exact as that
            ours = added[0] if added else ours
            gone = "when step is called the gradients are gone: they are forgotten between backward and step."
            never = "the gradients of all batches add up, as they are never forgotten."
            rarely = "the gradients of several batches add up: they are forgotten too rarely."
            wrong = {
                "gradients thrown away": (0 * true, gone),
                "zero_grad forgotten": (sums[-1], never),
                "zero_grad too rare": (ours if added else true, rarely),
            }
            cases.append(Case("the gradient that a step finds", ours, true, {}, wrong, factors(T)))
        judge(cases)
        ends = [step.before for step in steps[1:]] + [self.optimizer.parameters()]
        kept = all(same(flat(step.after), flat(end)) for step, end in zip(steps, ends, strict=True))
        need(kept, "other weights", "the parameters change where optimizer.step() is not called.")

    def average(self, epoch: int, measure: Measure, others: tuple = ()) -> Average:
        """The average in this epoch (1, 2, ...), of the outputs before the steps."""
        steps, size = self.optimizer.steps, len(SIZES)
        epochs = [steps[size * k : size * (k + 1)] for k in range(epoch)]

        def measured(parameters: list, others: tuple = ()) -> Average:
            batches = zip(parameters, self.batches.batches, strict=True)
            return average([(self.outputs(p, X), T) for p, (X, T) in batches], measure, others)

        all_so_far = [measured([step.before for step in made]).right for made in epochs]
        found = measured([step.before for step in epochs[-1]], others)
        after = measured([step.after for step in epochs[-1]]).right
        end = measured(size * [epochs[-1][-1].after]).right
        reset = "what is summed does not begin anew with each epoch."
        found.mistakes += [
            ("average: after the step", after, "it is that of outputs after the step, not before it."),
            ("average: after the epoch", end, "it is measured when the epoch is over, and not in it."),
            ("average: not reset", float(np.mean(all_so_far)), reset),
            ("average: not reset", float(np.sum(all_so_far)), reset),
        ]
        return found


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([x.detach().reshape(-1) for x in tensors])
