"""How the pictures are checked: one thing is varied at a time, and the pixels that change tell where it is drawn.

So neither the colours nor the kind of plot nor its margins matter.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from .calling import returned
from .core import Found, need, task

# The examples lie in a rectangle, in which a place is from (0, 0) to (1, 1). An L in it, with this box and with arms of
# these shares of the box, has no examples. Two examples are moved, and two exchange their classes.
LOW, HIGH = np.array([-1.0, 4.0]), np.array([3.0, 12.0])
BOX, ARMS = np.array([[0.22, 0.25], [0.82, 0.70]]), (0.25, 0.6)
MOVED, PLACES, EXCHANGED = [(0.6, 0.61), (0.08, 0.35)], [(0.92, 0.4), (0.08, 0.62)], [(0.5, 0.1), (0.85, 0.1)]


def relative(points: Any, low: np.ndarray = LOW, high: np.ndarray = HIGH) -> np.ndarray:
    return (np.asarray(points, dtype=float) - low) / (high - low)


def in_l(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Of points of its box, from (0, 0) to (1, 1)."""
    return (s < ARMS[0]) | (t < ARMS[1])


def band(points: Any) -> np.ndarray:
    return relative(points)[:, 0] < 0.15


def band_and_l(points: Any) -> np.ndarray:
    s, t = relative(relative(points), *BOX).T
    return band(points) | (in_l(s, t) & (s > 0) & (t > 0) & (s < 1) & (t < 1))


def examples() -> tuple[np.ndarray, np.ndarray]:
    """The special ones first and last; none in the L or in the upper right, where a legend has its place."""
    special, corners = MOVED + EXCHANGED, [(0, 0), (1, 0.05), (0.05, 1)]
    others = np.random.default_rng(0).uniform(size=(150, 2))
    far = np.abs(others[:, None] - np.array(special + PLACES)).max(2).min(1) > 0.1
    around = ((others < BOX[0] - 0.04) | (others > BOX[1] + 0.04)).any(1) & (others.min(1) < 0.55)
    X = LOW + np.vstack([special[::2], corners, others[far & around][:33], special[1::2]]) * (HIGH - LOW)
    y = band(X) * 1
    y[-1] = 1
    return X, y


@functools.cache
def classifier() -> type:
    from sklearn.base import BaseEstimator, ClassifierMixin  # imported here: it takes a second

    class Classifier(ClassifierMixin, BaseEstimator):
        """Answers 1 where it is told to; it keeps at which points it was asked, and whether it was fitted again."""

        def __init__(self, told: Callable | None = None) -> None:
            self.told, self.asked, self.again = told, [], False
            self.classes_, self.n_features_in_ = np.array([0, 1]), 2

        def fit(self, X: Any, y: Any) -> Any:
            self.again = True
            return self

        def predict(self, X: Any) -> np.ndarray:
            self.asked.append(np.array(X, dtype=float))
            return self.told(X) * 1

        def predict_proba(self, X: Any) -> np.ndarray:
            return sure(self.predict(X))

    return Classifier


def sure(classes: np.ndarray) -> np.ndarray:
    p = np.where(classes, 0.85, 0.15)
    return np.column_stack([1 - p, p])


@contextlib.contextmanager
def apart() -> Iterator[Path]:
    """In an empty folder; what is displayed is thrown away, and figures that are left open are closed."""
    import matplotlib.pyplot as plt
    from IPython.utils.capture import capture_output

    before, figures = Path.cwd(), plt.get_fignums()
    temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

    def close(*_: Any, **__: Any) -> None:  # as plt.show does in a notebook
        for number in set(plt.get_fignums()) - set(figures):
            plt.close(number)

    silent = capture_output(stdout=False, stderr=False)
    with temporary as folder, plt.rc_context(), silent, patch.object(plt, "show", close):
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            close()


def pixels(plot: Callable, *call: Any) -> np.ndarray:
    with apart():
        return picture(plot, *call)


def picture(plot: Callable, model: Any, X: np.ndarray, y: np.ndarray, *more: Any) -> np.ndarray:
    given = X.copy(), y.copy()
    image = returned("it", plot(model, *given, *more))
    need(isinstance(image, Image.Image), "no image", f"expected a PIL image, got {type(image).__name__}.")
    try:
        colours = np.asarray(image.convert("RGB"), dtype=np.int16)
    except (ValueError, OSError) as error:
        text = f"the picture cannot be read any more: what it is loaded from is closed or gone ({error})."
        raise Found("closed image", text) from error
    need(min(image.size) >= 100, "small image", f"the picture has only {image.width} x {image.height} pixels.")
    unchanged = np.array_equal(given[0], X) and np.array_equal(given[1], y)
    need(unchanged, "input modified", "it changes the X or y that it is given; the caller still needs them.")
    return colours


def differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which pixels do, (height, width)."""
    return np.abs(a - b).max(2) > 8


# ---------------------------------------------------------------------------------------------- a decision boundary


@task("plot_decision_boundary")
def check_plot_decision_boundary(plot: Callable) -> str:
    (X, y), model = examples(), classifier()(band)
    X2, y2 = X.copy(), y.copy()
    X2[[0, -2]], y2[[1, -1]] = LOW + np.array(PLACES) * (HIGH - LOW), y[[-1, 1]]
    drawn = [pixels(plot, model, X, y, 0.2)]
    check_asked(model, X)
    drawn += [pixels(plot, classifier()(band_and_l), X, y, 0.2)]
    drawn += [pixels(plot, model, X2, y, 0.2), pixels(plot, model, X, y, 0.9), pixels(plot, model, X, y2, 0.2)]
    pixels(plot, model, X, y, 0.2, X[::3] + 0.1, y[::3])
    with apart():  # one after the other
        drawn += [picture(plot, model, *call) for call in ((X, y, 0.001), (X2, y, 0.2), (X, y, 0.002))]
    height, width = np.min([picture.shape[:2] for picture in drawn], axis=0)
    first, other, moved, named, exchanged, small, again, larger = (picture[:height, :width] for picture in drawn)
    text = "after another picture it draws something else: give each a figure of its own, and close it."
    need(not differ(moved, again).any(), "pictures mixed", text)
    region, to_pixel = find_l(differ(first, other))
    example = find_examples(differ(first, moved), differ(first, exchanged), to_pixel)
    check_colours([first[region], other[region]], [first[example], exchanged[example]])
    changed = differ(first, named)
    need(changed.any(), "alpha not shown", "another alpha changes nothing: say in the title which one it is.")
    text = "another alpha changes the colours of the plane: as the penalty of the fit it belongs in the title only."
    need(changed[region].mean() < 0.5, "alpha as transparency", text)
    text = "the title is the same for alpha = 0.001 and 0.002: it is rounded too much."
    need(differ(small, larger).any(), "alpha rounded", text)
    return "right: a picture of both regions, and of the examples."


def check_asked(model: Any, X: np.ndarray) -> None:
    """Was the model asked all over the plane?"""
    need(not model.again, "fitted again", "it fits the model, which is fitted already.")
    asked = np.concatenate([np.empty((0, 2)), *(points.reshape(-1, 2) for points in model.asked)])
    asked = asked[~np.isin(asked @ [1, 1j], X @ [1, 1j])]
    text = "the model is not asked what it answers in the plane, between the examples: these cannot be its regions."
    need(len(asked), "not asked", text)
    text = f"the model is asked at {len(asked)} points only, too few to see where its answer changes."
    need(len(asked) >= 100, "coarse", text)
    low, high = asked.min(0), asked.max(0)
    text = "the two coordinates of the grid are exchanged: the model is asked at (x1, x0) in place of (x0, x1)."
    need(covers(low, high).all() or not covers(low[::-1], high[::-1]).all(), "coordinates exchanged", text)
    for k in np.flatnonzero(~covers(low, high)):
        text = f"the grid does not cover the examples: their X[:, {k}] goes from {LOW[k]:g} to {HIGH[k]:g}, and the "
        raise Found("grid too small", f"{text}model is asked from {low[k]:.4g} to {high[k]:.4g}.")


def covers(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (relative(low) < 0.07) & (relative(high) > 0.93)


def find_l(changed: np.ndarray) -> tuple[np.ndarray, Callable]:
    """The pixels of the L, and a function from a place to its (row, column)."""
    from scipy.ndimage import binary_fill_holes, label, uniform_filter

    text = "the plane has the same colours where the model answers 0 as where it answers 1."
    need(changed.any(), "no regions", text)
    top, bottom, left, right = edges(changed)
    size = max(min(bottom - top, right - left), changed.sum() ** 0.5)
    density = uniform_filter(changed.astype(float), max(3, int(size / 6)))  # no thin lines, no gaps between points
    parts = label(density > 0.4 * density.max())[0]
    sizes = np.bincount(parts.ravel())[1:]
    dense = parts == np.argmax(sizes > 0.8 * sizes.max()) + 1  # the first, if there are several panels
    top, bottom, left, right = edges(dense)
    found = dense[np.ix_(*(np.linspace(*ends, 60).astype(int) for ends in ((bottom, top), (left, right))))]
    turn, agreement = turned(found)
    text = "only lines change where the answers of the model do: the regions have no colours."
    need(agreement > 0.8 or turned(binary_fill_holes(found))[1] < 0.8, "lines only", text)
    text = "the colours are not at the places where the model gave these answers: their order in the grid is lost."
    need(agreement > 0.8, "scrambled", text)
    need(not turn, turn, f"the regions are {turn}: x0 = X[:, 0] goes to the right, x1 = X[:, 1] upwards.")

    def to_pixel(place: tuple[float, float]) -> np.ndarray:
        s, t = relative(place, *BOX)
        return np.array([bottom - t * (bottom - top), left + s * (right - left)])

    return changed & dense, to_pixel


def edges(changed: np.ndarray) -> list[int]:
    """The first and last row and column, of those that have changed pixels to speak of."""
    counts = changed.sum(1), changed.sum(0)
    return [edge for count in counts for edge in np.flatnonzero(count > 0.12 * count.max())[[0, -1]]]


def turned(found: np.ndarray) -> tuple[str, float]:
    """How the L was turned to become this square, from the lowest row, and the share of pixels that agree."""
    turns = {"": found, "mirrored": found[:, ::-1], "upside down": found[::-1], "turned": found[::-1, ::-1]}
    turns |= {f"transposed, {name}".removesuffix(", "): image.T for name, image in turns.items()}
    middles = (np.arange(len(found)) + 0.5) / len(found)
    agreement = {name: (image == in_l(*np.meshgrid(middles, middles))).mean() for name, image in turns.items()}
    return max(agreement.items(), key=lambda item: item[1])


def find_examples(changed: np.ndarray, recoloured: np.ndarray, to_pixel: Callable) -> np.ndarray:
    """Are they drawn, where they belong, and by their classes? The pixels of one that has changed its class."""
    need(changed.any(), "no examples", "the examples X are not to be seen: they are not drawn, or covered.")
    radius = 0.2 * np.abs(to_pixel(BOX[1]) - to_pixel(BOX[0]))

    def near(place: tuple[float, float], changed: np.ndarray = changed) -> np.ndarray:
        ranges = zip(changed.shape, to_pixel(place), radius, strict=True)
        rows, columns = (np.abs(np.arange(n) - middle) <= r for n, middle, r in ranges)
        return changed & rows[:, None] & columns

    seen = [near(old).any() and near(new).any() for old, new in zip(MOVED, PLACES, strict=True)]
    text = "the examples and the regions do not fit together: an example (x0, x1) is not drawn where the plane shows "
    need(any(seen), "examples elsewhere", f"{text}the model's answer at (x0, x1).")
    text = (
        f"an example of class {seen.index(True)} is drawn, one of class {1 - seen.index(True)} is not: are all of them?"
    )
    need(all(seen), "examples missing", text)
    text = "another y changes nothing: the examples have one colour, or those of what the model predicts."
    need(any(near(place, recoloured).any() for place in EXCHANGED), "classes not shown", text)
    return near(EXCHANGED[0], recoloured)


def check_colours(regions: list[np.ndarray], examples: list[np.ndarray]) -> None:
    """Has the region of a class the colour of the other one's examples, mixed with white?"""
    change = np.abs(examples[0] - examples[1]).max(1)
    inside = change > 0.8 * change.max(initial=0)  # without the edges
    examples = np.array([np.median(colours[inside], axis=0) for colours in examples])
    regions = np.array([np.median(colours, axis=0) for colours in regions])

    def distance(colours: np.ndarray) -> float:
        return min(np.abs(255 + share * (colours - 255) - regions).max() for share in np.linspace(0.05, 1, 20))

    contrast = np.abs(regions[0] - regions[1]).max()
    exchanged = distance(examples[::-1]) < 0.35 * contrast and distance(examples) > 0.7 * contrast
    text = "the colours are exchanged: where the model answers 1 the plane has the colour of the examples of class 0."
    need(not exchanged, "colours exchanged", text)


# ---------------------------------------------------------------------------------------------------- its animation

# alpha -> the share of the plane, from the left, where the model that is fitted with it answers 1 here
SHARES = {0.13: 0.1, 0.017: 0.3, 0.6: 0.85}
UNITS, PAIRS = 5, [(0, 1), (1, 2), (0, 2)]


@contextlib.contextmanager
def recorded() -> Iterator[list[SimpleNamespace]]:
    """What each MLPClassifier is fitted with. It is fitted in a few iterations, and answers what it is told to."""
    from sklearn.neural_network import MLPClassifier

    fits = []

    def recording(original: Callable) -> Callable:
        @functools.wraps(original)
        def fit(self: Any, X: Any, y: Any, *more: Any, **named: Any) -> Any:
            data = np.array(X, dtype=float), np.array(y).ravel()
            fits.append(SimpleNamespace(settings=self.get_params(), X=data[0], y=data[1], asked=False))
            self.recorded = fits[-1]
            with patch.object(self, "max_iter", min(self.max_iter, 5)):
                return original(self, X, y, *more, **named)

        return fit

    def predict(self: Any, X: Any) -> np.ndarray:
        need(hasattr(self, "recorded"), "not fitted", "an MLPClassifier is asked before it is fitted.")
        self.recorded.asked = True
        share = SHARES.get(self.recorded.settings["alpha"], 0.5)
        return self.classes_[(to_range(X, self.recorded.X)[:, 0] < share) * 1]

    def predict_proba(self: Any, X: Any) -> np.ndarray:
        return sure(self.predict(X) == self.classes_[1])

    fitting = {name: recording(getattr(MLPClassifier, name)) for name in ("fit", "partial_fit")}
    with patch.multiple(MLPClassifier, predict=predict, predict_proba=predict_proba, **fitting):
        yield fits


def to_range(points: Any, X: np.ndarray) -> np.ndarray:
    """X would go from 0 to 1: the same whether it was scaled or not."""
    low, high = X.min(0), X.max(0)
    return relative(points, low, np.where(high > low, high, low + 1))


@task("create_decision_boundary_gif")
def check_create_decision_boundary_gif(create: Callable) -> str:
    X, y = examples()
    test = X[::4] + 0.1, y[::4]
    fits, frames = animate(create, list(SHARES), X, y, *test)
    check_settings([fit.settings for fit in fits])
    for fit in fits:
        check_data(fit, X, y, test[0])
    check_frames(frames, any(fit.asked for fit in fits))
    frames = animate(create, list(SHARES)[:2], X, y)[1]
    text = f"called again, for 2 alphas without X_test, it writes a GIF of {len(frames)} frames."
    need(len(frames) == 2, "number of frames", text)
    return "right: a frame for each alpha, with the regions of its model."


def animate(create: Callable, alphas: list[float], X: np.ndarray, y: np.ndarray, *test: np.ndarray) -> tuple:
    """What was fitted, and the frames."""
    with apart() as folder, recorded() as fits:
        path = folder / "some folder" / "boundaries.gif"
        path.parent.mkdir()
        create(np.array(alphas), X.copy(), y.copy(), UNITS, *test, filename=str(path))
        need(path.is_file(), "no file", "there is no file of that name, in that folder, afterwards: is filename used?")
        try:
            with Image.open(path) as gif:
                need(gif.format == "GIF", "no GIF", f"expected a GIF, got {gif.format}.")
                frames = [np.asarray(frame.convert("RGB"), dtype=np.int16) for frame in ImageSequence.Iterator(gif)]
        except UnidentifiedImageError as error:
            raise Found("no GIF", "expected a GIF, got a file that is no picture.") from error
    return fits, frames


def check_settings(fits: list[dict[str, Any]]) -> None:
    need(fits, "no MLPClassifier", "no MLPClassifier is fitted.")
    rates = {fit["learning_rate_init"] for fit in fits}
    text = "alpha is given to the models as their learning rate; it is the factor of the L2 penalty."
    need(len(rates & set(SHARES)) < 2, "alpha as learning rate", text)
    found = [fit["alpha"] for fit in fits]
    if not set(SHARES) <= set(found):
        values = ", ".join(f"{alpha:.4g}" for alpha in found)
        text = f"one model is fitted, with alpha = {values}; each alpha needs a model of its own."
        need(len(fits) > 1, "fitted once", text)
        text = f"all models are fitted with alpha = {found[0]:.4g}, whatever is in alphas."
        need(len(set(found)) > 1, "alpha unused", text)
        raise Found("other alphas", f"for alphas = {list(SHARES)} the models are fitted with alpha = {values}.")
    for units in (np.ravel(fit["hidden_layer_sizes"]).tolist() for fit in fits):
        text = f"the model has {len(units)} hidden layers, of {units} units; expected one, of n_neurons."
        need(len(units) == 1, "hidden layers", text)
        text = f"the model has {units[0]} hidden units where n_neurons is {UNITS}."
        need(units == [UNITS], "n_neurons ignored", text)


def check_data(fit: SimpleNamespace, X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> None:
    """Are these the examples, in any order and scaled or not?"""

    def same(*data: np.ndarray) -> bool:
        rows = [to_range(x, x).round(6) for x in map(np.column_stack, zip(*data, strict=True))]
        return rows[0].shape == rows[1].shape and np.array_equal(*(x[np.lexsort(x.T)] for x in rows))

    if len(fit.X) == len(fit.y) and same([fit.X, X], [fit.y, y]):
        return
    text = "the model is fitted on the examples of X_test, which are there to test it."
    need(not same([fit.X, X_test]), "fitted on test data", text)
    need(not same([fit.X, np.vstack([X, X_test])]), "fitted on test data", text)
    need(len(fit.X) == len(X), "other examples", f"the model is fitted on {len(fit.X)} examples of {len(X)}.")
    need(not same([fit.X, X]), "other labels", "the model is fitted on X_train with other labels than y_train's.")
    raise Found("other data", "the model is fitted on something else than X_train and y_train.")


def check_frames(frames: list[np.ndarray], asked: bool) -> None:
    need(any(np.ptp(frame, axis=(0, 1)).any() for frame in frames), "solid frames", "each frame has one colour only.")
    text = "the GIF has one frame only: the others are not written, or all of them are the same picture."
    need(len(frames) > 1, "one frame", text)
    need(len(frames) == len(SHARES), "number of frames", f"the GIF has {len(frames)} frames for {len(SHARES)} alphas.")
    text = "the models are fitted, and never asked what they answer: the frames cannot show their regions."
    need(asked, "not asked", text)
    plots, shares = [frame[len(frame) // 5 :] for frame in frames], list(SHARES.values())  # without a title
    found = np.array([differ(plots[i], plots[j]).mean() for i, j in PAIRS])
    text = "some frames show the same regions, though their models answer differently: does each show its own model?"
    need(found.min() > max(0.002, 0.05 * found.max()), "same frames", text)
    errors = {}
    for order in permutations(shares):
        expected = np.array([abs(order[i] - order[j]) for i, j in PAIRS])
        errors[order] = np.abs(found / found.sum() - expected / expected.sum()).max()
    text = "the frames are not in the order of the alphas, or do not show the models of their alphas."
    need(errors[tuple(shares)] < min(errors.values()) + 0.1, "order", text)
