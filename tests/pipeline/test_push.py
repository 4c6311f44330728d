"""Pushing to the hub without a network: one line, and nothing else happens."""

import huggingface_hub.constants as hub
import pytest

from unskew.common import UserError


@pytest.mark.parametrize("told", [True, False], ids=["told to stay offline", "nobody answers"])
def test_a_push_without_a_network_says_so_in_one_line(told, fitted, monkeypatch):
    if told:
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")  # a port that nobody listens on
    with pytest.raises(UserError, match="nothing was pushed to 'me/mine': the hub cannot be reached; check") as caught:
        fitted[0].push_to_hub("me/mine", token="hf_none")
    assert "\n" not in str(caught.value)
