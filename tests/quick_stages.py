"""Both stages from scratch, small and quick, as a configuration file has them."""

QUICK = {"epochs": 2, "learning_rate": 5e-3}
STAGE = {
    "scratch": {"layers": 1, "width": 32, "heads": 2, "vocabulary": 400},
    "max_tokens": 64,
    "noisy": QUICK,
    "clean": QUICK,
    "trainer": {"accelerator": "cpu", "devices": 1},
}
STAGES = {"encoder": STAGE, "decoder": {**STAGE, "max_target_tokens": 8}}
