"""How the layers are checked: by autograd on their definitions, and what each should not do."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from .calling import build, call_forward, gradient, methods, randn
from .compare import Case, Mistakes, judge, same
from .core import Found, need, task
from .passes import SHARED, LayerTask, call_backward, check_elementwise, check_layer, double

# ------------------------------------------------------------------------------------------------- fully connected


@task("FCLayer")
def check_fc_layer(cls: type) -> str:
    def definition(layer, X, W, b):
        return X @ W + b

    def wrong(layer, delta, true, X, W, b):
        ones, sums = torch.ones_like(X), X.sum(1, keepdim=True)
        turned = gradient(lambda X: X @ W.T, X, delta) if W.shape[0] == W.shape[1] else torch.tensor(torch.nan)
        on_b = gradient(lambda b: b * sums, b, delta), "dL/db contains the input; Y depends on b with the factor 1."
        return {
            "Y": {
                "bias missing": (X @ W, "Y does not contain the bias."),
                "bias sign": (X @ W - b, "Y contains the bias with the wrong sign."),
            },
            "dL/dX": {
                "weights missing": (delta, "dL/dX does not contain W."),
                "weights not transposed": (turned, "dL/dX contains W the wrong way round."),
            },
            "dL/db": {"bias times input": on_b},
            "dL/dW": {"input missing": (gradient(lambda W: ones @ W, W, delta), "dL/dW does not contain the input X.")},
        }

    shapes = {"W": lambda D, K: (D, K), "b": lambda D, K: (1, K)}
    text = check_layer(cls, LayerTask(definition, wrong, shapes, lambda D, K: (D, K)))
    check_start(cls)
    return text


def check_start(cls: type) -> None:
    D, K = 150, 600
    layer, again = cls(D, K), cls(D, K)
    W, b = layer.W.detach(), layer.b
    need(layer.W.requires_grad and b.requires_grad, "not trained", "W and b need requires_grad, or nothing is learned.")
    mean, std, expected = float(W.mean()), float(W.std()), (2 / (D + K)) ** 0.5
    text = "W starts with equal entries: then all units learn the same. Start from random numbers."
    need(std > 0, "zeros", text)
    text = "two layers start with the same W: draw it anew, and leave the random seed alone."
    need(not torch.equal(W, again.W), "same start", text)
    need(not b.any(), "bias start", "b should start from zeros.")
    singular = torch.linalg.svdvals((W - mean) / std)[[0, -1]]
    usual = torch.tensor([K**0.5 + D**0.5, K**0.5 - D**0.5])  # of independent numbers
    text = "W starts with entries that depend on each other, such as equal rows or columns: draw every entry."
    need(torch.allclose(singular.float(), usual, rtol=0.1), "dependent start", text)
    text = f"W starts with numbers of mean {mean:.3f}, not around 0: are they shifted, or all of one sign?"
    need(abs(mean) < 0.05 * std, "shifted start", text)
    text = (
        f"W starts with standard deviation {std:.3f}; for {D} inputs and {K} outputs the formula gives {expected:.3f}."
    )
    need(abs(std / expected - 1) < 0.05, "initial scale", text)
    fourth = float(((W / std) ** 4).mean())  # 3 for normal numbers, 1.8 for uniform ones, 1 for two values
    text = "W starts with the right standard deviation, but its numbers are not normally distributed."
    need(2.1 < fourth < 4, "not normal", text)


# ----------------------------------------------------------------------------------------------------- activations


@task("SigmoidLayer")
def check_sigmoid_layer(cls: type) -> str:
    def mistakes(X: Tensor, Y: Tensor, delta: Tensor, dX: Tensor) -> tuple[Mistakes, Mistakes]:
        at_X = (
            delta * (0.25 - (X - 0.5) ** 2),
            "the formula for the derivative takes the output, and is given the input.",
        )
        at_Y = gradient(torch.sigmoid, Y, delta), "the derivative is taken at the output; it belongs at the input."
        half = "one of the two factors of the sigmoid's derivative is missing."
        tanh = "this is the formula for the derivative of tanh; that of the sigmoid is another."
        forwards = {
            "exponent sign": (torch.sigmoid(-X), "the sign in the exponent is wrong: the sigmoid grows with X."),
            "another function": (torch.tanh(X), "this is tanh, not the sigmoid."),
            "softmax": (torch.softmax(X, -1), "this is the softmax; the sigmoid takes each entry by itself."),
            "1 missing": (torch.exp(X), "this is exp(X): the denominator lacks a term."),
            "brackets": (1 + torch.exp(-X), "brackets are missing: 1 / 1 + a is not 1 / (1 + a)."),
        }
        return forwards, {
            "derivative at X": at_X,
            "derivative at Y": at_Y,
            "half a derivative": (delta * Y, half),
            "other half a derivative": (delta * torch.sigmoid(-X), half),
            "derivative of tanh": (gradient(torch.tanh, torch.atanh(Y), delta), tanh),
        }

    return check_elementwise(cls, torch.sigmoid, mistakes)


@task("ReLULayer")
def check_relu_layer(cls: type) -> str:
    def mistakes(X: Tensor, Y: Tensor, delta: Tensor, dX: Tensor) -> tuple[Mistakes, Mistakes]:
        forwards = {
            "identity": (X, "negative inputs should give 0; yours pass."),
            "absolute value": (X.abs(), "negative inputs should give 0; yours give their absolute value."),
            "negative part": (X - Y, "negative inputs pass, and positive ones give 0: the other way round."),
            "step": (Y.sign(), "positive inputs give 1; they should pass as they are."),
        }
        return forwards, {
            "other side": (delta - dX, "delta passes where X < 0, and not where X > 0: the other way round."),
            "relu of both": (
                torch.relu(dX),
                "negative entries of delta do not pass: the ReLU is applied to delta, too.",
            ),
        }

    return check_elementwise(cls, torch.relu, mistakes)


@task("LeakyReLULayer")
def check_leaky_relu_layer(cls: type) -> str:
    forward, _ = methods(cls, "forward", "backward")
    try:
        default = -call_forward(build(cls), forward, -torch.ones(1, 1)).item()
    except TypeError:  # named below, if the layer is right otherwise
        default = None

    def mistakes(slope: float, X: Tensor, Y: Tensor, delta: Tensor, dX: Tensor) -> tuple[Mistakes, Mistakes]:
        always = partial(leaky_relu, negative_slope=default or 0.01)
        ignored = f"always uses the slope {default or 0.01:.4g}, not the one that was given."
        swapped = "the slope multiplies where X > 0, and not where X < 0: the other way round."
        nothing = "where X < 0 nothing passes backwards: the slope is missing."
        forwards = {
            "slope missing forward": (torch.relu(X), "negative inputs give 0: the slope is missing in forward."),
            "slope sign": (leaky_relu(X, -slope), "negative inputs come out with the wrong sign."),
            "identity": (X, "negative inputs pass as they are: the slope is missing in forward."),
            "slope ignored forward": (always(X), f"forward {ignored}"),
            "sides swapped": (X + slope * X - Y, f"in forward {swapped}"),
        }
        return forwards, {
            "slope missing": (gradient(torch.relu, X, delta), nothing),
            "slope everywhere": (slope * delta, "the slope multiplies all of delta, not only where X < 0."),
            "slope ignored backward": (gradient(always, X, delta), f"backward {ignored}"),
            "sides swapped backward": (delta + slope * delta - dX, f"in backward {swapped}"),
        }

    for slope in 0.3, 0.1:
        function = partial(leaky_relu, negative_slope=slope)
        text = check_elementwise(cls, function, partial(mistakes, slope), slope)
    given = "the default value in the signature that was given"
    need(default is not None, "no default", f"LeakyReLULayer() fails: {given} is missing.")
    need(same(default, 0.01), "another default", f"LeakyReLULayer() has the slope {default:.4g}, which is not {given}.")
    return text


# --------------------------------------------------------------------------------------------------------- dropout


@task("DropoutLayer")
def check_dropout_layer(cls: type) -> str:
    forward, backward = methods(cls, "forward", "backward")
    for p in 0.5, 0.2:
        layer, X, delta = double(build(cls, p)), randn(200, 100), randn(200, 100)
        Y = call_forward(layer.train(), forward, X)
        text = f"the output has the wrong shape: got {tuple(Y.shape)}, expected {tuple(X.shape)}."
        need(Y.shape == X.shape, "shape", text)
        if Y.all() or not Y.any():
            kinds = {bool(call_forward(layer, forward, X).any()) for _ in range(20)}
            need(len(kinds) == 1, "one draw for all", "all entries are dropped, or none: draw for every entry.")
        check_kept((Y / X).abs() > 1e-9, p)
        check_scale(layer, forward, X, Y / X, p)
        again, third = (call_forward(layer.train(), forward, X) for _ in range(2))
        text = "two forward passes draw the same mask: draw anew each time."
        need(not same(again, Y) and not same(third, Y) and not same(third, again), "same mask again", text)
        check_dropout_backward(call_backward(layer, backward, delta, X), delta, third / X, p)
        call_forward(layer.eval(), forward, X)
        text = "after a forward in eval mode backward should pass delta unchanged."
        need(same(call_backward(layer, backward, delta, X), delta), "backward in eval mode", text)
        check_count(layer.train(), forward, p)
    check_two_layers(cls, forward, backward)
    X = torch.randn(4, 3)
    Y = call_forward(build(cls, 0.0).train(), forward, X)
    need(same(Y, X), "rate 0", "with rate 0 the output should be the input.")
    layer = build(cls, 0.5).train()
    call_backward(layer, backward, torch.ones_like(call_forward(layer, forward, X)), X)
    return "right: the fraction kept, its scale, eval mode, and the same mask backwards."


def check_kept(kept: Tensor, p: float) -> None:
    """Is each entry kept with probability 1 - p?"""
    fraction = kept.double().mean().item()
    need(fraction < 1, "no dropout", "in training nothing is dropped.")
    need(fraction > 0, "all dropped", "in training everything is dropped.")
    for name, mask in ("row", kept), ("column", kept.T):
        text = f"a whole {name} is dropped at once: draw for every entry."
        need(not (mask == mask[:, :1]).all(), f"one draw for a {name}", text)
    different = all(len(mask.unique(dim=0)) == len(mask) for mask in (kept, kept.T))
    need(different, "mask repeated", "parts of the mask are copies of others: draw for every entry.")
    close = abs(fraction - (1 - p)) < 0.03
    text = f"with rate {p} a fraction {fraction:.2f} is kept: dropout_rate is what is dropped."
    need(close or abs(fraction - p) >= 0.03, "rate reversed", text)
    need(close, "wrong fraction", f"with rate {p} a fraction {fraction:.2f} is kept, expected {1 - p}.")


def check_count(layer: Any, forward: Callable, p: float) -> None:
    """Has the number kept of 100 entries the variance of a binomial distribution?"""
    X = randn(10, 10).abs() + 1
    counts = torch.stack([(call_forward(layer, forward, X) > 0).double().sum() for _ in range(60)])
    variance = float(counts.var()) / (100 * p * (1 - p))
    text = (
        "the number of dropped entries is (nearly) the same each time: draw for every entry, whatever the others are."
    )
    need(variance > 0.2, "exact count", text)
    text = "the number of dropped entries varies too much: draw for every entry, whatever the others are."
    need(variance < 3, "dropped together", text)


def check_scale(layer: Any, forward: Callable, X: Tensor, noise: Tensor, p: float) -> None:
    """What is kept is scaled in training, and the output in eval mode is the input."""
    kept = noise[noise.abs() > 1e-9]
    eval_Y = call_forward(layer.eval(), forward, X)
    if same(kept, torch.ones_like(kept)):
        text = (
            "the output is scaled in eval mode (standard dropout). Scale in training, and leave the input alone there."
        )
        need(not same(eval_Y, (1 - p) * X), "scaled in eval mode", text)
        raise Found("not scaled", "what is kept in training is not scaled, so its mean is too small.")
    text = "what is kept is divided by p, the probability of dropping; then the mean is not right."
    need(p == 0.5 or not same(kept, torch.full_like(kept, 1 / p)), "scaled by 1/p", text)
    text = f"what is kept is multiplied by {kept[0].item():.5g}, expected {1 / (1 - p):.5g}, always."
    need(same(kept, torch.full_like(kept, 1 / (1 - p))), "wrong scale", text)
    text = "in eval mode it still drops: look at self.training."
    need(not 0.01 < (eval_Y == 0).double().mean() < 0.99, "dropout in eval mode", text)
    need(same(eval_Y, X), "eval mode", "in eval mode the output should be the input.")


def check_dropout_backward(dX: Tensor, delta: Tensor, noise: Tensor, p: float) -> None:
    text = f"dL/dX has the wrong shape: got {tuple(dX.shape)}, expected {tuple(delta.shape)}."
    need(dX.shape == delta.shape, "shape", text)
    text = "backward draws a mask of its own. It must use the one that forward drew."
    need(not another_mask(dX / delta, noise), "another mask", text)
    true = gradient(lambda X: X * noise, delta, delta)
    passed = (1 - p) * true
    wrong = {
        "mask missing": (delta, "dL/dX is delta unchanged: what was dropped forwards must be dropped backwards."),
        "scale missing": (passed, "backward uses the mask of zeros and ones, and forgets its scale."),
        "scaled twice": (true / (1 - p), "backward scales what was kept twice."),
        "dropped kept": (delta - passed, "backward passes exactly what forward dropped."),
    }
    judge([Case("dL/dX", dX, true, {"noise": noise[:2, :2], "delta": delta[:2, :2]}, wrong)])


def check_two_layers(cls: type, forward: Callable, backward: Callable) -> None:
    X, first = randn(20, 10), double(build(cls, 0.5)).train()
    Y = call_forward(first, forward, X)
    second = double(build(cls, 0.5)).train()
    text = "two layers draw the same masks: leave the random seed alone."
    need(not same(call_forward(second, forward, X), Y), "same masks", text)
    need(same(call_backward(first, backward, torch.ones_like(X), X), Y / X), "shared memory", SHARED)
    call_forward(first, forward, 0 * X)
    text = "where the input is 0 nothing passes backwards: it is not the output that says what was dropped."
    need(call_backward(first, backward, X, X).any(), "mask from the output", text)


def another_mask(ours: Tensor, noise: Tensor) -> bool:
    """Does it have the values of the noise, each somewhere, but at other places?"""
    looks_like = same(ours.round(decimals=9).unique(), noise.round(decimals=9).unique())
    agreement = ((ours.abs() > 1e-9) == (noise != 0)).double().mean()
    return bool(looks_like and 0.05 < agreement < 0.95)


# --------------------------------------------------------------------------------------------- batch normalisation


@task("MeanOnlyBatchNormLayer")
def check_mean_only_batch_norm_layer(cls: type) -> str:
    def batch_norm(X, mean, gamma, beta):
        return gamma * (X - mean) + beta

    def batch_mean(X):
        return X.mean(0, keepdim=True)

    def definition(layer, X, gamma, beta):
        return batch_norm(X, batch_mean(X) if layer.training else layer.running_mean, gamma, beta)

    def wrong(layer, delta, true, X, gamma, beta):
        old, new = layer.running_mean.clone(), batch_mean(X)
        used = new if layer.training else old
        direct = gradient(lambda X: batch_norm(X, used, gamma, beta), X, delta)  # as if the mean were a constant
        both = gradient(lambda X: batch_norm(X, batch_mean(X), gamma, beta), X, delta)
        swapped = "dL/dX in training is that of eval mode, and the other way round."

        def minus(mean):
            return batch_norm(X, mean, gamma, beta)

        Y = minus(used)
        on_Y = {
            "gamma missing": (batch_norm(X, used, 1, beta), "Y does not contain gamma."),
            "beta missing": (Y - beta, "Y does not contain beta."),
            "beta sign": (Y - 2 * beta, "Y contains beta with the wrong sign."),
            "mean not subtracted": (minus(0), "the mean is not subtracted."),
            "mean added": (minus(-used), "the mean is added, and not subtracted."),
            "mean without gamma": (gamma * X - used + beta, "gamma multiplies X, but not the mean."),
        }
        if layer.training:
            rows, std = X.mean(1, keepdim=True), (X.var(0, keepdim=True, correction=0) + 1e-5).sqrt()
            stored = "in training running_mean is subtracted; the batch's own mean belongs there."
            on_Y |= {
                "divided by std": ((Y - beta) / std + beta, "the variance is normalised, too."),
                "mean over features": (minus(rows), "the mean is taken over the features of an example."),
                "one mean": (minus(X.mean()), "one mean is taken over everything; each feature has its own."),
                "sum over the batch": (minus(X.sum(0)), "the batch's sum is subtracted, not its mean."),
                "running mean in training": (minus(old), stored),
                "updated mean in training": (minus(0.9 * old + 0.1 * new), stored),
            }
            through = true[0] - direct
            text = "the second path sums delta over the batch, where it should average."
            on_X = {
                "modes swapped": (direct, swapped),
                "mean missing": (direct, "dL/dX lacks a path: X also enters through the mean."),
                "gamma missing backward": (true[0] / gamma, "dL/dX does not contain gamma."),
                "sum for mean": (direct + len(X) * through, text),
                "gamma on one path": (direct + through / gamma, "gamma multiplies only one of the two paths."),
                "sign of the mean": (direct - through, "the path through the mean has the wrong sign."),
            }
        else:
            text = "in eval mode the batch's mean is used; running_mean takes its place there."
            on_Y["batch mean in eval mode"] = minus(new), text
            text = "in eval mode the mean is a constant: one of the two paths is gone."
            on_X = {"modes swapped": (both, swapped), "mean in eval mode": (both, text)}
        on_X["no gamma backward"] = true[0] / gamma, "dL/dX does not contain gamma, in either mode."
        text = "dL/dgamma contains the layer's {} as it is; gamma multiplies something else."
        on_gamma = {
            "not centred": (gradient(lambda gamma: gamma * X, gamma, delta), text.format("input")),
            "output for input": (gradient(lambda gamma: gamma * Y, gamma, delta), text.format("output")),
        }
        text = "dL/dbeta contains gamma; Y depends on beta with the factor 1."
        on_beta = {"beta times gamma": (gamma * true[2], text)}
        return {"Y": on_Y, "dL/dX": on_X, "dL/dgamma": on_gamma, "dL/dbeta": on_beta}

    check_batch_norm_start(cls)
    shapes = dict.fromkeys(["gamma", "beta"], lambda D, K: (1, D))
    try:
        text = check_layer(cls, LayerTask(definition, wrong, shapes, lambda D, K: (D,), ("running_mean",)))
    except RuntimeError:  # a running_mean of another shape fits nothing
        check_running_mean(cls)
        raise
    check_running_mean(cls)
    return text


def check_batch_norm_start(cls: type) -> None:
    forward, _ = methods(cls, "forward", "backward")
    layer = build(cls, 3)
    for name, value, start in ("gamma", 1, "ones"), ("beta", 0, "zeros"), ("running_mean", 0, "zeros"):
        ours = getattr(layer, name, None)
        need(isinstance(ours, Tensor), "no attribute", f"it has no attribute called {name}, or it is no tensor.")
        text = f"{name} has shape {tuple(ours.shape)}, expected (1, 3)."
        need(ours.shape == (1, 3), "parameter shape", text)
        need((ours == value).all(), "starts", f"{name} should start from {start}.")
    text = "running_mean should be no parameter: it is not trained."
    need("running_mean" not in dict(layer.named_parameters()), "no parameter wanted", text)
    call_forward(layer.eval(), forward, torch.randn(5, 3) + 4)
    text = "running_mean changes in eval mode: the test data must not enter it."
    need(not layer.running_mean.any(), "updated in eval mode", text)


def check_running_mean(cls: type) -> None:
    forward, _ = methods(cls, "forward", "backward")
    layer = double(build(cls, 3)).train()
    layer.gamma.copy_(randn(1, 3))
    for X in randn(5, 3) + 4, randn(4, 3) - 5, randn(6, 3):
        before, mean = layer.running_mean.clone(), X.mean(0, keepdim=True)
        call_forward(layer, forward, X)
        now = layer.running_mean
        text = "running_mean is no tensor of shape (1, num_features) after a forward in training."
        need(isinstance(now, Tensor) and now.shape == before.shape, "shape", text)
        kept, moved = torch.linalg.lstsq(torch.cat([before, mean]).T, now.T).solution.ravel().tolist()
        text = f"running_mean becomes {kept:.3g} of itself plus {moved:.3g} of the batch's mean."
        if not before.any():  # how much is kept of zeros?
            text = f"a running_mean of zeros becomes {moved:.3g} times the batch's mean."
        wrong = {
            "running mean not updated": (before, "running_mean is not updated in training."),
            "momentum": (kept * before + moved * mean, text),
        }
        inputs, expected = {"batch mean": mean, "before": before}, 0.9 * before + 0.1 * mean
        judge([Case("running_mean after a forward in training", now, expected, inputs, wrong)])
