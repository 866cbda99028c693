"""Hand-written neural-network layers: each forward next to its backward.

Every layer is an ``nn.Module`` that composes in an ordinary ``nn.Sequential`` and adds one method,
``backward(delta) -> delta_next``. With N examples and a loss L,

* ``delta`` is dL/dY, the gradient at the layer's output Y, and has Y's shape;
* ``delta_next`` is dL/dX, the gradient at its input X, and has X's shape;
* the gradients of the layer's own parameters are *added* to their ``.grad``, as autograd does. A backward reads
  the parameters before it adds to their ``.grad``: inside ``optim.SGD.in_place`` both are one piece of memory.

No autograd graph is needed or used: ``forward`` keeps what ``backward`` needs. Only SimpleMLP, at the end, is plain
torch.nn, trained by autograd.
"""

from itertools import pairwise
from math import isfinite, sqrt

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    """Base of the hand-written layers: the checks that they share."""

    # What forward keeps for backward.
    saved: Tensor | None = None

    def check_input(self, X: Tensor, width: int | None = None, dtype: torch.dtype | None = None) -> None:
        """Raise unless X is floating point and, where given, of shape (N, width), N > 0, and of dtype."""
        if not isinstance(X, Tensor):
            raise TypeError(f"{self}: expected a torch.Tensor, got {type(X).__name__}; use torch.as_tensor(X)")
        if not X.is_floating_point():
            raise TypeError(f"{self}: expected a floating-point input, got {X.dtype}; use X.float()")
        if width is not None and (X.dim() != 2 or X.shape[1] != width or not len(X)):
            raise ValueError(
                f"{self}: expected an input of shape (N, {width}) with N > 0, got {tuple(X.shape)}; "
                "one row is one example: flatten images with X.flatten(1)"
            )
        if dtype is not None and X.dtype != dtype:
            raise TypeError(f"{self}: the parameters are {dtype}, the input is {X.dtype}; use X.to({dtype})")

    def check_delta(self, delta: Tensor, width: int | None = None) -> None:
        """Raise unless forward has run and delta has the shape of its output: that of saved, or (N, width)."""
        if self.saved is None:
            raise RuntimeError(f"{self}: backward before forward; call layer(X) first")
        shape = self.saved.shape if width is None else (len(self.saved), width)
        if delta.shape != shape:
            raise ValueError(f"{self}: delta must have the output's shape {tuple(shape)}, got {tuple(delta.shape)}")


def add_to_grad(parameter: nn.Parameter, gradient: Tensor) -> None:
    """parameter.grad += gradient, where no gradient yet counts as zero."""
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad.add_(gradient)


class FCLayer(Layer):
    """Fully connected layer, Y = X W + b (theory Q3).

    Shapes: X (N, num_input), W (num_input, num_output), b (1, num_output), Y (N, num_output).
    W starts from N(0, 2 / (num_input + num_output)) (Glorot and Bengio, 2010), b from 0.

    Raises ValueError for sizes below 1 or an X of another shape, TypeError for an X of another dtype.
    """

    def __init__(self, num_input: int, num_output: int) -> None:
        super().__init__()
        if num_input < 1 or num_output < 1:
            raise ValueError(f"FCLayer: both sizes must be at least 1, got ({num_input}, {num_output})")
        self.W = nn.Parameter(torch.randn(num_input, num_output) * sqrt(2 / (num_input + num_output)))
        self.b = nn.Parameter(torch.zeros(1, num_output))

    def forward(self, X: Tensor) -> Tensor:
        self.check_input(X, width=self.W.shape[0], dtype=self.W.dtype)
        self.saved = X.detach()
        return torch.addmm(self.b, X, self.W)

    @torch.no_grad()
    def backward(self, delta: Tensor, input_grad: bool = True) -> Tensor | None:
        """dL/dX = delta W^T, dL/dW = X^T delta, dL/db = the column sums of delta.

        The first layer of a network may skip dL/dX, which nobody needs: input_grad=False returns None.
        """
        self.check_delta(delta, width=self.W.shape[1])
        X = self.saved
        delta_next = delta @ self.W.T if input_grad else None
        if self.W.grad is None:
            self.W.grad = X.T @ delta
        else:
            self.W.grad.addmm_(X.T, delta)  # add_to_grad without the temporary matrix
        add_to_grad(self.b, delta.sum(0, keepdim=True))
        return delta_next

    def extra_repr(self) -> str:
        return f"{self.W.shape[0]}, {self.W.shape[1]}"


class SigmoidLayer(Layer):
    """Y = 1 / (1 + exp(-X)), elementwise, any shape."""

    def forward(self, X: Tensor) -> Tensor:
        self.check_input(X)
        Y = torch.sigmoid(X)
        self.saved = Y.detach()
        return Y

    @torch.no_grad()
    def backward(self, delta: Tensor) -> Tensor:
        """dY/dX = Y (1 - Y)."""
        self.check_delta(delta)
        return delta * self.saved * (1 - self.saved)


class ReLULayer(Layer):
    """Y = max(X, 0), elementwise, any shape."""

    def forward(self, X: Tensor) -> Tensor:
        self.check_input(X)
        Y = torch.relu(X)
        self.saved = Y.detach()
        return Y

    @torch.no_grad()
    def backward(self, delta: Tensor) -> Tensor:
        """dY/dX = 1 where Y > 0, else 0: as Y >= 0, that is the sign of Y."""
        self.check_delta(delta)
        return delta * self.saved.sign()


class LeakyReLULayer(Layer):
    """Y = X where X > 0, else negative_slope X; elementwise, any shape (theory Q3).

    Raises ValueError if negative_slope is not finite.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        if not isfinite(negative_slope):
            raise ValueError(f"LeakyReLULayer: negative_slope must be finite, got {negative_slope}")
        self.negative_slope = negative_slope

    def forward(self, X: Tensor) -> Tensor:
        self.check_input(X)
        self.saved = X.detach()
        return torch.where(X > 0, X, self.negative_slope * X)

    @torch.no_grad()
    def backward(self, delta: Tensor) -> Tensor:
        """dY/dX = 1 where X > 0, else negative_slope."""
        self.check_delta(delta)
        return torch.where(self.saved > 0, delta, self.negative_slope * delta)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class NoiseLayer(Layer):
    """Y = noise * X in training, Y = X in eval mode; the noise is independent, of mean 1, any shape.

    Subclasses draw the noise. Its mean of 1 makes eval mode the expected training output.
    """

    def draw_noise(self, X: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, X: Tensor) -> Tensor:
        self.check_input(X)
        self.saved = self.draw_noise(X) if self.training else torch.ones_like(X)
        return X * self.saved

    @torch.no_grad()
    def backward(self, delta: Tensor) -> Tensor:
        """dY/dX = the noise of the last forward, whatever the mode is now."""
        self.check_delta(delta)
        return delta * self.saved


class DropoutLayer(NoiseLayer):
    """Inverted dropout (Srivastava et al., 2014; theory Q3 and Q5).

    The noise is 0 with probability p = dropout_rate and 1 / (1 - p) otherwise: mean 1, variance p / (1 - p).

    Raises ValueError unless 0 <= dropout_rate < 1.
    """

    def __init__(self, dropout_rate: float) -> None:
        super().__init__()
        if not 0 <= dropout_rate < 1:
            raise ValueError(f"DropoutLayer: dropout_rate must be in [0, 1), got {dropout_rate}")
        self.dropout_rate = dropout_rate

    def draw_noise(self, X: Tensor) -> Tensor:
        keep = torch.rand_like(X).ge_(self.dropout_rate)
        return keep / (1 - self.dropout_rate)

    def extra_repr(self) -> str:
        return f"{self.dropout_rate}"


class GaussianDropoutLayer(NoiseLayer):
    """Multiplicative noise from N(1, sigma^2) (theory Q5).

    Raises ValueError if sigma is negative or not finite.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        if not (isfinite(sigma) and sigma >= 0):
            raise ValueError(f"GaussianDropoutLayer: sigma must be finite and at least 0, got {sigma}")
        self.sigma = sigma

    def draw_noise(self, X: Tensor) -> Tensor:
        return 1 + self.sigma * torch.randn_like(X)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class MeanOnlyBatchNormLayer(Layer):
    """Mean-only batch normalisation, Y = gamma (X - mu) + beta (theory Q2; Salimans and Kingma, 2016).

    Shapes: X and Y (N, num_features); gamma (starts at 1), beta (at 0) and mu (1, num_features).
    In training mu is the batch mean, which also enters running_mean with weight 0.1; in eval mode mu is
    running_mean. With N = 1 the training output is beta and no gradient passes: dL/dX = dL/dgamma = 0.

    Raises ValueError for num_features below 1 or an X of another shape, TypeError for an X of another dtype.
    """

    momentum = 0.1

    def __init__(self, num_features: int) -> None:
        super().__init__()
        if num_features < 1:
            raise ValueError(f"MeanOnlyBatchNormLayer: num_features must be at least 1, got {num_features}")
        self.gamma = nn.Parameter(torch.ones(1, num_features))
        self.beta = nn.Parameter(torch.zeros(1, num_features))
        self.register_buffer("running_mean", torch.zeros(1, num_features))

    def forward(self, X: Tensor) -> Tensor:
        self.check_input(X, width=self.gamma.shape[1], dtype=self.gamma.dtype)
        self.used_batch_mean = self.training
        if self.training:
            mu = X.mean(0, keepdim=True)
            self.running_mean.lerp_(mu.detach(), self.momentum)
        else:
            mu = self.running_mean
        X_hat = X - mu
        self.saved = X_hat.detach()
        return self.gamma * X_hat + self.beta

    @torch.no_grad()
    def backward(self, delta: Tensor) -> Tensor:
        """dL/dX = gamma (delta - mean(delta)), dL/dgamma = sum(delta X_hat), dL/dbeta = sum(delta).

        Sums and means run over the batch. In eval mode mu is a constant and dL/dX = gamma delta.
        """
        self.check_delta(delta)
        delta_hat = self.gamma * delta
        add_to_grad(self.gamma, (delta * self.saved).sum(0, keepdim=True))
        add_to_grad(self.beta, delta.sum(0, keepdim=True))
        return delta_hat - delta_hat.mean(0, keepdim=True) if self.used_batch_mean else delta_hat

    def extra_repr(self) -> str:
        return f"{self.gamma.shape[1]}"


class SimpleMLP(nn.Module):
    """A plain torch.nn network, trained by autograd: num_hidden_layers times Linear and ReLU, then Linear.

    last_layer_activation_fn, a module or a module's class such as nn.Sigmoid, is applied to the output if given.
    Shapes: X (N, input_dim), output (N, output_dim).

    Raises ValueError if num_hidden_layers is below 1.
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
        if num_hidden_layers < 1:
            raise ValueError(f"SimpleMLP: num_hidden_layers must be at least 1, got {num_hidden_layers}")
        widths = [input_dim] + [hidden_dim] * num_hidden_layers
        layers = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        layers.append(nn.Linear(hidden_dim, output_dim))
        if isinstance(last_layer_activation_fn, type):
            last_layer_activation_fn = last_layer_activation_fn()
        if last_layer_activation_fn is not None:
            layers.append(last_layer_activation_fn)
        self.model = nn.Sequential(*layers)

    def forward(self, X: Tensor) -> Tensor:
        return self.model(X)
