import pytest
import torch

from unskew.corpus import Topics
from unskew.decoder import DecoderSettings, ZeroShot, zero_shot
from unskew.decoder.base import load_tokenizer

TEXTS = ["prices rose", "Today Ada spoke of wheat, and of much else that nobody had asked for."]
TOPICS = Topics.from_labels(["oil", "wheat prices", "oil"])


def test_texts_are_scored_some_at_a_time(shared_base, monkeypatch):
    settings = DecoderSettings(base=str(shared_base), prompt="plain", max_tokens=150, max_target_tokens=8)
    scorer = ZeroShot.read(str(shared_base), TOPICS, settings)
    texts = [f"{text} {i}" for i in range(3) for text in TEXTS]
    together = scorer.logits(texts)
    held, prompts = [], scorer._sequencer.prompts
    monkeypatch.setattr(scorer._sequencer, "prompts", lambda some: held.append(len(some)) or prompts(some))
    monkeypatch.setattr(zero_shot, "ROWS", 5)
    torch.testing.assert_close(scorer.logits(texts), together, atol=1e-4, rtol=1e-4)
    assert held == [2, 2, 2]
    assert scorer.logits([]).shape == (0, 2)


@pytest.mark.parametrize("prompt", ["plain", "prices {text} oil"])  # the chat format is read once for all rows
def test_a_topics_score_is_the_log_probability_of_its_line(shared_base, prompt):
    settings = DecoderSettings(base=str(shared_base), prompt=prompt, max_tokens=150, max_target_tokens=8)
    scorer = ZeroShot.read(str(shared_base), TOPICS, settings)
    found = scorer.logits(TEXTS)
    assert found.shape == (2, 2)
    tokenizer = load_tokenizer(shared_base)
    for row, text in zip(found, TEXTS, strict=True):
        for score, topic in zip(row, scorer.topics, strict=True):
            start = [*scorer._sequencer.prompts([text])[0], *tokenizer("Topic:", add_special_tokens=False)["input_ids"]]
            name = scorer._sequencer.topic_tokens(topic)[len(scorer._sequencer.topic_line_start()) :]
            assert tokenizer.decode(name) == f" {topic}\n"
            with torch.no_grad():
                said = scorer.model(input_ids=torch.tensor([[*start, *name]])).logits[0].log_softmax(dim=-1)
            expected = said[len(start) - 1 : -1].gather(1, torch.tensor(name)[:, None]).sum()
            assert score.item() == pytest.approx(expected.item(), rel=1e-4)
