"""Decision boundaries, their GIF, and what the notebooks share."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.figure import Figure
from nbconvert import LatexExporter, MarkdownExporter
from PIL import Image, ImageSequence
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import plot_utils
from plot_utils import (
    check,
    create_decision_boundary_gif,
    plot_decision_boundary,
    shifted,
    show_gif,
    show_source,
    show_table,
)


def iris():
    X, y = load_iris(return_X_y=True)
    X, y = X[y < 2][:, [0, 2]], y[y < 2]
    return (X - X.mean(0)) / X.std(0), y


class Stub:
    """In place of a fitted classifier: the second class has the probability where(points)."""

    def __init__(self, where, classes=(0, 1)):
        self.where, self.classes_ = where, np.array(classes)

    def predict_proba(self, points):
        return np.column_stack([1 - self.where(points), self.where(points)])

    def score(self, X, y):
        return len(X) / 10


CORNERS = np.array([[-1, -1], [3, 3]])  # the picture goes from -2 to 4
CIVIDIS = matplotlib.colormaps["cividis"]


@pytest.fixture
def figure(monkeypatch):
    """The figure that plot_decision_boundary draws."""
    figure = Figure(figsize=(6, 4))
    monkeypatch.setattr(plot_utils, "Figure", lambda **options: figure)
    return figure


# ------------------------------------------------------------------------------------------------ the picture


@pytest.mark.parametrize("axis", [0, 1])
def test_a_plot_is_an_image_of_the_probability(axis):
    image = plot_decision_boundary(Stub(lambda points: 1.0 * (points[:, axis] > 0)), CORNERS, [0, 1], alpha=0.1)
    pixels = np.asarray(image, dtype=float) / 255
    line = [pixels[272, 310:60:-1], pixels[50:290, 250]][axis]  # from class 1 to class 0, past dots and legend
    boundary = int(np.median(np.flatnonzero(line.max(1) < 0.15)))  # drawn in black, in the coordinates of the data
    assert boundary / len(line) == pytest.approx(2 / 3, abs=0.05)
    np.testing.assert_allclose(line[: boundary - 5], [CIVIDIS(1.0)[:3]] * (boundary - 5), atol=0.01)
    np.testing.assert_allclose(line[boundary + 6 :], [CIVIDIS(0.0)[:3]] * (len(line) - boundary - 6), atol=0.01)


@pytest.mark.parametrize("classes", [[0, 1], [1, 2], ["setosa", "versicolor"], [False, True]], ids=str)
def test_dots_have_the_colour_of_their_class_and_the_legend_has_none(figure, classes):
    model, others = Stub(lambda points: np.full(len(points), 0.5), classes), np.array([[3, -1], [-1, 1], [0, 0]])
    plot_decision_boundary(model, CORNERS, classes, 0.125, others, np.array(classes)[[1, 1, 0]])
    ax = figure.axes[0]
    assert ax.get_title() == "alpha = 0.125: train 20.0%, test 30.0%"
    dots, crosses = ax.collections
    for points, X, y in (dots, CORNERS, [0.0, 1.0]), (crosses, others, [1.0, 1.0, 0.0]):
        assert np.array_equal(points.get_offsets(), X)
        np.testing.assert_allclose(points.get_facecolor(), CIVIDIS(y))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "test"]
    assert not any(handle.get_facecolor().size for handle in ax.get_legend().legend_handles)


def test_small_and_unsigned_integers_do_not_overflow(figure):
    plot_decision_boundary(Stub(lambda points: points[:, 0] / 300), np.array([[0, 0], [255, 255]], np.uint8), [0, 1], 1)
    assert figure.axes[0].get_images()[0].get_extent() == [-1, 256, -1, 256]


@pytest.mark.filterwarnings("error")
def test_data_frames_are_drawn_as_arrays_are(tmp_path):
    X, y = iris()
    frame, labels = pd.DataFrame(X, columns=["sepal", "petal"]), pd.Series(y, name="species")
    images = []
    for points, classes in (X, y), (frame, labels):
        data = points[:70], classes[:70], 2, points[70:], classes[70:]
        images.append(plot_decision_boundary(LogisticRegression().fit(points, classes), *data))
        create_decision_boundary_gif([1], *data, filename=tmp_path / f"{len(images)}.gif")
    assert images[0] == images[1]
    assert (tmp_path / "1.gif").read_bytes() == (tmp_path / "2.gif").read_bytes()
    create_decision_boundary_gif([1], frame[:70], labels[:70], 2, X[70:], y[70:], filename=tmp_path / "mixed.GIF")


def test_histories_are_drawn_each_and_no_fifth_is_lost(monkeypatch):
    monkeypatch.setattr(plot_utils.plt, "show", lambda: None)
    history = {f"{part}_{what}": [1.0, 0.5] for part in ("train", "test") for what in ("loss", "accuracy")}
    plot_utils.plot_histories({name: history for name in "abcd"}, "Four")
    loss, accuracy = plot_utils.plt.gcf().axes
    plot_utils.plt.close("all")
    assert len(loss.lines) == len(accuracy.lines) == 8
    with pytest.raises(ValueError, match="at most 4 histories, got 5"):
        plot_utils.plot_histories({name: history for name in "abcde"}, "Five")


@pytest.mark.parametrize(
    ("classes", "data", "message"),
    [
        ([0, 1, 2], (CORNERS, [0, 1]), r"the classes \[0, 1, 2\]"),
        ([0, 5], (CORNERS, [0, 1]), r"the classes \[0, 5\], the labels are \[0, 1\]"),
        ([0, 1], (CORNERS, [0, 1], CORNERS, [1, 2]), r"the classes \[0, 1\], the labels are \[1, 2\]"),
        ([0, 1], (CORNERS, [0, 1], CORNERS), "X_test and y_test belong together"),
        ([0, 1], (CORNERS, [0, 1], None, [0, 1]), "X_test and y_test belong together"),
        ([0, 1], (np.ones((2, 4)), [0, 1]), r"shape \(N, 2\), got \(2, 4\)"),
    ],
)
def test_data_that_cannot_be_plotted(classes, data, message):
    X, y, *others = data
    with pytest.raises(ValueError, match=message):
        plot_decision_boundary(Stub(lambda points: points[:, 0], classes), X, y, 0.1, *others)


# ---------------------------------------------------------------------------------------------------- the GIF


def test_the_gif_has_a_frame_for_each_alpha(tmp_path, monkeypatch):
    X, y = iris()
    path, alphas, drawn = tmp_path / "mlp.gif", [0.1, 1, 10, 100], []
    path.write_bytes(b"an old GIF")

    def draw(*arguments):
        drawn.append(arguments)
        return Image.new("RGB", (8, 8), (50 * len(drawn), 0, 0))

    monkeypatch.setattr(plot_utils, "plot_decision_boundary", draw)
    assert create_decision_boundary_gif(alphas, X[:70], y[:70], 10, X[70:], y[70:], filename=path) == str(path)
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (4, 500, 0)
        frames = [frame.convert("RGB").getpixel((4, 4)) for frame in ImageSequence.Iterator(gif)]
    assert frames == [(50, 0, 0), (100, 0, 0), (150, 0, 0), (200, 0, 0)]
    for (model, *data), alpha in zip(drawn, alphas, strict=True):
        assert (model.hidden_layer_sizes, model.alpha, model.random_state) == ((10,), alpha, 42)
        for found, expected in zip(data, (X[:70], y[:70], alpha, X[70:], y[70:]), strict=True):
            assert np.array_equal(found, expected)
    assert drawn[0][0].score(X, y) > 0.9


def test_the_gif_is_written_where_the_homework_wants_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert create_decision_boundary_gif([0.1], *iris(), n_neurons=3) == "mlp_classification_boundaries.gif"
    assert [path.name for path in tmp_path.iterdir()] == ["mlp_classification_boundaries.gif"]


def test_a_name_that_is_no_gifs_is_refused_before_the_fits(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", Mock(side_effect=AssertionError))
    with pytest.raises(ValueError, match=r"\.gif, got mlp\.png"):
        create_decision_boundary_gif([0.1], *iris(), 3, filename=tmp_path / "mlp.png")


@pytest.mark.parametrize("moment", ["third frame", "write"])
def test_an_interrupted_gif_leaves_the_old_one_alone(tmp_path, monkeypatch, moment):
    path, frames = tmp_path / "mlp.gif", [Image.new("RGB", (8, 8)) for frame in range(3)]
    path.write_bytes(b"a good GIF")

    def save(self, path, *arguments, **options):
        Path(path).write_bytes(b"GIF89a")
        raise KeyboardInterrupt

    if moment == "write":
        monkeypatch.setattr(Image.Image, "save", save)
    else:
        frames[2] = KeyboardInterrupt()
    monkeypatch.setattr(plot_utils, "plot_decision_boundary", Mock(side_effect=frames))
    with pytest.raises(KeyboardInterrupt):
        create_decision_boundary_gif([0.1, 1, 10], *iris(), 2, filename=path)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"a good GIF"


# ---------------------------------------------------------------------------------- what the notebooks share


TRUE = True, np.True_, torch.tensor(True), np.array([1, 1]).all(), 1 < 2
UNTRUE = False, np.False_, torch.tensor(False), None, 0, float("nan")
ALWAYS_TRUE = "text", (False, False), [False], {"a": False}, (x for x in [False]), all


def test_what_is_true_is_printed_as_checked(capsys):
    check("the sky is blue", *TRUE)
    check("a long sentence is " + "broken " * 20 + "where it is read", True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Checked: the sky is blue." and lines[-1].endswith("where it is read.")
    assert len(lines) == 3 and max(map(len, lines)) <= 96


@pytest.mark.parametrize("wrong", [*UNTRUE, *ALWAYS_TRUE], ids=str)
def test_what_is_not_true_is_not_checked(wrong, capsys):
    """Neither what is false nor what Python takes for true, whatever is in it."""
    with pytest.raises(AssertionError, match="condition 1 is not true: the sky is blue"):
        check("the sky is blue", wrong)
    with pytest.raises(AssertionError, match="condition 3 is not true"):
        check("the sky is blue", True, True, wrong)
    assert capsys.readouterr().out == ""


def test_a_check_without_one_answer_is_refused():
    for several in np.array([True, True]), torch.tensor([True, False]), pd.Series([True, True]):
        with pytest.raises((ValueError, RuntimeError), match="ambiguous"):
            check("the sky is blue", several)
    with pytest.raises(TypeError, match="condition"):
        check("the sky is blue")


def displayed(show, *arguments, **options) -> dict:
    """What a notebook would display, by kind."""
    InteractiveShell.instance()
    with capture_output() as captured:
        show(*arguments, **options)
    (output,) = captured.outputs
    return output.data


def cells(page: str) -> list[list[str]]:
    """The rows of the body of a table in HTML."""
    body = page[page.index("<tbody>") :]
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", body, re.S)]


TABLE = pd.DataFrame(
    {"loss": [0.12345, np.nan], "share": [0.5, 0.25], "n": [1000, 7], "said": ["x" * 200, None], "true": [True, False]},
    index=["first", "a < b"],
)
FORMS = {"form": "{:.2f}", "share": "{:.1%}", "n": "{:,}"}


def test_a_table_has_its_numbers_in_the_forms_asked_for():
    before = TABLE.copy()
    shown = displayed(show_table, TABLE, **FORMS)
    first, second = ["0.12", "50.0%", "1,000", "x" * 200, "True"], ["", "25.0%", "7", "", "False"]
    assert cells(shown["text/html"]) == [["first", *first], ["a &lt; b", *second]]
    text = shown["text/plain"]
    assert all(word in text for word in [*first, *second, "first", "a < b", *TABLE.columns])
    pd.testing.assert_frame_equal(TABLE, before)
    assert cells(displayed(show_table, TABLE[["loss"]])["text/html"])[0] == ["first", "0.1235"]


def test_a_long_or_wide_table_is_shown_whole():
    wide = pd.DataFrame(np.arange(100 * 30.0).reshape(100, 30))
    shown = displayed(show_table, wide, "{:.0f}")
    assert [row[1:] for row in cells(shown["text/html"])] == [[f"{x:.0f}" for x in row] for row in wide.values]
    assert "..." not in shown["text/plain"]
    with pd.option_context("display.max_rows", 5):
        show_table(wide)
        assert pd.get_option("display.max_rows") == 5


def test_a_form_for_no_column_is_refused():
    with pytest.raises(ValueError, match=r"no column \{'shrae'\}; there are \['loss', 'share'"):
        show_table(TABLE, shrae="{:.1%}")


@pytest.mark.parametrize(("exporter", "html"), [(MarkdownExporter, True), (LatexExporter, False)])
def test_tables_and_animations_show_in_exports(exporter, html, tmp_path):
    """Where HTML is not shown a table is its text, and an animation a picture."""
    Image.new("RGB", (8, 8)).save(tmp_path / "some.gif")
    data = [displayed(show_table, TABLE, **FORMS), displayed(show_gif, tmp_path / "some.gif", "A black square")]
    outputs = [nbformat.v4.new_output("display_data", data=kinds) for kinds in data]
    cell = nbformat.v4.new_code_cell("show()", outputs=outputs)
    page, resources = exporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert all(word in page for word in ("first", "0.12", "1,000"))
    assert ("<table" in page) == html and ("data:image/gif" in page) == html
    assert html or (re.search(r"\\adjustimage.*\.png", page) and len(resources["outputs"]) == 1)


def test_source_is_shown_as_it_stands():
    shown = displayed(show_source, iris, Stub)["text/markdown"]
    source = shown.removeprefix("```python\n").removesuffix("```")
    assert len(source) == len(shown) - len("```python\n```")
    assert source.startswith("def iris():\n") and source.endswith("return len(X) / 10\n")
    assert source in Path(__file__).read_text(encoding="utf-8")


def test_a_gif_is_stored_in_the_notebook_with_its_alternative_text(tmp_path):
    path, alt, found = tmp_path / "some.gif", 'The "best" path: f < 1 & f > 0', {}
    first, *others = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    first.save(path, save_all=True, append_images=others)
    shown = displayed(show_gif, path, alt)
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.update({tag: dict(attributes)})
    parser.feed(shown["text/html"])
    kind, content = found["img"].pop("src").split(",")
    assert found == {"img": {"alt": alt}} and shown["text/plain"] == alt
    assert kind == "data:image/gif;base64" and base64.b64decode(content) == path.read_bytes()
    last = Image.open(io.BytesIO(base64.b64decode(shown["image/png"])))
    assert last.format == "PNG" and last.size == (8, 8) and last.getpixel((4, 4)) == (0, 0, 255)


def test_show_gif_refuses_what_is_no_gif(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.gif; make it first"):
        show_gif(tmp_path / "none.gif", "alt")
    (tmp_path / "fake.gif").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"fake\.gif is not a GIF"):
        show_gif(tmp_path / "fake.gif", "alt")


def test_seed_shift(monkeypatch):
    for shift, seed in ("", 42), ("0", 42), ("7", 49):
        monkeypatch.setenv("SEED_SHIFT", shift)
        assert shifted(42) == seed
    for wrong in "-1", "1.5", "one":
        monkeypatch.setenv("SEED_SHIFT", wrong)
        with pytest.raises(ValueError, match=f"SEED_SHIFT is '{wrong}'"):
            shifted(42)
