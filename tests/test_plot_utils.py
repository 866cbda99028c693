"""Decision boundaries, their GIF, and what the notebooks share."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import plot_utils
from plot_utils import create_decision_boundary_gif, plot_decision_boundary, shifted, show_gif, show_source


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


@pytest.fixture
def displayed(monkeypatch):
    """What the notebook would display."""
    displayed = []
    monkeypatch.setattr(plot_utils, "display", displayed.append)
    return displayed


def test_source_is_shown_as_it_stands(displayed):
    show_source(iris, Stub)
    shown = displayed[0].data
    source = shown.removeprefix("```python\n").removesuffix("```")
    assert len(source) == len(shown) - len("```python\n```")
    assert source.startswith("def iris():\n") and source.endswith("return len(X) / 10\n")
    assert source in Path(__file__).read_text(encoding="utf-8")


def test_a_gif_is_stored_in_the_notebook_with_its_alternative_text(displayed, tmp_path):
    path, alt, found = tmp_path / "some.gif", 'The "best" path: f < 1 & f > 0', {}
    path.write_bytes(b"GIF89a" + bytes(range(256)))
    show_gif(path, alt)
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.update({tag: dict(attributes)})
    parser.feed(displayed[0].data)
    kind, content = found["img"].pop("src").split(",")
    assert found == {"img": {"alt": alt}}
    assert kind == "data:image/gif;base64" and base64.b64decode(content) == path.read_bytes()


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
