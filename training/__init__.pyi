from .data import Batch, PhaseData, Sampler
from .exclusive import one_fit_at_a_time
from .fingerprints import base_contents, plain_arguments, tokenizer_contents, trainer_choices
from .loggers import check_logger, make_logger
from .phase import CHECKPOINT_COPIES, PhaseModule, checkpoint_bytes
from .phases import Phases, record_contents
from .runner import RunOptions, callbacks_of, check_trainer, record_runs, run
from .settings import LoggerName, PhaseSettings, ScratchSettings, learning_rate_problems
from .token_file import TokenFile, token_file

__all__ = [
    "CHECKPOINT_COPIES",
    "callbacks_of",
    "check_trainer",
    "LoggerName",
    "check_logger",
    "make_logger",
    "Batch",
    "Sampler",
    "PhaseData",
    "PhaseModule",
    "PhaseSettings",
    "Phases",
    "RunOptions",
    "ScratchSettings",
    "TokenFile",
    "base_contents",
    "plain_arguments",
    "checkpoint_bytes",
    "record_contents",
    "one_fit_at_a_time",
    "run",
    "token_file",
    "tokenizer_contents",
    "learning_rate_problems",
    "record_runs",
    "trainer_choices",
]
