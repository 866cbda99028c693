"""The hand-written losses: value and gradient against torch's, what they take, and how outputs are read as classes."""

import copy
import pickle
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import losses
from accuracy import above, largest
from autograd_loss import AutogradLoss, with_backward
from losses import (
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
)


def rows(N, K):
    return torch.randn(N, K, dtype=torch.float64)


def probabilities(N, K):
    return torch.rand(N, K, dtype=torch.float64)


def classes(N, K):
    return torch.randint(K, (N,))


def one_hot(N, K):
    return F.one_hot(classes(N, K), K).double()


def distributions(N, K):
    return rows(N, K).softmax(1)


def signs(N, K):
    return 2 * one_hot(N, K) - 1


def same(outputs, targets):
    return outputs, targets


def log_softmax(outputs, targets):
    return outputs.log_softmax(1), targets


def pairs(outputs, targets):
    """Torch's arguments for our CosineEmbeddingLoss: each output beside each row of the identity."""
    N, K = outputs.shape
    return outputs.repeat_interleave(K, 0), torch.eye(K, dtype=outputs.dtype).repeat(N, 1), targets.flatten()


# name: our loss, torch's, targets, the smallest number of outputs, outputs and targets as torch takes them
LOSSES = {
    "L1": (L1Loss, nn.L1Loss, rows, 1, same),
    "MSE": (MSELoss, nn.MSELoss, rows, 1, same),
    "BCEWithLogits": (BCEWithLogitsLoss, nn.BCEWithLogitsLoss, probabilities, 1, same),
    "NLL": (NLLLoss, nn.NLLLoss, classes, 2, same),
    "CrossEntropy": (CrossEntropyLoss, nn.CrossEntropyLoss, classes, 2, same),
    "CrossEntropy, one-hot": (CrossEntropyLoss, nn.CrossEntropyLoss, one_hot, 2, same),
    "CrossEntropy, soft": (CrossEntropyLoss, nn.CrossEntropyLoss, distributions, 2, same),
    "KLDiv": (KLDivLoss, nn.KLDivLoss, distributions, 2, same),
    "KLDiv, one-hot": (KLDivLoss, nn.KLDivLoss, one_hot, 2, same),
    "KLDiv, batchmean": (
        *(partial(c, reduction="batchmean") for c in (KLDivLoss, nn.KLDivLoss)),
        distributions,
        2,
        same,
    ),
    "CosineEmbedding": (CosineEmbeddingLoss, nn.CosineEmbeddingLoss, signs, 2, pairs),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def relative_error(found, expected):
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


@every_loss
@pytest.mark.parametrize("scale", [0.1, 1, 30])
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
def test_value_and_gradient_are_those_of_torch_and_autograd(name, scale):
    ours, theirs, make_targets, smallest, as_torch = LOSSES[name]
    for seed, (N, K) in enumerate([(1, smallest), (2, 2), (7, 3), (32, 10), (257, 5)]):
        torch.manual_seed(seed)
        criterion = ours()
        outputs, targets = (scale * rows(N, K)).requires_grad_(), make_targets(N, K)
        expected = theirs()(*as_torch(outputs, targets))
        (expected_delta,) = torch.autograd.grad(expected, outputs)

        value = criterion(outputs, targets)
        delta = criterion.backward()

        (by_autograd,) = torch.autograd.grad(value, outputs)
        assert value.shape == () and abs(value.item() - expected.item()) < 1e-10 * max(1, abs(expected.item()))
        assert delta.shape == (N, K) and not delta.requires_grad
        assert relative_error(delta, expected_delta) < 1e-10 and relative_error(by_autograd, expected_delta) < 1e-10
        with torch.no_grad():
            assert criterion(outputs, targets) == value and torch.equal(criterion.backward(), delta)


def test_losses_at_the_edges_of_their_domains():
    """Ties, huge logits, a tiny vector: finite, and the gradient is autograd's of torch's loss."""
    cases = [
        (L1Loss, nn.L1Loss, [[1.0, 2.0]], [[1.0, 0.0]], same),
        (BCEWithLogitsLoss, nn.BCEWithLogitsLoss, [[0.0], [800.0], [-800.0]], [[0.3], [0.0], [1.0]], same),
        (CrossEntropyLoss, nn.CrossEntropyLoss, [[800.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], same),
        (CosineEmbeddingLoss, nn.CosineEmbeddingLoss, [[1e-9, 2e-9], [-1.0, 0.0]], [[1.0, -1.0], [-1.0, 1.0]], pairs),
    ]
    for ours, theirs, outputs, targets, as_torch in cases:
        outputs = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
        targets = torch.tensor(targets, dtype=torch.float64)
        criterion, expected = ours(), theirs()(*as_torch(outputs, targets))
        (delta,) = torch.autograd.grad(expected, outputs)
        torch.testing.assert_close(criterion(outputs, targets), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(criterion.backward(), delta, rtol=1e-6, atol=1e-12)


def test_the_cosine_of_a_zero_vector():
    """It is 0, a kink of max(cos, 0), where torch's versions differ: by hand and by autograd ours has the slope 0."""
    outputs, criterion = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True), CosineEmbeddingLoss()
    value = criterion(outputs, torch.tensor([[1.0, -1.0]], dtype=torch.float64))
    (by_autograd,) = torch.autograd.grad(value, outputs)
    assert value == 0.5 and torch.equal(criterion.backward(), by_autograd)
    torch.testing.assert_close(by_autograd, torch.tensor([[-5e5, 0.0]], dtype=torch.float64))


@every_loss
def test_the_gradient_by_hand_is_the_slope(name):
    """Central differences, without torch's losses or autograd."""
    ours, _, make_targets, _, _ = LOSSES[name]
    torch.manual_seed(0)
    criterion, outputs, targets = ours(), rows(3, 4), make_targets(3, 4)
    steps = 1e-6 * torch.eye(12, dtype=torch.float64).view(-1, 3, 4)
    slopes = torch.stack([criterion(outputs + s, targets) - criterion(outputs - s, targets) for s in steps]) / 2e-6
    criterion(outputs, targets)
    torch.testing.assert_close(criterion.backward(), slopes.view(3, 4), rtol=0, atol=1e-7)


@every_loss
def test_a_loss_is_checked_as_a_layer_is(name):
    ours, _, make_targets, _, _ = LOSSES[name]
    criterion = ours()
    with pytest.raises(RuntimeError, match="backward before forward"):
        criterion.backward()
    criterion(rows(1000, 5), make_targets(1000, 5))
    assert len(pickle.dumps(criterion)) < 2_000
    with pytest.raises(RuntimeError, match="backward before forward"):
        copy.deepcopy(criterion).backward()
    for kept in criterion.keeps:
        criterion(rows(6, 5), make_targets(6, 5))
        getattr(criterion, kept).mul_(2)
        with pytest.raises(RuntimeError, match="changed before backward"):
            criterion.backward()


OPTIONS = [
    *(
        (c, dict(reduction=r))
        for c in (L1Loss, MSELoss, BCEWithLogitsLoss, NLLLoss, CrossEntropyLoss)
        for r in ("sum", "none")
    ),
    *((c, dict(reduction=r)) for c in (KLDivLoss, CosineEmbeddingLoss) for r in ("sum", "none")),
    (BCEWithLogitsLoss, dict(weight=torch.ones(2))),
    (BCEWithLogitsLoss, dict(pos_weight=torch.ones(2))),
    (NLLLoss, dict(weight=torch.ones(2))),
    (NLLLoss, dict(ignore_index=0)),
    (CrossEntropyLoss, dict(weight=torch.ones(2))),
    (CrossEntropyLoss, dict(ignore_index=1)),
    (CrossEntropyLoss, dict(label_smoothing=0.1)),
    (KLDivLoss, dict(log_target=True)),
    (CosineEmbeddingLoss, dict(margin=0.2)),
]


@pytest.mark.parametrize(("loss", "option"), OPTIONS, ids=str)
def test_options_that_are_not_honoured_are_refused(loss, option):
    (name,) = option
    with pytest.raises(ValueError, match=name):
        loss(**option)
    getattr(nn, loss.__name__)(**option)  # torch has it
    assert loss(**{name: getattr(getattr(nn, loss.__name__)(), name)}).name == loss.__name__  # its default is fine
    assert loss().reduction == "mean"


def test_outputs_and_targets_given_to_the_class():
    with pytest.raises(TypeError, match=r"the loss of outputs and targets is MSELoss\(\)\(outputs, targets\)"):
        MSELoss(rows(2, 2), rows(2, 2))
    with pytest.raises(TypeError, match="MSELoss has no option margin"):
        MSELoss(margin=0.0)
    for option in dict(size_average=False), dict(reduce=False), dict(reduction="batchmean"):
        with pytest.raises(ValueError, match=r"size_average|reduce|reduction='mean', got 'batchmean'"):
            MSELoss(**option)
    for criterion in partial(F.mse_loss, size_average=False), partial(F.mse_loss, reduction="batchmean"):
        with pytest.raises(ValueError, match=r"size_average|reduction='mean'"):
            with_backward(criterion)
    with_backward(partial(F.kl_div, reduction="batchmean"))


# ------------------------------------------------------------------------------------------- what they take


@every_loss
def test_other_shapes_and_kinds_of_targets_are_refused(name):
    ours, _, make_targets, smallest, _ = LOSSES[name]
    criterion, outputs, good = ours(), rows(6, 3), make_targets(6, 3)
    if good.is_floating_point():
        bad = [good.flatten(), good[:, 0], good[:, :1], good[:5], good.T, good.bool(), good[None]]
        bad += [] if "CrossEntropy" in name else [good.long(), classes(6, 3)]
    else:
        bad = [good[:, None], good[:5], good + 3, good - 3, good - 100, good.int(), good.byte(), one_hot(6, 3).long()]
        bad += [good.double(), good[:, None].double()] + ([] if "CrossEntropy" in name else [one_hot(6, 3)])
    for wrong in bad:
        with pytest.raises((TypeError, ValueError), match=f"^{criterion.name}"):
            criterion(outputs, wrong)
    for wrong in (outputs, good.to_sparse()), (outputs.to_sparse(), good):
        with pytest.raises(TypeError, match=r"must be a dense tensor, got torch\.sparse_coo"):
            criterion(*wrong)
    for wrong in outputs[:, 0], outputs[None], outputs[:0], outputs.long(), outputs.numpy(), None:
        with pytest.raises((TypeError, ValueError), match=f"^{criterion.name}"):
            criterion(wrong, good)
    for wrong in good.numpy(), good.tolist(), None:
        with pytest.raises(TypeError, match=f"{criterion.name}: the targets must be a torch.Tensor"):
            criterion(outputs, wrong)
    if smallest == 2:
        with pytest.raises(ValueError, match=r"at least 2 outputs, one for each class, got 1; .* BCEWithLogitsLoss"):
            criterion(rows(6, 1), make_targets(6, 1))


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (BCEWithLogitsLoss, [[-1.0, 1.0]], "needs targets from 0 to 1; found -1 to 1"),
        (BCEWithLogitsLoss, [[0.0, 1.1]], r"found 0 to 1\.1"),
        (
            CrossEntropyLoss,
            [[1.0, 1.0]],
            "rows of probabilities, which sum to 1 up to rounding .several labels a row: BCEWithLogitsLoss",
        ),
        (CrossEntropyLoss, [[-0.5, 1.5]], "rows of probabilities"),
        (KLDivLoss, [[0.0, 0.0]], "rows of probabilities"),
        (CosineEmbeddingLoss, [[1.0, 1.0]], "needs targets of"),
        (CosineEmbeddingLoss, [[-1.0, -1.0]], "needs targets of"),
        (CosineEmbeddingLoss, [[0.0, 1.0]], r"needs targets of \+1 .* and -1 .*; found 0 to 1"),
    ],
)
def test_values_of_targets_that_a_loss_does_not_define(loss, targets, message):
    with pytest.raises(ValueError, match=message):
        loss()(torch.zeros(1, 2), torch.tensor(targets))


def test_the_error_for_a_broadcast_names_both_shapes():
    with pytest.raises(
        ValueError, match=r"L1Loss: the outputs have shape \(32, 1\) and .* \(32,\), expected \(32, 1\)"
    ):
        L1Loss()(torch.zeros(32, 1), torch.zeros(32))
    with pytest.raises(ValueError, match=r"the outputs must have shape \(N, K\), .* got \(32,\); .* leave out squeeze"):
        L1Loss()(torch.zeros(32), torch.zeros(32))


def test_outputs_and_targets_by_name_and_of_one_type():
    outputs, targets = rows(5, 3), rows(5, 3)
    assert MSELoss()(outputs=outputs, targets=targets) == MSELoss()(outputs, targets=targets)
    with pytest.raises(TypeError, match=r"the outputs are torch.float64, the targets torch.float32; use targets\.to"):
        MSELoss()(outputs, targets.float())


def test_rows_of_probabilities_sum_to_1_but_for_rounding():
    thirds = torch.full((4, 3), 1 / 3)
    assert CrossEntropyLoss()(torch.zeros(4, 3), thirds).isfinite()
    for wrong in thirds * (1 + 1e-4), torch.full((4, 3), 0.333):
        with pytest.raises(ValueError, match="rows of probabilities"):
            CrossEntropyLoss()(torch.zeros(4, 3), wrong)


def test_kinds_of_targets_are_named():
    outputs, y = torch.zeros(6, 2), torch.arange(6) % 2
    for criterion, wrong in (NLLLoss(), y.float()), (CrossEntropyLoss(), y.int()):
        message = rf"Loss needs class indices of shape \(N,\) and type torch.long, got {wrong.dtype}"
        with pytest.raises(TypeError, match=message):
            criterion(outputs, wrong)
    with pytest.raises(TypeError, match=r"needs floating-point targets of shape \(6, 2\), got torch.int"):
        BCEWithLogitsLoss()(outputs, y)
    with pytest.raises(ValueError, match="the model has 2 outputs, so class indices go from 0 to 1; found 1 to 2"):
        CrossEntropyLoss()(outputs, y + 1)
    with pytest.raises(ValueError, match="found -1 to 0"):
        CrossEntropyLoss()(outputs, y - 1)


# ---------------------------------------------------------------------------------- outputs read as classes

LOGIT_OR_PROBABILITY = torch.tensor([[-1.0], [0.2], [0.7], [2.0]])
YES = torch.tensor([[0.0], [1.0], [1.0], [1.0]])  # right above 0; above 1/2 the second is wrong


@pytest.mark.parametrize(
    ("criterion", "right"),
    [
        (BCEWithLogitsLoss(), 4),
        (nn.BCEWithLogitsLoss(), 4),
        (nn.BCEWithLogitsLoss(pos_weight=torch.ones(1)), 4),
        (F.binary_cross_entropy_with_logits, 4),
        (partial(F.binary_cross_entropy_with_logits, pos_weight=torch.ones(1)), 4),
        *((c, 3) for c in (MSELoss(), L1Loss(), nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.SmoothL1Loss())),
        *((c, 3) for c in (F.mse_loss, F.l1_loss, F.huber_loss, nn.BCELoss(), F.binary_cross_entropy)),
    ],
)
def test_a_single_output_is_read_as_its_loss_means_it(criterion, right):
    assert int(with_backward(criterion).correct(LOGIT_OR_PROBABILITY, YES).sum()) == right


def test_a_single_output_of_an_unknown_loss_is_not_guessed():
    criterion = with_backward(lambda outputs, targets: F.binary_cross_entropy_with_logits(outputs, targets))
    with pytest.raises(ValueError, match=r"where does class 1 begin\? .* correct=above\(0\) for logits"):
        criterion.correct(LOGIT_OR_PROBABILITY, YES)
    assert above(0)(LOGIT_OR_PROBABILITY, YES).tolist() == [True] * 4
    assert above(0.5)(LOGIT_OR_PROBABILITY, YES).tolist() == [True, False, True, True]
    with pytest.raises(TypeError, match="threshold must be a number"):
        above("0")
    for read in largest, above(0):
        with pytest.raises(TypeError, match="outputs and targets must be tensors, got ndarray"):
            read(torch.eye(2), torch.eye(2).numpy())
        with pytest.raises(ValueError, match=r"\(2, 2\).*\(3, 3\)"):
            read(torch.eye(2), torch.eye(3))


def test_several_outputs_are_read_by_their_largest():
    outputs = torch.tensor([[1.0, 3.0, 2.0], [3.0, 1.0, 2.0], [0.0, 0.0, 1.0]])
    for targets in torch.tensor([1, 1, 2]), F.one_hot(torch.tensor([1, 1, 2]), 3).float():
        for criterion in MSELoss(), CrossEntropyLoss(), nn.CrossEntropyLoss(), torch.sub:
            if isinstance(criterion, MSELoss) and targets.dim() == 1:
                continue
            assert with_backward(criterion).correct(outputs, targets).tolist() == [True, False, True]
    soft = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.2, 0.3, 0.5]])
    assert largest(outputs, soft).tolist() == [True, False, True]


def test_several_labels_a_row():
    """A row is right where all of its yeses and noes are; the largest of the row says nothing."""
    outputs, targets = (
        torch.tensor([[1.0, 2.0, -1.0], [1.0, -2.0, 3.0]]),
        torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]),
    )
    for criterion in BCEWithLogitsLoss(), nn.BCEWithLogitsLoss():
        assert with_backward(criterion).correct(outputs, targets).tolist() == [True, False]
    for criterion in MSELoss(), nn.MSELoss(), torch.sub:
        assert with_backward(criterion).correct(outputs, targets).isnan().all()


def test_a_regression_has_no_accuracy():
    for outputs, targets in [
        ([[1.0], [2.0]], [[3.0], [0.0]]),
        ([[1.0], [2.0]], [[-1.0], [1.0]]),
        ([[1.0], [2.0]], [[0.5], [0.0]]),
        ([[1.0, 2.0]], [[3.0, 6.0]]),
        ([[1.0, 2.0]], [[0.1, 0.9]]),
    ]:
        for criterion in MSELoss(), nn.L1Loss(), F.mse_loss:
            assert with_backward(criterion).correct(torch.tensor(outputs), torch.tensor(targets)).isnan().all()


def test_a_subclass_of_torchs_loss_with_a_forward_of_its_own_is_not_read_as_its_base():
    class OfSigmoids(nn.MSELoss):
        def forward(self, outputs, targets):
            return super().forward(outputs.sigmoid(), targets)

    class Same(nn.MSELoss):
        pass

    assert int(with_backward(Same()).correct(LOGIT_OR_PROBABILITY, YES).sum()) == 3
    with pytest.raises(ValueError, match="where does class 1 begin"):
        with_backward(OfSigmoids()).correct(LOGIT_OR_PROBABILITY, YES)


def test_ignored_targets_do_not_count():
    outputs, targets = torch.eye(4), torch.tensor([0, -100, 2, 0])
    for criterion in nn.CrossEntropyLoss(), F.cross_entropy, partial(F.cross_entropy, label_smoothing=0.1):
        assert with_backward(criterion).correct(outputs, targets).tolist() == [True, True, False]
        assert with_backward(criterion).count(targets) == 3
    criterion = with_backward(nn.NLLLoss(ignore_index=0))
    assert criterion.correct(outputs, torch.tensor([0, 1, 3, 0])).tolist() == [True, False]
    partially = with_backward(partial(F.cross_entropy, ignore_index=2))
    assert partially.correct(outputs, torch.tensor([0, 1, 2, 0])).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="class indices go from 0 to 3; found -100 to 2"):
        CrossEntropyLoss()(outputs, targets)


# ------------------------------------------------------------------------------------------- any other criterion


@pytest.mark.parametrize(
    "criterion", [nn.MSELoss(), nn.HuberLoss(delta=0.3), F.mse_loss, lambda o, t: ((o - t) ** 4).mean()]
)
def test_any_criterion_gets_a_backward(criterion):
    outputs, targets = rows(5, 3).requires_grad_(), rows(5, 3)
    expected = criterion(outputs, targets)
    wrapped = with_backward(criterion)
    assert isinstance(wrapped, AutogradLoss) and wrapped.criterion is criterion
    with torch.no_grad():
        value = wrapped(outputs, targets)
        delta = wrapped.backward()
    assert value == expected and not value.requires_grad
    torch.testing.assert_close(delta, torch.autograd.grad(expected, outputs)[0], rtol=1e-14, atol=0)


def test_ours_are_not_wrapped_and_one_with_a_backward_of_its_own_is_not_differentiated():
    criterion = MSELoss()
    assert with_backward(criterion) is criterion

    class ByHand:
        def __call__(self, outputs, targets):
            return outputs.new_tensor(3.0)

        def backward(self):
            return torch.full((5, 3), 7.0, dtype=torch.float64)

    wrapped = with_backward(ByHand())
    assert wrapped(rows(5, 3), rows(5, 3)) == 3 and (wrapped.backward() == 7).all()


def test_a_criterion_that_autograd_cannot_follow():
    outputs, targets = rows(5, 3), rows(5, 3)
    with torch.no_grad():
        for function, error, message in [
            (lambda o, t: (o.detach() - t).mean(), RuntimeError, "autograd cannot follow its value"),
            (lambda o, t: (o - t).mean().item(), TypeError, "must return a torch.Tensor of one number, got float"),
            (torch.sub, ValueError, r"sub must return one number, got shape \(5, 3\); use reduction='mean'"),
            (lambda o, t: nn.Parameter(t).mean(), ValueError, "backward must return the gradient .* got None"),
        ]:
            with pytest.raises(error, match=message):
                criterion = with_backward(function)
                criterion(outputs, targets)
                criterion.backward()
    criterion = with_backward(nn.MSELoss())
    criterion(outputs.requires_grad_(), targets)
    with pytest.raises(RuntimeError, match=r"call it inside torch\.no_grad\(\)"):
        criterion.backward()


def test_no_stale_gradient():
    outputs, targets = rows(5, 3), rows(5, 3)
    criterion = with_backward(nn.MSELoss())
    with torch.no_grad():
        criterion(outputs, targets)
    criterion(outputs + 1, targets)
    with pytest.raises(RuntimeError, match=r"call it inside torch\.no_grad\(\)"):
        criterion.backward()


def test_torchs_losses_are_told_the_same_about_their_targets():
    with torch.no_grad():
        for theirs, targets, message in [
            (nn.MSELoss(), torch.zeros(6), r"MSELoss: .* expected \(6, 1\)"),
            (F.mse_loss, torch.zeros(6), r"mse_loss: .* expected \(6, 1\)"),
            (nn.BCEWithLogitsLoss(), -torch.ones(6, 1), "BCEWithLogitsLoss needs targets from 0 to 1"),
            (nn.CrossEntropyLoss(), torch.zeros(6).long(), "CrossEntropyLoss needs at least 2 outputs"),
            (nn.BCELoss(), -torch.ones(6, 1), "BCELoss needs targets from 0 to 1"),
        ]:
            with pytest.raises(ValueError, match=message):
                with_backward(theirs)(torch.zeros(6, 1), targets)
        log = torch.log_softmax(torch.randn(6, 3), 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert with_backward(nn.KLDivLoss(reduction="batchmean", log_target=True))(log, log) == 0


def test_every_loss_of_the_module_is_tested_here():
    ours = {thing for thing in vars(losses).values() if isinstance(thing, type) and issubclass(thing, losses.Loss)}
    tested = {getattr(row[0], "func", row[0]) for row in LOSSES.values()}
    assert ours == tested | {losses.Loss}


@pytest.mark.parametrize("loss", [CrossEntropyLoss, KLDivLoss])
def test_rows_that_sum_to_one_only_in_float32(loss):
    """Their gradient would be off by 1e-9, and the message says by how much the sum is."""
    rows_of_float32 = torch.tensor([[0.9, 0.1]] * 3).double()
    with pytest.raises(ValueError, match=r"a row that sums to 0\.999999977648"):
        loss()(rows(3, 2), rows_of_float32)
