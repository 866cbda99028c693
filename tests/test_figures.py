"""The shapes that theory/ prints, and its figures: coordinates, curves and accessible texts against the code."""

import re

import numpy as np
import pytest
import torch

from evaluator import column
from optim import Newton
from printed import SOURCES, given, is_true
from q1 import logistic
from q3 import network

SIZES = {"N": 9, "D": 5, "U": 7, "K": 4}


def shape(text):
    """Of "D{+}1" and "U", say."""
    return tuple(eval(side.replace("{+}", "+"), {}, SIZES) for side in text.split(r"\times"))


def shapes():
    """{symbol: its shape in the code}, but for numbers."""
    N, D, U, K = SIZES.values()
    names = logistic(N, D).names | network(D, U, K) | {r"\theta": torch.zeros(D + 1)}
    names |= {r"\yh-y": names["b_2"], r"W_2\T": names["W_2"].T, r"x\T": names["x"][None], "w": names["x"]}
    arrays = {name: column(a.detach()) for name, a in names.items() if isinstance(a, torch.Tensor)}
    return {name: a.shape for name, a in arrays.items() if a.ndim}


def test_the_shapes_of_the_notation_are_those_of_the_code():
    cells = re.findall(r"\$([^$]*)\$ & ([^&]*?) *(?:&|\\\\)", SOURCES["theory.tex"])
    printed = {symbols: re.findall(r"\$?([A-Z(][^$ ]*?\\times[^$]*)\$", text) for symbols, text in cells}
    printed = {symbols: [shape(s) for s in found] for symbols, found in printed.items() if found}
    assert len(printed) == 8
    known = shapes()
    for symbols, found in printed.items():
        ours = [known[symbol] for symbol in re.split(r",\\ | = |, ", symbols) if symbol in known]
        assert list(dict.fromkeys(ours)) == found, symbols


def test_the_shapes_of_question_3_are_those_of_the_code():
    text = SOURCES["q3_two_layer_network.tex"]
    pairs = re.findall(r"\$([^$]+)\$(?: is|,) \$([A-Z1]\\times *[A-Z1])\$", text)  # in its part (c)
    pairs += re.findall(r"\d/([^/{]+)/([A-Z]\\times1)", text)  # in figure 1
    assert len(pairs) == 10
    for symbol, printed in pairs:
        assert shapes()[symbol] == shape(printed), symbol


def figure(name):
    """[(curve, legend)] of the file's figure, and the numbers of its alternative text."""
    text = SOURCES[name]
    plot = r"\\addplot\[[^]]*\] *(?:coordinates *)?([({].*?[)}]); *(?:\\addlegendentry{(.*?)})?$"
    (alternative,) = re.findall(r"\\begin{accessible}{(.*?)}\n", text)
    plots = [(curve.strip("{}"), legend) for curve, legend in re.findall(plot, text, re.M)]
    return plots, re.findall(r"-?\d+(?:\.\d+)?(?:/\d+)?", alternative)


def points(text):
    return np.array([eval(pair) for pair in re.findall(r"\([^()]*\)", text)])


def curve(text, x):
    names = {"x": x, "cos": lambda d: np.cos(np.deg2rad(d)), "sin": lambda d: np.sin(np.deg2rad(d))}
    return eval(text.replace("^", "**"), {}, names)


def test_figure_of_the_ridge():
    """The mean losses of one weight under noise 1 - s or 1 + s, and their minima."""
    (*curves, (minima, _)), numbers = figure("q5_dropout.tex")
    assert [legend for _, legend in curves] == ["no noise", r"$s^2=\frac12$", "$s^2=1$"]
    w = np.linspace(-0.5, 2, 26)
    for (text, _), s2, minimum in zip(curves, (0, 0.5, 1), points(minima), strict=True):
        mean = sum((1 - (1 + sign * s2**0.5) * w) ** 2 / 4 for sign in (-1, 1))
        assert curve(text, w) == pytest.approx(mean, abs=1e-12)
        best = 1 / (1 + s2)
        assert minimum == pytest.approx([best, curve(text, best)], abs=1e-4)
        assert curve(text, best) <= mean.min() + 1e-12
    assert numbers == ["1", "0", "1/2", "2/3", "1/6", "1", "1/2", "1/4"]


def test_figure_of_damping():
    """The pure steps and those of Newton, for ln cosh from 1.2."""
    ((pure, _), (damped, _), *lines), numbers = figure("q6_newton.tex")
    path = [1.2]
    for _ in range(2):
        path.append(path[-1] - np.sinh(2 * path[-1]) / 2)
    _, history = Newton(lambda t: (np.log(np.cosh(t[0])), np.tanh(t), np.cosh(t[None]) ** -2), [1.2])
    found = [state.theta[0] for state in history][:5]
    for text, xs in (pure, path), (damped, found):
        assert points(text) == pytest.approx(np.array(list(enumerate(xs))), abs=6e-6)
    assert [float(text) for text, _ in lines] == [1.08866, -1.08866] and lines[0][1] == r"$\pm1.08866$"
    rounded = [f"{x:.{digits}f}" for x, digits in zip(found[1:], (2, 3, 0, 0), strict=True)]
    spoken = ["1.2", "1.2", *(f"{x:.2f}" for x in path[1:]), "0", "1.2", *rounded, "1.08866"]
    assert numbers == [number.replace("-0", "0") if float(number) == 0 else number for number in spoken]


def test_figure_of_curvature():
    """Half axes: 1 over the root of an eigenvalue; the dotted circle: over that of the largest possible one."""
    plots, numbers = figure("q7_softmax_cross_entropy.tex")
    degrees = np.arange(0, 360, 15.0)
    axes = [np.linalg.eigvalsh(np.diag(p) - np.outer(p, p))[1:] ** -0.5 for p in ([0.7, 0.2, 0.1], [1 / 3] * 3)]
    legends = [r"$\yh=(0.7,0.2,0.1)$", r"$\yh=(\frac13,\frac13,\frac13)$", r"radius $\sqrt2$"]
    assert [legend for _, legend in plots] == legends
    for (text, _), (across, up) in zip(plots, [*axes, [2**0.5, 2**0.5]], strict=True):
        ours, radians = curve(re.sub("[{}]", "", text), degrees), np.deg2rad(degrees)
        assert np.array(ours) == pytest.approx(np.array([across * np.cos(radians), up * np.sin(radians)]), abs=1e-5)
    radii = [f"{r:.2f}" for r in (axes[1][0], *axes[0], 2**0.5)]
    assert numbers == ["1", radii[0], "0.7", "0.2", "0.1", *radii[1:]]


GRAPH = SOURCES["q3_two_layer_network.tex"]
ROW = r"\\node\[{style}\] at \(\[yshift=(-?)[\d.]+cm\]x(\d)\) {{\$(.*?) = (.*)\$}};"


def spoken(value):
    """A number, or a column and its factor, as in the alternative text."""
    column = re.fullmatch(r"\\begin{pmatrix}(.*)\\end{pmatrix}(.*)", value)
    entries = [entry + (column[2] if entry != "0" else "") for entry in column[1].split(r"\\")] if column else [value]
    text = ", ".join(re.sub(r"^(.*?)\\ln", lambda m: f"{m[1]} ln ".lstrip(), entry) for entry in entries)
    return f"({text})" if column else text


def places():
    """{the number of a place in figure 1: what the network has computed there}."""
    boxes = re.findall(r"(\d)/([\d.]+)/([^/]*)/[A-Z]\\times1", GRAPH)
    boxes += re.findall(r"\(x(\d)\) at \(([\d.]+), 0\); \\node\[box\] \(n\1\) at \(x\1\) {\$(.*?)\$};", GRAPH)
    across = [float(x) for _, x, _ in boxes]
    assert across == sorted(set(across)), "from left to right"
    return {place: name for place, _, name in boxes}


def test_figure_of_the_network():
    """The numbers of its text are those of its nodes, which are evaluated with the example, at their places."""
    (alternative,) = re.findall(r"\\begin{accessible}{(.*?)}\n", GRAPH, re.S)
    phrases = {r"\yh": "predictions", "L": "loss", r"\delta_2": "gradient is yh - y =", r"\delta_1": "delta 1 ="}
    phrases |= {r"\dd{L}{d}": "the gradient at d,", r"\dd{L}{h}": "that at h,"}
    forward, back = (re.findall(ROW.format(style=style), GRAPH) for style in ("forward", "value"))
    assert [(place, name) for _, place, name, _ in forward] == list(places().items())
    assert [name for _, _, name, _ in back] == [r"\delta_1", r"\dd{L}{h}", r"\dd{L}{d}", r"\delta_2"]
    assert [places()[place] for _, place, *_ in back] == ["z_1", "h", "d", "z_2"]
    assert {side for side, *_ in forward} == {""} and {side for side, *_ in back} == {"-"}
    for _, _, name, value in forward + back:
        phrase = f"{phrases.get(name, name.replace('_', '') + ' =')} {spoken(value)}"
        assert phrase in " ".join(alternative.split()), phrase


def test_figure_of_the_network_has_on_each_arrow_what_is_done_there():
    torch.manual_seed(0)
    names = network(5, 7, 4)
    lists = " ".join(re.findall(r"\\foreach \\a/\\b/\\op in {(.*)}\n", GRAPH))
    arrows = re.findall(r"(\d)/(\d)/(?:{(.*?)}(?=,|$| \d)|([^{},]*{softmax}|[^{}, ]+))", lists)
    arrows = [(a, b, braced or bare) for a, b, braced, bare in arrows]
    assert [(a, b) for a, b, _ in arrows] == [*zip("01234", "12345", strict=True), *zip("5432", "4321", strict=True)]
    for a, b, operation in arrows:
        before, after = (places()[place] for place in (a, b))
        if a > b:
            before, after = rf"\dd{{L}}{{{before}}}", rf"\dd{{L}}{{{after}}}"
        if layer := re.fullmatch("(W_.), (b_.)", operation):
            formula = f"{layer[1]} {before} + {layer[2]}"
        elif operation.startswith(r"\odot"):
            formula = before + operation
        elif r"\cdot" in operation:
            formula = operation.replace(r"\cdot", before)
        else:
            formula = operation if a > b else f"{operation}({before})"
        assert is_true([formula, "=", after], given(names)), (formula, after)
