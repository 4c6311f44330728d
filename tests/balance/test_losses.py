import copy
import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from unskew.balance import LossSettings, make_loss
from unskew.balance.losses import focal_rows, generalised_cross_entropy_rows, ldam_margins
from unskew.balance.settings import LossName
from unskew.common import UserError

NAMES = list(get_args(LossName))
COUNTS = [1000, 100, 10, 1]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(12, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 4, (12,), generator=generator)


def plain(name, **others):
    return make_loss(LossSettings(name=name, weights="none", **others), COUNTS)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("cross_entropy", {}),
        ("focal", {"gamma": 0.0}),
        ("logit_adjusted", {"tau": 0.0}),
        ("ldam", {"max_margin": 0.0}),
        ("forward_noise", {"noise_rate": 0.0}),
    ],
)
def test_reduces_to_torch_cross_entropy(batch, name, others):
    torch.testing.assert_close(plain(name, **others)(*batch), F.cross_entropy(*batch))


def test_generalised_cross_entropy_tends_to_cross_entropy_and_to_absolute_error(batch):
    logits, labels = batch
    torch.testing.assert_close(
        generalised_cross_entropy_rows(logits, labels, 1e-7),
        F.cross_entropy(*batch, reduction="none"),
        rtol=1e-5,
        atol=0,
    )
    absolute = (logits.softmax(-1) - F.one_hot(labels, 4)).abs().sum(-1) / 2
    torch.testing.assert_close(generalised_cross_entropy_rows(logits, labels, 1.0), absolute)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "logit_adjusted"])
def test_label_smoothing_is_torchs_where_the_losses_meet(batch, name):
    own = {"focal": {"gamma": 0.0}, "logit_adjusted": {"tau": 0.0}}.get(name, {})
    loss = plain(name, **own, label_smoothing=0.2)
    torch.testing.assert_close(loss(*batch), F.cross_entropy(*batch, label_smoothing=0.2))


def test_focal_by_hand():
    # p = (0.8, 0.2), target 1, gamma 2: 0.8^2 * -log 0.2.
    logits = torch.tensor([[0.8, 0.2]]).log()
    assert focal_rows(logits, torch.tensor([1]), 2.0).item() == pytest.approx(0.64 * 1.6094379)


def test_balanced_softmax_by_hand():
    # Equal logits, 3 rows against 1: the training distribution is already explained for p = n / N.
    loss = make_loss(LossSettings("balanced_softmax"), [3, 1])
    assert loss(torch.zeros(1, 2), torch.tensor([1])).item() == pytest.approx(1.3862944)


def test_balanced_softmax_is_logit_adjustment_at_tau_one(batch):
    torch.testing.assert_close(plain("balanced_softmax")(*batch), plain("logit_adjusted", tau=1.0)(*batch))


def test_ldam_is_the_published_code_on_cosine_logits(batch):
    cosines, labels = batch[0].tanh(), batch[1]
    # As in kaidic/LDAM-DRW losses.py: m = 1 / sqrt(sqrt(n)), scaled to max_m; CE(s * (z - m at the target)).
    margins = torch.tensor(COUNTS, dtype=torch.float64) ** -0.25
    margins = margins * (0.5 / margins.max())
    lowered = cosines - margins[labels][:, None] * F.one_hot(labels, 4)
    expected = F.cross_entropy(30 * lowered, labels)
    torch.testing.assert_close(plain("ldam", scale=30.0)(30 * cosines, labels), expected, rtol=1e-6, atol=1e-6)


def test_ldam_margins_by_hand():
    assert ldam_margins(torch.tensor([16.0, 1.0]), 0.5).tolist() == [0.25, 0.5]


def test_the_default_margin_of_the_rarest_topic_suits_a_linear_head(batch):
    # 5 nats for the topic of one row, 5 / 1000^(1/4) for that of a thousand.
    logits, labels = torch.zeros(2, 4), torch.tensor([3, 0])
    margins = torch.tensor([5.0, 5 / 1000**0.25])
    expected = torch.log(3 + torch.exp(-margins)) + margins
    torch.testing.assert_close(plain("ldam").row_losses(logits, labels), expected)


def test_weights_are_torchs_class_weights_over_an_explicit_denominator(batch):
    loss = make_loss(LossSettings(weights="balanced"), COUNTS)
    summed = F.cross_entropy(*batch, weight=loss.weights.double(), reduction="sum")
    torch.testing.assert_close(loss(*batch), summed / 12)
    torch.testing.assert_close(loss(*batch, denominator=5.0), summed / 5)


@pytest.mark.parametrize("name", NAMES)
def test_accumulated_gradients_are_those_of_one_batch(batch, name):
    logits, labels = batch
    loss = make_loss(LossSettings(name=name, weights="balanced"), COUNTS)
    whole = logits.clone().requires_grad_()
    loss(whole, labels).backward()
    parts = logits.clone().requires_grad_()
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        loss(parts[rows], labels[rows], denominator=12).backward()
    torch.testing.assert_close(parts.grad, whole.grad)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_numerically(batch, name):
    logits, labels = batch
    loss = make_loss(LossSettings(name=name, weights="balanced"), COUNTS)
    assert torch.autograd.gradcheck(lambda values: loss(values, labels), logits.requires_grad_())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from([1, 7, 10**4, 10**8]), min_size=3, max_size=3),
    st.sampled_from([1.0, 60.0, 3e4]),
    st.sampled_from([torch.bfloat16, torch.float32]),
    st.sampled_from([0.0, 0.5, 2.0]),
)
def test_values_and_gradients_are_finite(name, counts, size, dtype, gamma):
    logits = (size * torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 1]])).to(dtype).requires_grad_()
    own = {"gamma": gamma} if name == "focal" else {}
    loss = make_loss(LossSettings(name=name, weights="effective_number", **own), counts)
    value = loss(logits, torch.tensor([0, 0, 2]))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_bf16_logits_cost_only_their_own_rounding(batch, name):
    logits, labels = batch
    loss = make_loss(LossSettings(name=name), [10**8, 10**4, 100, 1])
    rounded = logits.bfloat16()
    torch.testing.assert_close(loss(rounded, labels), loss(rounded.float(), labels), rtol=0, atol=0)


def test_a_module_cast_to_bf16_keeps_exact_priors():
    logits, labels = torch.zeros(1, 2), torch.tensor([1])
    loss = make_loss(LossSettings("logit_adjusted"), [10**8, 1])
    assert copy.deepcopy(loss).bfloat16()(logits, labels) == loss(logits, labels)


def test_a_loss_adds_nothing_to_checkpoints():
    assert make_loss(LossSettings(), COUNTS).state_dict() == {}


def test_logit_adjusted_minimiser_is_the_posterior_under_a_uniform_prior():
    # A text whose topics are spread as those of the whole set says nothing.
    logits = torch.zeros(1, 2, requires_grad=True)
    loss = make_loss(LossSettings("logit_adjusted"), [900, 100])
    labels = torch.tensor([0] * 90 + [1] * 10)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(logits.expand(100, 2), labels)
        value.backward()
        return value

    optimizer.step(closure)
    torch.testing.assert_close(logits.detach().softmax(-1), torch.tensor([[0.5, 0.5]]), rtol=0, atol=1e-3)


def test_ldam_weights_are_deferred_until_four_fifths(batch):
    loss = make_loss(LossSettings("ldam"), COUNTS)
    early = loss(*batch)
    loss.set_progress(0.79)
    assert loss(*batch) == early == plain("ldam")(*batch)
    loss.set_progress(0.8)
    assert loss(*batch) != early
    assert loss.weights[3] > loss.weights[0]


def test_any_loss_can_defer_its_weights(batch):
    loss = make_loss(LossSettings("cross_entropy", reweight_from=0.5), COUNTS)
    torch.testing.assert_close(loss(*batch), F.cross_entropy(*batch))
    loss.set_progress(0.5)
    assert loss(*batch) != F.cross_entropy(*batch)


def test_auto_weights_are_the_papers():
    assert LossSettings("focal").scheme == "effective_number"
    assert LossSettings("logit_adjusted").scheme == "none"
    assert "beta" in repr(make_loss(LossSettings(), COUNTS))


def test_weights_by_topic_name(batch):
    loss = make_loss(LossSettings(weights={"d": 5.0}), [1, 1, 1, 1], names=list("abcd"))
    assert loss.weights.tolist() == [0.5, 0.5, 0.5, 2.5]


def test_settings_report_all_problems_at_once():
    with pytest.raises(UserError) as caught:
        LossSettings(name="hinge", gamma=-1, q=0, beta=1.0, label_smoothing=1.0)  # pyright: ignore[reportArgumentType]
    for problem in ("unknown loss 'hinge'", "gamma", "q must", "beta", "label_smoothing"):
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "ldam", "label_smoothing": 0.1},
        {"name": "generalised_cross_entropy", "label_smoothing": 0.1},
        {"name": "forward_noise", "label_smoothing": 0.1},
        {"name": "forward_noise", "noise_rate": 1.0},
        {"name": "balanced_softmax", "tau": 0.5},
        {"weights": "sqrt"},
    ],
)
def test_meaningless_combinations_are_refused(fields):
    with pytest.raises(UserError, match="loss settings"):
        LossSettings(**fields)


def test_wrong_shapes_are_refused(batch):
    with pytest.raises(ValueError, match="for 3 topics"):
        make_loss(LossSettings(), [3, 2, 1])(*batch)
    with pytest.raises(UserError, match="2 topic names for 3 counts"):
        make_loss(LossSettings(), [3, 2, 1], names=["a", "b"])


def test_settings_are_read_from_yaml():
    parser = ArgumentParser()
    parser.add_argument("--loss", type=LossSettings, default=LossSettings())
    text = "loss:\n  name: focal\n  weights: {oil: 2.0}\n  gamma: 1\n"
    read = parser.instantiate_classes(parser.parse_string(text)).loss
    assert read == LossSettings("focal", weights={"oil": 2.0}, gamma=1.0)
    assert parser.instantiate_classes(parser.parse_args(["--loss.weights", "balanced"])).loss.weights == "balanced"


def test_int32_targets_ignored_rows_and_empty_batches(batch):
    logits, labels = batch
    loss = make_loss(LossSettings(), [400, 60, 12, 4])
    assert loss(logits, labels.int()) == loss(logits, labels)
    some = labels.clone()
    some[::2] = -100
    torch.testing.assert_close(loss(logits, some), loss(logits[1::2], labels[1::2]))
    empty = torch.zeros(0, 4, requires_grad=True)
    nothing = loss(empty, torch.zeros(0).long())
    assert nothing == 0
    nothing.backward()


def test_half_precision_logits_bear_the_heaviest_weights():
    loss = make_loss(LossSettings(weights="inverse_frequency"), [10**8, 1])
    found = loss(torch.zeros(2, 2, dtype=torch.float16), torch.tensor([1, 1]))
    assert loss.weights.max() > 65_504
    assert found.isfinite()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_give_no_number(bad):
    assert make_loss(LossSettings(), [3, 1])(torch.tensor([[bad, 0.0]]), torch.tensor([0])).isnan()


@pytest.mark.parametrize(
    ("name", "field"),
    [("focal", "gamma"), ("logit_adjusted", "tau"), ("ldam", "max_margin"), ("ldam", "scale")],
)
def test_absurd_values_are_refused(name, field):
    with pytest.raises(UserError, match=rf"{field} must be in .*got 1e\+20"):
        LossSettings(name, **{field: 1e20})


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_weight_two_is_a_row_that_stands_twice(batch, name):
    logits, labels = batch
    weights = 1.0 + (torch.arange(12) % 3 == 0)
    loss = make_loss(LossSettings(name=name), COUNTS)
    twice = loss(logits.repeat_interleave(weights.long(), 0), labels.repeat_interleave(weights.long()), denominator=12)
    torch.testing.assert_close(loss(logits, labels, row_weights=weights), twice)
