"""Hand-written optimizers."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite

import torch
from torch import nn


class SGD:
    """Stochastic gradient descent, p <- p - learning_rate dL/dp for every parameter p.

    Raises TypeError or ValueError for params that are not parameters, or none, and for a learning_rate
    that is not positive and finite.
    """

    def __init__(self, params: Iterable[nn.Parameter], learning_rate: float) -> None:
        if isinstance(params, torch.Tensor):
            raise TypeError("SGD: expected an iterable of parameters such as model.parameters(), got one tensor")
        self.params = list(params)
        if not self.params:
            raise ValueError("SGD: no parameters to train; pass model.parameters() (once: it is an iterator)")
        for p in self.params:
            if not isinstance(p, torch.Tensor):
                raise TypeError(f"SGD: expected parameters, got {type(p).__name__}; pass model.parameters()")
        if not (isfinite(learning_rate) and learning_rate > 0):
            raise ValueError(f"SGD: learning_rate must be positive and finite, got {learning_rate}")
        self.learning_rate = learning_rate

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its .grad.

        Raises RuntimeError, before any update, if a parameter has no gradient.
        """
        for i, p in enumerate(self.params):
            if p.grad is None:
                raise RuntimeError(
                    f"SGD: parameter {i}, of shape {tuple(p.shape)}, has no gradient; "
                    "call backward on every layer of the model before step"
                )
        for p in self.params:
            p.sub_(p.grad, alpha=self.learning_rate)

    def zero_grad(self) -> None:
        """Forget the gradients: .grad is None until the next backward, as in torch.optim."""
        for p in self.params:
            p.grad = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Make ``backward(-learning_rate * delta)`` the whole step: no zero_grad, no step, no gradient in memory.

        Backward is linear in delta, so from -learning_rate * delta it adds -learning_rate * dL/dp to p.grad.
        While this context is open p.grad *is* p, so that sum is the update.
        """
        for p in self.params:
            p.grad = p.detach()
        try:
            yield
        finally:
            self.zero_grad()
