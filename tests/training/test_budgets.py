"""A phase ends at its budget: after so many steps, or so many tokens, with its schedule stretched to them."""

import pytest
import torch
from torch import nn

from unskew.common import UserError
from unskew.training import PhaseData, PhaseModule, Phases, PhaseSettings, RunOptions, run

LENGTHS = [3, 5, 2, 6] * 8


class Rows:
    lengths = torch.tensor(LENGTHS).numpy()

    def __len__(self):
        return len(LENGTHS)


class Data(PhaseData):
    def collate(self, rows, indices):
        return {"row": torch.tensor(indices)}


class Net(PhaseModule):
    def __init__(self, settings, cut_at=None):
        torch.manual_seed(0)
        super().__init__(nn.Linear(1, 1), settings)
        self.rates, self.rows, self.cut_at = [], [], cut_at

    def training_step(self, batch, batch_index):
        if self.trainer.global_step == self.cut_at:
            raise RuntimeError("power cut")
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.rows += batch["row"].tolist()
        return self.model(batch["row"][:, None].float()).mean()

    def validation_step(self, batch, batch_index):
        self.log("validation/loss", torch.tensor(float(-self.trainer.global_step)))


def fit(folder, accumulate=1, cut_at=None, **budget):
    settings = PhaseSettings(epochs=4, learning_rate=0.1, warmup_share=0, **budget)
    net, data = Net(settings, cut_at), Data(Rows(), Rows(), pad_id=0, tokens_per_batch=12, seed=0)
    data.limit(settings.max_steps, settings.most_tokens)
    trainer = {"accelerator": "cpu", "devices": 1, "accumulate_grad_batches": accumulate}
    run(net, data, RunOptions(folder, "test", 4, 0, "validation/loss", "min", 10, trainer, 0))
    return net, data


def test_steps_are_counted_over_the_epochs(tmp_path):
    net, _ = fit(tmp_path / "all")
    epoch = net.trainer.global_step // 4
    net, _ = fit(tmp_path / "some", max_steps=epoch + 3)
    assert net.trainer.global_step == epoch + 3
    assert net.rates == pytest.approx([0.1 * (1 - step / (epoch + 3)) for step in range(epoch + 3)])
    assert sorted(net.rows[: len(LENGTHS)]) == list(range(len(LENGTHS)))
    net, _ = fit(tmp_path / "few", max_steps=2, accumulate=2)
    assert (net.trainer.global_step, len(net.rates)) == (2, 4)


def test_a_budget_beyond_the_epochs_changes_nothing(tmp_path):
    plain, ample = fit(tmp_path / "plain")[0], fit(tmp_path / "ample", max_steps=10_000, max_tokens="1M")[0]
    assert (plain.rates, plain.rows) == (ample.rates, ample.rows)


def test_tokens_are_those_of_the_rows_without_padding(tmp_path):
    net, _ = fit(tmp_path, max_tokens=200)
    steps = net.trainer.global_step
    read = sum(LENGTHS[row] for row in net.rows)
    assert abs(read - 200) <= 12 + 200 / steps


def test_a_cut_run_goes_on_to_the_same_end(tmp_path):
    whole, _ = fit(tmp_path / "whole", max_steps=20)
    for step in (3, 17):
        with pytest.raises(RuntimeError, match="power cut"):
            fit(tmp_path / "cut", max_steps=20, cut_at=step)
    resumed, _ = fit(tmp_path / "cut", max_steps=20)
    assert resumed.trainer.global_step == 20
    assert resumed.rows == whole.rows[-len(resumed.rows) :]
    assert resumed.rates == whole.rates[-3:]
    assert torch.equal(resumed.model.weight, whole.model.weight)


@pytest.mark.parametrize(
    ("tokens", "accumulate", "phase", "warned"),
    [
        (12, 1, {"epochs": 4}, "only 12 steps a pass over the rows and 48 in all"),
        (12, 1, {"epochs": 10}, None),
        (6, 1, {"epochs": 4}, None),
        (6, 2, {"epochs": 4}, "only 12 steps a pass over the rows and 48 in all"),
        (12, 1, {"epochs": 4, "max_steps": 5}, None),
    ],
    ids=["few", "many passes", "small batches", "small batches added up", "as limited"],
)
def test_few_steps_because_of_large_batches_are_warned_of_once(tokens, accumulate, phase, warned, tmp_path, caplog):
    caplog.set_level("WARNING", logger="unskew")
    settings = PhaseSettings(learning_rate=0.1, **phase)
    net, data = Net(settings), Data(Rows(), Rows(), pad_id=0, tokens_per_batch=tokens, seed=0)
    trainer = {"accelerator": "cpu", "devices": 1, "accumulate_grad_batches": accumulate}
    phases = Phases("encoder", tmp_path, 0, "validation/loss", "min", trainer, "0" * 64)
    phases.run("clean", settings, net, data)
    said = [record.getMessage() for record in caplog.records if record.name == "unskew"]
    assert len(said) == (warned is not None)
    if warned is not None:
        assert said[0].startswith(f"encoder, clean: {warned}")
        assert f"tokens_per_batch (it is {tokens})" in said[0]


@pytest.mark.parametrize(("given", "meant"), [("200M", 200_000_000), ("1.5B", 1_500_000_000), ("7k", 7000), (12, 12)])
def test_large_numbers_have_units(given, meant):
    assert PhaseSettings(max_tokens=given).max_tokens == meant


@pytest.mark.parametrize("given", ["M", "many", "-5M", 0, "1.5", "nan", "infB"])
def test_what_is_no_number_is_refused(given):
    with pytest.raises(UserError, match="max_tokens is .*200M"):
        PhaseSettings(max_tokens=given)


def test_no_steps_are_refused():
    with pytest.raises(UserError, match="max_steps is 0"):
        PhaseSettings(max_steps=0)
