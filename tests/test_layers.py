"""Every layer, and layers as a student would write them: forward values, the hand-written backward against autograd,
modes, state and bad input."""

import copy
import pickle
import re
from functools import wraps

import pytest
import torch
from joblib import wrap_non_picklable_objects
from torch import nn
from torch.nn.functional import softplus

from layers import (
    DropoutLayer,
    FCLayer,
    GaussianDropoutLayer,
    Layer,
    LeakyReLULayer,
    MeanOnlyBatchNormLayer,
    ReLULayer,
    SigmoidLayer,
    SimpleMLP,
    add_grad,
    backward,
)

# ------------------------------------------------------------------------------------- layers of one's own


class Tanh(Layer):
    def forward(self, X):
        self.Y = torch.tanh(X)
        return self.Y

    def backward(self, delta):
        return delta * (1 - self.Y**2)


class Swish(Layer):
    """X s(beta X) with a learned beta; what backward needs is kept in a tuple."""

    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, X):
        self.cache = X, torch.sigmoid(self.beta * X)
        return X * self.cache[1]

    def backward(self, delta):
        X, s = self.cache
        add_grad(self.beta, (delta * X**2 * s * (1 - s)).sum().view(1))
        return delta * (s + self.beta * X * s * (1 - s))


class Skip(Layer):
    """Y = X + inner(X)."""

    def __init__(self, *layers):
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, X):
        return X + self.inner(X)

    def backward(self, delta):
        return delta + backward(self.inner, delta)


class Elementwise(Layer):
    """A base with only a backward; forward leaves the derivative in self.slope."""

    def backward(self, delta):
        return delta * self.slope


class Softplus(Elementwise):
    def forward(self, X):
        self.slope = torch.sigmoid(X)
        return softplus(X)


def decorated(function):
    def loud(*arguments):
        return function(*arguments)

    return loud


class Exponential(Layer):
    @decorated
    def forward(self, X):
        self.Y = X.exp()
        return self.Y

    @torch.no_grad()
    @decorated
    def backward(self, delta):
        self.delta = delta * self.Y  # backward may keep something, too
        return self.delta


class Doubled(FCLayer):
    def forward(self, X):
        return 2 * super().forward(X)

    def backward(self, delta):
        return super().backward(2 * delta)


class Augmented(FCLayer):
    """A column of ones in front of X: what super() is given and returns has another shape."""

    def __init__(self, num_input, num_output):
        super().__init__(num_input + 1, num_output)
        self.width = num_input

    def forward(self, X):
        return super().forward(torch.cat([torch.ones_like(X[:, :1]), X], 1))

    def backward(self, delta):
        return super().backward(delta)[:, 1:]


WIDTH = 7
LAYERS = {
    "FCLayer": lambda: FCLayer(WIDTH, 5),
    "FCLayer 1 to 1": lambda: FCLayer(1, 1),
    "SigmoidLayer": SigmoidLayer,
    "ReLULayer": ReLULayer,
    "LeakyReLULayer": LeakyReLULayer,
    "LeakyReLULayer 0.3": lambda: LeakyReLULayer(0.3),
    "DropoutLayer": lambda: DropoutLayer(0.4),
    "DropoutLayer 0": lambda: DropoutLayer(0.0),
    "GaussianDropoutLayer": lambda: GaussianDropoutLayer(0.8),
    "MeanOnlyBatchNormLayer": lambda: MeanOnlyBatchNormLayer(WIDTH),
    "Tanh": Tanh,
    "Swish": Swish,
    "Skip": lambda: Skip(FCLayer(WIDTH, 4), nn.Sequential(Tanh(), FCLayer(4, WIDTH))),
    "Softplus": Softplus,
    "Exponential": Exponential,
    "Doubled": lambda: Doubled(WIDTH, 5),
    "Augmented": lambda: Augmented(WIDTH, 5),
}
WITH_PARAMETERS = {name: make for name, make in LAYERS.items() if list(make().parameters())}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
every_layer_with_parameters = pytest.mark.parametrize("make", WITH_PARAMETERS.values(), ids=WITH_PARAMETERS.keys())


def randomised(make) -> nn.Module:
    """The layer in double precision, its parameters and buffers away from their neutral starting values."""
    layer = make().double()
    for tensor in [*layer.parameters(), *layer.buffers()]:
        tensor.data += torch.randn_like(tensor)
    return layer


def random_input(layer: nn.Module, batch: int) -> torch.Tensor:
    width = layer.width or WIDTH
    return torch.randn(batch, width, dtype=torch.float64, requires_grad=True)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


@every_layer
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("batch", [1, 2, 3, 32, 257])
def test_backward_agrees_with_autograd(make, training, batch):
    for seed in range(5):
        torch.manual_seed(seed)
        layer = randomised(make).train(training)
        X = random_input(layer, batch)
        Y = layer(X)
        delta = torch.randn_like(Y)
        inputs = [X, *layer.parameters()]
        expected = torch.autograd.grad(Y, inputs, delta)

        delta_next = layer.backward(delta)

        found = [delta_next, *(p.grad for p in layer.parameters())]
        for f, e in zip(found, expected, strict=True):
            assert f.shape == e.shape and not f.requires_grad
            assert relative_error(f, e) < 1e-10


@every_layer
def test_backward_agrees_with_central_differences(make):
    torch.manual_seed(0)
    layer = randomised(make)
    X = random_input(layer, 4).detach()
    delta = torch.randn_like(layer(X))

    def loss(X):
        torch.manual_seed(1)  # the same noise in every evaluation
        return (layer(X) * delta).sum()

    steps = 1e-6 * torch.eye(X.numel(), dtype=torch.float64).view(-1, *X.shape)
    slopes = torch.stack([loss(X + step) - loss(X - step) for step in steps]) / 2e-6
    loss(X)
    torch.testing.assert_close(layer.backward(delta), slopes.view_as(X), rtol=0, atol=1e-7)


@every_layer_with_parameters
def test_backward_accumulates_as_autograd_does(make):
    torch.manual_seed(0)
    layer = randomised(make)
    Y = layer(random_input(layer, 6))
    delta = torch.randn_like(Y)
    expected = []
    for p, g in zip(layer.parameters(), torch.autograd.grad(Y, list(layer.parameters()), delta), strict=True):
        p.grad = torch.randn_like(p)
        expected.append(p.grad + g)
    layer.backward(delta)
    torch.testing.assert_close([p.grad for p in layer.parameters()], expected, rtol=0, atol=1e-12)


@every_layer
def test_backward_survives_a_change_of_mode(make):
    torch.manual_seed(0)
    layer = randomised(make)
    X = random_input(layer, 6)
    delta = torch.randn_like(layer(X))
    expected = layer.backward(delta)
    torch.testing.assert_close(layer.eval().backward(delta), expected)


def test_layers_show_their_arguments():
    layers = FCLayer(3, 2), LeakyReLULayer(0.3), DropoutLayer(0.5), GaussianDropoutLayer(1.0), MeanOnlyBatchNormLayer(3)
    shown = "FCLayer(3, 2) LeakyReLULayer(negative_slope=0.3) DropoutLayer(0.5) GaussianDropoutLayer(sigma=1.0)"
    assert " ".join(map(repr, layers)) == f"{shown} MeanOnlyBatchNormLayer(3)"


@every_layer_with_parameters
def test_state_dict_round_trip(make):
    torch.manual_seed(0)
    layer, other = randomised(make), make().double()
    X = random_input(layer, 6).detach()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other.eval()(X), layer.eval()(X), rtol=0, atol=0)


@every_layer
def test_device_moves(make):
    """The meta device checks on any machine that nothing is left behind."""
    layer = make().double().to("meta")
    X = random_input(layer, 6).detach().to("meta")
    delta_next = layer.backward(torch.empty_like(layer(X)))
    assert delta_next.device.type == "meta"
    assert all(p.grad.device.type == "meta" for p in layer.parameters())


def test_fclayer_start_and_value():
    torch.manual_seed(3)
    expected = torch.randn(30, 20) * (2 / 50) ** 0.5
    torch.manual_seed(3)
    layer = FCLayer(30, 20)
    assert layer.W.shape == (30, 20) and layer.b.shape == (1, 20)
    torch.testing.assert_close(layer.W.data, expected, rtol=0, atol=0)
    assert (layer.b == 0).all()
    with torch.no_grad():
        layer.W[:] = 0
        layer.W[0, 0], layer.b[0, 1] = 2.0, -1.0
    Y = layer(torch.full((1, 30), 3.0))
    assert Y[0, :3].tolist() == [6.0, -1.0, 0.0]


@every_layer_with_parameters
def test_a_gradient_that_somebody_keeps_is_not_rewritten(make):
    """Neither across zero_grad, as p.grad = None, nor by a backward that adds to it."""
    layer = randomised(make)
    X = random_input(layer, 6).detach()
    for forget in True, False:
        delta = torch.randn_like(layer(X))
        layer.backward(delta)
        kept = [p.grad for p in layer.parameters()]
        values = [g.clone() for g in kept]
        if forget:
            layer.zero_grad()
        layer.backward(torch.randn_like(layer(X)))
        for g, v, p in zip(kept, values, layer.parameters(), strict=True):
            assert torch.equal(g, v) and p.grad is not g


@every_layer
def test_backward_needs_no_grad_mode_and_gives_tensors_without_a_graph(make):
    layer = randomised(make)
    X = random_input(layer, 6)
    delta = torch.randn_like(layer(X), requires_grad=True)
    with_grad = [layer.backward(delta), *(p.grad for p in layer.parameters())]
    layer.zero_grad()
    with torch.no_grad():
        without = [layer.backward(delta), *(p.grad for p in layer.parameters())]
    for g, h in zip(with_grad, without, strict=True):
        assert torch.equal(g, h) and not g.requires_grad and not h.requires_grad


def test_activation_values():
    X = torch.tensor([[-2.0, 0.0, 3.0]])
    torch.testing.assert_close(SigmoidLayer()(X), torch.tensor([[0.11920292, 0.5, 0.95257413]]))
    assert SigmoidLayer()(torch.tensor([-1e4, 1e4])).tolist() == [0.0, 1.0]
    assert ReLULayer()(X).tolist() == [[0.0, 0.0, 3.0]]
    torch.testing.assert_close(LeakyReLULayer(0.1)(X), torch.tensor([[-0.2, 0.0, 3.0]]))
    torch.testing.assert_close(LeakyReLULayer()(X), torch.tensor([[-0.02, 0.0, 3.0]]))


@pytest.mark.parametrize(
    "layer", [SigmoidLayer(), ReLULayer(), LeakyReLULayer(), DropoutLayer(0.5), GaussianDropoutLayer(0.5)], ids=str
)
def test_elementwise_layers_take_any_shape(layer):
    X = torch.randn(2, 3, 4, 5)
    assert layer.backward(torch.ones_like(layer(X))).shape == X.shape


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
def test_dropout_noise_has_mean_1_and_variance_p_over_1_minus_p(p):
    """Theory Q5: s^2 = p / (1 - p). 400,000 draws: the tolerances are five standard errors."""
    torch.manual_seed(0)
    n = 400_000
    noise = DropoutLayer(p)(torch.ones(n, dtype=torch.float64))
    assert set(noise.unique().tolist()) <= {0.0, 1 / (1 - p)}
    variance = p / (1 - p)
    assert abs(float(noise.mean()) - 1) <= 5 * (variance / n) ** 0.5
    fourth = p + (1 - p) * variance**4  # E (noise - 1)^4, as 1 / (1 - p) - 1 = variance
    assert abs(float(((noise - 1) ** 2).mean()) - variance) <= 5 * ((fourth - variance**2) / n) ** 0.5


def test_gaussian_dropout_noise_has_mean_1_and_variance_sigma_squared():
    torch.manual_seed(0)
    n, sigma = 400_000, 0.8
    noise = GaussianDropoutLayer(sigma)(torch.ones(n, dtype=torch.float64))
    assert abs(float(noise.mean()) - 1) < 5 * sigma / n**0.5
    assert abs(float(((noise - 1) ** 2).mean()) - sigma**2) < 5 * sigma**2 * (2 / n) ** 0.5


@pytest.mark.parametrize("layer", [DropoutLayer(0.5), GaussianDropoutLayer(0.5)], ids=str)
def test_noise_is_drawn_anew_in_training_and_absent_in_eval_mode(layer):
    X = torch.ones(50, 50)
    assert not torch.equal(layer.train()(X), layer(X))
    assert torch.equal(layer.eval()(X), X)


def test_mean_only_batch_norm_centres_each_feature_and_tracks_the_mean():
    """Theory Q2."""
    torch.manual_seed(0)
    layer = MeanOnlyBatchNormLayer(3).double()
    X = torch.randn(8, 3, dtype=torch.float64) + 5
    Y = layer(X)
    assert Y.mean(0).abs().max() < 1e-14
    torch.testing.assert_close(Y.std(0), X.std(0))  # mean-only: the scale is left alone
    torch.testing.assert_close(layer.running_mean, 0.1 * X.mean(0, keepdim=True))
    torch.testing.assert_close(layer.eval()(X), X - 0.1 * X.mean(0))


def test_mean_only_batch_norm_gradient_sums_to_zero_and_vanishes_for_one_example():
    """Theory Q2 (c) and (d)."""
    torch.manual_seed(0)
    layer = MeanOnlyBatchNormLayer(3).double()
    layer(torch.randn(8, 3, dtype=torch.float64))
    assert layer.backward(torch.randn(8, 3, dtype=torch.float64)).sum(0).abs().max() < 1e-14
    layer.gamma.grad = None
    Y = layer(torch.randn(1, 3, dtype=torch.float64))
    assert torch.equal(Y, layer.beta)
    assert (layer.backward(torch.randn(1, 3, dtype=torch.float64)) == 0).all()
    assert (layer.gamma.grad == 0).all()


def test_layers_compose_in_sequential():
    """The chain of hand-written backwards equals autograd through the whole network."""
    torch.manual_seed(0)
    layers = [FCLayer(6, 8), MeanOnlyBatchNormLayer(8), LeakyReLULayer(), DropoutLayer(0.3)]
    layers += [FCLayer(8, 8), SigmoidLayer(), GaussianDropoutLayer(0.2), FCLayer(8, 5), ReLULayer(), FCLayer(5, 4)]
    model = nn.Sequential(*layers).double()
    X = torch.randn(16, 6, dtype=torch.float64, requires_grad=True)
    Y = model(X)
    delta = torch.randn_like(Y)
    expected = torch.autograd.grad(Y, [X, *model.parameters()], delta)
    for found, e in zip([backward(model, delta), *(p.grad for p in model.parameters())], expected, strict=True):
        # Not relative: the bias in front of batch normalisation has gradient zero (theory Q2).
        assert (found - e).norm() < 1e-10 * max(1, e.norm())


# ------------------------------------------------------------------------------- copies, and what is refused


@every_layer
@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
def test_a_layer_is_copied_after_a_forward(make, copy_of):
    """Outside no_grad, too; the copy starts anew, and the layer itself goes on."""
    layer = randomised(make)
    Y = layer(random_input(layer, 6))
    copied = copy_of(layer)
    torch.testing.assert_close(list(copied.parameters()), list(layer.parameters()))
    with pytest.raises(RuntimeError, match="backward before forward"):
        copied.backward(torch.ones_like(Y))
    layer.backward(torch.ones_like(Y))


def test_a_decorated_backward_of_a_base_keeps_its_decorator():
    negated = decorated(lambda self, delta: -FCLayer.backward(self, delta))
    for name, method in {"Negated": negated, "Wrapped": wraps(FCLayer.backward)(negated)}.items():
        layer = type(name, (FCLayer,), {"backward": method})(3, 2)
        layer(torch.ones(4, 3))
        delta = torch.ones(4, 2)
        for result in layer.backward(delta), type(layer).backward.unchecked(layer, delta):
            torch.testing.assert_close(result, -delta @ layer.W.T.detach())


def test_a_layer_of_a_notebook_is_sent_to_other_processes():
    """A class of __main__ is pickled by value, with the checks around its methods."""
    notebook = {"__name__": "__main__", "Layer": Layer}
    exec("class Own(Layer):\n    def forward(self, X):\n        return X\n\n    backward = forward", notebook)
    layer = pickle.loads(pickle.dumps(wrap_non_picklable_objects(notebook["Own"]())))
    assert layer.backward(layer(torch.ones(4, 3))).shape == (4, 3)


def change(tensor):
    with torch.no_grad():
        tensor += 1


@every_layer
@pytest.mark.parametrize("grad_mode", [True, False])
def test_what_backward_needs_was_changed(make, grad_mode):
    """As autograd, which raises, too: any tensor that forward has left in the layer, or a parameter."""
    with torch.set_grad_enabled(grad_mode):
        layer = randomised(make)
        own = [name for name, value in vars(layer).items() if isinstance(value, torch.Tensor)]
        for name in [*own, *layer._parameters]:
            X = random_input(layer, 4).detach()
            Y = layer(X)
            change(getattr(layer, name))
            with pytest.raises(RuntimeError, match="changed before backward"):
                layer.backward(torch.ones_like(Y))
            assert all(p.grad is None for p in layer.parameters())


def test_what_backward_needs_was_exchanged():
    layer = FCLayer(3, 2)
    for attribute, other in ("X", torch.ones(4, 3)), ("W", nn.Parameter(torch.ones(3, 2))):
        layer(torch.ones(4, 3))
        setattr(layer, attribute, other)
        with pytest.raises(RuntimeError, match="changed before backward"):
            layer.backward(torch.ones(4, 2))


def test_an_output_that_is_changed():
    """Y -= T: a sigmoid's backward needs Y, a fully connected layer's does not."""
    for layer in SigmoidLayer(), ReLULayer():
        change(layer(torch.randn(4, 3)))
        with pytest.raises(RuntimeError, match="changed before backward"):
            layer.backward(torch.ones(4, 3))
    layer = FCLayer(3, 2)
    change(layer(torch.randn(4, 3)))
    assert layer.backward(torch.ones(4, 2)).shape == (4, 3)


def test_where_autograd_is_off_each_shape_is_guarded_until_it_was_right_once():
    """As in a training loop: its code changes what a layer keeps the first time, or never."""
    layer = SigmoidLayer()
    with torch.no_grad():
        for N in 4, 5:
            change(layer(torch.randn(N, 3)))
            with pytest.raises(RuntimeError, match="changed before backward"):
                layer.backward(torch.ones(N, 3))
            layer(torch.randn(N, 3))
            layer.backward(torch.ones(N, 3))
    test_an_output_that_is_changed()


def test_backward_twice_after_one_forward():
    layer = Exponential()
    delta = torch.ones_like(layer(torch.randn(4, 3)))
    assert torch.equal(layer.backward(delta), layer.backward(delta))


def test_an_input_that_is_a_parameter_does_not_become_one_of_the_layer():
    """Its gradient is what backward returns, as for an image that is optimized."""
    layer, X = FCLayer(3, 2), nn.Parameter(torch.ones(4, 3))
    for _ in range(2):
        layer(X)
        assert layer.backward(torch.ones(4, 2)).shape == (4, 3)
    assert [name for name, _ in layer.named_parameters()] == ["W", "b"]


def test_inputs_and_delta_by_name_and_inference_mode():
    layer = FCLayer(3, 2)
    layer(X=torch.ones(4, 3))
    assert layer.backward(delta=torch.ones(4, 2)).shape == (4, 3)
    with torch.inference_mode():
        assert layer(torch.ones(4, 3)).shape == (4, 2) and layer.backward(torch.ones(4, 2)).shape == (4, 3)


def test_a_new_forward_beside_the_backward_of_another():
    for base in FCLayer, Softplus:  # the second has its backward from a base
        with pytest.raises(TypeError, match="Other has a forward of its own, but the backward of another"):
            type("Other", (base,), {"forward": lambda self, X: X})
        layer = type("Other", (base,), {"forward": base.forward, "backward": base.backward})
        assert issubclass(layer, base)


def own(forward=lambda self, X: X, backward=lambda self, delta: delta, **more):
    return type("Own", (Layer,), {"forward": forward, "backward": backward, **more})


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: own(lambda self, X: None)()(torch.ones(4, 3)), TypeError, "is a return missing"),
        (lambda: own(__init__=lambda self: setattr(self, "rate", 0.5))(), TypeError, r"super\(\)\.__init__\(\)"),
        (lambda: own(__init__=lambda self: setattr(self, "W", nn.Parameter(torch.ones(2))))(), AttributeError, "init"),
        (lambda: backward_of(own(backward=lambda self, delta: None)()), ValueError, r"shape \(4, 3\), got NoneType"),
        (lambda: backward_of(own(backward=lambda self, d: d.sum(0))()), ValueError, r"shape \(4, 3\), got \(3,\)"),
        (lambda: backward_of(ReLULayer(), torch.ones(1, 3)), ValueError, r"shape \(4, 3\), got \(1, 3\)"),
        (lambda: backward_of(ReLULayer(), 1.0), ValueError, r"shape \(4, 3\), got float"),
        (lambda: backward(nn.Sequential(nn.ReLU()), torch.ones(4, 3)), TypeError, "ReLU has no backward"),
        (lambda: ReLULayer()(torch.ones(4, 3).numpy()), TypeError, "tensor of floats, got ndarray"),
        (lambda: ReLULayer()(torch.ones(4, 3).long()), TypeError, "tensor of floats, got torch.int64"),
        (lambda: DropoutLayer(1.0), ValueError, r"dropout_rate must be in \[0, 1\), got 1.0"),
        (lambda: DropoutLayer(float("nan")), ValueError, r"dropout_rate must be in \[0, 1\), got nan"),
        (lambda: DropoutLayer("0.5"), TypeError, "dropout_rate must be a number, got '0.5'"),
        (lambda: GaussianDropoutLayer(-1.0), ValueError, r"sigma must be in \[0, inf\), got -1.0"),
        (lambda: LeakyReLULayer(float("nan")), ValueError, "negative_slope must be in"),
    ],
)
def test_bad_layers_inputs_and_arguments(use, error, message):
    with pytest.raises(error, match=message):
        use()


def backward_of(layer, delta=None):
    Y = layer(torch.ones(4, 3))
    return layer.backward(torch.ones_like(Y) if delta is None else delta)


@every_layer
def test_backward_before_forward(make):
    with pytest.raises(RuntimeError, match="backward before forward"):
        make().backward(torch.ones(2, WIDTH))


@pytest.mark.parametrize("layer", [FCLayer(784, 10), MeanOnlyBatchNormLayer(784)], ids=str)
@pytest.mark.parametrize("shape", [(32, 28), (784,), (2, 28, 28), (1, 1, 784), (0, 784), (4, 1)], ids=str)
def test_input_of_another_width_or_rank_or_empty(layer, shape):
    with pytest.raises(ValueError, match=re.escape(f"expected an input of shape (N, 784), got {shape}")):
        layer(torch.zeros(shape))


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Sigmoid(), None])
def test_simple_mlp(activation):
    model = SimpleMLP(4, 16, 2, num_hidden_layers=3, last_layer_activation_fn=activation)
    shapes = [m.weight.shape for m in model.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(16, 4), (16, 16), (16, 16), (2, 16)]
    assert isinstance(model.model[-1], nn.Sigmoid) == (activation is not None)
    assert model(torch.zeros(50, 4)).shape == (50, 2)
