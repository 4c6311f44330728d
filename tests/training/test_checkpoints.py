"""A run that is killed inside an epoch loses one interval at most and ends with the same weights, to the bit."""

import signal
import subprocess
import sys

import cut_run
import pytest
import torch

from unskew.common import UserError
from unskew.training import run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    net = cut_run.Net()
    folder = tmp_path_factory.mktemp("whole")
    metrics = run(net, cut_run.tempered(), cut_run.options(folder))
    return net, metrics, net.trainer.global_step


def killed(folder, step):
    done = subprocess.run([sys.executable, cut_run.__file__, str(folder), str(step)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_killed_in_two_epochs_it_ends_with_the_weights_of_a_whole_run(whole, tmp_path):
    net, metrics, steps = whole
    per_epoch = steps // cut_run.EPOCHS
    killed(tmp_path, 3)
    killed(tmp_path, 2 * per_epoch + 2)
    resumed = cut_run.Net()
    assert run(resumed, cut_run.tempered(), cut_run.options(tmp_path)) == metrics
    assert resumed.batches == 2 * (per_epoch - 2)  # of the last epoch, and nothing of what was saved
    for name, value in net.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_one_checkpoint_is_kept_and_none_once_a_run_has_ended(whole, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        run(Cut(4), cut_run.tempered(), cut_run.options(tmp_path))
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    run(cut_run.Net(), cut_run.tempered(), cut_run.options(tmp_path))
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["best.ckpt"]


def test_it_saves_no_oftener_than_asked(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        run(Cut(4), cut_run.tempered(), cut_run.options(tmp_path, minutes=60))
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_full_disk_leaves_the_last_good_checkpoint(whole, tmp_path, monkeypatch):
    net, metrics, _ = whole
    original, saved = torch.save, []

    def full(checkpoint, file):
        saved.append(checkpoint["global_step"])
        if len(saved) > 3:
            file.write(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        original(checkpoint, file)

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(UserError, match="no space left"):
        run(cut_run.Net(), cut_run.tempered(), cut_run.options(tmp_path))
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == saved[-2] == 3
    monkeypatch.setattr("torch.save", original)
    assert run(cut_run.Net(), cut_run.tempered(), cut_run.options(tmp_path)) == metrics


class Cut(cut_run.Net):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def training_step(self, batch, batch_index):
        if self.trainer.global_step == self.at:
            raise RuntimeError("power cut")
        return super().training_step(batch, batch_index)
