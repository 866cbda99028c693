"""Hand-written losses: each value next to its gradient at the outputs. Before them, how outputs
are read as classes; after them AutogradLoss, which makes a loss of any other criterion.

``criterion(outputs, targets) -> L`` has the value of torch.nn's loss of that name
(CosineEmbeddingLoss: for pairs of an output row and each row of the identity), a mean over the
N examples or over all N K entries; autograd can differentiate it, too. ``backward() -> delta``
is dL/dY at the last call. The outputs Y and delta are (N, K), the targets rows T (N, K) of
floats or class indices t (N,), as the loss says. Options, as weights, are left to torch's."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import checks

# How outputs are read as classes: functions (outputs, targets) -> which answers are right, True
# or False, (N,); or None, if the targets are no classes, so that there is no accuracy.


def largest(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Is the largest of K >= 2 outputs (the first, in a tie) at the target's class? Targets:
    indices t (N,), or rows T (N, K) with the class at the largest number, without a tie."""
    checks.check_reading(outputs, targets, yes_or_no=False)
    t = targets
    if targets.dim() == 2:  # where the largest number is; in a tie that is more than one place
        t = (targets == targets.amax(1, keepdim=True)).nonzero()[:, 1]
    return outputs.argmax(1) == t if len(t) == len(targets) else None


def above(threshold: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A function like largest, for K yes/no questions: an output above the threshold says yes,
    a target above 1/2 means yes, and an example is right if all K agree. T (N, K), 0 to 1."""

    def read(outputs: Tensor, targets: Tensor) -> Tensor | None:
        checks.check_reading(outputs, targets, yes_or_no=True)
        right = ((outputs > threshold) == (targets > 0.5)).all(1)
        return right if 0 <= targets.min() <= targets.max() <= 1 else None

    return read


def labels(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """For a regression to rows of 0s and one 1: largest, or above(1/2) for a single output."""
    if outputs.shape[1] == 1:
        right, good = above(0.5)(outputs, targets), torch.equal(targets, targets.square())
    else:
        t = targets.argmax(1, keepdim=True)
        one_hot = torch.zeros_like(targets).scatter_(1, t, 1)
        right, good = outputs.argmax(1) == t.view(-1), torch.equal(targets, one_hot)
    return right if good else None


def guess(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """For an unknown loss: as labels; but one output may mean anything, and largest says so."""
    rows = targets.dim() == 2 and outputs.shape[1] > 1
    return (labels if rows else largest)(outputs, targets)


class Loss(checks.Checked, nn.Module):
    """Base of the losses. One of one's own has a forward and a backward; the rest may stay."""

    takes = "numbers or indices"  # what its targets are; only the check of them reads it
    correct = staticmethod(guess)  # (outputs, targets) -> which answers are right
    ignored = None  # the class index of targets that do not count

    check_input, check_output = checks.check_loss_input, checks.check_loss_output

    def count(self, targets: Tensor) -> float:
        """What the mean over this batch divided by: its weight in an average over batches."""
        return len(targets)


class L1Loss(Loss):
    """L = mean |Y - T|. Any number of outputs, T (N, K)."""

    takes = "numbers"
    correct = staticmethod(labels)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.difference = outputs - targets
        return self.difference.abs().mean()

    def backward(self) -> Tensor:
        """dL/dY = sign(Y - T) / (N K)."""
        return self.difference.sign() / self.difference.numel()


class MSELoss(Loss):
    """L = mean (Y - T)^2. Any number of outputs, T (N, K)."""

    takes = "numbers"
    correct = staticmethod(labels)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.difference = outputs - targets
        return self.difference.square().mean()

    def backward(self) -> Tensor:
        """dL/dY = 2 (Y - T) / (N K)."""
        return self.difference * (2 / self.difference.numel())


class BCEWithLogitsLoss(Loss):
    """L = -mean [T ln s(Y) + (1 - T) ln s(-Y)], s the sigmoid, s(-Y) = 1 - s(Y) (theory Q1).
    Every output is a logit, T (N, K) in [0, 1]."""

    takes = "probabilities"
    correct = staticmethod(above(0.0))  # the logit 0 is the probability 1/2

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.error = torch.sigmoid(outputs) - targets
        return -(
            targets * F.logsigmoid(outputs) + (1 - targets) * F.logsigmoid(-outputs)
        ).mean()

    def backward(self) -> Tensor:
        """dL/dY = (s(Y) - T) / (N K)."""
        return self.error / self.error.numel()


class NLLLoss(Loss):
    """L = -mean_n Y[n, t_n]. The outputs are log-probabilities of K >= 2 classes, the targets
    indices t (N,)."""

    takes = "indices"
    correct = staticmethod(largest)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.Y, self.t = outputs, targets[:, None]  # Y only for its shape
        return -outputs.gather(1, self.t).mean()

    def backward(self) -> Tensor:
        """dL/dY[n, k] = -1 / N where k = t_n, else 0."""
        return torch.zeros_like(self.Y).scatter_(1, self.t, -1 / len(self.Y))


class CrossEntropyLoss(Loss):
    """L = -mean_n sum_k T[n, k] ln softmax(Y)[n, k] (theory Q7). The outputs are logits of K >=
    2 classes, the targets rows T (N, K) of probabilities, or indices t (N,), which stand for
    one-hot rows."""

    takes = "distributions or indices"
    correct = staticmethod(largest)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        T = targets if targets.is_floating_point() else F.one_hot(targets, outputs.shape[1])
        log_Y_hat = F.log_softmax(outputs, dim=1)
        self.error = log_Y_hat.exp() - T
        return -(T * log_Y_hat).sum() / len(T)

    def backward(self) -> Tensor:
        """dL/dY = (softmax(Y) - T) / N, as each row of T sums to 1."""
        return self.error / len(self.error)


class KLDivLoss(Loss):
    """L = sum T (ln T - Y) / n, where 0 ln 0 = 0. n = N K for reduction="mean" (torch's
    default); n = N for "batchmean", which is the divergence, averaged over the batch. The
    outputs are log-probabilities of K >= 2 classes, T (N, K) rows of probabilities."""

    takes = "distributions"
    correct = staticmethod(largest)

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        checks.check_reduction(reduction, batchmean=True)
        self.reduction = reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.T = targets
        self.n = len(targets) if self.reduction == "batchmean" else targets.numel()
        return (torch.xlogy(targets, targets) - targets * outputs).sum() / self.n

    def backward(self) -> Tensor:
        """dL/dY = -T / n."""
        return -self.T / self.n


class CosineEmbeddingLoss(Loss):
    """The cosine between an output row and the unit vector e_k of class k is cos_k = Y_k / |Y|,
    for each of K >= 2 classes. L = mean over the N K entries of 1 - cos where T = +1 (the
    example's class), max(cos, 0) where T = -1; T (N, K). As in torch |Y| is sqrt(sum Y^2 +
    1e-12), against a division by zero."""

    takes = "signs"
    correct = staticmethod(largest)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.T = targets
        self.length = (outputs.square().sum(1, keepdim=True) + 1e-12).sqrt()
        self.cos = outputs / self.length
        return torch.where(targets > 0, 1 - self.cos, torch.relu(self.cos)).mean()

    def backward(self) -> Tensor:
        """w = dL/dcos is -1 / (N K) where T = +1, 1 / (N K) where T = -1 and cos > 0, else 0.
        As dcos_j / dY_k = ([j = k] - cos_j cos_k) / |Y|,
        dL/dY_k = sum_j w_j dcos_j / dY_k = (w_k - (w . cos) cos_k) / |Y|."""
        slope = torch.where(self.T > 0, -1.0, (self.cos > 0).to(self.cos.dtype))
        w = slope / self.T.numel()
        w_dot_cos = (w * self.cos).sum(1, keepdim=True)
        return (w - w_dot_cos * self.cos) / self.length


# Which targets torch's losses take, and how their outputs are read. (Any other: as Loss says.)
READ_AS = [
    ("numbers", labels, nn.L1Loss, F.l1_loss, nn.MSELoss, F.mse_loss),
    ("numbers", labels, nn.HuberLoss, F.huber_loss, nn.SmoothL1Loss, F.smooth_l1_loss),
    ("probabilities", above(0), nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits),
    ("probabilities", above(0.5), nn.BCELoss, F.binary_cross_entropy),
    ("indices", largest, nn.NLLLoss, F.nll_loss),
    ("distributions or indices", largest, nn.CrossEntropyLoss, F.cross_entropy),
    ("distributions", largest, nn.KLDivLoss, F.kl_div),
]


class AutogradLoss(Loss):
    """Any criterion(outputs, targets) -> L, with dL/dY by autograd, or by its own backward().

    If L depends on parameters, too, such as a penalty on the weights, backward adds dL/d(them)
    to their .grad, where the layers' backwards add the rest. A lambda is an unknown loss."""

    def __init__(self, criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.criterion, self.by_hand = criterion, hasattr(criterion, "backward")
        function = criterion.func if isinstance(criterion, partial) else criterion
        self.name = getattr(function, "__name__", type(function).__name__)
        self.read, forward = guess, getattr(type(criterion), "forward", function)
        for takes, read, *kinds in READ_AS:
            if forward in [getattr(kind, "forward", kind) for kind in kinds]:
                self.takes, self.read = takes, read
        self.ignored = checks.option(criterion, "ignore_index", -100)
        if checks.option(criterion, "log_target", False):
            self.takes = "numbers"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.value = None
        if torch.is_grad_enabled() or self.by_hand:
            return self.criterion(outputs, targets)
        self.outputs = outputs.detach().requires_grad_()
        with torch.enable_grad():
            self.value = self.criterion(self.outputs, targets)
        return checks.without_graph(self.value)

    def backward(self) -> Tensor:
        if self.by_hand:
            return self.criterion.backward()
        self.value.backward()
        return self.outputs.grad

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """As the criterion reads them; targets that it ignores do not count."""
        used = slice(None) if targets.is_floating_point() else targets != self.ignored
        return self.read(outputs[used], targets[used])

    def count(self, targets: Tensor) -> float:
        """The number of examples, or the sum of their weights, without those ignored."""
        if targets.is_floating_point():
            return len(targets)
        weight = checks.option(self.criterion, "weight", None)
        used = targets[targets != self.ignored]
        return len(used) if weight is None else float(weight[used].sum())


def with_backward(criterion: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The criterion itself if it is a Loss, else the same with a backward (AutogradLoss)."""
    checks.check_criterion(criterion)
    return criterion if isinstance(criterion, Loss) else AutogradLoss(criterion)
