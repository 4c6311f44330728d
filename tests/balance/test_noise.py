"""Noise matrices, and the loss that looks through them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unskew.balance import LossSettings, make_loss, noise_from_rate, noise_matrix, prior_from_counts, prior_from_loss
from unskew.balance.noise import denoised_labels, forward_noise_rows
from unskew.common import UserError

NOISE = torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.0, 0.5, 0.5]], dtype=torch.float64)
FORWARD = LossSettings("forward_noise")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(9, 3, generator=generator, dtype=torch.float64)
    return logits, torch.arange(9) % 3


def test_forward_noise_by_hand():
    # p = (0.5, 0.25, 0.25): P(noisy 0) = 0.4 + 0.025, P(noisy 1) = 0.1 + 0.15 + 0.125, P(noisy 2) = 0.075 + 0.125.
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log().expand(3, 3)
    expected = -torch.tensor([0.425, 0.375, 0.2], dtype=torch.float64).log()
    torch.testing.assert_close(forward_noise_rows(logits, torch.arange(3), NOISE), expected)


def test_it_is_the_formula_of_the_paper(batch):
    logits, labels = batch
    through = logits.softmax(-1) @ NOISE
    expected = -through.gather(1, labels[:, None]).squeeze(1).log()
    torch.testing.assert_close(forward_noise_rows(logits, labels, NOISE), expected)


def test_without_noise_it_is_torchs_cross_entropy(batch):
    torch.testing.assert_close(
        forward_noise_rows(*batch, torch.eye(3).double()),  # pyright: ignore[reportCallIssue]
        F.cross_entropy(*batch, reduction="none"),
    )


def test_gradients_numerically_and_for_impossible_topics(batch):
    logits, labels = batch
    loss = make_loss(FORWARD, [5, 3, 1], noise=NOISE)
    assert torch.autograd.gradcheck(lambda values: loss(values, labels), logits.requires_grad_())
    sure = torch.tensor([[3e4, -3e4, 0.0]], requires_grad=True)
    loss(sure, torch.tensor([2])).backward()  # topic 0 is never labelled 2
    assert sure.grad is not None
    assert sure.grad.isfinite().all()


def test_the_minimiser_is_the_posterior_of_the_true_topics():
    true = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    noisy = true @ NOISE
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = (noisy * forward_noise_rows(logits.expand(3, 3), torch.arange(3), NOISE)).sum()
        value.backward()
        return value

    optimizer.step(closure)
    torch.testing.assert_close(logits.detach().softmax(-1)[0], true, rtol=0, atol=1e-4)


def test_redrawn_labels_by_hand():
    # Shares 0.75 and 0.25; 0.4 of the labels are redrawn: 0.6 + 0.4 * 0.75 of topic 0 stay.
    expected = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(noise_from_rate([300, 100], 0.4), expected)
    wrong = 0.75 * 0.1 + 0.25 * 0.3
    rate = wrong / (1 - 0.75**2 - 0.25**2)
    assert rate == pytest.approx(0.4)


@given(st.lists(st.integers(1, 10**8), min_size=2, max_size=8), st.floats(0, 0.99))
def test_redrawing_keeps_the_shares(counts, rate):
    noise, shares = noise_from_rate(counts, rate), prior_from_counts(counts)
    torch.testing.assert_close(noise.sum(-1), torch.ones(len(counts)).double())
    torch.testing.assert_close(shares @ noise, shares)
    model_prior = prior_from_loss(LossSettings("forward_noise", noise_rate=rate), counts)
    torch.testing.assert_close(model_prior, shares)


def test_the_rate_is_what_the_loss_uses(batch):
    logits, labels = batch
    loss = make_loss(LossSettings("forward_noise", noise_rate=0.4), [6, 3, 1])
    expected = forward_noise_rows(logits, labels, noise_from_rate([6, 3, 1], 0.4))
    torch.testing.assert_close(loss.row_losses(logits, labels), expected, rtol=1e-6, atol=1e-6)


def test_the_matrix_of_a_perfect_noisy_model_is_the_noise():
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    torch.testing.assert_close(noise_matrix(NOISE[labels], labels), NOISE)


def test_the_matrix_is_the_mean_answer_by_hand():
    answers = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    found = noise_matrix(answers, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([[0.7, 0.3], [0.2, 0.8]]).double())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise_from_rate([2, 1], 1.0), "must be in"),
        (lambda: noise_matrix(torch.eye(3)[:2], torch.tensor([0, 1])), r"topics \[2\] have none"),
        (lambda: noise_matrix(torch.eye(3), torch.tensor([0, 1])), "do not fit"),
        (lambda: make_loss(FORWARD, [2, 1], noise=torch.eye(3)), "for 2 topics"),
        (lambda: make_loss(FORWARD, [2, 1], noise=torch.tensor([[1.0, 0.5], [0.0, 0.5]])), "sum to 1"),
        (lambda: make_loss(FORWARD, [2, 1], noise=torch.tensor([[1.0, 0.0], [1.0, 0.0]])), "labelled as topic 1"),
        (lambda: make_loss(LossSettings(), [2, 1], noise=torch.eye(2)), "no effect with cross_entropy"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("topics", [3, 300])
def test_labels_of_texts_that_say_nothing_say_nothing(topics):
    shares = prior_from_counts([1000 // (rank + 1) for rank in range(topics)])
    generator = torch.Generator().manual_seed(0)
    labels = torch.multinomial(shares, 5000, replacement=True, generator=generator)
    said = shares.expand(5000, topics)
    torch.testing.assert_close(denoised_labels(said, labels), said)
