"""The hand-written losses: value and gradient against torch's, what they take, and how outputs are read as classes."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import losses
from losses import (
    AutogradLoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    KLDivLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
    above,
    largest,
    with_backward,
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
        lambda: KLDivLoss("batchmean"),
        partial(nn.KLDivLoss, None, None, "batchmean"),
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
    criterion(rows(6, 5).requires_grad_(), make_targets(6, 5))
    with pytest.raises(RuntimeError, match="backward before forward"):
        copy.deepcopy(criterion).backward()
    for kept in [name for name, value in vars(criterion).items() if isinstance(value, torch.Tensor)]:
        criterion(rows(6, 5), make_targets(6, 5))
        getattr(criterion, kept).mul_(2)
        with pytest.raises(RuntimeError, match="changed before backward"):
            criterion.backward()


def test_outputs_and_targets_by_name():
    outputs, t = rows(5, 3), classes(5, 3)
    criterion = CrossEntropyLoss()
    assert criterion(targets=t, outputs=outputs) == criterion(outputs, targets=t)
    assert criterion.backward().shape == (5, 3)


class OwnCrossEntropy(Loss):
    """As a student writes it: targets of both kinds, and nothing declared."""

    def forward(self, outputs, targets):
        T = targets if targets.is_floating_point() else F.one_hot(targets, outputs.shape[1])
        self.error = outputs.softmax(1) - T
        return -(T * outputs.log_softmax(1)).sum(1).mean()

    def backward(self):
        return self.error / len(self.error)


class Huber(Loss):
    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, outputs, targets):
        self.d = outputs - targets
        return F.huber_loss(outputs, targets, delta=self.width)

    def backward(self):
        return self.d.clamp(-self.width, self.width) / self.d.numel()


@pytest.mark.parametrize(
    ("criterion", "theirs", "targets"),
    [
        (OwnCrossEntropy(), nn.CrossEntropyLoss(), classes(6, 4)),
        (OwnCrossEntropy(), nn.CrossEntropyLoss(), distributions(6, 4)),
        (Huber(0.5), nn.HuberLoss(delta=0.5), rows(6, 4)),
    ],
    ids=["indices", "rows", "Huber"],
)
def test_a_loss_of_ones_own(criterion, theirs, targets):
    outputs = rows(6, 4).requires_grad_()
    expected = theirs(outputs, targets)
    torch.testing.assert_close(criterion(outputs, targets), expected)
    torch.testing.assert_close(criterion.backward(), torch.autograd.grad(expected, outputs)[0])
    assert with_backward(copy.deepcopy(criterion)).name == type(criterion).__name__


def own_loss(forward, **more):
    return type("Own", (Loss,), {"forward": forward, **more})()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda Y, T: own_loss(lambda self, Y, T: (Y - T) ** 2)(Y, T), r"one number in a tensor, .*\(6, 4\)|\[6, 4\]"),
        (lambda Y, T: own_loss(lambda self, Y, T: (Y - T).sum().item())(Y, T), "Own must return one number .* float"),
        (lambda Y, T: with_backward(own_loss(lambda self, Y, T: Y.mean())), r"Own has no backward\(\)"),
        (lambda Y, T: with_backward(MSELoss), r"the criterion is a class; use an object, MSELoss\(\)"),
        (lambda Y, T: MSELoss(Y, T), "positional argument"),
        (lambda Y, T: MSELoss(reduction="sum"), "unexpected keyword argument 'reduction'"),
        (lambda Y, T: with_backward(nn.CosineEmbeddingLoss()), "use CosineEmbeddingLoss of losses.py"),
    ],
)
def test_losses_that_are_none(use, message):
    with pytest.raises(TypeError, match=message):
        use(rows(6, 4), rows(6, 4))


@pytest.mark.parametrize("reduction", ["sum", "none", "batchmean"])
def test_the_loops_need_a_mean(reduction):
    for criterion in nn.MSELoss(reduction=reduction), partial(F.mse_loss, reduction=reduction):
        with pytest.raises(ValueError, match=f"reduction='mean', got '{reduction}'"):
            with_backward(criterion)
    if reduction != "batchmean":
        with pytest.raises(ValueError, match="reduction='mean'"):
            KLDivLoss(reduction)
    for divergence in KLDivLoss, nn.KLDivLoss, partial(partial, F.kl_div):
        if reduction == "batchmean":
            with_backward(divergence(reduction=reduction))
        else:
            with pytest.raises(ValueError, match="reduction='mean'"):
                with_backward(divergence(reduction=reduction))


# ------------------------------------------------------------------------------------------- what they take


@every_loss
def test_other_shapes_and_kinds_of_targets_are_refused(name):
    ours, _, make_targets, smallest, _ = LOSSES[name]
    criterion, outputs, good = ours(), rows(6, 3), make_targets(6, 3)
    if good.is_floating_point():
        bad = [good.flatten(), good[:, 0], good[:, :1], good[:5], good.T, good.bool(), good.float()]
        bad += [] if "CrossEntropy" in name else [good.long(), classes(6, 3)]
    else:
        bad = [good[:, None], good[:5], good + 3, good - 3, good - 100, good.int(), one_hot(6, 3).long()]
        bad += [good.double()] + ([] if "CrossEntropy" in name else [one_hot(6, 3)])
    for wrong in [*bad, good.numpy(), good.tolist(), None]:
        with pytest.raises((TypeError, ValueError), match=f"^{criterion.name}"):
            criterion(outputs, wrong)
    for wrong in outputs[:, 0], outputs[None], outputs[:0], outputs.numpy(), None:
        with pytest.raises((TypeError, ValueError), match=f"^{criterion.name}"):
            criterion(wrong, good)
    if smallest == 2:
        with pytest.raises(ValueError, match=r"at least 2 outputs, one for each class; .* BCEWithLogitsLoss"):
            criterion(rows(6, 1), make_targets(6, 1))


@pytest.mark.parametrize(
    ("criterion", "outputs", "targets", "message"),
    [
        (BCEWithLogitsLoss(), (1, 2), [[-1.0, 1.0]], "needs targets from 0 to 1; found -1 to 1"),
        (BCEWithLogitsLoss(), (1, 2), [[0.0, 1.1]], r"found 0 to 1\.1"),
        (CrossEntropyLoss(), (1, 2), [[1.0, 1.0]], r"rows of probabilities, .*several labels.* sums of 2 to 2"),
        (CrossEntropyLoss(), (1, 2), [[-0.5, 1.5]], "rows of probabilities"),
        (CrossEntropyLoss(), (1, 3), [[0.333, 0.333, 0.333]], r"sums of 0\.999"),
        (KLDivLoss(), (1, 2), [[0.0, 0.0]], "rows of probabilities"),
        (CosineEmbeddingLoss(), (1, 2), [[1.0, 1.0]], "needs targets of"),
        (CosineEmbeddingLoss(), (1, 2), [[-1.0, -1.0]], "needs targets of"),
        (CosineEmbeddingLoss(), (1, 2), [[0.0, 1.0]], r"needs targets of \+1 .* and -1 .*; found 0 to 1"),
        (NLLLoss(), (2, 2), [0.0, 1.0], "NLLLoss takes indices, got torch.float32; indices are of type torch.long"),
        (CrossEntropyLoss(), (2, 2), [1, 2], "class indices go from 0 to 1, found 1 to 2"),
        (CrossEntropyLoss(), (2, 2), [-1, 0], "found -1 to 0"),
        (L1Loss(), (32, 1), [0.0] * 32, r"L1Loss: the outputs have shape \(32, 1\) .* \(32,\), expected \(32, 1\)"),
        (L1Loss(), (32,), [0.0] * 32, r"must have shape \(N, K\), .* got \(32,\); leave out squeeze"),
        (with_backward(nn.MSELoss()), (6, 1), [0.0] * 6, r"MSELoss: .* expected \(6, 1\)"),
        (with_backward(F.mse_loss), (6, 1), [0.0] * 6, r"mse_loss: .* expected \(6, 1\)"),
        (with_backward(nn.BCEWithLogitsLoss()), (1, 1), [[-1.0]], "BCEWithLogitsLoss needs targets from 0 to 1"),
        (with_backward(nn.BCELoss()), (1, 1), [[-1.0]], "BCELoss needs targets from 0 to 1"),
        (with_backward(nn.CrossEntropyLoss()), (6, 1), [0] * 6, "CrossEntropyLoss needs at least 2 outputs"),
        (with_backward(nn.MSELoss()), (3, 3), [0, 1, 2], "MSELoss takes numbers, got torch.int64"),
        (with_backward(nn.CrossEntropyLoss()), (2, 2), [-100, 2], "class indices go from 0 to 1, found 2 to 2"),
    ],
)
def test_targets_that_a_loss_does_not_define(criterion, outputs, targets, message):
    with pytest.raises((TypeError, ValueError), match=message):
        criterion(torch.zeros(outputs), torch.tensor(targets))


@pytest.mark.parametrize("loss", [CrossEntropyLoss, KLDivLoss])
def test_rows_of_probabilities_may_have_been_computed_in_float32(loss):
    for K in 2, 10, 1000:
        computed = torch.randn(64, K).softmax(1)
        for T in computed, computed.double():
            assert loss()(T.log(), T).isfinite()
        with pytest.raises(ValueError, match="rows of probabilities"):
            loss()(computed.log(), computed * (1 - 1e-2))


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
    for unknown in criterion, OwnCrossEntropy():
        with pytest.raises(ValueError, match=r"where does class 1 begin\? .* correct=above\(0\) for logits"):
            unknown.correct(LOGIT_OR_PROBABILITY, YES)
    assert above(0)(LOGIT_OR_PROBABILITY, YES).tolist() == [True] * 4
    assert above(0.5)(LOGIT_OR_PROBABILITY, YES).tolist() == [True, False, True, True]
    for no_answers in [[0.0], [-1.0]], [[2.0], [1.0]]:
        assert above(0)(torch.ones(2, 1), torch.tensor(no_answers)) is None
    for read in largest, above(0):
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
    for read in largest, CrossEntropyLoss().correct, KLDivLoss().correct, with_backward(nn.KLDivLoss()).correct:
        assert read(outputs, soft).tolist() == [True, False, True]
    cosine = CosineEmbeddingLoss().correct(outputs, 2 * F.one_hot(soft.argmax(1)).float() - 1)
    assert cosine.tolist() == [True, False, True]


def test_several_labels_a_row():
    """A row is right where all of its yeses and noes are; the largest of the row says nothing."""
    outputs = torch.tensor([[1.0, 2.0, -1.0], [1.0, -2.0, 3.0]])
    targets = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    for criterion in BCEWithLogitsLoss(), nn.BCEWithLogitsLoss():
        assert with_backward(criterion).correct(outputs, targets).tolist() == [True, False]
    for criterion in MSELoss(), nn.MSELoss(), torch.sub:
        assert with_backward(criterion).correct(outputs, targets) is None


def test_a_regression_has_no_accuracy():
    for outputs, targets in [
        ([[1.0], [2.0]], [[3.0], [0.0]]),
        ([[1.0], [2.0]], [[-1.0], [1.0]]),
        ([[1.0], [2.0]], [[0.5], [0.0]]),
        ([[1.0, 2.0]], [[3.0, 6.0]]),
        ([[1.0, 2.0]], [[0.1, 0.9]]),
    ]:
        for criterion in MSELoss(), nn.L1Loss(), F.mse_loss:
            assert with_backward(criterion).correct(torch.tensor(outputs), torch.tensor(targets)) is None


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
    with pytest.raises(ValueError, match="class indices go from 0 to 3, found -100 to 2"):
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


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda o, t: (o.detach() - t).mean(), RuntimeError, "does not require grad"),
        (lambda o, t: (o - t).mean().item(), TypeError, "must return one number in a tensor, .* got float"),
        (torch.sub, TypeError, "sub must return one number"),
        (lambda o, t: nn.Parameter(t).mean(), ValueError, "gradient that backward returns .* got NoneType"),
    ],
)
def test_a_criterion_that_autograd_cannot_follow(function, error, message):
    with torch.no_grad(), pytest.raises(error, match=message):
        criterion = with_backward(function)
        criterion(rows(5, 3), rows(5, 3))
        criterion.backward()


def test_no_stale_gradient():
    """A call outside no_grad is differentiated by autograd; backward does not give that of an earlier call."""
    outputs, targets = rows(5, 3), rows(5, 3)
    criterion = with_backward(nn.MSELoss())
    with torch.no_grad():
        criterion(outputs, targets)
    criterion(outputs + 1, targets)
    with pytest.raises(AttributeError):
        criterion.backward()


def test_log_targets():
    log = torch.log_softmax(torch.randn(6, 3), 1)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_backward(nn.KLDivLoss(reduction="batchmean", log_target=True))(log, log) == 0


def test_every_loss_of_the_module_is_tested_here():
    ours = {thing for thing in vars(losses).values() if isinstance(thing, type) and issubclass(thing, Loss)}
    tested = {type(row[0]()) for row in LOSSES.values()}
    assert ours == tested | {Loss, AutogradLoss}
