"""How the losses are checked: value and gradient, by autograd on their definitions."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from .calling import build, call, call_forward, derive, factors, methods, randn
from .compare import Case, judge, same
from .core import Found, need, task
from .passes import SHARED

SHAPES = [(1, 2), (2, 2), (3, 4), (5, 3), (4, 10)]


def check_loss(cls: type, definition: Callable, wrong: Callable, problems: list[tuple[Tensor, Tensor]]) -> str:
    """problems: (outputs, targets); wrong: of both and the true gradient, what -> Mistakes."""
    forward, backward = methods(cls, "forward", "backward")
    values, gradients, loss = [], [], build(cls)
    for outputs, targets in problems:
        truth, _, (true,) = derive(lambda Y, T=targets: definition(Y, T), outputs)
        tags = {"class indices" if targets.dim() == 1 else "rows of probabilities"}
        tags |= {"a batch of one"} if len(outputs) == 1 else set()
        inputs, mistakes = {"outputs": outputs, "targets": targets}, wrong(outputs, targets, true)
        L = value_of(loss, forward, outputs, targets)
        values.append(Case("the loss", L, truth, inputs, mistakes["the loss"], factors(outputs), tags))
        if same(L, truth):
            delta = gradient_of(loss, backward, outputs, targets)
            gradients.append(Case("dL/dY", delta, true, inputs, mistakes["dL/dY"], factors(outputs), tags))
    if not all(same(case.ours, case.truth) for case in values):
        text = "the loss is nearly right: is something added inside the logarithm, or rounded to float32?"
        need(not all(same(case.ours, case.truth, 1e-4) for case in values), "inexact", text)
    judge(values)
    judge(gradients)
    outputs, targets = problems[-1]
    call_forward(loss, forward, outputs, targets)
    call_forward(build(cls), forward, randn(*outputs.shape), targets)
    need(same(gradient_of(loss, backward, outputs, targets), true), "shared memory", SHARED)
    return f"right, on {len(problems)} random inputs, value and gradient."


def value_of(loss: Callable, forward: Callable, outputs: Tensor, targets: Tensor) -> Tensor:
    L = call_forward(loss, forward, outputs, targets)
    need(L.numel() == 1, "not averaged", f"forward returns shape {tuple(L.shape)}: the loss is one number.")
    return L.reshape(())


def gradient_of(loss: Callable, backward: Callable, outputs: Tensor, targets: Tensor) -> Tensor:
    delta = call("backward", backward, loss, (), (outputs, targets))
    text = f"backward returns {delta.dtype} for outputs of {outputs.dtype}: keep their type."
    need(delta.dtype == outputs.dtype, "dtype", text)
    return delta


@task("MSELoss")
def check_mse_loss(cls: type) -> str:
    def wrong(Y, T, true):
        difference = Y - T
        return {
            "the loss": {
                "not squared": (difference.mean(), "the differences are not squared."),
                "absolute differences": (difference.abs().mean(), "the absolute differences are averaged."),
                "root": (mse_loss(Y, T).sqrt(), "a root is taken: the loss is the mean of the squares itself."),
                "mean squared": (difference.mean() ** 2, "the mean is squared; the squares are to be averaged."),
            },
            "dL/dY": {
                "only the sign": (true.sign() / Y.numel(), "dL/dY has the size of the differences lost."),
                "squares": (difference * true / 2, "dL/dY still has the squares; they are to be differentiated."),
            },
        }

    return check_loss(cls, mse_loss, wrong, [(randn(N, K), randn(N, K)) for N, K in [(1, 1), (3, 1), *SHAPES]])


@task("CrossEntropyLoss")
def check_cross_entropy_loss(cls: type) -> str:
    def wrong(Y, T, true):
        T = T if T.dim() == 2 else torch.eye(Y.shape[1], dtype=torch.float64)[T]
        truth, N, s, largest = cross_entropy(Y, T), len(Y), torch.softmax(Y, 1), Y.max(1).values.mean()
        once = "what is subtracted against overflow is subtracted in one place only: it should cancel."
        text = "in the chain rule only one path is counted; all predictions depend on each logit."

        def mean(x):
            return x.sum(1).mean()

        on_L = {
            "softmax twice": (cross_entropy(s, T), "the softmax is applied twice."),
            "no logarithm": (-mean(T * s), "the logarithm is missing."),
            "softmax over the batch": (-mean(T * torch.log_softmax(Y, 0)), "the softmax runs over the batch."),
            "arguments swapped": (-mean(s * T.log()), "the logarithm is taken of the targets."),
            "binary": (truth - mean(torch.xlogy(1 - T, 1 - s)), "1 - T has a term, too, as for yes/no questions."),
            "divergence": (
                truth + mean(torch.xlogy(T, T)),
                "this is the Kullback-Leibler divergence: it has one more term.",
            ),
            "hard targets": (cross_entropy(Y, T.argmax(1)), "of a row of probabilities only the largest counts."),
            "maximum over the batch": (
                cross_entropy(Y - Y.max(0).values, T),
                "the largest logit is taken over the batch, for each class; it then does not cancel.",
            ),
            "shift only in the sum": (truth - largest, once),
            "shift not in the sum": (truth + largest, once),
        }
        on_Y = {
            "target lost": (true + T / N, "dL/dY lacks the target."),
            "softmax missing": (true + (Y - s) / N, "dL/dY has the logits where it should have probabilities."),
            "at the softmax": (-T / s / N, "this is the gradient at the softmax's outputs; the chain goes on."),
            "at the logarithm": (-T / N, "this is the gradient at the logarithms; the chain goes on."),
            "no sum over classes": (-(T * (1 - s)) / N, text),
        }
        return {"the loss": on_L, "dL/dY": on_Y}

    forward, backward = methods(cls, "forward", "backward")
    problems = [(2 * randn(N, K), torch.softmax(2 * randn(N, K), 1)) for N, K in SHAPES]
    check_loss(cls, cross_entropy, wrong, problems)
    try:
        forward(build(cls), randn(3, 4), torch.tensor([0, 3, 1]))
    except NotImplementedError:
        raise
    except Exception as error:
        text = f"rows of probabilities are right, but class indices (N,) are not taken: {error}."
        raise Found("class indices", text) from None
    problems += [(2 * randn(N, K), torch.randint(K, (N,))) for N, K in SHAPES]
    text = check_loss(cls, cross_entropy, wrong, problems)
    check_large(cls, forward, backward)
    return text


def check_large(cls: type, forward: Callable, backward: Callable) -> None:
    """Large logits of both signs, in both types, each row by itself and then together."""
    rows = torch.tensor([[1, 0, 0], [-1, 0, 0], [-1, -1, -1], [1, 1, 1], [0, 1, -1], [-1, -2, -3]])
    for dtype, size in product([torch.float64, torch.float32], [30, 120, 1000]):
        for Y in *(size * rows[:, None]), size * rows:
            T = torch.full((len(Y),), 2)
            loss, Y = build(cls), Y.to(dtype)
            truth, _, (true,) = derive(lambda Y, T=T: cross_entropy(Y, T), Y.double())
            L = value_of(loss, forward, Y, T)
            where = f"for the logits {Y.tolist()} in {dtype}, and the class 2 of each,"
            why = "Does something overflow, or become 0?"
            need(same(L, truth, 1e-4), "overflow", f"{where} the loss is {L:.4g}, expected {truth:.4g}. {why}")
            right = same(gradient_of(loss, backward, Y, T), true, 1e-4)
            need(right, "overflow", f"{where} the gradient is wrong. {why}")
