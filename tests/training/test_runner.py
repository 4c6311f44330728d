"""Runs end at their best weights, resume to the same end, and are not repeated."""

import dataclasses

import pytest
import torch
from cut_run import Data
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from unskew.common import UserError
from unskew.training import PhaseModule, PhaseSettings, RunOptions, run

TRAINER = {"accelerator": "cpu", "devices": 1}


class Net(PhaseModule):
    def __init__(self, epochs, fail_at=None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        model[0].requires_grad_(False)
        super().__init__(model, PhaseSettings(epochs=epochs, learning_rate=0.05))
        self.fail_at = fail_at
        self.steps = 0

    def training_step(self, batch, batch_index):
        self.steps += 1
        if self.steps == self.fail_at:
            raise RuntimeError("power cut")
        x, y = batch
        return nn.functional.mse_loss(self.model(x)[:, 0], y)

    def validation_step(self, batch, batch_index):
        x, y = batch
        self.log("validation/loss", nn.functional.mse_loss(self.model(x)[:, 0], y))


def options(folder, epochs=4):
    return RunOptions(folder, "test", epochs, 0, "validation/loss", "min", 10, TRAINER)


@pytest.mark.parametrize(("precision", "said"), [("bf16-mixed", 1), ("32-true", 0)])
def test_bfloat16_without_instructions_for_it_is_said(tmp_path, monkeypatch, caplog, precision, said):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    chosen = dataclasses.replace(options(tmp_path, epochs=1), trainer={**TRAINER, "precision": precision})
    run(Net(1), Data(), chosen)
    assert caplog.text.count("test: this processor has no instructions for bfloat16") == said


def test_resumed_run_ends_with_the_same_weights(tmp_path):
    whole = Net(4)
    metrics = run(whole, Data(), options(tmp_path / "whole"))
    with pytest.raises(RuntimeError, match="power cut"):
        run(Net(4, fail_at=21), Data(), options(tmp_path / "cut"))
    resumed = Net(4)
    assert run(resumed, Data(), options(tmp_path / "cut")) == metrics
    assert resumed.steps == 16  # epochs 2 and 3 of 8 steps each; the first two are not repeated
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


class Drawing(Net):
    """Keeps the first random number of each batch."""

    def training_step(self, batch, batch_index):
        self.drawn = [*getattr(self, "drawn", []), torch.rand(()).item()]
        return super().training_step(batch, batch_index)


def test_batches_that_make_a_step_together_draw_apart(tmp_path):
    together = dataclasses.replace(options(tmp_path / "4"), trainer={**TRAINER, "accumulate_grad_batches": 4})
    several, single = Drawing(1), Drawing(1)
    run(several, Data(), dataclasses.replace(together, epochs=1))
    run(single, Data(), options(tmp_path / "1", 1))
    assert len(set(several.drawn)) == len(set(single.drawn)) == 8
    assert several.drawn[::4] == single.drawn[:2]
    draws = [torch.rand((), generator=torch.Generator().manual_seed(4099 * step)).item() for step in range(8)]
    assert single.drawn == draws  # runs of earlier versions resume with these


def test_ended_run_is_loaded_not_repeated(tmp_path):
    first = Net(2)
    metrics = run(first, Data(), options(tmp_path, 2))
    again = Net(2)
    assert run(again, Data(), options(tmp_path, 2)) == metrics
    assert again.steps == 0
    assert torch.equal(first.model[2].weight, again.model[2].weight)


def test_an_ended_run_of_an_earlier_version_is_loaded(tmp_path):
    metrics = run(Net(1), Data(), options(tmp_path, 1))
    best = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(best, weights_only=True)
    for state in checkpoint["callbacks"].values():
        if "best_metrics" in state:
            state["best_measures"] = state.pop("best_metrics")
    torch.save(checkpoint, best)
    again = Net(1)
    assert run(again, Data(), options(tmp_path, 1)) == metrics
    assert again.steps == 0


def test_checkpoints_leave_frozen_weights_out(tmp_path):
    run(Net(1), Data(), options(tmp_path, 1))
    state = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert set(state) == {"model.2.weight", "model.2.bias"}


def test_dropout_is_on_while_fitting(tmp_path):
    net = Net(1)
    net.model.eval()
    run(net, Data(), options(tmp_path, 1))
    assert net.model.training


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"max_epochs": 3}, "set by unskew"),
        ({"max_steps": 2, "limit_val_batches": 0}, "options limit_val_batches, max_steps are set by unskew"),
        ({"fast_dev_run": True}, "set by unskew"),
        ({"colour": 1}, "are invalid"),
        ({"accelerator": "tpu"}, "are invalid"),
    ],
)
def test_trainer_options_that_do_not_fit(tmp_path, given, reason):
    wrong = dataclasses.replace(options(tmp_path, 1), trainer={**TRAINER, **given})
    with pytest.raises(UserError, match=reason):
        run(Net(1), Data(), wrong)


def test_callbacks_of_the_user_go_beside_our_own(tmp_path):
    theirs = [ModelCheckpoint(dirpath=tmp_path / "theirs"), EarlyStopping("validation/loss", patience=10)]
    for name, callbacks in {"several": theirs, "one": ModelCheckpoint(dirpath=tmp_path / "one"), "none": None}.items():
        given = {**TRAINER, "callbacks": callbacks}
        run(Net(1), Data(), dataclasses.replace(options(tmp_path / name, 1), trainer=given))
    assert len(list((tmp_path / "theirs").glob("*.ckpt"))) == 1


def test_interrupt_is_passed_on(tmp_path):
    class Interrupted(Net):
        def training_step(self, batch, batch_index):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(1), Data(), options(tmp_path, 1))


def test_rates_scale_the_learning_rate():
    net = Net(1)
    net._rates = {"2.weight": 0.1}
    net._trainer = type("T", (), {"estimated_stepping_batches": 10})()
    groups = net.configure_optimizers()["optimizer"].param_groups
    assert sorted(group["initial_lr"] for group in groups) == pytest.approx([0.005, 0.05])


def test_settings_report_every_problem_at_once():
    with pytest.raises(UserError, match=r"epochs.*learning_rate.*patience"):
        PhaseSettings(epochs=-1, learning_rate=0, patience=0)
    assert dataclasses.asdict(PhaseSettings())["epochs"] is None  # what suits the model


def test_a_decay_that_would_turn_weights_around_is_refused_once_the_rate_is_known():
    usual = PhaseSettings(epochs=1, learning_rate=1e-3)
    assert PhaseSettings(weight_decay=100).resolved(usual).weight_decay == 100
    with pytest.raises(UserError, match="below 1 / learning_rate"):
        PhaseSettings(weight_decay=1000).resolved(usual)


class Breaking(Net):
    """Like Net, with a fault at one step."""

    def __init__(self, fault, at):
        super().__init__(4)
        self.fault, self.at = fault, at

    def training_step(self, batch, batch_index):
        loss = super().training_step(batch, batch_index)
        if self.steps != self.at:
            return loss
        if self.fault == "loss":
            return loss * float("nan")
        # Finite itself, with a gradient that is not.
        return loss + torch.sqrt(self.model[2].bias.sum() * 0)

    def validation_step(self, batch, batch_index):
        super().validation_step(batch, batch_index)
        if self.fault in ("inf", "absurd"):
            self.log("validation/other", float("inf") if self.fault == "inf" else 1e9)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("loss", r"^test: training diverged: the loss is nan at step 11 \(epoch 2\), with learning rate 0\.0\d+; give"),
        ("gradient", "norm of the gradients is nan at step 11"),
        ("inf", r"the validation other is inf after step 8 \(epoch 1\), with learning rate 0\.04"),
        ("absurd", r"the validation other is 1e\+09 after step 8"),
    ],
)
def test_the_first_number_that_is_not_finite_ends_the_run(tmp_path, fault, told):
    with pytest.raises(UserError, match=told):
        run(Breaking(fault, at=11), Data(), options(tmp_path))
    assert not (tmp_path / "done.json").exists()


def test_it_does_not_go_on_from_there_as_if_it_were_done(tmp_path):
    for at in (11, 3):  # the second run begins with the second epoch
        with pytest.raises(UserError, match="loss is nan at step 11"):
            run(Breaking("loss", at=at), Data(), options(tmp_path))


def test_batches_that_make_a_step_together_are_looked_at_together(tmp_path):
    together = dataclasses.replace(
        options(tmp_path), trainer={**options(tmp_path).trainer, "accumulate_grad_batches": 4}
    )
    with pytest.raises(UserError, match="loss is nan at step 3"):
        run(Breaking("loss", at=10), Data(), together)


def test_weights_that_break_in_the_last_step_are_seen_without_validation(tmp_path):
    class Last(Net):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.steps == 8:
                self.model[2].bias.data.fill_(float("inf"))

    with pytest.raises(UserError, match=r"sum of model.2.bias is inf after step 8"):
        run(Last(1), Data(), dataclasses.replace(options(tmp_path, 1), monitor=None))
