"""Decision boundaries, their GIF, and what the notebooks share; every promise of the docstrings and every bad input."""

import base64
import sys
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
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

import plot_utils
from plot_utils import create_decision_boundary_gif, plot_decision_boundary, shifted, show_gif, show_source, use_style


def iris():
    X, y = load_iris(return_X_y=True)
    X, y = X[y < 2][:, [0, 2]], y[y < 2]
    return (X - X.mean(0)) / X.std(0), y


class Stub:
    """In place of a fitted classifier: the second class has the probability where(points)."""

    def __init__(self, where, classes=(0, 1)):
        self.where = where
        self.classes_ = np.array(classes)

    def predict_proba(self, points):
        return np.column_stack([1 - self.where(points), self.where(points)])

    def score(self, X, y):
        return len(X) / 10


CORNERS = np.array([[-1, -1], [3, 3]])  # the picture goes from -2 to 4
CIVIDIS = matplotlib.colormaps["cividis"]


@pytest.fixture
def no_pyplot(monkeypatch):
    """An import of matplotlib.pyplot raises ImportError."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr(matplotlib, "pyplot", raising=False)


@pytest.fixture
def figure(monkeypatch):
    """The figure that plot_decision_boundary draws."""
    figure = Figure(figsize=(6, 4))
    monkeypatch.setattr(plot_utils, "Figure", lambda **options: figure)
    return figure


# ------------------------------------------------------------------------------------------------ the picture


@pytest.mark.parametrize("axis", [0, 1])
def test_a_plot_is_an_image_of_the_probability(axis, no_pyplot):
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
    first, second = classes
    plot_decision_boundary(model, CORNERS, classes, 0.125, others, np.array([second, second, first]))
    ax = figure.axes[0]
    assert ax.get_title() == "alpha = 0.125: train 20.0%, test 30.0%"
    dots, crosses = ax.collections
    for points, X, y in (dots, CORNERS, [0.0, 1.0]), (crosses, others, [1.0, 1.0, 0.0]):
        assert np.array_equal(points.get_offsets(), X)
        np.testing.assert_allclose(points.get_facecolor(), CIVIDIS(y))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "test"]
    assert not any(handle.get_facecolor().size for handle in ax.get_legend().legend_handles)


@pytest.mark.filterwarnings("error")
def test_data_frames_are_drawn_as_arrays_are():
    X, y = iris()
    frame, labels = pd.DataFrame(X, columns=["sepal", "petal"]), pd.Series(y, name="species")
    images = [
        plot_decision_boundary(LogisticRegression().fit(X, y), X[:70], y[:70], 1, X[70:], y[70:])
        for X, y in ((X, y), (frame, labels))
    ]
    assert images[0] == images[1]


def test_small_and_unsigned_integers_do_not_overflow(figure):
    plot_decision_boundary(Stub(lambda points: points[:, 0] / 300), np.array([[0, 0], [255, 255]], np.uint8), [0, 1], 1)
    assert figure.axes[0].get_images()[0].get_extent() == [-1, 256, -1, 256]


ONES, HALF = np.ones((4, 2)), [0, 0, 1, 1]
BAD_DATA = [
    ((np.ones((4, 3)), HALF), ValueError, r"expected X of shape \(N, 2\), got \(4, 3\)"),
    ((np.ones(4), HALF), ValueError, r"expected X of shape \(N, 2\), got \(4,\)"),
    ((ONES, HALF, ONES), ValueError, "X_test and y_test belong together"),
    ((ONES, HALF, None, HALF), ValueError, "X_test and y_test belong together"),
    ((ONES, HALF, np.ones((4, 3)), HALF), ValueError, r"expected X of shape \(N, 2\), got \(4, 3\)"),
    ((ONES, HALF[1:]), ValueError, r"one label for each of the 4 rows of X, got shape \(3,\)"),
    ((ONES, np.eye(4)), ValueError, r"one label for each of the 4 rows of X, got shape \(4, 4\)"),
    ((ONES, HALF, ONES, HALF[1:]), ValueError, r"one label for each of the 4 rows of X, got shape \(3,\)"),
    ((np.nan * ONES, HALF), ValueError, "expected finite numbers in X, got nan"),
    ((ONES, HALF, np.inf * ONES, HALF), ValueError, "expected finite numbers in X, got inf"),
    ((ONES.astype(str), HALF), TypeError, "expected numbers in X, got <U"),
    ((ONES > 0, HALF), TypeError, "expected numbers in X, got bool"),
    ((ONES, [1, 1, 1, 1]), ValueError, r"expected labels of two classes, got \[1\]"),
    ((ONES, [0, 1, 2, 2]), ValueError, r"expected labels of two classes, got \[0, 1, 2\]"),
    ((ONES, HALF, ONES, [0, 1, 1, 2]), ValueError, r"expected test labels among \[0, 1\], got \[0, 1, 2\]"),
    ((ONES, HALF, ONES, ["a", "b", "a", "b"]), ValueError, r"expected test labels among \[0, 1\], got \['a', 'b'\]"),
]
bad_data = pytest.mark.parametrize(("data", "error", "message"), BAD_DATA)


@bad_data
def test_data_that_cannot_be_plotted(data, error, message):
    X, y, *others = data
    with pytest.raises(error, match=message):
        plot_decision_boundary(Stub(lambda points: points[:, 0]), X, y, 0.1, *others)


@pytest.mark.parametrize("classes", [[0, 1, 2], [0], [0, 5], ["0", "1"]], ids=str)
def test_a_model_of_other_classes(classes):
    with pytest.raises(ValueError) as caught:
        plot_decision_boundary(Stub(None, classes), CORNERS, [0, 1], 0.1)
    assert str(caught.value) == f"the model knows the classes {classes}, the labels are [0, 1]"


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        LogisticRegression,
        *(kind().fit(CORNERS, [0, 1]) for kind in (LinearRegression, LinearSVC)),
    ],
    ids=str,
)
def test_a_model_that_is_no_fitted_classifier(model):
    with pytest.raises(TypeError, match="expected a fitted scikit-learn classifier with predict_proba, got"):
        plot_decision_boundary(model, CORNERS, [0, 1], 0.1)


@pytest.mark.parametrize(("alpha", "error"), [(True, TypeError), ("x", TypeError), (np.nan, ValueError)])
def test_the_alpha_of_a_title_is_a_number(alpha, error):
    with pytest.raises(error, match="plot_decision_boundary: alpha must be"):
        plot_decision_boundary(Stub(lambda points: points[:, 0]), CORNERS, [0, 1], alpha)


# ---------------------------------------------------------------------------------------------------- the GIF


def test_the_gif_has_a_frame_for_each_alpha(tmp_path, monkeypatch):
    X, y = iris()
    path, alphas, drawn = tmp_path / "mlp.gif", [0.1, 1, 10, 100], []

    def draw(*arguments):
        drawn.append(arguments)
        return Image.new("RGB", (8, 8), (50 * len(drawn), 0, 0))

    monkeypatch.setattr(plot_utils, "plot_decision_boundary", draw)
    assert create_decision_boundary_gif(alphas, X[:70], y[:70], 10, X[70:], y[70:], filename=path) == str(path)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (4, 500, 0)
        frames = [frame.convert("RGB").getpixel((4, 4)) for frame in ImageSequence.Iterator(gif)]
    assert frames == [(50, 0, 0), (100, 0, 0), (150, 0, 0), (200, 0, 0)]
    for (model, *data), alpha in zip(drawn, alphas, strict=True):
        assert (model.hidden_layer_sizes, model.alpha, model.random_state) == ((10,), alpha, 42)
        for found, expected in zip(data, (X[:70], y[:70], alpha, X[70:], y[70:]), strict=True):
            assert np.array_equal(found, expected)
    assert drawn[0][0].score(X, y) > 0.9
    confidence = [np.abs(model.predict_proba(X) - 0.5).mean() for model, *_ in drawn]
    assert confidence == sorted(confidence, reverse=True)


def test_the_gif_is_written_where_the_homework_wants_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = iris()
    assert create_decision_boundary_gif([0.1], X, y, n_neurons=3) == "mlp_classification_boundaries.gif"
    assert (tmp_path / "mlp_classification_boundaries.gif").stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.filterwarnings("error")
def test_the_gif_of_data_frames_is_that_of_arrays(tmp_path):
    X, y = iris()
    frame, labels = pd.DataFrame(X, columns=["sepal", "petal"]), pd.Series(y, name="species")
    for name, points, classes in ("arrays.gif", X, y), ("frames.GIF", frame, labels):
        data = points[:70], classes[:70], 2, points[70:], classes[70:]
        create_decision_boundary_gif([1], *data, filename=tmp_path / name)
    assert (tmp_path / "arrays.gif").read_bytes() == (tmp_path / "frames.GIF").read_bytes()
    create_decision_boundary_gif([1], frame[:70], labels[:70], 2, X[70:], y[70:], filename=tmp_path / "mixed.gif")


@pytest.fixture
def nothing_is_fitted(tmp_path, monkeypatch):
    """In an empty working directory that stays empty."""
    fitted = Mock()
    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", fitted)
    monkeypatch.chdir(tmp_path)
    yield
    fitted.assert_not_called()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("alphas", "n_neurons", "error", "message"),
    [
        ([], 3, ValueError, "alpha_values is empty"),
        ([0.1, -1.0], 3, ValueError, r"alpha must be finite and at least 0, got -1\.0"),
        ([float("nan")], 3, ValueError, "alpha must be finite"),
        ([0.1, True], 3, TypeError, "alpha must be a number, got True"),
        ([0.1, "x"], 3, TypeError, "alpha must be a number, got 'x'"),
        ([0.1], 0, ValueError, "n_neurons must be finite and at least 1, got 0"),
        ([0.1], 2.5, TypeError, r"n_neurons must be an integer, got 2\.5"),
        ([0.1], True, TypeError, "n_neurons must be an integer, got True"),
    ],
)
def test_bad_numbers_write_no_gif(nothing_is_fitted, alphas, n_neurons, error, message):
    with pytest.raises(error, match=message):
        create_decision_boundary_gif(alphas, *iris(), n_neurons)


@bad_data
def test_data_that_cannot_be_plotted_write_no_gif(nothing_is_fitted, data, error, message):
    X, y, *others = data
    with pytest.raises(error, match=message):
        create_decision_boundary_gif([0.1], X, y, 3, *others)


@pytest.mark.parametrize(
    ("filename", "error", "message"),
    [
        ("mlp.png", ValueError, r"filename must end in \.gif, got mlp\.png"),
        ("mlp", ValueError, r"filename must end in \.gif, got mlp"),
        (".gif", ValueError, r"filename must end in \.gif"),
        ("", ValueError, r"filename must end in \.gif"),
        ("none/mlp.gif", FileNotFoundError, "cannot write a file none/mlp.gif: no such folder"),
        (5, TypeError, "filename must be a path, got 5"),
        (None, TypeError, "filename must be a path, got None"),
    ],
)
def test_bad_file_names_write_no_gif(nothing_is_fitted, filename, error, message):
    with pytest.raises(error, match=message):
        create_decision_boundary_gif([0.1], *iris(), 3, filename=filename)


@pytest.mark.parametrize("failure", [OSError("no space left"), KeyboardInterrupt()], ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("moment", ["third frame", "write"])
@pytest.mark.parametrize("before", [{}, {"mlp.gif": b"a good GIF"}], ids=["no file", "a good file"])
def test_a_failed_or_interrupted_gif_leaves_the_folder_as_it_was(tmp_path, monkeypatch, before, moment, failure):
    frames, path = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")], tmp_path / "mlp.gif"

    def save(self, path, *arguments, **options):
        Path(path).write_bytes(b"GIF89a")
        raise failure

    if moment == "write":
        monkeypatch.setattr(Image.Image, "save", save)
    else:
        frames[2] = failure
    monkeypatch.setattr(plot_utils, "plot_decision_boundary", Mock(side_effect=frames))
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(type(failure)):
        create_decision_boundary_gif([0.1, 1, 10], *iris(), 2, filename=path)
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == before


def test_a_finished_gif_replaces_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "mlp.gif"
    path.write_bytes(b"an old GIF")
    monkeypatch.setattr(plot_utils, "plot_decision_boundary", Mock(return_value=Image.new("RGB", (8, 8))))
    create_decision_boundary_gif([0.1], *iris(), 2, filename=path)
    assert path.read_bytes().startswith(b"GIF89a")
    assert list(tmp_path.iterdir()) == [path]


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


def test_the_style_is_set_without_pyplot(no_pyplot):
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        use_style()
        assert matplotlib.rcParams["axes.grid"] and matplotlib.rcParams["figure.dpi"] == 80


def test_seed_shift(monkeypatch):
    monkeypatch.delenv("SEED_SHIFT", raising=False)
    assert shifted(42) == 42
    for shift, seed in ("", 42), ("0", 42), ("7", 49):
        monkeypatch.setenv("SEED_SHIFT", shift)
        assert shifted(42) == seed
    for wrong in "-1", "1.5", "one":
        monkeypatch.setenv("SEED_SHIFT", wrong)
        with pytest.raises(ValueError, match=r"SEED_SHIFT is '.+'; expected a whole number from 0 on"):
            shifted(42)
