"""Parameters of a `TopicClassifier` that is fitted in a moment."""

from unskew.training import ScratchSettings

TINY = {
    "scratch": ScratchSettings(layers=1, width=16, heads=2, vocabulary=320),
    "max_tokens": 32,
    "tokens_per_batch": 256,
    "trainer": {"accelerator": "cpu"},
    "learning_rate": 0.02,
    "random_state": 0,
}
