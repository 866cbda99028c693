"""Every layer: forward values, the hand-written backward against autograd, modes, state and bad input."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn

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
def test_backward_survives_a_change_of_mode(make):
    torch.manual_seed(0)
    layer = randomised(make)
    X = random_input(layer, 6)
    delta = torch.randn_like(layer(X))
    expected = layer.backward(delta)
    torch.testing.assert_close(layer.eval().backward(delta), expected)


@every_layer
@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
def test_what_forward_kept_is_not_copied_or_pickled(make, copy_of):
    layer = randomised(make)
    layer(random_input(layer, 1000))
    assert len(pickle.dumps(layer)) < 5_000
    copied = copy_of(layer)
    assert not set(layer.keeps) & set(vars(copied)) and set(layer.keeps) <= set(vars(layer))
    with pytest.raises(RuntimeError, match="backward before forward"):
        copied.backward(torch.ones(1000, 5))
    torch.testing.assert_close(list(copied.parameters()), list(layer.parameters()))


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
    layer.needs_input_grad = False
    assert layer.backward(delta) is None
    skipped = layer.W.grad
    layer.W.grad = None
    layer.needs_input_grad = True
    assert layer.backward(delta).shape == (5, 4)
    torch.testing.assert_close(layer.W.grad, skipped)


@every_layer
def test_what_forward_keeps_holds_no_graph(make):
    layer = randomised(make)
    assert layer(random_input(layer, 6)).requires_grad
    assert layer.keeps and not any(getattr(layer, name).requires_grad for name in layer.keeps)


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
        assert all(
            torch.equal(g, v) and p.grad is not g for g, v, p in zip(kept, values, layer.parameters(), strict=True)
        )


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


def test_small_integers_of_numpy_are_sizes():
    torch.manual_seed(0)
    layer = FCLayer(np.uint8(200), np.uint8(100))
    assert layer.W.std().item() == pytest.approx((2 / 300) ** 0.5, rel=0.02)
    assert isinstance(DropoutLayer(np.float32(0.5)).dropout_rate, float)


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
    for layer in reversed(model):
        delta = layer.backward(delta)
    for found, e in zip([delta, *(p.grad for p in model.parameters())], expected, strict=True):
        # Not relative: the bias in front of batch normalisation has gradient zero (theory Q2).
        assert (found - e).norm() < 1e-10 * max(1, e.norm())


def change(tensor):
    with torch.no_grad():
        tensor += 1


@every_layer
@pytest.mark.parametrize("grad_mode", [True, False])
def test_what_backward_needs_was_changed_in_place(make, grad_mode):
    """As autograd, which raises, too: the tensor that forward kept, or a parameter."""
    with torch.set_grad_enabled(grad_mode):
        layer = randomised(make)
        for i in range(len(layer.keeps) + len(list(layer.parameters()))):
            X = random_input(layer, 4).detach()
            Y = layer(X)
            change([*(getattr(layer, name) for name in layer.keeps), *layer.parameters()][i])
            with pytest.raises(RuntimeError, match="changed before backward"):
                layer.backward(torch.ones_like(Y))
            assert all(p.grad is None for p in layer.parameters())


def test_an_output_changed_before_backward():
    """Y -= T, where backward needs Y; a fully connected layer does not."""
    X = torch.randn(4, 3)
    for layer in SigmoidLayer(), ReLULayer():
        Y = layer(X)
        change(Y)
        with pytest.raises(RuntimeError, match="changed before backward"):
            layer.backward(torch.ones(4, 3))
    layer = FCLayer(3, 2)
    change(layer(X))
    assert layer.backward(torch.ones(4, 2)).shape == (4, 3)


def test_layers_run_in_inference_mode():
    with torch.inference_mode():
        layer = FCLayer(3, 2)
        assert layer(torch.ones(4, 3)).shape == (4, 2)
        assert layer.backward(torch.ones(4, 2)).shape == (4, 3)


def test_an_input_that_is_a_parameter_does_not_become_one_of_the_layer():
    layer = FCLayer(3, 2)
    layer(nn.Parameter(torch.ones(4, 3)))
    assert [name for name, _ in layer.named_parameters()] == ["W", "b"]


class Own(Layer):
    """A student's layer: X -> what forward and backward say."""

    def __init__(self, forward=lambda X: X, backward=lambda delta: delta):
        super().__init__()
        self.functions = forward, backward

    def forward(self, X):
        return self.functions[0](X)

    def backward(self, delta):
        return self.functions[1](delta)


def test_delta_by_name():
    layer = FCLayer(3, 2)
    layer(X=torch.ones(4, 3))
    assert layer.backward(delta=torch.ones(4, 2)).shape == (4, 3)


def test_a_parameter_exchanged_before_backward():
    for exchange in (
        lambda layer: setattr(layer.W, "data", torch.ones(3, 2)),
        lambda layer: setattr(layer, "W", nn.Parameter(torch.ones(3, 2))),
    ):
        layer = FCLayer(3, 2)
        layer(torch.ones(4, 3))
        exchange(layer)
        with pytest.raises(RuntimeError, match="changed before backward"):
            layer.backward(torch.ones(4, 2))


def test_a_forward_of_ones_own_with_the_backward_of_another():
    with pytest.raises(TypeError, match="Doubled has a forward of its own, but the backward of another"):

        class Doubled(FCLayer):
            def forward(self, X):
                return 2 * super().forward(X)

    class Printing(FCLayer):
        def forward(self, X):
            return super().forward(X)

        backward = FCLayer.backward

    layer = Printing(3, 2)
    layer(torch.ones(4, 3))
    assert layer.backward(torch.ones(4, 2)).shape == (4, 3)


def test_a_name_in_keeps_that_forward_does_not_set():
    class Forgetful(Own):
        keeps = ("Z",)

    with pytest.raises(TypeError, match="keeps names 'Z', but forward did not set it"):
        Forgetful()(torch.ones(2, 2))


def test_a_parameter_may_be_none():
    class Plain(Own):
        def __init__(self):
            super().__init__()
            self.register_parameter("b", None)

    layer = Plain()
    assert layer.backward(layer(torch.ones(2, 2))).shape == (2, 2)


def test_what_a_layer_of_ones_own_must_return():
    X = torch.ones(4, 3)
    with pytest.raises(TypeError, match="forward returned NoneType, expected a tensor; is a return missing"):
        Own(forward=lambda X: None)(X)
    for wrong, got in (lambda delta: None, "None"), (lambda delta: delta.sum(0), r"\(3,\)"):
        layer = Own(backward=wrong)
        layer(X)
        with pytest.raises(ValueError, match=rf"backward must return the gradient .* of shape \(4, 3\), got {got}"):
            layer.backward(X)


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
    with pytest.raises(TypeError, match=r"delta must have the output's type torch.float32, got torch.float64"):
        layer.backward(torch.ones_like(Y).double())
    with pytest.raises(TypeError, match=r"delta must be a torch.Tensor, got ndarray"):
        layer.backward(Y.detach().numpy())
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
    for wrong in X.long(), X.to(torch.complex64), X > 0:
        with pytest.raises(TypeError, match="floating-point"):
            layer(wrong)
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        layer(X.numpy())
    with pytest.raises(TypeError, match=r"expected a dense tensor, got torch.sparse_coo; use X.to_dense\(\)"):
        layer(X.to_sparse())
    if list(layer.parameters()):
        with pytest.raises(TypeError, match="float32"):
            layer(X)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        *(
            (lambda rate=rate: DropoutLayer(rate), ValueError, r"dropout_rate must be in \[0, 1\)")
            for rate in (-0.1, 1.0, 1.5)
        ),
        (lambda: DropoutLayer(float("nan")), ValueError, r"dropout_rate must be in \[0, 1\), got nan"),
        (lambda: DropoutLayer("0.5"), TypeError, "dropout_rate must be a number, got '0.5'"),
        (lambda: DropoutLayer(True), TypeError, "dropout_rate must be a number, got True"),
        (lambda: FCLayer(0, 3), ValueError, "num_input must be finite and at least 1, got 0"),
        (lambda: FCLayer(3, -1), ValueError, "num_output must be finite and at least 1"),
        (lambda: FCLayer(3.0, 1), TypeError, "num_input must be an integer, got 3.0"),
        (lambda: FCLayer(None, 1), TypeError, "num_input must be an integer"),
        (lambda: MeanOnlyBatchNormLayer(0), ValueError, "num_features must be finite and at least 1"),
        (lambda: MeanOnlyBatchNormLayer([3]), TypeError, "num_features must be an integer"),
        (lambda: GaussianDropoutLayer(-1.0), ValueError, "sigma must be finite and at least 0"),
        (lambda: GaussianDropoutLayer(float("inf")), ValueError, "sigma must be finite"),
        (lambda: LeakyReLULayer(float("nan")), ValueError, "negative_slope must be finite"),
        (lambda: LeakyReLULayer("0.1"), TypeError, "negative_slope must be a number"),
        (
            lambda: SimpleMLP(4, 16, 1, num_hidden_layers=0),
            ValueError,
            "num_hidden_layers must be finite and at least 1",
        ),
        (lambda: SimpleMLP(4.0, 16, 1), TypeError, "input_dim must be an integer"),
        (lambda: SimpleMLP(4, 0, 1), ValueError, "hidden_dim"),
        (lambda: SimpleMLP(4, 16, "1"), TypeError, "output_dim"),
        (lambda: SimpleMLP(4, 16, 1, last_layer_activation_fn=torch.sigmoid), TypeError, "must be a module such as"),
    ],
)
def test_impossible_arguments(make, error, message):
    with pytest.raises(error, match=message):
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
