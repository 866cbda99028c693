"""Questions 1 to 4: random problems, the answers by autograd on what they derive from, and known mistakes."""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, leaky_relu, softplus

from .calling import derivative, second_derivative, tensor
from .formulas import INDEX, LOSS, SQUARED, TARGET, Function, Problem, formulas, softmax

# fmt: off
MEAN = "it is the mean over the examples; the loss is a sum."
HALF = "one of the two factors of the sigmoid's derivative is missing."


@formulas({"logistic-sigmoid": "", "one-minus-yh": ""})
def sigmoid(rng):
    z = rng.normal()
    grown, falling, yh = np.exp(z), np.exp(-z), torch.sigmoid(tensor(z)).numpy()
    wrong = {
        "erratum logistic-sigmoid": (1 / (1 - grown), "with a minus in the denominator it is no probability."),
        "minus in the denominator": (1 / (1 - falling), "with a minus in the denominator it is no probability."),
        "exponent sign": (1 / (1 + grown), "the sign in the exponent is wrong: this falls with z."),
        "no probability": (grown, "this is no probability, as it grows beyond 1."),
        "no probability, falling": (falling, "this is no probability, as it grows beyond 1 for negative z."),
        "minus in the denominator, above": (grown / (1 - grown), "with a minus in the denominator it is no probability."),
        "upside down": (1 + falling, "this is above 1: it is one over the probability."),
        "tanh": (np.tanh(z), "this is tanh, which is negative for a negative z."),
        "tanh of half": (np.tanh(z / 2), "this is a tanh, which is negative for a negative z."),
        "the derivative": (yh * (1 - yh), "this is the derivative of the sigmoid."),
        "softplus": (np.log1p(grown), "this is the softplus, whose derivative is the sigmoid."),
        "the loss": (np.log1p(falling), "this is the loss of an example with the target 1."),
        "softmax": (1.0, "this is a softmax of one logit, which is always 1."),
        "logarithm": (-np.log1p(falling), "this is the logarithm of the sigmoid."),
        "upside down, sign": (1 + grown, "this is above 1: it is no probability."),
        "precedence": (grown + grown, "e^z/1 + e^z is (e^z/1) + e^z: brackets are missing."),
    }
    named = {"yh": yh, "z": z, "e": np.e, "sigma": Function("the sigmoid", lambda z: 1 / (1 + np.exp(-z)))}
    slope = derivative(lambda z: 1 - torch.sigmoid(z), z)
    wrong_slope = {
        "erratum logistic-lost-minus": (-slope, "the inner minus of 1 - yh is lost."),
        "by yh": (-1.0, "this is the derivative with respect to yh; asked for is that with respect to the logit."),
        "half a derivative": (-yh, HALF),
        "other half a derivative": (yh - 1, HALF),
        "a factor too many": (yh * slope, "it has a factor yh too many."),
        "squared": (-(slope**2), "the derivative is squared."),
        "first factor twice": (-(yh**2), "one of the two factors stands in it twice, and the other is missing."),
        "other factor twice": (-((1 - yh) ** 2), "one of the two factors stands in it twice, and the other is missing."),
        "no derivative": (1 - yh, "this is 1 - yh itself; its derivative is asked for."),
        "derivative of the derivative": (1 - 2 * yh, "this is the derivative of yh(1-yh) with respect to yh."),
        "tanh": (yh**2 - 1, "this is the derivative of a tanh, not of the sigmoid."),
        "tanh, minus lost": (1 - yh**2, "this is the derivative of a tanh, not of the sigmoid."),
        "precedence": (-yh - yh, "a bracket is missing: * binds closer than -."),
    }
    return Problem({"z": z, "e": np.e}, yh, wrong, needs="z"), Problem(named, slope, wrong_slope)


@formulas({"logistic-grad-w": "", "logistic-grad-b": "", "logistic-hessian": ""})
def logistic(rng):
    N, D = int(rng.integers(4, 7)), int(rng.integers(2, 4))
    X, theta, y = rng.normal(size=(N, D)), rng.normal(size=D + 1), (rng.random(N) < 0.5) * 1.0
    y[:2] = 0, 1
    X1 = np.column_stack([X, np.ones(N)])
    z = X1 @ theta
    yh = torch.sigmoid(tensor(z)).numpy()

    def E(theta):
        return binary_cross_entropy_with_logits(tensor(X1) @ theta, tensor(y), reduction="sum")

    names = {"X": X, "yh": yh, "y": y, "w": theta[:-1], "b": theta[-1], "z": z, "N": N, "D": D, "e": np.e}
    *grad_w, grad_b = derivative(E, theta)
    grad_w, error, slope = np.array(grad_w), yh - y, derivative(torch.sigmoid, z).sum(0)
    wrong_w = {
        "erratum logistic-sign": (-grad_w, "this is minus the gradient."),
        "target missing": (X.T @ yh, TARGET),
        "prediction missing": (-X.T @ y, "the prediction does not occur."),
        "mean for sum": (grad_w / N, MEAN),
        "mean of squares": (2 * grad_w / N, "the factor 2/N is that of a mean of squares; the loss is a sum of cross-entropies."),
        "squared loss": (X.T @ (error * slope), SQUARED),
        "half of the squared loss": (X.T @ (error * yh), "one factor of the sigmoid's derivative stands in it; for the cross-entropy it cancels."),
        "by the prediction": (X.T @ (error / slope), "the chain rule is not at its end: the derivative of the sigmoid is missing."),
        "sums multiplied": (error.sum() * X.sum(0), "this is a product of two sums; the sum over the examples is of products."),
        "linear regression": (X.T @ (z - y), "the logit stands where the prediction belongs."),
        "one class": (X.T @ (y * (yh - 1)), "only one of the two logarithms is differentiated."),
        "the other class": (X.T @ ((1 - y) * yh), "only one of the two logarithms is differentiated."),
        "input missing": (np.full(D, error.sum()), "the inputs do not occur."),
    }
    wrong_b = {
        "mean for sum": (grad_b / N, MEAN),
        "target missing": (yh.sum(), TARGET),
        "prediction missing": (-y.sum(), "the prediction does not occur."),
        "sum missing": (error, "the sum over the examples is missing."),
        "squared": ((error**2).sum(), "the differences are squared: this is a loss, and not its derivative."),
        "half of the squares": ((error**2).sum() / 2, "the differences are squared: this is a loss, and not its derivative."),
        "absolute values": (np.abs(error).sum(), "of the differences the absolute values are summed; those of both signs count against one another."),
        "squared loss": ((error * slope).sum(), SQUARED),
        "by the prediction": ((error / slope).sum(), "the chain rule is not at its end: the derivative of the sigmoid is missing."),
        "one class": (-(y / yh).sum(), "the chain rule is not at its end, and only one of the two logarithms is differentiated."),
        "half of the mean": (grad_b / (2 * N), MEAN),
        "weighted by the input": (grad_w.sum(), "the input stands in it; z depends on b with the factor 1."),
    }
    S = np.diag(np.diag(second_derivative(lambda z: softplus(z).sum(), z)))
    H = second_derivative(E, theta)

    def weighted(weights):
        return X1.T @ (X1.T * weights).T

    only = "the weights of the examples are not the sigmoid's derivative: "
    wrong_H = {
        "S missing": (X1.T @ X1, "the diagonal matrix does not occur: how steep is the sigmoid at each example?"),
        "yh for S": (weighted(yh), only + "one of its two factors is missing."),
        "1 - yh for S": (weighted(1 - yh), only + "one of its two factors is missing."),
        "I - S": (weighted(1 - slope), only + "they are 1 minus it."),
        "first factor twice": (weighted(yh**2), only + "one of its two factors stands in it twice."),
        "other factor twice": (weighted((1 - yh) ** 2), only + "one of its two factors stands in it twice."),
        "S inverted": (weighted(1 / slope), only + "they are one over it."),
        "S squared": (weighted(slope**2), only + "they are its square."),
        "mean for sum": (H / N, MEAN),
    }
    symbols = {"X_tilde": X1, "S": S, "yh": yh, "X": X, "N": N, "D": D}
    return (
        Problem(names, grad_w, wrong_w, needs="X y"),
        Problem(names, grad_b, wrong_b, needs="y"),
        Problem(symbols, H, wrong_H, needs="X_tilde"),
    )


@formulas({"bn-noise-variance": "", "bn-index": "ji"})
def bn_mean(rng):
    N, tau = int(rng.integers(3, 8)), rng.random() + 1.5
    J = derivative(lambda x: x - x.mean(), np.zeros(N))
    others = (J[0, 1:] ** 2).sum()  # x_hat_1 depends on the other inputs, which are random
    variance = tau**2 * others
    wrong = {
        "all terms counted": (tau**2 / N, "one term too many: given x_i, how many of the inputs are random?"),
        "standard deviation": (variance**0.5, "this is the standard deviation."),
        "tau for its square": (tau * others, "tau occurs where its square belongs: a variance is wanted."),
        "tau squared twice": (tau**4 * others, "tau is squared twice: tau^2 is the variance already."),
        "x_i not given": (tau**2 * (1 - 1 / N), "this is the variance where x_i is random, too; here x_i is given."),
        "own factor": (tau**2 * (1 - 1 / N) ** 2, "this is what x_i itself contributes; but x_i is given, and the others are random."),
        "Bessel": (tau**2 / (N - 1), "N - 1 divides, as in an estimate of the variance from a sample; here the variance of a mean is wanted."),
        "not divided": (tau**2 * (N - 1), "a constant factor such as 1/N leaves a variance squared; here it does not occur."),
        "one input only": (tau**2 / N**2, "this is what one input contributes: how many of them are random?"),
        "variance of one": (tau**2, "this is the variance of an input; the mean over N of them has another."),
        "N - 1 for N": (tau**2 / (N * (N - 1)), "N - 1 stands in the denominator, where it counts the random inputs."),
        "both": (tau**2 * (1 + 1 / N), "variances of independent terms add up, but x_i is given, and contributes none."),
    }
    own = np.eye(N)
    wrong_index = {
        "erratum bn-index": (np.full((N, N), J.min()), "for j = i there is another term."),
        "mean missing here": (own, "x_i also enters through the mean."),
        "1/N missing": (own - 1, "each input enters the mean with a weight."),
        "N for 1/N": (own - N, "each input enters the mean with a weight, which is not N."),
        "Bessel": (own - 1 / (N - 1), "N - 1 divides; the mean divides by N."),
        "cases exchanged": (1 - own - 1 / N, "the case j = i and the others are exchanged."),
        "sign of the mean": (own + 1 / N, "the mean is subtracted; its sign is wrong."),
        "only a diagonal": (own * np.diag(J), "for j other than i the derivative is not 0: x_i enters through the mean."),
        "only the others": ((own - 1) / N, "for j = i x_i enters directly, too."),
        "a product": (own / N, "the two terms are multiplied; x_i enters directly, and through the mean."),
        "right for j = i": (np.full((N, N), 1 - 1 / N), "this is right for j = i only."),
        "mean missing for j = i": (np.where(own == 1, 1, -1 / N), "x_i enters the mean for j = i, too."),
        "sign for j other than i": (np.where(own == 1, 1 - 1 / N, 1 / N), "for j other than i the sign is wrong: the mean is subtracted."),
    }
    return Problem({"N": N, "tau": tau}, variance, wrong, needs="N tau"), Problem({"N": N}, J, wrong_index, needs="N")


@formulas({"bn-mean-only-grad": "i", "bn-large-batch": "i"})
def mean_only(rng):
    N, gamma = int(rng.integers(3, 7)), rng.normal()
    delta = rng.normal(size=N)
    direct, expected = gamma * delta, rng.normal()  # expected: of the deltas, not the mean of this batch
    truth = derivative(lambda x: tensor(delta) @ (gamma * (x - x.mean())), np.zeros(N))
    path, limit = direct - truth, np.full(N, gamma * expected)  # what goes through the mean, for a batch and in the limit

    def lost(path):
        return {
            "gamma missing backward": ((direct - path) / gamma, "gamma does not occur."),
            "gamma on one path": (direct - path / gamma, "gamma multiplies only one of the two paths."),
            "gamma on the other path": (delta - path, "gamma multiplies only one of the two paths."),
            "gamma divides": ((direct - path) / gamma**2, "gamma divides, where it should multiply."),
            "only the other path": (-path, "the direct path from x_i to its own output is missing."),
            "sign of the mean": (direct + path, "the mean is subtracted; the sign of its path is wrong."),
        }

    others = (delta.sum() - delta) / (N - 1)
    wrong = {
        "mean missing": (direct, "a path is missing: x_i also enters through the mean."),
        "mean divided again": (direct - path / N, "the second path is divided by N once too often."),
        "sum for mean": (direct - N * path, "the second path sums delta over the batch, where it should average."),
        "only its own delta": (direct * (1 - 1 / N), "the second path has only the delta of example i: x_i changes all outputs through the mean."),
        "others only": (gamma * (delta - others), "the second path averages over the N - 1 others; x_i enters the mean of all N."),
        "own part of the mean": (direct - gamma * (delta.sum() - delta) / N, "x_i enters the mean, too: the second path has the delta of example i with the others."),
        "Bessel": (gamma * (delta - delta.sum() / (N - 1)), "N - 1 divides; the mean divides by N."),
        "1/N on the wrong path": (direct / N - N * path, "the factor 1/N stands on the wrong path."),
        "delta lost in the mean": (gamma * (delta - 1 / N), "the second path has lost the deltas: it averages them."),
        "delta lost behind a bracket": (direct - 1 / N, "the second path has lost gamma and the deltas: is a bracket missing?"),
        "only the others": (-gamma * (delta.sum() - delta) / N, "the path through the own output is missing, with which x_i enters directly."),
        "a product of the paths": (direct * (1 - delta.mean()), "the two paths are multiplied; they are added."),
        "own delta missing": (gamma * (1 - 1 / N) * np.full(N, delta.sum()), "the delta of example i has no part of its own."),
    }
    large = {
        "erratum bn-dropped-sum": (direct, "N - 1 terms of size 1/N do not vanish, they average."),
        "a product": (direct * expected, "the two paths are multiplied; they are added."),
        "only its own delta": wrong["only its own delta"],
        "sum for mean": wrong["sum for mean"],
        "mean of the batch": (truth, "this is the mean of a batch; in the limit there is an expectation."),
    }
    names = {"N": N, "gamma": gamma, "delta": delta}
    return (
        Problem(names, truth, wrong | lost(path), {"delta": delta.mean()}, "delta gamma"),
        Problem(names | {"m": expected}, direct - limit, large | lost(limit), {"delta": expected}, "delta gamma"),
    )


@formulas({"softmax-jacobian": "ki", "softmax-ce-grad": ""})
def softmax_and_loss(rng):
    K = int(rng.integers(3, 6))
    z, y = rng.normal(size=K), np.eye(K)[rng.integers(K)]
    yh, J, own = softmax(z), derivative(lambda z: torch.softmax(z, 0), z), np.eye(K)
    lost = np.where(own == 1, J, -(np.exp(z) / np.exp(z).sum() ** 2)[:, None])
    slope = np.diag(J)
    sign = "for i other than k the sign is wrong: where one probability grows, the others fall."
    only = "this is the derivative of a sigmoid, right only for i = k."
    wrong = {
        "erratum softmax-lost-factor": (lost, "off the diagonal a factor of the numerator is lost."),
        "erratum ce-indices": (yh[:, None] * (own - yh[:, None]), INDEX),
        "the other index": (yh[None] * (own - yh[None]), INDEX),
        "only the off-diagonal": (np.where(own == 1, -(yh**2), J), "this is right only for i other than k."),
        "only a diagonal": (own * slope, "this is right only for i = k: the softmax of one class depends on all logits."),
        "diagonal everywhere": (np.repeat(slope[:, None], K, 1), only),
        "diagonal everywhere too": (np.repeat(slope[None], K, 0), only),
        "factor in front missing": (own - yh[None], "a factor is missing in front: the probability itself."),
        "factor in front missing too": (own - yh[:, None], "a factor is missing in front: the probability itself."),
        "sign of the second term": (own * yh[:, None] + np.outer(yh, yh), "the sign of the second term is wrong: the probabilities sum to 1, so one falls where another grows."),
        "sign for i other than k": (np.where(own == 1, J, -J), sign),
        "condition missing": (yh[:, None] * (1 - yh[None]), "the case distinction is missing: it is right for i = k only."),
        "condition at the wrong term": (yh[:, None] * (1 - own * yh[None]), "the case distinction stands at the wrong term."),
        "denominator constant": (own * yh, "the denominator depends on the logits, too: its derivative is missing."),
        "both cases added": ((yh * (1 - yh))[:, None] - np.outer(yh, yh), "the two cases are added; for each i and k only one of them holds."),
        "factor lost off the diagonal": (np.where(own == 1, J, -yh[None]), "for i other than k a factor is lost."),
        "factor lost off the diagonal too": (np.where(own == 1, J, -yh[:, None]), "for i other than k a factor is lost."),
        "factor lost on the diagonal": (np.where(own == 1, yh[:, None], J), "for i = k a factor is lost."),
        "identity": (own - np.outer(yh, yh), "the first term lacks the probability."),
        "cases exchanged": (np.where(own == 1, -(yh**2), (yh * (1 - yh))[:, None]), "the two cases are exchanged."),
        "condition exchanged": (yh[:, None] * ((1 - own) - yh[None]), "the two cases are exchanged."),
    }
    grad = derivative(lambda z: cross_entropy(z, tensor(y)), z)
    wrong_grad = {
        "erratum softmax-lost-target": (yh, "the target is lost, and at the right class the error is exactly 1."),
        "erratum softmax-no-sum": (-y * (1 - yh), "only the path through one prediction is counted; all of them depend on each logit."),
        "by the prediction": (-y / yh, "this is the derivative with respect to the prediction; asked for is that with respect to the logit."),
        "squared loss": (grad * slope, SQUARED),
        "mean over the classes": (grad / K, "it is divided by the number of classes; the loss is a sum over them."),
        "one for the target": (yh - 1, "1 is subtracted from all predictions; at the wrong classes nothing is."),
        "prediction missing": (-y, "the prediction does not occur."),
        "the loss": (-y * np.log(yh), LOSS),
        "one output, not K": (-y * np.log(yh) - (1 - y) * np.log(1 - yh), "this is the loss of a sigmoid for each class, and not its derivative."),
        "sigmoid's loss": (-y / yh + (1 - y) / (1 - yh), "this is the derivative of the loss of a sigmoid for each class, with respect to the prediction."),
        "class number": (yh - np.argmax(y), "the number of the class is subtracted, where the one-hot target belongs."),
        "prediction as a factor": (yh * grad, "the prediction is a factor too many."),
        "loss summed": (np.asarray(-(y * np.log(yh)).sum()), LOSS),
        "the derivative of a sigmoid": (slope, "this is the derivative of a sigmoid, and no gradient of the loss."),
    }
    return (
        Problem({"yh": yh, "z": z, "e": np.e, "K": K}, J, wrong),
        Problem({"yh": yh, "y": y, "K": K, "z": z, "z2": z, "e": np.e}, grad, wrong_grad, needs="y"),
    )


@formulas({"mlp-delta": "", "mlp-grad-w1": "", "jacobian-of-gradient": "ij"})
def mlp(rng):
    K = int(rng.integers(3, 6))
    U, slope = K + int(rng.integers(0, 2)), 0.1
    W2, y = rng.normal(size=(K, U)), np.eye(K)[rng.integers(K)]
    z1, keep = rng.normal(size=U), (rng.random(U) < 0.7) * 1.0
    z1[0], z1[1], keep[:2] = -abs(z1[0]), -abs(z1[1]), 1
    m = keep / 0.9

    def z2(z1):
        return tensor(W2) @ (tensor(m) * leaky_relu(z1, slope))

    yh = torch.softmax(z2(tensor(z1)), 0).numpy()
    truth = derivative(lambda z1: cross_entropy(z2(z1), tensor(y)), z1)
    slopes, error = np.where(z1 > 0, 1.0, slope), yh - y
    back = W2.T @ error
    wrong = {
        "erratum mlp-relu": (truth * (z1 > 0), "the derivative is a ReLU's, the question's activation is leaky."),
        "erratum mlp-drop-probability": (back * 0.1 * slopes, "the probability of dropping stands where the mask belongs."),
        "erratum mlp-lost-factors": (W2.T @ yh * m * slopes, "the target is lost on the way back."),
        "m missing": (back * slopes, "the dropout mask is missing on the way back."),
        "m twice": (truth * m, "the dropout mask stands in it twice."),
        "phi' missing": (truth / slopes, "the derivative of the activation is missing, or not taken at z_1."),
        "phi' twice": (truth * slopes, "the derivative of the activation stands in it twice."),
        "m and phi' missing": (back, "the mask and the derivative of the activation are missing on the way back."),
        "dropped for kept": (back * (1 - m) * slopes, "1 minus the mask stands where the mask belongs."),
        "phi' divides": (back * m / slopes, "the derivative of the activation divides, where it should multiply."),
        "z_1 for phi'": (back * m * z1, "z_1 itself stands where the derivative of the activation belongs."),
        "all added": (back + m * slopes, "what comes back is added to the local derivatives, where it should multiply."),
        "squared loss": (W2.T @ (error * yh * (1 - yh)) * m * slopes, SQUARED),
        "mask not scaled": (back * (m > 0) * slopes, "the mask is made of zeros and ones; the question's is scaled."),
        "phi' added": (back * m + slopes, "the derivative of the activation is added, where it should multiply."),
        "an outer product": (np.outer(back, m) @ slopes, "a column times a row is a matrix: these factors belong together entry by entry."),
        "an inner product": ((back @ m) * slopes, "of two vectors @ makes a number: these factors belong together entry by entry."),
    }
    names = {"W2": W2, "yh": yh, "y": y, "m": m, "z1": z1, "K": K}
    names["varphi1"] = Function("1 for a positive argument, 0.1 for a negative one", lambda z: np.where(np.asarray(z) > 0, 1.0, slope))
    delta, x, H = rng.normal(size=4), rng.normal(size=3), rng.normal(size=(3, 3))  # not symmetric: the order shows
    grad = derivative(lambda W: tensor(delta) @ (W @ tensor(x)), np.zeros((4, 3)))
    exchanged = "row and column are exchanged: in the Jacobian of the gradient, which derivative comes last?"
    twice = "only one of the two indices occurs."
    wrong_H = {
        "order of derivatives": (H, exchanged),
        "one index twice": (np.repeat(np.diag(H)[:, None], 3, 1), twice),
        "the other index twice": (np.repeat(np.diag(H)[None], 3, 0), twice),
        "symmetrised": (H + H.T, "both orders are added; each entry is one second derivative."),
        "mean of both": ((H + H.T) / 2, "both orders are averaged; each entry is one second derivative."),
        "difference": (H - H.T, "both orders are subtracted; each entry is one second derivative."),
        "product": (H * H.T, "both orders are multiplied; each entry is one second derivative."),
        "only a diagonal": (np.diag(np.diag(H)), "the entries off the diagonal are missing."),
        "trace": (np.full((3, 3), np.trace(H)), "this is a sum over the diagonal; one entry is asked for."),
        "sum of a row": (np.repeat(H.sum(1)[:, None], 3, 1), "this sums over one of the indices; one entry is asked for."),
    }
    return (
        Problem(names, truth, wrong, needs="W2 yh y m"),
        Problem({"delta1": delta, "x": x}, grad, needs="delta1 x"),
        Problem({"H": H}, np.swapaxes(H, 0, 1), wrong_H, needs="H"),
    )
