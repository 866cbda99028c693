"""Every layer: forward values, the hand-written backward against autograd, modes, state and bad input."""

import copy
import re

import pytest
import torch
from torch import nn

from layers import (
    DropoutLayer,
    FCLayer,
    GaussianDropoutLayer,
    LeakyReLULayer,
    MeanOnlyBatchNormLayer,
    ReLULayer,
    SigmoidLayer,
    SimpleMLP,
)

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
    width = layer.W.shape[0] if isinstance(layer, FCLayer) else WIDTH
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
def test_backward_survives_a_deep_copy_and_a_change_of_mode(make):
    torch.manual_seed(0)
    layer = randomised(make)
    X = random_input(layer, 6)
    delta = torch.randn_like(layer(X))
    expected = layer.backward(delta)
    torch.testing.assert_close(copy.deepcopy(layer).backward(delta), expected)
    torch.testing.assert_close(layer.eval().backward(delta), expected)


@every_layer_with_parameters
def test_state_dict_round_trip(make):
    torch.manual_seed(0)
    layer, other = randomised(make), make().double()
    X = random_input(layer, 6).detach()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other.eval()(X), layer.eval()(X), rtol=0, atol=0)


@every_layer
def test_device_moves(make):
    """The meta device checks on any machine that nothing is left behind; a GPU, where there is one, the numbers."""
    layer = make().double().to("meta")
    X = random_input(layer, 6).detach().to("meta")
    delta_next = layer.backward(torch.empty_like(layer(X)))
    assert delta_next.device.type == "meta"
    assert all(p.grad.device.type == "meta" for p in layer.parameters())
    if torch.cuda.is_available():
        layer = make().double().eval()
        X = random_input(layer, 6).detach()
        expected = layer(X)
        torch.testing.assert_close(layer.cuda()(X.cuda()).cpu(), expected)


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


def test_fclayer_can_skip_the_input_gradient():
    layer = FCLayer(4, 3)
    layer(torch.randn(5, 4))
    delta = torch.randn(5, 3)
    assert layer.backward(delta, input_grad=False) is None
    skipped = layer.W.grad.clone()
    layer.W.grad = None
    layer.backward(delta)
    torch.testing.assert_close(layer.W.grad, skipped)


def test_activation_values():
    X = torch.tensor([[-2.0, 0.0, 3.0]])
    torch.testing.assert_close(SigmoidLayer()(X), torch.tensor([[0.11920292, 0.5, 0.95257413]]))
    assert SigmoidLayer()(torch.tensor([-1e4, 1e4])).tolist() == [0.0, 1.0]
    assert ReLULayer()(X).tolist() == [[0.0, 0.0, 3.0]]
    torch.testing.assert_close(LeakyReLULayer(0.1)(X), torch.tensor([[-0.2, 0.0, 3.0]]))


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
    for layer in reversed(model):
        delta = layer.backward(delta)
    for found, e in zip([delta, *(p.grad for p in model.parameters())], expected, strict=True):
        # Not relative: the bias in front of batch normalisation has gradient zero (theory Q2).
        assert (found - e).norm() < 1e-10 * max(1, e.norm())


@every_layer
def test_backward_before_forward(make):
    with pytest.raises(RuntimeError, match="backward before forward"):
        make().backward(torch.ones(2, WIDTH))


@every_layer
def test_delta_of_another_shape(make):
    layer = make()
    X = random_input(layer, 4).detach().float()
    Y = layer(X)
    with pytest.raises(ValueError, match=r"delta must have the output's shape \(4, \d\), got \(1, \d\)"):
        layer.backward(torch.ones_like(Y)[:1])
    assert all(p.grad is None for p in layer.parameters())


@pytest.mark.parametrize("layer", [FCLayer(784, 10), MeanOnlyBatchNormLayer(784)], ids=str)
@pytest.mark.parametrize("shape", [(32, 28), (784,), (2, 28, 28), (1, 1, 784), (0, 784)], ids=str)
def test_input_of_another_width_or_rank_or_empty(layer, shape):
    with pytest.raises(ValueError, match=re.escape(f"expected an input of shape (N, 784) with N > 0, got {shape}")):
        layer(torch.zeros(shape))


@every_layer
def test_input_of_another_type(make):
    layer = make()
    X = random_input(layer, 2).detach()
    with pytest.raises(TypeError, match="floating-point"):
        layer(X.long())
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        layer(X.numpy())
    if list(layer.parameters()):
        with pytest.raises(TypeError, match="float32"):
            layer(X)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_rate_outside_0_to_1(rate):
    with pytest.raises(ValueError, match=r"dropout_rate must be in \[0, 1\)"):
        DropoutLayer(rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FCLayer(0, 3), "at least 1"),
        (lambda: FCLayer(3, -1), "at least 1"),
        (lambda: MeanOnlyBatchNormLayer(0), "at least 1"),
        (lambda: GaussianDropoutLayer(-1.0), "sigma"),
        (lambda: GaussianDropoutLayer(float("inf")), "sigma"),
        (lambda: LeakyReLULayer(float("nan")), "negative_slope"),
        (lambda: SimpleMLP(4, 16, 1, num_hidden_layers=0), "num_hidden_layers"),
    ],
)
def test_impossible_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Sigmoid(), None])
def test_simple_mlp(activation):
    model = SimpleMLP(4, 16, 2, num_hidden_layers=3, last_layer_activation_fn=activation)
    assert [m.weight.shape for m in model.modules() if isinstance(m, nn.Linear)] == [
        (16, 4),
        (16, 16),
        (16, 16),
        (2, 16),
    ]
    assert isinstance(model.model[-1], nn.Sigmoid) == (activation is not None)
    assert model(torch.zeros(50, 4)).shape == (50, 2)
