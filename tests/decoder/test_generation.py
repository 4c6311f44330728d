import torch

from unskew.decoder import GenerationSettings
from unskew.decoder.generation import GumbelNoise, TokenSelector, row_seed


def test_noise_samples_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).repeat(20_000, 1)
    keys = torch.tensor([row_seed(0, str(i)) for i in range(len(logits))])
    drawn = GumbelNoise(keys)(torch.empty(0), logits).argmax(dim=1)
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits[0].softmax(dim=0), atol=0.012, rtol=0)


def test_noise_of_a_row_is_its_own_and_changes_with_the_step():
    logits = torch.zeros(3, 1000)
    keys = [row_seed(1, text) for text in "abc"]
    together, alone = GumbelNoise(torch.tensor(keys)), GumbelNoise(torch.tensor(keys[1:2]))
    first, second = (together(torch.empty(0), logits) for _ in range(2))
    for step in (first, second):
        assert torch.equal(step[1:2], alone(torch.empty(0), logits[:1]))
    assert torch.corrcoef(torch.cat([first, second])).fill_diagonal_(0).abs().max() < 0.15
    assert first.isfinite().all()


def test_keys_depend_on_every_part():
    assert len({row_seed(0, "a", "b"), row_seed(1, "a", "b"), row_seed(0, "b", "a"), row_seed(0, "ab", "")}) == 4
    assert row_seed(0, "\ud800") >= 0  # a broken string is no reason to stop


def test_what_is_suppressed_or_unlikely_is_not_chosen():
    scores = torch.tensor([[3.0, 2.9, -4.0, 9.0]]).repeat(500, 1)
    options = GenerationSettings(sample=True, top_p=0.9)
    sampled = TokenSelector(options, [3], [row_seed(0, str(i)) for i in range(500)], torch.device("cpu"))
    assert set(sampled(scores.clone()).tolist()) == {0, 1}
    assert set(TokenSelector(GenerationSettings(), [3], [0] * 500, torch.device("cpu"))(scores).tolist()) == {0}


def test_a_row_draws_the_same_whoever_has_left():
    scores, keys = torch.zeros(5, 1000), [row_seed(0, str(i)) for i in range(5)]
    all_stay, some_leave = (
        TokenSelector(GenerationSettings(sample=True), [], keys, torch.device("cpu")) for _ in range(2)
    )
    assert torch.equal(all_stay(scores.clone()), some_leave(scores.clone()))
    stay = torch.tensor([0, 4, 2])
    some_leave.keep(stay)
    assert torch.equal(some_leave(scores[:3].clone()), all_stay(scores.clone())[stay])
