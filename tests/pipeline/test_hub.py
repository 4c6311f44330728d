"""A bundle pushed to a hub and pulled by its id says what it said; the hub is a stand-in of ours."""

import huggingface_hub.constants as hub
import pytest
import yaml
from hub_stand_in import stand_in

from unskew.common import UserError
from unskew.pipeline import HybridPipeline


@pytest.fixture
def server(monkeypatch, tmp_path):
    with stand_in() as running:
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "ENDPOINT", running.address)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield running


def test_a_bundle_goes_to_the_hub_and_comes_back_by_its_id(fitted, texts, server):
    pipeline, folder = fitted
    address = pipeline.push_to_hub("me/mine", token="hf_none")
    assert "me/mine" in address
    pushed = server.files["me/mine"]
    local = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in pushed if name != ".gitattributes"} == set(local)
    again = HybridPipeline.from_pretrained("me/mine", device="cpu")
    expected = HybridPipeline.from_pretrained(folder, device="cpu")
    assert list(again(texts[:6])) == list(expected(texts[:6]))


def test_the_card_of_a_pushed_bundle_is_what_the_hub_reads(fitted, server):
    pipeline, _ = fitted
    pipeline.push_to_hub("me/mine", token="hf_none")
    card = server.files["me/mine"]["README.md"].decode()
    _, front, body = card.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "unskew"
    assert "text-classification" in metadata["tags"]
    for name, count in zip(pipeline.topics.names, pipeline.topics.counts, strict=True):
        [row] = [line for line in body.splitlines() if line.startswith(f"| {name} |")]
        assert row.split(" | ")[1] == str(count)


def test_an_id_that_the_hub_does_not_have_is_named(server):
    with pytest.raises(UserError, match="there is no bundle me/none, neither a local folder nor on the hub"):
        HybridPipeline.from_pretrained("me/none", device="cpu")
