"""Questions 5 to 7: random problems, the answers by autograd on what they derive from, and known mistakes."""

from itertools import product

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from .calling import derivative, second_derivative, tensor
from .formulas import INDEX, LOSS, SQUARED, TARGET, Function, Problem, formulas, softmax

# fmt: off


@formulas({"dropout-grad": "i", "dropout-mean-grad": "i"})
def dropout(rng):
    D = int(rng.integers(2, 5))
    w, x, y_d, nu, s = rng.normal(size=D), rng.normal(size=D), rng.normal(), 1 + rng.normal(size=D), rng.random() + 1.5

    def gradient(noise):
        return derivative(lambda w: 0.5 * (y_d - (tensor(noise) * w * tensor(x)).sum()) ** 2, w)

    truth, plain = gradient(nu), gradient(np.ones(D))
    difference = y_d - (nu * w) @ x
    sum_missing = "the sum over all inputs is missing in the difference."
    wrong = {
        "erratum dropout-sign": (-truth, "the sign is wrong: a gradient points uphill."),
        "noise missing": (truth / nu, "the noise of this input is missing in the inner derivative."),
        "noise missing in the sum": (plain * nu, "the noise is missing in the sum."),
        "noise missing everywhere": (plain, "the noise does not occur: this is the gradient without it."),
        "inner derivative missing here": (truth / nu / x, "the derivative of the inner sum with respect to w_i is missing."),
        "input missing": (truth / x, "the input x_i is missing in the inner derivative."),
        "the weight for the input": (truth / x * w, "the weight stands in the inner derivative where its factor belongs."),
        "the weight for the noise": (truth / nu * w, "the weight stands in the inner derivative where the noise belongs."),
        "weight too many": (truth * w, "the weight is a factor of the inner derivative; it should not be."),
        "own term only": (-(y_d - nu * w * x) * nu * x, sum_missing),
        "difference squared": (-(difference**2) * nu * x, "the difference is squared: the square has been differentiated, or not?"),
        "the loss": (np.full(D, difference**2 / 2), LOSS),
        "target only": (-y_d * nu * x, "the prediction is missing in the difference."),
        "prediction only": ((nu * w @ x) * nu * x, "the target is missing in the difference."),
        "target in the sum": ((nu * w * x - y_d).sum() * nu * x, "the target is subtracted once for each input, inside of the sum."),
        "variance for the noise": (truth / nu * s**2, "the variance stands where the noise of this input belongs."),
        "bracket missing": (-y_d - (nu * w) @ x * nu * x, "the inner derivative multiplies only a part of the difference: a bracket is missing."),
        "other bracket missing": (-y_d + (nu * w) @ x * nu * x, "the inner derivative multiplies only a part of the difference: a bracket is missing."),
        "sum of all derivatives": (np.full(D, -difference * (nu @ x)), "the inner derivative sums over all inputs; w_i meets only its own."),
        "mean for sum": (-(y_d - np.mean(nu * w * x)) * nu * x, "the mean stands where the sum belongs."),
    }
    mean = np.mean([gradient(1 + s * np.array(signs)) for signs in product((-1, 1), repeat=D)], axis=0)
    second = mean - plain
    wrong_mean = {
        "erratum dropout-no-mean": (plain, "this is the gradient without noise: the mean over the noise has a second term."),
        "penalty's sign": (plain - second, "the second term pushes the weights away from 0; its sign is wrong."),
        "s for its square": (plain + second / s, "the variance of the noise does not occur: s is its root."),
        "s missing": (plain + second / s**2, "the noise does not occur in the second term."),
        "input missing in the penalty": (plain + second / x**2, "the input does not occur in the second term: how does the noise of this weight reach the loss?"),
        "square of the input missing": (plain + second / x, "the input occurs in the second term only once: noise enters a squared loss."),
        "weight missing in the penalty": (plain + second / w, "the weight does not occur in the second term."),
        "only the noise in the penalty": (plain + s**2, "neither weight nor input occurs in the second term."),
        "weight squared": (plain + second * w, "the weight is squared in the second term: that is the penalty, and not its derivative."),
        "the penalty": (plain + second * w / 2, "the second term is the penalty itself, and not its derivative."),
        "input once, no weight": (plain + s**2 * x, "neither the weight nor the square of the input occurs in the second term."),
        "variance in front of the sum": (-(y_d - s**2 * w @ x) * x, "s^2 multiplies all weights; the variance meets only the weight's own term."),
        "variance in front": (s**2 * plain, "s^2 multiplies everything; the variance is part of a second term, which is missing."),
        "mean square": (mean - w * x**2, "in the own term of w_i the mean of nu_i^2 is wrong: it is not the variance."),
        "weight and input exchanged": (plain + second * w / x, "the square stands at the weight, where it belongs to the input."),
        "all weights in the penalty": (plain + second.sum(), "the second term sums over all weights; a derivative with respect to w_i keeps its own."),
        "penalty doubled": (plain + 2 * second, "the second term is twice what it should be: the loss has a factor 1/2."),
        "penalty halved": (plain + second / 2, "the second term is half of what it should be."),
        "only the penalty": (second, "the gradient without noise is missing."),
        "sign of the first term": (second - plain, "the sign of the first term is wrong: a gradient points uphill."),
        "noise on everything": ((1 + s**2) * plain, "1 + s^2 multiplies everything; the variance meets only the square of the weight's own term."),
        "noise on all weights": (-(y_d - (1 + s**2) * w @ x) * x, "1 + s^2 multiplies all weights; the variance meets only the weight's own term."),
        "input missing in the first term": (plain / x + second, "the input is missing in the first term."),
        "own term only": (-(y_d - w * x) * x + second, sum_missing),
        "target only": (-y_d * x + second, "the prediction is missing in the first term."),
        "product": (plain * (1 + s**2 * w * x), "a bracket is wrong: the second term is added, and not multiplied with the first."),
    }
    names = {"w": w, "x": x, "y_d": y_d, "nu": nu, "s": s, "D": D}
    return Problem(names, truth, wrong, needs="nu x w y_d"), Problem(names, mean, wrong_mean, needs="x w y_d s")


@formulas({"dropout-ridge": ""})
def ridge(rng):
    N, D = int(rng.integers(4, 7)), int(rng.integers(2, 4))
    X, y, s, zero = rng.normal(size=(N, D)), rng.normal(size=N), rng.random() + 0.3, np.zeros(D)

    def mean_loss(w):
        noises = [tensor(1 + s * np.array(signs)) for signs in product((-1, 1), repeat=D)]
        losses = [(tensor(y) - tensor(X) @ (noise * w)) ** 2 for noise in noises]
        return torch.stack(losses).mean(0).sum() / 2

    whole, slope = second_derivative(mean_loss, zero), derivative(mean_loss, zero)
    data = X.T @ X
    penalty = whole - data

    def minimum(matrix):
        return -np.linalg.solve(matrix, slope)

    strength = "the penalty's strength is wrong: "
    wrong = {
        "plain ridge": (minimum(data + s**2 * np.eye(D)), "this penalises all weights alike; which penalty does each weight have of its own?"),
        "plain ridge with s": (minimum(data + s * np.eye(D)), "this penalises all weights alike, and s occurs where the variance belongs."),
        "no penalty": (minimum(data), "this is least squares; the noise does not occur."),
        "s for its square": (minimum(data + penalty / s), strength + "the variance of the noise does not occur, s is its root."),
        "s to the fourth": (minimum(data + s**2 * penalty), strength + "s occurs to the fourth power."),
        "penalty halved": (minimum(data + penalty / 2), strength + "it is half of what it should be."),
        "penalty doubled": (minimum(data + 2 * penalty), strength + "it is twice what it should be."),
        "penalty without s": (minimum(data + penalty / s**2), strength + "the noise does not occur in it."),
        "penalty divided by N": (minimum(data + penalty / N), strength + "it is divided by the number of examples, and the sum is not."),
        "penalty times N": (minimum(data + N * penalty), strength + "it is multiplied by the number of examples, over which its matrix sums already."),
        "only the penalty": (minimum(penalty), "the matrix of the data itself is missing."),
        "only the diagonal": (minimum((1 + 1 / s**2) * penalty), "the data's matrix lacks its entries off the diagonal."),
        "whole matrix": (minimum((1 + s**2) * data), "the penalty has the entries off the diagonal, too: noises of different weights are independent."),
        "penalty's sign": (minimum(data - penalty), "the penalty is subtracted; noise adds to the loss."),
        "np.diag of a matrix": (minimum(data + np.diag(penalty)), "np.diag of a matrix is the vector of its diagonal, which is then added to every row."),
        "number added": (minimum(data + s**2), "a number is added to every entry of the matrix."),
        "elementwise inverse": ((1 / whole) @ -slope, "one over every entry is not the inverse of a matrix."),
        "sum squared": (minimum(data + s**2 * np.diag(X.sum(0) ** 2)), "the square of a sum stands where the sum of squares belongs."),
        "not squared": (minimum(data + s**2 * np.diag(X.sum(0))), "the inputs are not squared in the penalty."),
        "inverse missing": (whole @ -slope, "the matrix should be inverted."),
    }
    names = {"X": X, "y": y, "s": s, "I": np.eye(D), "N": N, "D": D}
    return (Problem(names, minimum(whole), wrong, needs="X y s"),)


@formulas({"dropout-bernoulli": "", "l2-penalty": ""})
def noise_and_penalty(rng):
    p = 0.1 + 0.8 * rng.random()
    noise, weights = np.array([0, 1 / (1 - p)]), [p, 1 - p]
    square = np.average(noise**2, weights=weights)
    truth = square - np.average(noise, weights=weights) ** 2
    wrong = {
        "standard dropout": (truth * (1 - p) ** 2, "this is the variance of a mask of zeros and ones, without the factor 1/(1-p)."),
        "factor not squared": (truth * (1 - p), "the factor 1/(1-p) of the noise leaves a variance squared."),
        "second moment": (square, "this is the mean of the square; a variance subtracts the square of the mean."),
        "upside down": (1 / truth, "numerator and denominator are exchanged."),
        "standard deviation": (truth**0.5, "this is the standard deviation; its square is asked for."),
        "negative": (-truth, "a variance is not negative: the sign is wrong."),
        "squared": (truth**2, "this is the square of the variance."),
        "square of the value": (1 / (1 - p) ** 2, "this is the square of the noise where nothing is dropped: a mean over both cases is wanted."),
        "probability of dropping": (p / (1 - p) ** 2 - 1, "the mean of the square takes the probability of keeping."),
        "probability of keeping": (1 - p, "this is the probability of keeping."),
        "one over p": (1 / p, "this is no variance of it: where hardly anything is dropped, it should be small."),
        "divided by p squared": ((1 - p) / p**2, "the noise is not divided by p, the probability of dropping."),
        "one subtracted twice": (truth - 1, "the square of the mean is subtracted twice."),
    }
    w, lam = rng.normal(size=3), rng.random() + 1.5
    length = np.dot(w, w)
    wrong_penalty = {
        "erratum l2-penalty": (lam * w.sum(), "as a sum of the weights themselves it has no lower bound."),
        "L1": (lam * np.abs(w).sum(), "these are the absolute values: an L1 penalty."),
        "square of the sum": (lam * w.sum() ** 2, "the sum is squared; the weights should be, each of them."),
        "everything squared": ((lam * w.sum()) ** 2, "the sum is squared; the weights should be, each of them."),
        "length not squared": (lam * length**0.5, "this is the length of w; an L2 penalty has its square."),
        "lambda squared": (lam**2 * length, "lambda is squared; it stands in front as it is."),
        "lambda missing": (length, "lambda does not occur."),
        "lambda divides": (length / lam, "lambda divides; it stands in front as a factor."),
        "lambda added": (lam + length, "lambda is added; it stands in front as a factor."),
        "mean for sum": (lam * length / 3, "it is the mean over the weights; the penalty is a sum."),
        "cubes": (lam * (w**3).sum(), "the weights are cubed, and cubes of negative weights have no lower bound."),
        "gradient": (2 * lam * w, "this is the penalty's gradient."),
        "gradient summed": (2 * lam * w.sum(), "these are the penalty's derivatives, summed; the penalty itself is asked for."),
        "sum missing": (lam * w**2, "the sum over the weights is missing."),
        "half": (lam * length / 2, "the question has lambda in front, without 1/2."),
    }
    sizes = {"w": w, "lam": lam, "D": 3, "N": 3}
    return Problem({"p": p}, truth, wrong, needs="p"), Problem(sizes, lam * length, wrong_penalty, needs="w lam")


@formulas({"newton-step": "", "newton-constant": ""})
def newton(rng):
    x, (a, b, c) = 1 + rng.random(), rng.choice([-1, 1], 3) * (0.5 + rng.random(3))
    text = f"{a:.4f} x^3 {b:+.4f} x^2 {c:+.4f} x"
    f = Function(text, lambda x: a * x**3 + b * x**2 + c * x)
    f1 = Function(f"the derivative of {text}", lambda x: 3 * a * x**2 + 2 * b * x + c)
    f2 = Function(f"the second derivative of {text}", lambda x: 6 * a * x + 2 * b)
    (step,) = np.roots([f1(x), f(x) - f1(x) * x])  # of the tangent at x
    missing = "f itself does not occur."
    wrong = {
        "erratum newton-minimises-f": (x - f1(x) / f2(x), "it minimises f, where f is to be zero."),
        "Newton's sign": (2 * x - step, "the step has the wrong sign."),
        "step only": (step - x, "this is the step; the new point is the old one with the step added."),
        "negative step": (x - step, "this is the step with the wrong sign; the new point is the old one with the step added."),
        "no step": (x, "this is the old point."),
        "gradient step": (x - f(x), "the derivative of f is missing: this is a step of gradient descent."),
        "f missing": (x - f1(x), missing),
        "derivatives only": (x - f2(x) / f1(x), missing),
        "the constant's formula": (x - f2(x) / (2 * f1(x)), missing),
        "multiplied": (x - f(x) * f1(x), "f is multiplied by its derivative, where the step divides."),
        "upside down": (x - f1(x) / f(x), "numerator and denominator are exchanged."),
        "another derivative": (x - f(x) / f2(x), "it divides by another derivative than the slope of the tangent."),
        "multiplied by another": (x - f(x) * f2(x), "f is multiplied by a derivative, where the step divides."),
        "both derivatives": (x - f(x) * f1(x) / f2(x), "the second derivative does not occur in Newton's step for a root, and the first divides."),
        "half a step": ((x + step) / 2, "this goes half of the way to where the tangent is zero."),
        "old point multiplied": (x * f(x) / f1(x), "the step multiplies the old point; it is added."),
        "absolute value": (x - f(x) / abs(f1(x)), "with an absolute value the step goes the wrong way where f falls."),
        "old point divided": ((x - f(x)) / f1(x), "the old point is divided, too: a bracket is wrong."),
        "Halley": (x - 2 * f(x) * f1(x) / (2 * f1(x) ** 2 - f(x) * f2(x)), "this is Halley's method, which takes the second derivative, too."),
    }
    # of the next error, as the error goes to 0, where x is the root
    constant = second_derivative(lambda z: z - (f(z) - f(x)) / f1(z), x) / 2
    slope = f1(x)
    wrong_constant = {
        "erratum newton-dropped-term": (-constant, "the sign is wrong: in the denominator, f' at x_t has a term that counts, too."),
        "absolute values": (abs(constant), "with absolute values the sign of the error is lost."),
        "upside down": (1 / constant, "numerator and denominator are exchanged."),
        "upside down, 2 lost": (1 / (2 * constant), "numerator and denominator are exchanged, and a factor is wrong."),
        "derivatives exchanged": (1 / (4 * constant), "the two derivatives are exchanged."),
        "f' squared": (constant / slope, "the first derivative is squared."),
        "f' squared, 2 lost": (2 * constant / slope, "the first derivative is squared, and a factor is wrong."),
        "derivative of the iteration": (0.0, "this is 0, as f(x^*) is: it is the first derivative of Newton's iteration; C comes from the second."),
        "only 1/f'": (1 / (2 * slope), "the second derivative is missing."),
        "squared": (2 * constant**2, "both derivatives are squared."),
        "f' missing": (constant * slope, "the first derivative is missing."),
        "f'' missing": (slope / 2, "the second derivative is missing."),
        "a product": (constant * slope**2, "the first derivative multiplies, where it should divide."),
        "a sum": (constant * slope + slope / 2, "the derivatives are added."),
    }
    known = {"f": f, "f1": f1, "f2": f2}
    root = known | {"f": Function(f"{text} {-f(x):+.4f}", lambda z: f(z) - f(x))}
    return (
        Problem({"x_t": x} | known, step, wrong, needs="x_t f"),
        Problem({"x_star": x} | root, constant, wrong_constant, needs="x_star"),
    )


@formulas({"ce-coefficient": "i", "ce-hessian": "", "ce-psd": ""})
def ce(rng):
    K = int(rng.integers(3, 6))
    z, y, v = rng.normal(size=K), softmax(rng.normal(size=K)), rng.normal(size=K)
    yh = softmax(z)
    grad = derivative(lambda z: cross_entropy(z, tensor(y)), z)
    H = second_derivative(lambda z: torch.logsumexp(z, 0), z)
    own, diagonal, outer = np.eye(K), np.diag(np.diag(H)), np.diag(yh) - H
    wrong = {
        "erratum ce-coefficient": (np.zeros(K), "this is 0 for every i: an index is wrong in the chain rule."),
        "target missing": (yh, TARGET),
        "prediction missing": (-y, "the prediction does not occur."),
        "only its own prediction": (-y * (1 - yh), "only the path through prediction i is counted; all of them depend on each logit."),
        "own path missing": (yh * (1 - y), "the path through prediction i is missing, or counted in part."),
        "by the prediction": (-y / yh, "this is the derivative with respect to the prediction; the chain rule goes on to the logit."),
        "prediction cancelled once too often": (-(y / yh) @ own + yh * (y / yh).sum(), "a factor of the Jacobian is lost: it begins with the prediction."),
        "squared loss": (grad * yh * (1 - yh), SQUARED),
        "the loss": (np.full(K, -(y @ np.log(yh))), LOSS),
        "term of the loss": (-y * np.log(yh), "this is a term of the loss, and not its derivative."),
        "one index": (y @ yh - y, "one of its indices is wrong: this sums over the predictions of all classes."),
        "one for the target": (yh - 1, "1 is subtracted, where the target belongs."),
    }
    wrong_H = {
        "only the off-diagonal": (np.where(own == 1, -(yh**2), H), "this is right only off the diagonal."),
        "only a diagonal": (diagonal, "the entries off the diagonal are missing."),
        "outer product missing": (np.diag(yh), "the products of two different predictions are missing."),
        "sign of the second term": (np.diag(yh) + outer, "the sign of the second term is wrong: each row of the Hessian sums to 0."),
        "identity": (own - outer, "the identity stands where the predictions belong on the diagonal."),
        "one minus": (np.diag(1 - yh) - outer, "the first term has 1 minus the predictions."),
        "rows repeated": (np.diag(yh) - yh * yh, "the second term repeats one row: it should be a product of a column and a row."),
        "one index": (yh[:, None] * (own - yh[:, None]), INDEX),
        "condition missing": (np.outer(yh, 1 - yh), "the case distinction is missing: off the diagonal there is another formula."),
        "inner product": (np.diag(yh) - yh @ yh, "the product of the two vectors is a number here, which is then subtracted from every entry."),
        "a row for a diagonal": (yh - outer, "a vector is added to every row, where a diagonal matrix belongs."),
    }
    v2, mean = yh @ v**2, yh @ v
    wrong_v = {
        "erratum ce-dropped-diagonal": (v @ (H - diagonal) @ v, "the diagonal terms are missing, or have the square of a probability."),
        "mean square": (v2, "this is the mean of the square; a variance subtracts the square of the mean."),
        "only the square of the mean": (-(mean**2), "the mean of the square is missing."),
        "sign of the square": (v2 + mean**2, "two terms are added that should be subtracted, as in every variance."),
        "mean not squared": (v2 - mean, "the mean is not squared."),
        "mean for mean square": (mean - mean**2, "the first term is the mean, and not the mean of the square."),
        "unweighted": (v @ v - mean**2, "the first term is not weighted by the probabilities."),
        "second term unweighted": (v2 - v.sum() ** 2, "the mean in the second term is not weighted by the probabilities."),
        "deviations unweighted": (((v - mean) ** 2).sum(), "the squared deviations are not weighted by the probabilities."),
        "no weights": (((v[:, None] - v) ** 2).sum() / 2, "the probabilities do not occur."),
        "equal weights": (np.var(v), "this is the variance for equal probabilities."),
        "deviation from another mean": (yh @ (v - v.mean()) ** 2, "the mean that is subtracted is not weighted by the probabilities."),
        "squares of the terms": (((yh * v) ** 2).sum(), "the terms of a mean are squared and summed; a variance is the mean of the square minus the square of the mean."),
        "term for the mean": (yh @ (v - yh * v) ** 2, "a sum is missing: what is subtracted is the mean, not one of its terms."),
        "standard deviation": ((v @ H @ v) ** 0.5, "this is the standard deviation."),
        "only a diagonal": (v @ diagonal @ v, "the products of two different predictions are missing."),
    }
    names = {"yh": yh, "y": y, "K": K, "z": z, "e": np.e}
    return (
        Problem(names, grad, wrong, needs="y"),
        Problem({"yh": yh, "K": K}, H, wrong_H, needs="yh"),
        Problem({"yh": yh, "v": v, "K": K}, v @ H @ v, wrong_v, needs="yh v"),
    )
