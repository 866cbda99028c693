"""Pictures: decision boundaries, and what the notebooks share (checks, tables, source and
animations shown, colours, style)."""

import base64
import io
import os
import tempfile
import textwrap
import warnings
from collections.abc import Sequence
from html import escape
from inspect import getsource
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image
from tqdm import tqdm

# Told apart by colour-blind readers, too.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"


def shifted(seed: int) -> int:
    """seed + $SEED_SHIFT: with that environment variable set to 1, 2, ... a notebook runs on
    other random numbers."""
    shift = os.environ.get("SEED_SHIFT") or "0"
    if not shift.isdecimal():
        raise ValueError(f"the environment variable SEED_SHIFT is {shift!r}, no whole number")
    return seed + int(shift)


def use_style() -> None:
    """The look of the notebooks' plots."""
    matplotlib.rcParams.update({"figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3})


def check(sentence: str, condition: Any, *more: Any) -> None:
    """Print the sentence as checked; AssertionError, with the number of the first that is not
    true, unless all conditions are."""
    for number, true in enumerate([condition, *more], start=1):
        # A list or a generator would count as true, whatever is in it.
        if true not in (True,):
            raise AssertionError(f"condition {number} is not true: {sentence}")
    print(textwrap.fill(f"Checked: {sentence}.", 96))


def show_table(table: pd.DataFrame, form: str = "{:.4f}", **forms: str) -> None:
    """Display a data frame with its numbers in this form, those of some columns in another
    (forms: column=form, or **{"its name": form}), and nothing where there is none.

    As text it can be read, too, where HTML is not shown. ValueError for a form of a column that
    is not there.
    """
    if unknown := set(forms) - set(table.columns):
        raise ValueError(f"show_table: no column {unknown}; there are {list(table.columns)}")

    def shown(column: pd.Series) -> pd.Series:
        write = forms.get(column.name, form).format
        raw = (str, bool, np.bool_)  # shown as it is
        return column.map(lambda x: x if isinstance(x, raw) else "" if pd.isna(x) else write(x))

    with pd.option_context(
        "display.max_colwidth", None, "display.max_rows", None, "display.max_columns", None
    ):
        display(table.apply(shown))


def show_source(*objects: Any) -> None:
    """Display the source of functions or classes as it stands in their modules."""
    display(Markdown("```python\n" + "\n\n".join(getsource(o) for o in objects) + "```"))


def show_gif(path: str | os.PathLike, alt: str) -> None:
    """Display an animated GIF, stored in the notebook itself; its last frame, where HTML is
    not shown. FileNotFoundError or ValueError if it is not one."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"show_gif: no file {path}; make it first, with create_decision_boundary_gif"
        )
    content = Path(path).read_bytes()
    if not content.startswith(b"GIF8"):
        raise ValueError(f"show_gif: {path} is not a GIF")
    gif, png = base64.b64encode(content).decode(), io.BytesIO()
    with Image.open(path) as frames:
        frames.seek(frames.n_frames - 1)
        frames.convert("RGB").save(png, format="png")
    html = f'<img alt="{escape(alt)}" src="data:image/gif;base64,{gif}">'
    last = base64.b64encode(png.getvalue()).decode()
    display({"text/html": html, "image/png": last, "text/plain": alt}, raw=True)


def plot_histories(histories: dict[str, dict[str, list[float]]], title: str) -> None:
    """Loss and accuracy over the epochs of trainings, {name: model.history} of train_utils'
    train with a test_dataloader: dashed in training (an epoch's running average, in training
    mode), solid on test data. ValueError for more than four, which would share colours."""
    colors = BLUE, ORANGE, GREEN, RED
    if len(histories) > len(colors):
        raise ValueError(f"expected at most {len(colors)} histories, got {len(histories)}")
    fig, axes = plt.subplots(1, 2, figsize=(11, 3.6))
    for (name, history), color in zip(histories.items(), colors, strict=False):
        epochs = range(1, len(history["train_loss"]) + 1)
        for ax, quantity in zip(axes, ["loss", "accuracy"], strict=True):
            for part, line in ("train", "--"), ("test", "-"):
                curve, label = history[f"{part}_{quantity}"], f"{name}, {part}"
                ax.plot(epochs, curve, line, color=color, label=label)
            ax.set(xlabel="epoch", ylabel=quantity)
            ax.xaxis.get_major_locator().set_params(integer=True)
    axes[1].legend(fontsize=8)
    fig.suptitle(title)
    plt.show()


def plot_decision_boundary(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    alpha: float,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
) -> Image.Image:
    """A picture of what a fitted scikit-learn classifier of two classes answers in the plane,
    as a PIL image.

    Colours show the probability of the second of model.classes_, a black line where it is 1/2.
    X (N, 2) and its labels y (N,) are drawn as dots, X_test and y_test, if given, as crosses,
    each in the colour of its class; the title shows alpha and the accuracies. The words in the
    picture are those of notebook 03's Iris, whose second class is versicolor.

    Raises ValueError unless the model tells two classes apart, the labels are those, and X has
    two columns.
    """
    points, classes = np.asarray(X, dtype=float), model.classes_.tolist()
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"X must have shape (N, 2), got {points.shape}")
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test belong together; one of them is missing")
    for labels in [y] if y_test is None else [y, y_test]:
        found = np.unique(labels).tolist()
        if len(classes) != 2 or not set(found) <= set(classes):
            known = f"the model knows the classes {classes}, the labels are {found}"
            raise ValueError(f"{known}; keep the examples of two classes")
    (left, bottom), (right, top) = points.min(axis=0) - 1, points.max(axis=0) + 1
    x0, x1 = np.meshgrid(np.linspace(left, right, 120), np.linspace(bottom, top, 120))
    grid = np.column_stack([x0.ravel(), x1.ravel()])
    if hasattr(model, "feature_names_in_"):  # it was fitted on a data frame
        grid = pd.DataFrame(grid, columns=model.feature_names_in_)
    probability = model.predict_proba(grid)[:, 1].reshape(x0.shape)
    fig = Figure(figsize=(6, 4.6), dpi=72)
    ax = fig.subplots()
    extent = (left, right, bottom, top)
    image = ax.imshow(
        probability,
        cmap="cividis",
        vmin=0,
        vmax=1,
        origin="lower",
        extent=extent,
        aspect="auto",
    )
    fig.colorbar(image, ax=ax, label="probability of versicolor")
    if probability.min() < 0.5 < probability.max():
        ax.contour(x0, x1, probability, levels=[0.5], colors="black")
    title = f"alpha = {alpha:.4g}: train {model.score(X, y):.1%}"
    dots = dict(cmap="cividis", vmin=0, vmax=1, edgecolors="tab:red")
    ax.scatter(*points.T, c=1.0 * (np.asarray(y) == classes[1]), label="train", **dots)
    if X_test is not None:
        ax.scatter(
            *np.asarray(X_test).T,
            c=1.0 * (np.asarray(y_test) == classes[1]),
            marker="X",
            label="test",
            **dots,
        )
        title += f", test {model.score(X_test, y_test):.1%}"
    ax.set(
        title=title, xlabel="sepal length (standardised)", ylabel="petal length (standardised)"
    )
    legend = ax.legend(loc="upper left")
    for handle in legend.legend_handles:  # the colour of a dot is its class, not its set
        handle.set_facecolor("none")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def create_decision_boundary_gif(
    alpha_values: Sequence[float],
    X_train: ArrayLike,
    y_train: ArrayLike,
    n_neurons: int,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    filename: str | os.PathLike = "mlp_classification_boundaries.gif",
) -> str:
    """Fit an MLPClassifier with n_neurons hidden units for each alpha, draw each with
    plot_decision_boundary, and write them as the frames of an animated GIF, half a second each.
    Returns its file name.

    A file of that name is replaced when the new one is complete. Raises what MLPClassifier and
    plot_decision_boundary raise, ValueError for no alphas or a name that does not end in .gif,
    FileNotFoundError for a folder that does not exist. The solver is the homework's, Adam,
    which stops after 1,000 epochs, converged or not: no warning says so.
    """
    from sklearn.exceptions import ConvergenceWarning  # imported here: it takes a second
    from sklearn.neural_network import MLPClassifier

    path = Path(filename)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"filename must end in .gif, got {path.name}")
    if len(alpha_values) == 0:
        raise ValueError("alpha_values must have at least one alpha, a frame for each")
    X_train, X_test = np.asarray(X_train), None if X_test is None else np.asarray(X_test)
    frames = []
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for alpha in tqdm(alpha_values, desc="alpha"):
            model = MLPClassifier((n_neurons,), alpha=alpha, max_iter=1000, random_state=42)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X_train, y_train)
            frames.append(
                plot_decision_boundary(model, X_train, y_train, alpha, X_test, y_test)
            )
        part = Path(folder) / "part.gif"
        frames[0].save(part, save_all=True, append_images=frames[1:], duration=500, loop=0)
        os.replace(part, path)
    return str(filename)
