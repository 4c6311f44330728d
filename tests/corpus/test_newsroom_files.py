"""The newsroom's files: what a fit reads, and that the exact posterior can be had again from them."""

import json
from collections import Counter

import numpy as np
import pytest

from unskew.common import UserError
from unskew.corpus import Newsroom, check_disjoint, check_training, load, write_newsroom

ALL = ("text", "id", "topic", "target")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("newsroom") / "files"
    write_newsroom(place, seed=5, train_largest=100, noisy=2000, test=600)
    return place


def test_sets_have_the_promised_rows_and_share_no_text(folder):
    sets = {name: load(folder / f"{name}.jsonl", needs=ALL) for name in ("train", "noisy", "test", "test_natural")}
    room = Newsroom(seed=5)
    counts = {name: Counter(record.topic for record in records) for name, records in sets.items()}
    assert [counts["train"][topic] for topic in room.topics] == list(room.long_tail_counts(100))
    assert set(counts["test"].values()) == {50}
    assert len(sets["noisy"]) == 2000
    assert len(sets["test_natural"]) == 600
    assert counts["test_natural"][room.topics[0]] > 5 * counts["test_natural"][room.topics[8]]
    check_training(sets["train"], "train.jsonl")
    for name in ("noisy", "test", "test_natural"):
        check_disjoint(sets["train"], sets[name], "train.jsonl", name)


def test_rows_have_the_columns_of_a_record_and_no_others(folder):
    for name in ("train", "noisy", "test"):
        first = json.loads((folder / f"{name}.jsonl").read_text("utf-8").splitlines()[0])
        assert set(first) == {"text", "id", "topic", "target"}


def test_noisy_targets_are_written_for_the_true_topic(folder):
    room = Newsroom(seed=5)
    openings = {str(r.target).split(":")[0]: r.topic for r in load(folder / "train.jsonl", needs=ALL)}
    noisy = load(folder / "noisy.jsonl", needs=ALL)
    true = [openings[str(record.target).split(":")[0]] for record in noisy]
    share = np.mean([topic != record.topic for topic, record in zip(true, noisy, strict=True)])
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(noisy))
    predicted = room.bayes_predict([record.text for record in noisy])
    assert np.mean([a == b for a, b in zip(predicted, true, strict=True)]) > 0.85


def test_posterior_from_the_files_is_that_of_the_sample(folder):
    made = json.loads((folder / "newsroom.json").read_text("utf-8"))
    room = Newsroom(made["difficulty"], made["seed"])
    test = load(folder / "test.jsonl", needs=ALL)
    fresh = Newsroom(seed=5).sample_counts([50] * 12, [5, 4], "test")
    assert test == fresh
    np.testing.assert_array_equal(
        room.posterior([r.text for r in test]), Newsroom(seed=5).posterior([r.text for r in fresh])
    )


def test_card_states_the_ceiling_of_the_test_set(folder):
    room = Newsroom(seed=5)
    recall = room.bayes_recall(load(folder / "test.jsonl", needs=ALL))
    card = (folder / "README.md").read_text("utf-8")
    assert f"| {np.mean(list(recall.values())):.3f} | {room.bayes_balanced_accuracy()} |" in card
    assert all(f"| {topic} | {family} |" in card for topic, family in zip(room.topics, room.families, strict=True))


def test_the_same_seed_writes_the_same_bytes_in_the_place_of_the_old(folder, tmp_path):
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "stale.jsonl").write_text("old")
    with pytest.raises(UserError, match="has other contents"):  # no newsroom, so it is not ours to replace
        write_newsroom(tmp_path / "again", seed=5, train_largest=100, noisy=2000, test=600)
    (tmp_path / "again" / "newsroom.json").write_text("{}")
    write_newsroom(tmp_path / "again", seed=5, train_largest=100, noisy=2000, test=600)
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


def test_too_small_a_test_set_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="12 test rows"):
        write_newsroom(tmp_path / "files", test=11)
    assert not (tmp_path / "files").exists()
