"""Fitting learns, in its phases, goes on where it stopped, and does not repeat what is done."""

import csv
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from unskew.balance import LossSettings
from unskew.common import UserError
from unskew.encoder import fit_encoder
from unskew.encoder.layers import head_names
from unskew.encoder.module import MONITOR, EncoderModule
from unskew.training import PhaseSettings, base_contents, trainer_choices

CPU = {"accelerator": "cpu", "devices": 1}
SHORT = PhaseSettings(epochs=2, learning_rate=0.02)
NONE = PhaseSettings(epochs=0)


@pytest.fixture
def quick(settings):
    return replace(settings, noisy=NONE, clean=SHORT)


class Watch(Callback):
    """Notes the weights and modes that the training steps see, and can cut the power."""

    def __init__(self, cut_at=None):
        self.cut_at, self.steps, self.training, self.dropouts, self.states = cut_at, 0, [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        model = pl_module.model
        self.steps += 1
        self.training.append(model.training)
        self.dropouts.append([m.training for m in model.base_model.modules() if isinstance(m, torch.nn.Dropout)])
        self.states.append({name: value.detach().clone() for name, value in model.named_parameters()})
        if self.steps == self.cut_at:
            raise RuntimeError("power cut")


def watched(settings, watch):
    return replace(settings, trainer={**settings.trainer, "callbacks": [watch]})


def folders(path):
    return sorted(entry.name.split("-")[0] for entry in path.iterdir())


def test_it_learns_and_logs_each_epoch(train, validation, noisy, topics, settings, tmp_path):
    settings = replace(settings, noisy=SHORT, clean=PhaseSettings(epochs=6, learning_rate=0.02))
    encoder = fit_encoder(train, validation, noisy, topics, settings, tmp_path)
    decided = encoder.logits([record.text for record in validation]).argmax(dim=1)
    right = decided == torch.tensor(topics.encode([record.topic for record in validation]))
    assert right.float().mean() > 0.9
    assert folders(tmp_path) == ["clean", "noisy"]
    (log,) = tmp_path.glob("clean-*/logs/version_0/metrics.csv")
    rows = list(csv.DictReader(log.open()))
    epochs = [row for row in rows if row[MONITOR]]
    assert len([row for row in rows if row["validation/recall/courts"]]) == len(epochs)
    assert len(epochs) >= 2
    for name in ("nll", "accuracy", "recall_many", "recall_medium", "recall_few", "recall/courts"):
        known = f"validation/{name}" in epochs[0]
        assert known == (name != "recall_many")  # no topic has over 100 rows


def test_dropout_is_active_in_training_and_off_in_the_fitted_encoder(train, validation, topics, quick, tmp_path):
    watch = Watch()
    encoder = fit_encoder(train, validation, None, topics, watched(quick, watch), tmp_path)
    assert all(watch.training)
    assert all(all(modes) for modes in watch.dropouts)
    assert not encoder.model.training


def test_the_head_phase_leaves_the_body_alone(train, validation, topics, settings, tmp_path):
    settings = replace(settings, noisy=NONE, head=SHORT, clean=NONE)
    watch = Watch()
    encoder = fit_encoder(train, validation, None, topics, watched(settings, watch), tmp_path)
    head = head_names(encoder.model)
    first, last = watch.states[0], watch.states[-1]
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert moved
    assert moved <= head
    assert not any(any(modes) for modes in watch.dropouts)


def test_layer_decay_slows_the_embeddings(train, validation, topics, quick, tmp_path):
    def travelled(decay):
        watch = Watch()
        settings = watched(replace(quick, layer_decay=decay), watch)
        fit_encoder(train, validation, None, topics, settings, tmp_path / str(decay))
        name = "model.embeddings.tok_embeddings.weight"
        return (watch.states[0][name] - watch.states[-1][name]).norm()

    assert travelled(0.1) < 0.1 * travelled(1.0)


def test_an_interrupted_fit_ends_with_the_weights_of_a_whole_one(train, validation, noisy, topics, settings, tmp_path):
    settings = replace(settings, noisy=SHORT, clean=SHORT, sampling_ratio=3.0)
    whole = Watch()
    expected = fit_encoder(train, validation, noisy, topics, watched(settings, whole), tmp_path / "whole")
    cut = Watch(cut_at=whole.steps - 2)  # within the last epoch of the last phase
    with pytest.raises(RuntimeError, match="power cut"):
        fit_encoder(train, validation, noisy, topics, watched(settings, cut), tmp_path / "cut")
    rest = Watch()
    resumed = fit_encoder(train, validation, noisy, topics, watched(settings, rest), tmp_path / "cut")
    assert 2 < rest.steps < whole.steps / 2
    for name, value in expected.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    again = Watch()
    fit_encoder(train, validation, noisy, topics, watched(settings, again), tmp_path / "cut")
    assert again.steps == 0


def test_a_fit_cut_inside_an_epoch_goes_on_with_the_next_batch(train, validation, noisy, topics, settings, tmp_path):
    short = replace(SHORT, checkpoint_minutes=0)
    settings = replace(settings, noisy=short, head=short, clean=short, sampling_ratio=3.0)
    given = (train, validation, noisy, topics)
    whole = Watch()
    expected = fit_encoder(*given, watched(settings, whole), tmp_path / "whole")
    done = 0
    for steps in (2, whole.steps // 3, whole.steps // 3 + 1):  # somewhere in each phase
        with pytest.raises(RuntimeError, match="power cut"):
            fit_encoder(*given, watched(settings, Watch(cut_at=steps)), tmp_path / "cut")
        done += steps - 1  # the step in which the power went is done again
    rest = Watch()
    resumed = fit_encoder(*given, watched(settings, rest), tmp_path / "cut")
    assert done + rest.steps <= whole.steps + 3
    for name, value in expected.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_changed_setting_repeats_its_phase_and_those_after_it(train, validation, noisy, topics, settings, tmp_path):
    settings = replace(settings, noisy=SHORT, clean=SHORT)
    fit_encoder(train, validation, noisy, topics, settings, tmp_path)
    fit_encoder(train, validation, noisy, topics, replace(settings, loss=LossSettings(name="focal")), tmp_path)
    assert folders(tmp_path) == ["clean", "clean", "noisy"]
    fit_encoder(train, validation, noisy[1:], topics, settings, tmp_path)
    assert folders(tmp_path) == ["clean"] * 3 + ["noisy"] * 2


def test_a_noisy_phase_depends_on_all_its_tokenizer_saw(train, validation, noisy, topics, settings, tmp_path):
    once = PhaseSettings(epochs=1, learning_rate=0.02)
    settings = replace(settings, noisy=once, clean=once)
    fit_encoder(train, validation, noisy, topics, settings, tmp_path)
    other = [replace(record, text=f"quite another {record.text}") for record in train]
    fit_encoder(other, validation, noisy, topics, settings, tmp_path)
    assert folders(tmp_path) == ["clean", "clean", "noisy", "noisy"]


@pytest.mark.parametrize(
    "change", [{"layer_decay": 0.5}, {"tokens_per_batch": 128}, {"trainer": {**CPU, "accumulate_grad_batches": 2}}]
)
def test_what_changes_the_weights_starts_afresh(change, train, validation, topics, quick, tmp_path):
    once = replace(quick, clean=replace(SHORT, epochs=1))
    fit_encoder(train, validation, None, topics, once, tmp_path)
    fit_encoder(train, validation, None, topics, replace(once, **change), tmp_path)
    assert folders(tmp_path) == ["clean", "clean"]


def test_fingerprints_of_bases_and_trainers(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    before = base_contents(str(tmp_path))
    assert before == base_contents(str(tmp_path))
    weights.write_bytes(b"two")
    assert base_contents(str(tmp_path)) != before
    before = base_contents(str(tmp_path))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert base_contents(str(tmp_path)) != before
    assert base_contents(None) is base_contents("some/hub-id") is None
    assert trainer_choices({**CPU, "callbacks": [Watch()], "logger": False}) == {}
    assert trainer_choices({"plugins": object()}) == trainer_choices({"plugins": object()})
    assert trainer_choices({"precision": "32-true"}) != trainer_choices({"precision": "64-true"})


@pytest.mark.parametrize("epochs", [1, 3])
def test_deferred_weights_begin_in_the_last_fifth_however_few_the_epochs(
    epochs, train, validation, topics, quick, tmp_path, monkeypatch
):
    seen = []
    step = EncoderModule.training_step

    def watched(self, batch, batch_index):
        seen.append(bool((self.loss.weights != 1).any()))
        return step(self, batch, batch_index)

    monkeypatch.setattr(EncoderModule, "training_step", watched)
    deferred = replace(
        quick,
        clean=replace(SHORT, epochs=epochs),
        loss=LossSettings("ldam"),
        tokens_per_batch=48,
        trainer={**CPU, "accumulate_grad_batches": 2},
    )
    fit_encoder(train, validation, None, topics, deferred, tmp_path)
    assert seen == sorted(seen)
    assert 0.1 <= sum(seen) / len(seen) <= 0.25


def test_step_losses_add_up_to_the_loss_of_all_rows(train, validation, topics, quick, tmp_path, monkeypatch):
    """Whatever the batches: each step divides by the same mean number of rows."""
    losses = []
    step = EncoderModule.training_step

    def kept(self, batch, batch_index):
        self.model.eval()
        losses.append(step(self, batch, batch_index).item() * self.trainer.datamodule.rows_per_batch)
        return 0.0 * self.model.classifier.bias.sum()  # the weights are fixed, so that the sum is of one model

    monkeypatch.setattr(EncoderModule, "training_step", kept)
    plain = replace(quick, clean=replace(SHORT, epochs=1), loss=LossSettings(weights="balanced"))
    encoder = fit_encoder(train, validation, None, topics, plain, tmp_path)
    labels = torch.tensor(topics.encode([record.topic for record in train]))
    weights = len(train) / (len(topics) * torch.tensor(topics.counts))
    rows = torch.nn.functional.cross_entropy(
        encoder.logits([record.text for record in train]), labels, reduction="none"
    )
    assert sum(losses) == pytest.approx(float((rows * weights[labels]).sum()), rel=1e-4)


def test_without_validation_rows_the_training_rows_decide(train, topics, quick, tmp_path):
    encoder = fit_encoder(train, [], None, topics, quick, tmp_path)
    assert encoder.topics == topics.names


def test_an_unknown_noisy_topic_is_refused(train, validation, noisy, topics, settings, tmp_path):
    strange = [replace(noisy[0], topic="weather"), *noisy[1:]]
    with pytest.raises(UserError, match="weather"):
        fit_encoder(train, validation, strange, topics, replace(settings, noisy=SHORT), tmp_path)
