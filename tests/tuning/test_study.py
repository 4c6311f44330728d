"""The search: the default first, then others; it goes on where it was, and refuses what is another study."""

import json
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from filelock import FileLock
from lightning.pytorch.callbacks import Callback

pytest.importorskip("optuna", reason="the extra `tune` is not installed")

from unskew.balance import Calibration, DecisionSettings, PosteriorCorrector
from unskew.cli.main import main, make_parser
from unskew.common import UserError
from unskew.corpus import Topics
from unskew.decoder import DecoderSettings
from unskew.encoder import EncoderSettings
from unskew.training import PhaseSettings
from unskew.tuning import search_space, study, tune
from unskew.tuning.space import value_of, with_values

RATE = "encoder.clean.learning_rate"
ROWS = torch.tensor([0, 0, 0, 1, 1, 2] * 10)


class Fits:
    """Stands for `fit`: the nearer the learning rate is to 1e-3, the lower the loss; `events` happen at some calls."""

    def __init__(self, **events):
        self.settings, self.rows = [], set()
        self.asked, self.events = [], {int(call.removeprefix("at_")): event for call, event in events.items()}

    def __call__(self, settings, bundle, overwrite, rows):
        assert settings.decoder is None
        self.settings.append(settings)
        self.rows.add(rows)
        self.asked.append((value_of(settings, RATE), settings.encoder.clean.epochs))
        event = self.events.get(len(self.asked))
        if isinstance(event, BaseException):
            raise event
        labels = ROWS if event is None else event
        off = abs(torch.tensor(settings.encoder.clean.learning_rate / 1e-3).log10())
        noise = torch.rand(len(labels), 3, generator=torch.Generator().manual_seed(0))
        logits = 3 * (1 - off) * torch.nn.functional.one_hot(labels, 3) + noise
        topics = Topics.from_labels("aaabbc")
        corrector = PosteriorCorrector(topics, (1 / 3,) * 3, Calibration(), (1 / 3,) * 3).calibrate(
            logits, labels, "none"
        )
        return SimpleNamespace(corrector=corrector)


@pytest.fixture
def fits(monkeypatch):
    """Puts `Fits` in the place of `fit`."""

    def put(**events):
        made = Fits(**events)
        monkeypatch.setattr(study, "fit", made)
        return made

    return put


def test_the_default_comes_first_and_the_best_is_written(tiny, fits, tmp_path):
    made = fits()
    found = tune(tiny, tmp_path / "study", trials=8)
    assert len(found.trials) == len(made.asked) == 8
    assert made.asked[0] == (tiny.encoder.clean.learning_rate, tiny.encoder.clean.epochs)
    assert found.kept.loss < found.default.loss
    best = yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())
    assert best["encoder"]["clean"]["learning_rate"] == found.kept.values[RATE]
    assert best["decoder"]["max_target_tokens"] == tiny.decoder.max_target_tokens
    assert len((tmp_path / "study" / "trials.csv").read_text().splitlines()) == 9
    assert sorted(path.suffix for path in (tmp_path / "study" / "trials").iterdir()) == [".json"] * 8


def test_trials_decide_nothing_and_share_the_stored_rows(tiny, fits, tmp_path):
    made, asked = fits(), DecisionSettings(accuracy=0.999)
    tune(replace(tiny, decision=asked), tmp_path / "study", trials=2)
    assert [settings.decision for settings in made.settings] == [DecisionSettings()] * 2
    assert made.rows == {tmp_path / "study" / "rows"}
    assert yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())["decision"]["accuracy"] == 0.999


def test_what_is_written_leaves_the_decoder_free_for_a_base(tiny, fits, tmp_path):
    fits()
    given = replace(tiny, decoder=DecoderSettings(text_swap=0.5))
    found = tune(given, tmp_path / "study", trials=2)
    best = yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())
    assert best == asdict(with_values(given, found.kept.values))
    options = ["--config", str(tmp_path / "study" / "best.yaml"), "--decoder.base", "some/base", "--output", "none"]
    parser, _ = make_parser("fit")
    decoder = parser.instantiate(parser.parse_args(options)).decoder
    assert decoder == DecoderSettings(base="some/base", text_swap=0.5)


def test_what_was_interrupted_goes_on_as_if_it_had_not_been(tiny, fits, tmp_path):
    whole = fits()
    expected = tune(tiny, tmp_path / "whole", trials=7)
    cut = fits(at_1=KeyboardInterrupt(), at_4=KeyboardInterrupt())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(tiny, tmp_path / "cut", trials=7)
    found = tune(tiny, tmp_path / "cut", trials=7)
    assert cut.asked == [whole.asked[0], *whole.asked[:3], *whole.asked[2:]]
    assert [trial.losses for trial in found.trials] == [trial.losses for trial in expected.trials]
    again = fits()
    assert tune(tiny, tmp_path / "cut", trials=7).trials == found.trials
    assert again.asked == []


def test_a_result_that_the_journal_does_not_know_is_told_and_not_made_again(tiny, fits, tmp_path, monkeypatch):
    made = fits()
    monkeypatch.setattr(study, "_tell", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        tune(tiny, tmp_path / "study", trials=3)
    monkeypatch.undo()
    made = fits()
    assert len(tune(tiny, tmp_path / "study", trials=3).trials) == 3
    assert len(made.asked) == 2


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (UserError("the loss is not finite"), "not finite"),
        (MemoryError("no memory"), "no memory"),
        (RuntimeError("can't allocate memory: 9 GB"), "allocate"),
        (ROWS[:30], "other rows"),
    ],
)
def test_a_trial_that_fails_is_counted_and_the_search_goes_on(tiny, fits, tmp_path, event, said):
    fits(at_2=event)
    found = tune(tiny, tmp_path / "study", trials=4)
    assert len(found.trials) == 4
    assert said in found.trials[1].failure
    assert found.kept is not found.trials[1]
    assert "1 of them failed" in str(found)


def test_a_default_that_fails_ends_it(tiny, fits, tmp_path):
    fits(at_1=UserError("the loss is not finite"))
    with pytest.raises(UserError, match="not finite"):
        tune(tiny, tmp_path / "study", trials=4)


def test_no_trial_is_begun_that_would_end_too_late(tiny, fits, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "unskew")
    made, now = fits(), [0.0]

    def hour_long(*given, **options):
        now[0] += 3600
        return made(*given, **options)

    monkeypatch.setattr(study, "fit", hour_long)
    monkeypatch.setattr(study, "monotonic", lambda: now[0])
    assert len(tune(tiny, tmp_path / "study", minutes=150).trials) == 2
    assert "the first trial is the default, which is fitted to its end even if that takes over 150 min" in caplog.text
    caplog.clear()
    assert len(tune(tiny, tmp_path / "study", minutes=1).trials) == 2
    assert "the first trial" not in caplog.text
    assert len(tune(tiny, tmp_path / "other", minutes=1).trials) == 1


def test_a_study_of_something_else_is_refused(tiny, fits, tmp_path, corpus):
    fits()
    tune(tiny, tmp_path / "study", trials=1)
    other = replace(tiny, encoder=replace(tiny.encoder, max_tokens=32))
    with pytest.raises(UserError, match="encoder.max_tokens was 64, is 32; give another --output"):
        tune(other, tmp_path / "study", trials=1)
    rows = (corpus / "train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "fewer.jsonl").write_text("".join(rows[:-3]))
    fewer = replace(tiny, data=replace(tiny.data, train=str(tmp_path / "fewer.jsonl")))
    with pytest.raises(UserError, match="clean rows was"):
        tune(fewer, tmp_path / "study", trials=1)
    assert len(tune(other, tmp_path / "study", trials=1, overwrite=True).trials) == 1
    without = replace(tiny, data=replace(tiny.data, noisy=None))
    with pytest.raises(UserError, match="noisy"):
        tune(without, tmp_path / "study", trials=1)


def test_objects_in_a_trainer_are_left_out_of_what_is_written(tiny, fits, tmp_path, caplog):
    fits()
    trainer = {"callbacks": [Callback()], "accelerator": "cpu"}
    tune(replace(tiny, encoder=replace(tiny.encoder, trainer=trainer)), tmp_path / "study", trials=1)
    assert yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())["encoder"]["trainer"] == {
        "accelerator": "cpu"
    }
    assert "leaves out encoder.trainer's callbacks" in caplog.text


def test_overwrite_deletes_nothing_but_a_study(tiny, fits, tmp_path):
    fits()
    tune(tiny, tmp_path / "study", trials=1)
    (tmp_path / "study" / "notes.md").write_text("mine")
    (tmp_path / "study" / "bundle").mkdir()
    before = sorted(path.name for path in (tmp_path / "study").iterdir())
    with pytest.raises(UserError, match=r"has bundle, notes\.md beside the study; move what is yours away"):
        tune(tiny, tmp_path / "study", trials=1, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == before
    (tmp_path / "study" / "notes.md").unlink()
    (tmp_path / "study" / "bundle").rmdir()
    assert len(tune(tiny, tmp_path / "study", trials=1, overwrite=True).trials) == 1


def test_folders_that_cannot_be_used(tiny, fits, tmp_path):
    fits()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="has other contents than a study"):
            tune(tiny, tmp_path / "mine", trials=1, overwrite=overwrite)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    missing = replace(tiny, data=replace(tiny.data, train=str(tmp_path / "none.jsonl")))
    with pytest.raises(UserError, match=r"none\.jsonl"):
        tune(missing, tmp_path / "study", trials=1)
    tune(tiny, tmp_path / "study", trials=1)
    with FileLock(tmp_path / "study" / ".lock"), pytest.raises(UserError, match="another search works in"):
        tune(tiny, tmp_path / "study", trials=1)
    (tmp_path / "study" / "study.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        tune(tiny, tmp_path / "study", trials=1)


@pytest.mark.parametrize("limits", [{"minutes": 0}, {"minutes": float("nan")}, {"trials": 0}, {"minutes": None}])
def test_limits_that_cannot_be(tiny, tmp_path, limits):
    with pytest.raises(UserError, match="minutes|trials"):
        tune(tiny, tmp_path / "study", **limits)


def test_without_optuna_one_line_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'unskew\[tune\]'"):
        tune(tiny, tmp_path / "study", trials=1)
    assert not (tmp_path / "study").exists()


def test_a_search_starts_from_any_default():
    far = EncoderSettings(base="b", clean=PhaseSettings(epochs=9, learning_rate=5e-4), rows_per_batch=12)
    settings = SimpleNamespace(encoder=far.resolved())
    space = search_space(settings, noisy=False)
    assert (space["encoder.clean.epochs"].high, space[RATE].high) == (9, 5e-4)
    assert space["encoder.rows_per_batch"].values == (8, 16, 32, 12)
    phases = EncoderSettings(base="b", recipe="phases").resolved()
    assert "encoder.noisy.learning_rate" in search_space(SimpleNamespace(encoder=phases), noisy=True)
    assert "encoder.noisy.learning_rate" not in search_space(SimpleNamespace(encoder=phases), noisy=False)
    with pytest.raises(UserError, match="recipe probe"):
        search_space(SimpleNamespace(encoder=EncoderSettings(base="b", recipe="probe")), noisy=False)


def test_the_command_searches_and_fit_takes_what_it_found(tiny, corpus, tmp_path, capsys):
    scratch = json.dumps({"layers": 1, "width": 32, "heads": 2, "vocabulary": 400})
    given = ["--data.train", str(corpus / "train.jsonl"), "--encoder.scratch", scratch, "--encoder.max_tokens", "64"]
    given += ["--encoder.trainer", '{"accelerator": "cpu"}', "--encoder.clean.epochs", "2", "--decoder", "null"]
    with pytest.raises(SystemExit) as ended:
        main(["tune", *given, "--output", str(tmp_path / "study"), "--trials", "2"])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "tuning, 2 trials" in said
    assert "best.yaml" in said
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(tmp_path / "study" / "best.yaml"), "--output", str(tmp_path / "bundle")])
    assert not ended.value.code
    assert (tmp_path / "bundle" / "unskew.json").is_file()
