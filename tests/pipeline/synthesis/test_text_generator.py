import pytest

from unskew.balance import LossSettings
from unskew.corpus import Record, Topics
from unskew.decoder import DecoderSettings, GenerationSettings
from unskew.pipeline.synthesis import text_generator as synthesis
from unskew.pipeline.synthesis.text_generator import PROMPT, fit_text_generator, generator_settings, write_candidates
from unskew.training import PhaseSettings, ScratchSettings

TEXT = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
ROWS = [Record(f"{TEXT} {i}", f"r{i}", "oil", "a target") for i in range(3)]


class Writer:
    """Stands in for a fitted one: writes down what it is given."""

    def generate(self, texts, topics, options):
        assert options.seed == 5
        return [f"{topic}: {text}" for text, topic in zip(texts, topics, strict=True)]


def written(numbers, records=None):
    options = GenerationSettings(seed=5)
    return list(write_candidates(Writer(), numbers, {"oil": ROWS} if records is None else records, options))  # pyright: ignore[reportArgumentType]


def test_new_texts_and_paraphrases_take_turns_and_name_their_rows():
    found = written({"oil": range(8), "gas": range(2)})
    assert [one.source for one in found] == 4 * ["new", "paraphrase"] + 2 * ["new"]
    assert [one.paraphrase_of for one in found[1:8:2]] == ["r0", "r1", "r2", "r0"]
    assert [one.topic for one in found] == 8 * ["oil"] + 2 * ["gas"]
    assert len({one.text for one in found}) == 10
    for one in found[1:8:2]:
        original = next(row.text for row in ROWS if row.id == one.paraphrase_of).split()
        given = one.text.removeprefix("oil: ").split()
        assert 0 < len(given) < len(original)
        assert [word for word in original if word in given] == given


def test_a_text_depends_on_its_number_and_not_on_the_others_asked_for(monkeypatch):
    whole = written({"oil": range(8)})
    assert written({"oil": range(3, 8)}) == whole[3:]
    monkeypatch.setattr(synthesis, "_AT_ONCE", 3)
    assert written({"oil": range(8)}) == whole


def test_both_sets_teach_the_text_from_its_topic_and_the_text_from_the_text_with_gaps(monkeypatch):
    seen = {}
    monkeypatch.setattr(synthesis, "fit_decoder", lambda *sets: seen.update(train=sets[0], held=sets[1], noisy=sets[2]))
    fit_text_generator(ROWS, ROWS[:1], ROWS, Topics(("oil",), (3,)), DecoderSettings(), "folder")
    assert (len(seen["train"]), len(seen["held"]), len(seen["noisy"])) == (6, 2, 3)
    for new, paraphrase, row in zip(seen["train"][::2], seen["train"][1::2], ROWS, strict=True):
        assert (new.topic, new.target, paraphrase.topic, paraphrase.target) == ("oil", row.text, "oil", row.text)
        assert new.text.isdigit()
        assert 0 < len(paraphrase.text.split()) < len(row.text.split())
    assert [lesson.text.isdigit() for lesson in seen["noisy"]] == [True, False, True]
    learnt = {lesson.text for lesson in seen["train"]}
    asked = {one.text.removeprefix("oil: ") for one in written({"oil": range(1, 6, 2)})}
    assert not learnt & asked  # what was learnt by heart is not asked for


def test_a_writer_is_its_decoder_with_another_task():
    settings = DecoderSettings(topic_loss=LossSettings(), fairness=True, max_tokens=99, rank=3)
    found = generator_settings(settings)
    assert (found.rank, found.scratch, found.clean) == (3, settings.scratch, settings.clean)
    assert (found.topic_loss, found.fairness, found.condition) == (None, False, "token")
    assert (found.max_target_tokens, found.prompt_in_force, found.sampling_ratio) == (99, "plain", 3.0)
    based = generator_settings(DecoderSettings(base="x"), 40)
    assert (based.prompt_in_force, based.max_target_tokens, based.base) == (PROMPT, 40, "x")


@pytest.mark.parametrize("text", ["", "word"])
def test_a_text_without_words_to_leave_out(text):
    assert written({"oil": [1]}, {"oil": [Record(text, "r", "oil")]})[0].text == f"oil: {text}"


def test_a_small_writer_writes_in_its_topic(tmp_path):
    names, topics = ("Anna", "Boris", "Clara", "Dmitri"), Topics(("oil", "wheat"), (40, 20))
    settings = DecoderSettings(
        scratch=ScratchSettings(layers=1, width=32, heads=2, vocabulary=400),
        prompt="plain",
        max_tokens=128,
        rank=2,
        noisy=PhaseSettings(epochs=15, learning_rate=1e-2, patience=15),
        clean=PhaseSettings(epochs=1, learning_rate=1e-2),
        tokens_per_batch=512,
        trainer={"accelerator": "cpu", "devices": 1},
    )
    rows = [(("oil", "wheat")[i % 3 == 0], names[i % 4]) for i in range(60)]
    records = [Record(f"{topic} prices rose, says {name}", str(i), topic) for i, (topic, name) in enumerate(rows)]
    generator = fit_text_generator(records, records[:9], records, topics, generator_settings(settings, 20), tmp_path)
    options = GenerationSettings(sample=True, temperature=0.7)
    found = list(write_candidates(generator, dict.fromkeys(topics.names, range(8)), {}, options))
    right = sum(one.text.split()[:1] == [one.topic] for one in found)
    assert right >= 12
