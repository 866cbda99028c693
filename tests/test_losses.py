"""SimpleMLPTrainer with every loss of notebook 3, Titanic, and the GIF of decision boundaries; and their bad input."""

import sys
from unittest.mock import MagicMock

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageSequence
from sklearn.datasets import load_iris
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import train_utils
from layers import SimpleMLP
from train_utils import (
    TITANIC_COLUMNS,
    BatchLoader,
    SimpleMLPTrainer,
    compute_loss,
    create_decision_boundary_gif,
    load_titanic,
    plot_decision_boundary,
    set_seed,
)

# --------------------------------------------------------------------------------------------------- the trainer


def column(y):
    return y[:, None].float()


def one_hot(y):
    return nn.functional.one_hot(y, 2).float()


def plus_minus(y):
    return 2 * one_hot(y) - 1


# name: criterion, outputs, last layer, targets from class indices
LOSSES = {
    "L1": (nn.L1Loss(), 1, None, column),
    "MSE": (nn.MSELoss(), 1, None, column),
    "Huber": (nn.HuberLoss(), 1, None, column),
    "BCE": (nn.BCELoss(), 1, nn.Sigmoid, column),
    "BCEWithLogits": (nn.BCEWithLogitsLoss(), 1, None, column),
    "NLL": (nn.NLLLoss(), 2, nn.LogSoftmax(dim=1), torch.Tensor.long),
    "CrossEntropy": (nn.CrossEntropyLoss(), 2, None, torch.Tensor.long),
    "CrossEntropy, one-hot": (nn.CrossEntropyLoss(), 2, None, one_hot),
    "KLDiv": (nn.KLDivLoss(reduction="batchmean"), 2, nn.LogSoftmax(dim=1), one_hot),
    "CosineEmbedding": (nn.CosineEmbeddingLoss(), 2, None, plus_minus),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def toy_classes(n=100):
    set_seed(0)
    y = torch.arange(n) % 2
    return torch.randn(n, 4) + 3 * column(y), y


def toy_trainer(criterion, outputs=1, last=None, learning_rate=0.01):
    set_seed(1)
    model = SimpleMLP(4, 8, outputs, last_layer_activation_fn=last)
    return SimpleMLPTrainer(model, criterion, torch.optim.Adam(model.parameters(), lr=learning_rate))


@every_loss
def test_every_loss_learns_a_separable_toy_set(name):
    criterion, outputs, last, targets = LOSSES[name]
    X, y = toy_classes()
    trainer = toy_trainer(criterion, outputs, last, learning_rate=0.05)
    loader = BatchLoader(TensorDataset(X, targets(y)), 20, shuffle=True)
    before, _ = trainer.evaluate(loader)
    losses = trainer.train(loader, 8, verbose=False)
    after, accuracy = trainer.evaluate(loader)
    assert len(losses) == 8 and losses[-1] < losses[0] and after < before
    assert accuracy > 97


@every_loss
def test_other_shapes_and_kinds_of_targets_are_refused(name):
    criterion, outputs, last, targets = LOSSES[name]
    X, y = toy_classes(6)
    good = targets(y)
    if good.is_floating_point():
        bad = [y, good.long(), good.flatten(), good[:5], good.T]
    else:
        bad = [y.float(), column(y), y[:, None], y[:5], y + 1, y - 1, y.int(), y.byte()]
    if "CrossEntropy" in name:
        bad = [y.float(), column(y), y[:, None], y + 1, y.int(), y.byte(), one_hot(y).long()]
    for wrong in bad:
        trainer = toy_trainer(criterion, outputs, last)
        start = [p.clone() for p in trainer.model.parameters()]
        with pytest.raises((TypeError, ValueError), match=type(criterion).__name__):
            trainer.train([(X, wrong)], 1, verbose=False)
        with pytest.raises((TypeError, ValueError), match=type(criterion).__name__):
            trainer.evaluate([(X, wrong)])
        assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), start, strict=True))


def test_the_error_for_a_broadcast_names_both_shapes():
    X, y = toy_classes(32)
    with pytest.raises(
        ValueError, match=r"L1Loss: the outputs have shape \(32, 1\) and .* \(32,\), expected \(32, 1\)"
    ):
        toy_trainer(nn.L1Loss()).train([(X, y.float())], 1, verbose=False)


def test_kinds_of_targets_are_named():
    X, y = toy_classes(6)
    for criterion, wrong in (nn.NLLLoss(), y.float()), (nn.CrossEntropyLoss(), y.int()):
        message = rf"Loss needs class indices of shape \(N,\) and type torch.long, got {wrong.dtype}"
        with pytest.raises(TypeError, match=message):
            toy_trainer(criterion, 2).evaluate([(X, wrong)])
    with pytest.raises(
        TypeError, match=r"BCEWithLogitsLoss needs floating-point targets of shape \(6, 1\), got torch.int"
    ):
        toy_trainer(nn.BCEWithLogitsLoss()).evaluate([(X, y[:, None])])
    with pytest.raises(ValueError, match="the model has 2 outputs, so class indices go from 0 to 1; found 1 to 2"):
        toy_trainer(nn.CrossEntropyLoss(), 2).evaluate([(X, y + 1)])
    with pytest.raises(ValueError, match=r"needs targets of \+1 .* and -1"):
        toy_trainer(nn.CosineEmbeddingLoss(), 2).evaluate([(X, one_hot(y))])


def test_cross_entropy_still_takes_its_ignore_index():
    outputs, targets = torch.randn(4, 3), torch.tensor([0, -100, 2, 1])
    criterion = nn.CrossEntropyLoss()
    assert compute_loss(criterion, outputs, targets) == criterion(outputs, targets)


def test_cosine_embedding_pairs_each_output_with_each_class_vector():
    outputs, y = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    targets = 2 * nn.functional.one_hot(y, 3).double() - 1
    cosine = outputs / outputs.norm(dim=1, keepdim=True)
    expected = torch.where(targets > 0, 1 - cosine, cosine.clamp(min=0)).mean()
    torch.testing.assert_close(compute_loss(nn.CosineEmbeddingLoss(), outputs, targets), expected)


def test_accuracy_of_one_output_is_decided_at_one_half_or_at_logit_zero():
    X, y = torch.tensor([[-1.0], [0.2], [0.7], [2.0]]), torch.tensor([0, 0, 1, 1])
    for criterion, percent in (nn.MSELoss(), 100), (nn.BCEWithLogitsLoss(), 75):
        trainer = SimpleMLPTrainer(nn.Linear(1, 1), criterion, None)
        with torch.no_grad():
            trainer.model.weight.fill_(1.0)
            trainer.model.bias.zero_()
        assert trainer.evaluate([(X, column(y))])[1] == percent


def test_averages_are_over_examples_and_modes_are_kept():
    X, y = toy_classes(30)
    trainer = toy_trainer(nn.MSELoss())
    whole = trainer.evaluate([(X, column(y))])
    parts = trainer.evaluate(DataLoader(TensorDataset(X, column(y)), batch_size=7))
    assert whole == pytest.approx(parts, rel=1e-6)
    trainer.model.eval()
    trainer.train([(X, column(y))], 1, verbose=False)
    assert trainer.model.training
    trainer.evaluate([(X, column(y))])
    assert trainer.model.training


def test_training_is_that_of_a_plain_loop():
    X, y = toy_classes(60)
    ours, theirs = toy_trainer(nn.MSELoss()), toy_trainer(nn.MSELoss())
    losses = ours.train([(X[:40], column(y[:40])), (X[40:], column(y[40:]))], 3, verbose=False)
    for _ in range(3):
        total = 0.0
        for rows in slice(0, 40), slice(40, 60):
            theirs.optimizer.zero_grad()
            loss = ((theirs.model(X[rows]) - column(y[rows])) ** 2).mean()
            loss.backward()
            theirs.optimizer.step()
            total += loss.item() * len(X[rows]) / 60
    assert losses[-1] == pytest.approx(total, rel=1e-6)
    for p, q in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_batches_are_moved_to_the_device_of_the_model():
    trainer, (X, y) = toy_trainer(nn.MSELoss()), toy_classes(8)
    batch = [MagicMock(**{"to.return_value": tensor, "__len__.return_value": 8}) for tensor in (X, column(y))]
    for run in lambda: trainer.train([batch], 1, verbose=False), lambda: trainer.evaluate([batch]):
        run()
        for part in batch:
            part.to.assert_called_once_with(torch.device("cpu"))
            part.to.reset_mock()


def test_a_bar_over_the_epochs_shows_the_loss(capsys):
    X, y = toy_classes(10)
    toy_trainer(nn.MSELoss()).train([(X, column(y))], 2)
    shown = capsys.readouterr().err
    assert "2/2" in shown and "loss=" in shown


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)])
def test_num_epochs_is_a_positive_integer(number, error):
    with pytest.raises(error, match="num_epochs must be"):
        toy_trainer(nn.MSELoss()).train([(torch.ones(2, 4), torch.ones(2, 1))], number)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_the_criterion_must_average(reduction):
    with pytest.raises(ValueError, match=f"reduction='mean', got '{reduction}'"):
        toy_trainer(nn.MSELoss(reduction=reduction))


def test_empty_loaders_and_losses_that_are_not_finite():
    with pytest.raises(ValueError, match="training loader is empty"):
        toy_trainer(nn.MSELoss()).train([], 1, verbose=False)
    with pytest.raises(ValueError, match="loader is empty"):
        toy_trainer(nn.MSELoss()).evaluate([])
    with pytest.raises(FloatingPointError, match=r"epoch 1: the loss is nan; learning rate 0\.01"):
        toy_trainer(nn.MSELoss()).train([(torch.full((2, 4), torch.nan), torch.ones(2, 1))], 1, verbose=False)


# -------------------------------------------------------------------------------------------------------- Titanic


def test_titanic_is_the_known_table():
    table = load_titanic()
    assert list(table.columns) == TITANIC_COLUMNS == ["Pclass", "Sex", "Age", "Fare", "Survived"]
    assert len(table) == 891 and table["Survived"].sum() == 342 and table["Age"].isna().sum() == 177
    assert (table["Sex"] == "female").sum() == 314
    means = table.mean(numeric_only=True)
    assert means.to_dict() == pytest.approx(
        {"Pclass": 2.308642, "Age": 29.699118, "Fare": 32.204208, "Survived": 342 / 891}, rel=1e-6
    )
    complete = table.dropna()
    assert len(complete) == 714 and complete["Survived"].sum() == 290
    by_sex = complete.groupby("Sex")["Survived"].mean()
    assert by_sex["female"] == pytest.approx(197 / 261) and by_sex["male"] == pytest.approx(93 / 453)


def test_titanic_from_another_file(tmp_path):
    path = tmp_path / "mine.csv"
    load_titanic().assign(Name="x").to_csv(path, index=False)
    pd.testing.assert_frame_equal(load_titanic(path), load_titanic())


HEADER = b"Pclass,Sex,Age,Fare,Survived\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a CSV table"),
        (b'a,b\n"1', "not a CSV table"),
        (b"\xff\xfe\x00", "not a CSV table"),
        (b"Pclass,Sex,Age\n1,male,3\n", "no column Fare, Survived; it has Pclass, Sex, Age"),
        (HEADER, "no rows"),
        (HEADER + b"4,male,3,4,1\n", "Pclass must be one of"),
        (HEADER + b"3,man,3,4,1\n", "Sex must be one of .* found man in row 0"),
        (HEADER + b"3,male,3,4,\n", "Survived must be one of"),
        (HEADER + b"3,male,3,4,1\n3,male,old,4,1\n", "Age must be a number .* found old in row 1"),
        (HEADER + b"3,male,-999,4,1\n", "Age must be a number from 0 to 1e9, .* found -999 in row 0"),
        (HEADER + b"3,male,,inf,1\n", "Fare must be a number .* found inf in row 0"),
    ],
)
def test_a_malformed_titanic_file(tmp_path, content, message):
    path = tmp_path / "titanic.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_titanic(path)


def test_a_missing_titanic_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data/titanic\.csv belongs to the repository"):
        load_titanic(tmp_path / "none.csv")


# ---------------------------------------------------------------------------------------------------- the GIF


def iris():
    X, y = load_iris(return_X_y=True)
    X, y = X[y < 2][:, [0, 2]], y[y < 2]
    return (X - X.mean(0)) / X.std(0), y


def test_the_gif_has_a_frame_for_each_alpha(tmp_path, monkeypatch):
    X, y = iris()
    path, alphas, drawn = tmp_path / "mlp.gif", [0.1, 1, 10, 100], []

    def draw(*arguments):
        drawn.append(arguments)
        return Image.new("RGB", (8, 8), (50 * len(drawn), 0, 0))

    monkeypatch.setattr(train_utils, "plot_decision_boundary", draw)
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


class Stub:
    """In place of a fitted classifier: class 1 has the probability where(points)."""

    def __init__(self, where):
        self.where = where

    def predict_proba(self, points):
        return np.column_stack([1 - self.where(points), self.where(points)])

    def score(self, X, y):
        return len(X) / 10


CORNERS = np.array([[-1, -1], [3, 3]])  # the picture goes from -2 to 4
CIVIDIS = matplotlib.colormaps["cividis"]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_plot_is_an_image_of_the_probability(axis, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # it would raise ImportError
    image = plot_decision_boundary(Stub(lambda points: 1.0 * (points[:, axis] > 0)), CORNERS, [0, 1], alpha=0.1)
    pixels = np.asarray(image, dtype=float) / 255
    line = [pixels[272, 310:60:-1], pixels[50:290, 250]][axis]  # from class 1 to class 0, past dots and legend
    boundary = int(np.median(np.flatnonzero(line.max(1) < 0.15)))  # drawn in black, in the coordinates of the data
    assert boundary / len(line) == pytest.approx(2 / 3, abs=0.05)
    np.testing.assert_allclose(line[: boundary - 5], [CIVIDIS(1.0)[:3]] * (boundary - 5), atol=0.01)
    np.testing.assert_allclose(line[boundary + 6 :], [CIVIDIS(0.0)[:3]] * (len(line) - boundary - 6), atol=0.01)


def test_dots_have_the_colour_of_their_class_and_the_legend_has_none(monkeypatch):
    figure = train_utils.Figure(figsize=(6, 4))
    monkeypatch.setattr(train_utils, "Figure", lambda **options: figure)
    model, others = Stub(lambda points: np.full(len(points), 0.5)), np.array([[3, -1], [-1, 1], [0, 0]])
    plot_decision_boundary(model, CORNERS, np.array([0, 1]), 0.125, others, np.array([1, 1, 0]))
    ax = figure.axes[0]
    assert ax.get_title() == "alpha = 0.125: train 20.0%, test 30.0%"
    dots, crosses = ax.collections
    for points, X, y in (dots, CORNERS, [0.0, 1.0]), (crosses, others, [1.0, 1.0, 0.0]):
        assert np.array_equal(points.get_offsets(), X)
        np.testing.assert_allclose(points.get_facecolor(), CIVIDIS(y))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "test"]
    assert not any(handle.get_facecolor().size for handle in ax.get_legend().legend_handles)


def test_data_that_cannot_be_plotted():
    model = Stub(lambda points: 1.0 * (points[:, 0] > 0))
    with pytest.raises(ValueError, match=r"expected X of shape \(N, 2\), got \(100, 3\)"):
        plot_decision_boundary(model, np.ones((100, 3)), np.ones(100), alpha=0.1)
    with pytest.raises(ValueError, match="X_test and y_test belong together"):
        plot_decision_boundary(model, CORNERS, [0, 1], alpha=0.1, X_test=CORNERS)


@pytest.mark.parametrize(
    ("alphas", "n_neurons", "message"),
    [
        ([], 3, "alpha_values is empty"),
        ([0.1, -1.0], 3, r"alpha must be finite and at least 0, got -1\.0"),
        ([float("nan")], 3, "alpha must be finite"),
        ([0.1], 0, "n_neurons must be at least 1"),
    ],
)
def test_bad_input_writes_no_gif(tmp_path, monkeypatch, alphas, n_neurons, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        create_decision_boundary_gif(alphas, *iris(), n_neurons)
    assert not list(tmp_path.iterdir())
