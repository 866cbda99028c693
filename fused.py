"""Stochastic gradient descent that never stores the gradient of a weight matrix.

dL/dW = X^T delta of a fully connected layer is as large as W. SGD has it written to memory,
reads it again, and subtracts it. FusedSGD leaves it as its two factors until the step, where
one call of BLAS computes W <- W - learning_rate X^T delta. The loop is the same, and the
numbers, but for rounding:

    train(model, criterion, FusedSGD(model, 0.1), train_dataloader, num_epoch, device)
"""

import torch
from torch import Tensor, nn

from checks import check_model, check_step, state
from layers import FCLayer, add_grad
from optim import SGD


class FusedFCLayer(FCLayer):
    """What FusedSGD makes of an FCLayer for the length of one backward."""

    def backward(self, delta: Tensor) -> Tensor | None:
        """dL/dW = X^T delta as its factors, dL/db and dL/dX as FCLayer has them."""
        become(self, FCLayer)
        W = self.W
        if "factors" in vars(W):  # those of another layer with the same W
            return self.backward(delta)
        W.factors = self.X, delta
        W.factors_were = state(W.factors)
        add_grad(self.b, delta.sum(0, keepdim=True))
        return delta @ W.T if self.needs_input_grad else None


def become(layer: FCLayer, kind: type[FCLayer]) -> None:
    object.__setattr__(layer, "__class__", kind)  # nn.Module's own takes ten times as long


def disarm(model: nn.Module) -> None:
    """Make FCLayers of the FusedFCLayers that a zero_grad without a backward has left."""
    for layer in model.modules():
        if type(layer) is FusedFCLayer:
            become(layer, FCLayer)


class FusedSGD(SGD):
    """SGD made of a model, or of the part of it that is to be trained.

    The first backward of its FCLayers after zero_grad leaves W.grad as it is, and the factors X
    and delta in W.factors. All other gradients are in .grad, as ever: of b, of other layers, of
    further backwards before the step, of a penalty in the criterion. The step subtracts both.
    So whoever looks at W.grad, or clips it, takes SGD. In a loop of one's own zero_grad is that
    of this optimizer (model.zero_grad() leaves the factors), and another one takes over only
    after a step, before the next zero_grad. (train and train_one_epoch begin anew.)

    Raises as SGD does, and TypeError unless model is an nn.Module; step also RuntimeError if X
    or delta was changed in place since backward. (A change by NumPy is not seen.)
    """

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        check_model(model)
        super().__init__(model.parameters(), learning_rate)
        disarm(model)
        self.layers = [layer for layer in model.modules() if type(layer) is FCLayer]

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward of each FCLayer keeps factors."""
        super().zero_grad()
        for p in self.params:
            vars(p).pop("factors", None)
        for layer in self.layers:
            become(layer, FusedFCLayer)

    @check_step
    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its .grad and its factors, whichever it has."""
        for p in self.params:
            if p.grad is not None:
                p.sub_(p.grad, alpha=self.learning_rate)
            if factors := vars(p).pop("factors", None):
                X, delta = factors
                p.addmm_(X.T, delta, alpha=-self.learning_rate)
