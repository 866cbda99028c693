"""Hand-written neural-network layers: each forward next to its backward.

Every layer composes in an ordinary ``nn.Sequential`` and adds ``backward(delta) -> delta_next``
to torch's Module:

* ``delta`` is dL/dY, the gradient of the loss L at the layer's output Y, and has Y's shape;
* ``delta_next`` is dL/dX, the gradient at its input X, and has X's shape;
* the gradients of the layer's own parameters are *added* to their ``.grad``, as autograd does.

No autograd graph is needed: ``forward`` keeps what ``backward`` needs. "Theory Q3" is a
question in theory/theory.pdf. Only SimpleMLP, the last, is torch.nn's, trained by autograd.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from checks import Checked, check_layer_input, check_number, check_sequence


class Layer(Checked, nn.Module):
    """Base of the hand-written layers: a forward and a backward, and nothing to declare.

    Checked (checks.py) puts checks around both. They refuse a wrong X or delta, a result that
    is forgotten or of a wrong shape, and a backward before forward, or after a change of what
    forward left in the layer (TypeError, ValueError, RuntimeError).
    """

    width: int | None = None  # a layer that sets it takes inputs (N, width); else of any shape
    check_input = check_layer_input


def backward(model: nn.Module | Sequence[nn.Module], delta: Tensor) -> Tensor | None:
    """dL/dX of a network from delta = dL/dY: its layers' backwards, from the last to the first.

    model: a layer, or an nn.Sequential (or a list) of layers, nested or not. Raises TypeError
    where there is no backward, and what the layers raise.
    """
    if hasattr(model, "backward"):
        return model.backward(delta)
    check_sequence(model)
    for layer in reversed(model):
        delta = backward(layer, delta)
    return delta


def add_grad(parameter: nn.Parameter, gradient: Tensor) -> None:
    """parameter.grad += gradient, starting from zero if there is none yet."""
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


class FCLayer(Layer):
    """Fully connected layer, Y = X W + b (theory Q3, where W is the transpose).

    Shapes: X (N, num_input), W (num_input, num_output), b (1, num_output), Y (N, num_output).
    W starts from N(0, 2 / (num_input + num_output)) (Glorot and Bengio, 2010), b from 0.
    """

    def __init__(self, num_input: int, num_output: int) -> None:
        super().__init__()
        self.width = num_input
        W = torch.randn(num_input, num_output)
        self.W = nn.Parameter(W * sqrt(2 / sum(W.shape)))
        self.b = nn.Parameter(torch.zeros(1, num_output))

    def forward(self, X: Tensor) -> Tensor:
        self.X = X
        return torch.addmm(self.b, X, self.W)

    def backward(self, delta: Tensor) -> Tensor | None:
        """dL/dW = X^T delta, dL/db = the column sums of delta, dL/dX = delta W^T."""
        add_grad(self.W, self.X.T @ delta)
        add_grad(self.b, delta.sum(0, keepdim=True))
        return delta @ self.W.T if self.needs_input_grad else None

    def extra_repr(self) -> str:
        return f"{self.W.shape[0]}, {self.W.shape[1]}"


class SigmoidLayer(Layer):
    """Y = 1 / (1 + exp(-X)), elementwise, any shape."""

    def forward(self, X: Tensor) -> Tensor:
        self.Y = torch.sigmoid(X)
        return self.Y

    def backward(self, delta: Tensor) -> Tensor:
        """dL/dX = delta Y (1 - Y)."""
        return delta * self.Y * (1 - self.Y)


class ReLULayer(Layer):
    """Y = max(X, 0), elementwise, any shape."""

    def forward(self, X: Tensor) -> Tensor:
        self.Y = torch.relu(X)
        return self.Y

    def backward(self, delta: Tensor) -> Tensor:
        """dL/dX = delta where X > 0, else 0: Y.sign() is 1 where X > 0, else 0."""
        return delta * self.Y.sign()


class LeakyReLULayer(Layer):
    """Y = X where X > 0, else negative_slope X; elementwise, any shape (theory Q3)."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = check_number("LeakyReLULayer: negative_slope", negative_slope)

    def forward(self, X: Tensor) -> Tensor:
        self.X = X
        return torch.where(X > 0, X, self.negative_slope * X)

    def backward(self, delta: Tensor) -> Tensor:
        """dL/dX = delta where X > 0, else negative_slope delta."""
        return torch.where(self.X > 0, delta, self.negative_slope * delta)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class NoiseLayer(Layer):
    """Y = noise * X in training, Y = X in eval mode. Subclasses draw the noise: independent in
    each entry, of mean 1, so that Y = X is the expected training output. Any shape."""

    def draw_noise(self, X: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, X: Tensor) -> Tensor:
        self.noise = self.draw_noise(X) if self.training else torch.ones_like(X)
        return self.noise * X

    def backward(self, delta: Tensor) -> Tensor:
        """dL/dX = delta noise, the noise of the last forward, whatever the mode is now."""
        return delta * self.noise


class DropoutLayer(NoiseLayer):
    """Inverted dropout (Srivastava et al., 2014; theory Q3 and Q5).

    The noise is 0 with probability p = dropout_rate, 0 <= p < 1, else 1 / (1 - p). It has mean
    1, variance p / (1 - p).
    """

    def __init__(self, dropout_rate: float) -> None:
        super().__init__()
        self.dropout_rate = check_number("DropoutLayer: dropout_rate", dropout_rate, "[0, 1)")

    def draw_noise(self, X: Tensor) -> Tensor:
        keep = torch.rand_like(X).ge_(self.dropout_rate)
        return keep / (1 - self.dropout_rate)

    def extra_repr(self) -> str:
        return f"{self.dropout_rate}"


class GaussianDropoutLayer(NoiseLayer):
    """Multiplicative noise from N(1, sigma^2), sigma >= 0 (theory Q5)."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = check_number("GaussianDropoutLayer: sigma", sigma, "[0, inf)")

    def draw_noise(self, X: Tensor) -> Tensor:
        return 1 + self.sigma * torch.randn_like(X)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class MeanOnlyBatchNormLayer(Layer):
    """Mean-only batch normalisation, Y = gamma (X - mu) + beta (theory Q2; without gamma
    Salimans and Kingma, 2016).

    Shapes: X and Y (N, num_features); gamma (from 1), beta (from 0) and mu (1, num_features).
    In training mu is the batch mean, which also enters running_mean with weight 0.1; in eval
    mode mu is running_mean. In training with N = 1, X = mu, Y = beta, dL/dX = dL/dgamma = 0.
    """

    momentum = 0.1

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.width = num_features
        self.gamma = nn.Parameter(torch.ones(1, num_features))
        self.beta = nn.Parameter(torch.zeros(1, num_features))
        self.register_buffer("running_mean", torch.zeros(1, num_features))

    def forward(self, X: Tensor) -> Tensor:
        self.used_batch_mean = self.training
        if self.training:
            mu = X.mean(0, keepdim=True)
            # running_mean = 0.9 running_mean + 0.1 mu; detached, in case autograd is on
            self.running_mean.lerp_(mu.detach(), self.momentum)
        else:
            mu = self.running_mean
        self.X_hat = X - mu
        return self.gamma * self.X_hat + self.beta

    def backward(self, delta: Tensor) -> Tensor:
        """dL/dgamma = sum(delta X_hat), dL/dbeta = sum(delta), dL/dX = gamma (delta -
        mean(delta)), with sums and means over the batch: X[m] enters every Y[n] through mu,
        dmu/dX[m] = 1/N. In eval mode mu is a constant and dL/dX = gamma delta."""
        add_grad(self.gamma, (delta * self.X_hat).sum(0, keepdim=True))
        add_grad(self.beta, delta.sum(0, keepdim=True))
        mean = delta.mean(0, keepdim=True) if self.used_batch_mean else 0
        return self.gamma * (delta - mean)

    def extra_repr(self) -> str:
        return f"{self.gamma.shape[1]}"


class SimpleMLP(nn.Module):
    """A plain torch.nn network, trained by autograd: num_hidden_layers times Linear and ReLU,
    then Linear, then last_layer_activation_fn, a module or its class (nn.Sigmoid), if any.

    Shapes: X (N, input_dim), output (N, output_dim).
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_hidden_layers: int = 1,
        last_layer_activation_fn: nn.Module | type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        widths = [input_dim, *num_hidden_layers * [hidden_dim]]
        layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        layers.append(nn.Linear(widths[-1], output_dim))
        if isinstance(last_layer_activation_fn, type):
            last_layer_activation_fn = last_layer_activation_fn()
        if last_layer_activation_fn is not None:
            layers.append(last_layer_activation_fn)
        self.model = nn.Sequential(*layers)

    def forward(self, X: Tensor) -> Tensor:
        return self.model(X)
