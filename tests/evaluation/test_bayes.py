"""The exact posterior of newsroom rows, from the file beside them."""

import pytest
import torch

from unskew.common import UserError, write_text
from unskew.corpus import Newsroom
from unskew.evaluation.bayes import bayes_posterior


@pytest.fixture
def room():
    return Newsroom(seed=3)


@pytest.fixture
def described(room, tmp_path):
    write_text(tmp_path / "newsroom.json", f'{{"difficulty": {room.difficulty}, "seed": 3}}')
    return tmp_path / "newsroom.json"


def test_columns_follow_the_names_that_were_given(room, described):
    names, texts = room.topics[::-1], ["a text", "another one"]
    prior = [1.0 + i for i in range(len(names))]
    expected = torch.as_tensor(room.posterior(texts, prior[::-1])).flip(-1)
    torch.testing.assert_close(bayes_posterior(described, texts, names, prior), expected)
    torch.testing.assert_close(
        bayes_posterior(described, texts, names), bayes_posterior(described, texts, names, [2.0] * len(names))
    )


def test_topics_of_other_rows_are_refused(described):
    with pytest.raises(UserError, match="topics differ"):
        bayes_posterior(described, ["a text"], ["sport", "weather"])


@pytest.mark.parametrize("content", ["{", "[]", '{"seed": 1}'])
def test_a_file_that_describes_no_newsroom_is_refused(tmp_path, content):
    write_text(tmp_path / "newsroom.json", content)
    with pytest.raises(UserError, match=r"is not a newsroom\.json"):
        bayes_posterior(tmp_path / "newsroom.json", ["a text"], ["sport"])
