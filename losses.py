"""Hand-written losses: each value next to its gradient at the outputs.

Every loss is called as ``criterion(outputs, targets) -> L`` and has the value of torch.nn's loss of that name
(CosineEmbeddingLoss: for pairs of an output row and each row of the identity). The outputs Y are (N, K); L is a mean
over the N examples or over all N K entries, as its formula says. ``backward() -> delta`` is dL/dY at the last call, (N,
K). Targets are floats T (N, K) or class indices t (N,), as the loss says. Of torch's options only KLDivLoss's reduction
is here; for the others pass torch's own loss to the training loop. Autograd can differentiate the value, too.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import checks
from accuracy import above, labels, largest


class Loss(checks.Checked, nn.Module):
    """Base of the hand-written losses. A loss is a forward, a backward, and what it declares:

    * ``keeps``: the names of the tensors that forward stores for backward;
    * ``takes``: what targets it allows, e.g. "indices"; only the check of the input reads it;
    * ``correct(outputs, targets)``: which examples are answered right, for the accuracy (accuracy.py).

    As around the layers, checks.Checked refuses wrong input, and a backward whose kept tensors have changed.
    """

    takes = "numbers"
    reduction = "mean"
    correct = staticmethod(largest)
    check_input = checks.loss_input

    def __init__(self, *arguments, **options) -> None:
        super().__init__()
        self.name = type(self).__name__
        checks.plain_options(self.name, arguments, options)  # refuses torch's options, which are not written here

    def count(self, targets: Tensor) -> float:
        """What the mean over this batch divided by: its weight in an average over batches."""
        return len(targets)


class L1Loss(Loss):
    """L = mean |Y - T|. Any number of outputs, T (N, K)."""

    keeps = ("difference",)
    correct = staticmethod(labels)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.difference = outputs - targets
        return self.difference.abs().mean()

    def backward(self) -> Tensor:
        """dL/dY = sign(Y - T) / (N K)."""
        return self.difference.sign() / self.difference.numel()


class MSELoss(Loss):
    """L = mean (Y - T)^2. Any number of outputs, T (N, K)."""

    keeps = ("difference",)
    correct = staticmethod(labels)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.difference = outputs - targets
        return self.difference.square().mean()

    def backward(self) -> Tensor:
        """dL/dY = 2 (Y - T) / (N K)."""
        return self.difference * (2 / self.difference.numel())


class BCEWithLogitsLoss(Loss):
    """L = -mean [T ln s(Y) + (1 - T) ln s(-Y)], s the sigmoid, s(-Y) = 1 - s(Y) (theory Q1). Every output is a logit,
    T (N, K) in [0, 1]."""

    keeps = ("error",)
    takes = "probabilities"
    correct = staticmethod(above(0.0))  # the logit 0 is the probability 1/2

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.error = torch.sigmoid(outputs) - targets
        return -(targets * F.logsigmoid(outputs) + (1 - targets) * F.logsigmoid(-outputs)).mean()

    def backward(self) -> Tensor:
        """dL/dY = (s(Y) - T) / (N K)."""
        return self.error / self.error.numel()


class NLLLoss(Loss):
    """L = -mean_n Y[n, t_n]. The outputs are log-probabilities of K >= 2 classes, the targets indices t (N,)."""

    keeps = ("Y", "t")
    takes = "indices"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.Y, self.t = outputs, targets[:, None]  # Y only for its shape
        return -outputs.gather(1, self.t).mean()

    def backward(self) -> Tensor:
        """dL/dY[n, k] = -1 / N where k = t_n, else 0."""
        return torch.zeros_like(self.Y).scatter_(1, self.t, -1 / len(self.Y))


class CrossEntropyLoss(Loss):
    """L = -mean_n sum_k T[n, k] ln softmax(Y)[n, k] (theory Q7). The outputs are logits of K >= 2 classes, the targets
    rows T (N, K) of probabilities, or indices (N,), which stand for one-hot rows."""

    keeps = ("error",)
    takes = "distributions or indices"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        T = targets if targets.is_floating_point() else F.one_hot(targets, outputs.shape[1])
        log_Y_hat = F.log_softmax(outputs, dim=1)
        self.error = log_Y_hat.exp() - T
        return -(T * log_Y_hat).sum() / len(T)

    def backward(self) -> Tensor:
        """dL/dY = (softmax(Y) - T) / N, as each row of T sums to 1."""
        return self.error / len(self.error)


class KLDivLoss(Loss):
    """L = sum T (ln T - Y) / n, where 0 ln 0 = 0. n = N K for reduction="mean" (torch's default); n = N for
    "batchmean", which is the divergence, averaged over the batch. The outputs are log-probabilities of K >= 2 classes,
    T (N, K) rows of probabilities."""

    keeps = ("T",)
    takes = "distributions"

    def __init__(self, *arguments, reduction: str = "mean", **options) -> None:
        super().__init__(*arguments, **options)
        checks.mean(reduction, divides=True)
        self.reduction = reduction

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.T = targets
        self.n = len(targets) if self.reduction == "batchmean" else targets.numel()
        return (torch.xlogy(targets, targets) - targets * outputs).sum() / self.n

    def backward(self) -> Tensor:
        """dL/dY = -T / n."""
        return -self.T / self.n


class CosineEmbeddingLoss(Loss):
    """The cosine between an output row and the unit vector e_k of class k is cos_k = Y_k / |Y|, for each of K >= 2
    classes. L = mean over the N K entries of 1 - cos where T = +1 (the example's class), max(cos, 0) where T = -1.

    As in torch |Y| is sqrt(sum Y^2 + 1e-12), against a division by zero. T (N, K).
    """

    keeps = ("cos", "length", "T")
    takes = "signs"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.T = targets
        self.length = (outputs.square().sum(1, keepdim=True) + 1e-12).sqrt()
        self.cos = outputs / self.length
        return torch.where(targets > 0, 1 - self.cos, torch.relu(self.cos)).mean()

    def backward(self) -> Tensor:
        """w = dL/dcos is -1 / (N K) where T = +1, 1 / (N K) where T = -1 and cos > 0, else 0. As dcos_j / dY_k =
        ([j = k] - cos_j cos_k) / |Y|, dL/dY_k = sum_j w_j dcos_j / dY_k = (w_k - (w . cos) cos_k) / |Y|."""
        slope = torch.where(self.T > 0, -1.0, (self.cos > 0).to(self.cos.dtype))
        w = slope / self.T.numel()
        w_dot_cos = (w * self.cos).sum(1, keepdim=True)
        return (w - w_dot_cos * self.cos) / self.length
