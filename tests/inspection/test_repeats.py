"""Texts that occur more than once: each is counted once, and one of many that are alike stands for all."""

from unskew.corpus import NearDuplicates, Record
from unskew.inspection.repeats import find_repeats, summed
from unskew.inspection.results import Repeat

TEMPLATE = (
    "Dear customer, your order number {} has been shipped and will arrive within three working days, at your door"
)


def test_rows_of_a_template_are_compared_with_its_first_row_alone(monkeypatch):
    indexed = []
    add = NearDuplicates.add
    monkeypatch.setattr(NearDuplicates, "add", lambda *given: (indexed.append(given[1]), add(*given)))
    rows = [Record(TEMPLATE.format(number), str(number), "ab"[number % 2]) for number in range(40)]
    found = find_repeats({"clean": [*rows, Record(rows[7].text.upper(), "again", "b")], "noisy": rows[:2]})
    assert len(indexed) == 1
    assert [repeat.twin for repeat in found] == ["0"] * 39 + ["7", "0", "1"]
    assert [repeat.exact for repeat in found] == [False] * 39 + [True] * 3
    assert [repeat.same_topic for repeat in found][:4] == [False, True, False, True]


def test_validation_rows_are_counted_however_many_clean_rows_repeat():
    clean = [
        Repeat(id=str(row), set="clean", twin="0", twin_set="clean", exact=True, same_topic=True) for row in range(600)
    ]
    leaked = [repeat.model_copy(update={"set": "validation"}) for repeat in clean[:40]]
    assert summed([*clean, *leaked], "clean").validation == 40
