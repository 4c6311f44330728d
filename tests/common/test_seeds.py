"""Seeds that NumPy or torch would refuse, once a fit had begun."""

import optuna
import pytest

from unskew.ablation import AblationSettings, ArmSettings
from unskew.common import UserError
from unskew.corpus import write_newsroom
from unskew.encoder import TopicClassifier
from unskew.evaluation import audit
from unskew.inspection import inspect
from unskew.pipeline import DataSettings, FitSettings, SynthesisSettings
from unskew.tuning import study
from unskew.tuning.space import Range

DATA = DataSettings(train="none.jsonl")


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize(
    "use",
    [
        lambda seed: FitSettings(DATA, seed=seed),
        lambda seed: SynthesisSettings(seed=seed),
        lambda seed: AblationSettings(DATA, "none.jsonl", {"plain": ArmSettings("Plain", "decoder")}, seeds=[0, seed]),
        lambda seed: TopicClassifier(random_state=seed).fit(["a", "b"], ["x", "y"]),
        lambda seed: inspect(DATA, "out", seed=seed),
        lambda seed: audit("none.jsonl", "none.jsonl", seed=seed),
        lambda seed: write_newsroom("out", seed=seed),
    ],
)
def test_a_seed_out_of_bounds_is_refused_before_anything_is_read(use, seed):
    with pytest.raises(UserError, match=f"(seed|random_state) is {seed}, must be between 0 and 4294967295"):
        use(seed)


def test_a_study_takes_the_largest_seed():
    number, values = study._next(optuna, optuna.create_study(), {"rate": Range(0, 1)}, 2**32 - 1)
    assert number == 0
    assert 0 <= values["rate"] <= 1
