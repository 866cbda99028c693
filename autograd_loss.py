"""Any criterion beside the losses of losses.py: what it takes, how its outputs are read, and a backward by autograd."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import checks
from accuracy import above, labels
from losses import BCEWithLogitsLoss, CrossEntropyLoss, KLDivLoss, L1Loss, Loss, MSELoss, NLLLoss

# What torch's losses take, and how their outputs are read: as one of the losses above.
READ_AS = {
    getattr(theirs, "forward", theirs): (ours.takes, ours.correct)
    for ours, kinds in {
        L1Loss: [nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, F.l1_loss, F.smooth_l1_loss, F.huber_loss],
        MSELoss: [nn.MSELoss, F.mse_loss],
        BCEWithLogitsLoss: [nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits],
        NLLLoss: [nn.NLLLoss, F.nll_loss],
        CrossEntropyLoss: [nn.CrossEntropyLoss, F.cross_entropy],
        KLDivLoss: [nn.KLDivLoss, F.kl_div],
    }.items()
    for theirs in kinds
} | dict.fromkeys([nn.BCELoss.forward, F.binary_cross_entropy], ("probabilities", above(0.5)))


def several(outputs: Tensor, targets: Tensor) -> Tensor:
    """How the outputs of an unknown criterion are read: as labels, unless there is one, which may mean anything."""
    checks.single_output(outputs, targets)
    return labels(outputs, targets)


class AutogradLoss(Loss):
    """Any criterion(outputs, targets) -> L, with dL/d(outputs) by autograd, or by its own backward() if it has one.

    If L depends on parameters, too, such as a penalty on the weights, backward adds dL/d(them) to their ``.grad``,
    where the layers' backwards will add the rest. A lambda hides which loss it calls: its outputs are read as labels.
    """

    def __init__(self, criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.criterion, self.by_hand = criterion, hasattr(criterion, "backward")
        function = criterion.func if isinstance(criterion, partial) else criterion
        self.name = getattr(function, "__name__", type(function).__name__)
        computes, unknown = getattr(type(criterion), "forward", function), ("numbers or indices", several)
        self.takes, self.read = next((known for theirs, known in READ_AS.items() if theirs is computes), unknown)
        self.ignored = checks.option(criterion, "ignore_index", -100)
        if checks.option(criterion, "log_target", False):
            self.takes = "log-probabilities"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.value = None
        if torch.is_grad_enabled() or self.by_hand:
            return checks.one_number(self, self.criterion(outputs, targets))
        self.outputs = outputs.detach().requires_grad_()
        with torch.enable_grad():
            self.value = checks.one_number(self, self.criterion(self.outputs, targets))
        return self.value.detach()

    def backward(self) -> Tensor:
        if self.by_hand:
            return self.criterion.backward()
        checks.differentiable(self)
        self.value.backward()
        return self.outputs.grad

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """As the criterion reads them; targets that it ignores do not count."""
        used = slice(None) if targets.is_floating_point() else targets != self.ignored
        return self.read(outputs[used], targets[used])

    def count(self, targets: Tensor) -> float:
        """What the mean divides by: the number of examples, or the sum of their weights, without those ignored."""
        if targets.is_floating_point():
            return len(targets)
        used, weight = targets[targets != self.ignored], checks.option(self.criterion, "weight", None)
        return len(used) if weight is None else float(weight[used].sum())


def with_backward(criterion: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The criterion itself if it is one of these losses, else the same criterion with a backward (AutogradLoss)."""
    checks.criterion(criterion)
    return criterion if isinstance(criterion, Loss) else AutogradLoss(criterion)
