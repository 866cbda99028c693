"""How outputs are read as classes: functions (outputs, targets) -> which answers are right, True or False, (N,).

nan for every example where the targets are no classes, so that there is no accuracy. A loss names the one that fits it.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import checks


def largest(outputs: Tensor, targets: Tensor) -> Tensor:
    """Is the largest output (the first, in a tie) at the target's class? Outputs (N, K), K >= 2. Targets: class indices
    (N,), or rows (N, K) with the class at the largest number, each row without a tie."""
    checks.single_output(outputs, targets)
    if targets.dim() == 1:
        return outputs.argmax(1) == targets
    classes = targets == targets.amax(1, keepdim=True)
    if int(classes.count_nonzero()) != len(targets):
        return no_answers(targets)
    return classes.gather(1, outputs.argmax(1, keepdim=True)).squeeze(1)


def above(threshold: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A function like largest, for K yes/no questions: an output above the threshold says yes, a target above 1/2 means
    yes, and an example is right if all K agree. Targets (N, K) from 0 to 1."""
    return partial(yes_or_no, checks.number("above: threshold", threshold))


def yes_or_no(threshold: float, outputs: Tensor, targets: Tensor) -> Tensor:
    checks.same_shape(outputs, targets)
    if targets.min() < 0 or targets.max() > 1:
        return no_answers(targets)
    return ((outputs > threshold) == (targets > 0.5)).all(1)


def labels(outputs: Tensor, targets: Tensor) -> Tensor:
    """A regression to labels: above(1/2) for a single output, else largest. Targets of 0s and 1s, one 1 a row if K >
    1."""
    if targets.dim() == 1:
        return largest(outputs, targets)
    if outputs.shape[1] == 1:
        right, expected = yes_or_no(0.5, outputs, targets), (targets == 1).to(targets.dtype)
    else:
        classes = targets.argmax(1, keepdim=True)
        right, expected = outputs.argmax(1) == classes[:, 0], torch.zeros_like(targets).scatter_(1, classes, 1.0)
    return right if torch.equal(targets, expected) else no_answers(targets)


def no_answers(targets: Tensor) -> Tensor:
    return targets.new_full((len(targets),), torch.nan)
