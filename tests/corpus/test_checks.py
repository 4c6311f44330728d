import pytest

from unskew.common import UserError
from unskew.corpus import Record, Topics, check_disjoint, check_known_topics, check_training, overlapping


def records(*topics: str | None) -> list[Record]:
    return [Record(f"text {number}", str(number), topic) for number, topic in enumerate(topics)]


def test_a_sound_set_passes_without_a_word() -> None:
    assert check_training(records("a", "a", "b", "b"), "train.jsonl") == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "train.jsonl has no records"),
        (records("a", "a"), "only the topic 'a'"),
        (records("a", None, "b"), r"record 2 \(id '1'\) has no topic"),
        (
            [*records("a", "b"), Record("x", "0", "a"), Record("y", "1", "a")],
            r"the id '0' occurs in records 1 and 3 \(1 further rows repeat an id\); make the ids unique",
        ),
    ],
)
def test_unsound_sets_are_refused(given: list[Record], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_training(given, "train.jsonl")


def test_rare_repeated_and_targetless_rows_are_told() -> None:
    given = [
        Record("same  text", "1", "a", "target"),
        Record("same text ", "2", "b", "target"),
        Record("other", "3", "b"),
        Record("third", "4", "c"),
    ]
    rare, repeated, untargeted = check_training(given, "train")
    assert rare == "train: 2 topics have a single row and cannot be validated: a, c"
    assert repeated == "train: 1 texts occur more than once, 1 of them under different topics"
    assert untargeted == "train: 2 of 4 records have no target"


def test_the_same_text_in_two_sets_is_refused_with_an_example() -> None:
    train, test = records("a", "b"), [Record("new", "9", "a"), Record(" text  1", "8", "b")]
    assert overlapping(train, test) == [train[1]]
    with pytest.raises(UserError, match=r"1 texts of train.* in test.*'text 1' \(id '1' there, id '8' here\); remove"):
        check_disjoint(train, test, "train", "test")
    check_disjoint(train[:1], test)


def test_unknown_topics_are_listed_with_a_hint() -> None:
    topics = Topics.from_labels(["crude", "grain"])
    check_known_topics(records("crude", "grain"), topics)
    with pytest.raises(UserError, match=r"^test has .*'Crude' \(2 rows\), 'x' \(1 rows\);.*'Crude' as 'crude', as in"):
        check_known_topics(records("Crude", "x", "Crude", "grain"), topics, "test")
    with pytest.raises(UserError, match="did you mean 'crude'"):
        check_known_topics(records("crudes"), topics)
    with pytest.raises(UserError, match="record 1"):
        check_known_topics(records(None), topics)
