"""theory/evaluator.py: what LaTeX means, and that what it does not understand is an error."""

import numpy as np
import pytest

from evaluator import Values, boxes, evaluate, sources, statements

A, V, W = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0]), np.array([7.0, 8.0])
NAMES = {"A": A, "v": V, "w": W, "a": 2.0, "I": np.eye(2), r"\one": np.ones(2), "f": np.sin, "f'": np.cos, r"\hat v": V}
NAMES |= {"u_1": W, r"\mathrm{sq}": np.square, r"\dd{L}{u_1}": W, r"\partial_1F": 2.0, r"\partial\partialF": A}
NAMES |= {r"\partial(F)": A, r"\dd{^2L}{v}{w}": A, r"\partial_2F": lambda x, y: x + y}
VALUES = Values(NAMES, {"i": 2, "j": 2}, [(0.25, {"u": 1.0}), (0.75, {"u": 3.0})])


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        (r"\frac12 + \tfrac a4", 1.0),
        (r"a^12 + \frac123", 5.5),
        (r"-a^2 + 2\cdot3/4", -2.5),
        (r"A(v - w)", (A @ (V - W))[:, None]),
        (r"v\T A\,w", V @ A @ W),
        (r"v w\T", np.outer(V, W)),
        (r"A^{-1}v", np.linalg.solve(A, V)[:, None]),
        (r"v\odot w - \hat v \odot w", np.zeros((2, 1))),
        (r"I\otimes v v\T", np.kron(np.eye(2), np.outer(V, V))),
        (r"\one\T v", 11.0),
        (r"\sum_i v_i w_i", V @ W),
        (r"\sum_{i,j} v_i A_{ij} w_j", V @ A @ W),
        (r"\sum_i\sum_{j\ne i} A_{ij}", 5.0),
        (r"\sum_i [i=j]\,v_i - v_j", 0.0),
        (r"\diag(v) - \diag(A)", np.diag(V - [1, 4])),
        (r"\diag(v_i^2)", np.diag(V**2)),
        (r"\E\,u^2 - \E[u]^2 + \Var(2u)", 5 * (0.25 + 0.75 * 9 - 2.5**2)),
        (r"f(a)\,f'(a) - \sinh 2a/a", np.sin(2) * np.cos(2) - np.sinh(4) / 2),
        (r"\sqrt{a + 2}\,|v|", 2 * np.hypot(5, 6)),
        (r"\lambda_{\max}(v v\T)", V @ V),
        (r"(1, -a, \frac12)", [[1], [-2], [0.5]]),
        (r"\begin{pmatrix}1&a\\0&-1\end{pmatrix}v", [[17], [-6]]),
        (r"(a, v) - (2, 5, 6)", [[0], [0], [0]]),
        (r"(v - w)_j + [j=j]", -1.0),
        (r"u_{1,j} + \mathrm{sq}(a)", 12.0),
        (r"\partial L/\partial u_{1,j} - 1/\partial_1F", 7.5),
        (r"\sum_i\partial_j\partial_iF + \partial_j(F)_j", 11.0),
        (r"\partial^2L/\partial v_j\,\partial w_j", 4.0),
        (r"\frac{\partial^2L}{\partial v_j\,\partial w_j}", 4.0),
        (r"\partial_2F(a, 1)", 3.0),
        (r"A^{-\top}A\T v", [[5], [6]]),
        (r"\Var u + \E u", 0.25 + 9 * 0.75 - 2.5**2 + 2.5),
    ],
)
def test_value(formula, value):
    np.testing.assert_allclose(evaluate(formula, VALUES.bind(j=1)), value, rtol=1e-12)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (r"\int v", r"\int has no value"),
        (r"v + q", "q has no value"),
        (r"a{a + 1}", "{ has no value"),
        (r"a^a^a", "a power of a power"),
        (r"v_i_j", "two subscripts"),
        (r"1\tfrac12", "two numbers side by side"),
        (r"1/2a", "Set brackets"),
        (r"\sum_{j\ne k} v_j", "the index k is not bound"),
        (r"\sum_{i,i} v_i", "a sum over i,i"),
        (r"\sum_i i", "i has no value"),
        (r"f[a]", r"expected \("),
        (r"|A|", "the length of a matrix"),
        (r"\lambda_{\max}(A)", "not symmetric"),
        (r"\diag(a)", "diag of a number"),
        (r"\begin{pmatrix}1\end{bmatrix}", "does not end as it began"),
        (r"v_i", "the index i is not bound"),
        (r"A_i", "A_i: the array has 2 indices"),
        (r"\sum_k v_k", "a sum over k, whose range was not given"),
        (r"v A", "a product of shapes"),
        (r"v + A", "a sum of shapes"),
        (r"v\odot A", "odot of shapes"),
        (r"v^2", r"the power 2.0 of shape \(2, 1\)"),
        (r"\frac1v", "expected a number, got shape"),
        (r"\frac1{a - 2}", "the power -1.0 of 0"),
        (r"\sqrt{-a}", "the power 0.5 of -2"),
        (r"2\,3", "two numbers side by side"),
        (r"(a", "got None"),
        (r"a)", r"cannot read on at '\)'"),
        (r"\begin{array}a\end{array}", "expected a pmatrix"),
    ],
)
def test_what_is_not_understood_raises(formula, message):
    with pytest.raises(ValueError, match=message.replace("\\int", r"\\int")):
        evaluate(formula, VALUES)


def test_an_expectation_needs_draws():
    with pytest.raises(ValueError, match="no draws were given"):
        evaluate(r"\E\,u", Values(NAMES))


def test_statements():
    text = r"a = b \le c,\qquad\text{for all } t\quad f(x, y) \to 0 ."
    assert statements(text) == [["a", "=", "b", r"\le", "c"], ['"for all"'], ["t"], ["f ( x , y )", r"\to", "0"]]
    with pytest.raises(ValueError, match="brackets that do not match"):
        statements("a = (b")


def test_a_box_is_found_wherever_it_stands():
    text = r"So \answer{two}{2=\frac{4}{2}.}, \answer {braces} {\{1\}} and \newcommand{\answer}[2]{\answer{#1}{#2}}"
    assert boxes({"a.tex": text}) == {"two": [r"2=\frac{4}{2}."], "braces": [r"\{1\}"]}
    with pytest.raises(ValueError, match="two boxes are called two"):
        boxes({"a.tex": text, "b.tex": r"\answer{two}{2=2}"})
    with pytest.raises(ValueError, match="no closing brace after"):
        boxes({"a.tex": r"\answer{three}{2={2}"})
    with pytest.raises(ValueError, match="expected an argument in braces, got '2=2'"):
        boxes({"a.tex": r"\answer{three}2=2"})


def test_a_comment_is_not_printed(tmp_path):
    (tmp_path / "a.tex").write_text("100\\% % \\answer{commented}{out}\n", encoding="utf-8")
    assert sources(tmp_path) == {"a.tex": "100\\% \n"}
    (tmp_path / "b.tex").write_text("\\iffalse \\answer{hidden}{1=1} \\fi", encoding="utf-8")
    with pytest.raises(ValueError, match="iffalse"):
        sources(tmp_path)
