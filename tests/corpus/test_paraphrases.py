"""Which rows paraphrase which."""

from hypothesis import given
from hypothesis import strategies as st

from unskew.corpus import Record, split_paraphrases


def row(name, paraphrase_of=None, topic="oil"):
    return Record(f"text of {name}", name, topic, paraphrase_of=paraphrase_of)


def test_paraphrases_are_set_apart_from_the_rows_they_paraphrase():
    records = [row("a"), row("a1", "a"), row("b"), row("b1", "b"), row("a2", "a")]
    own, others, paraphrases = split_paraphrases(records)
    assert [record.id for record in own] == ["a", "b"]
    assert [record.id for record in others] == ["a1", "b1", "a2"]
    assert paraphrases == {0: [2, 4], 1: [3]}


def test_a_paraphrase_of_nothing_here_is_a_row():
    records = [
        row("a"),
        row("x", paraphrase_of="gone"),
        row("y", paraphrase_of="a", topic="gas"),
        row("z", paraphrase_of="x"),
    ]
    assert split_paraphrases(records) == (records, [], {})


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 9), st.sampled_from("pq"))))
def test_every_row_stays_and_every_paraphrase_has_its_original(given):
    records = [row(str(name), None if other is None else str(other), topic) for name, other, topic in given]
    own, others, paraphrases = split_paraphrases(records)
    together = [*own, *others]
    assert sorted(map(id, together)) == sorted(map(id, records))
    assert sorted(place for places in paraphrases.values() for place in places) == list(range(len(own), len(together)))
    for original, places in paraphrases.items():
        assert all(together[place].paraphrase_of == own[original].id for place in places)
        assert all(together[place].topic == own[original].topic for place in places)
