from .datasets import TrainingData, load_labelled, read_sets
from .fitting import check_fit, fit
from .hybrid import DecidedRow, HybridPipeline, Result, choose_device
from .readable import fault_of
from .settings import HARMLESS_TEXT, DataSettings, FitSettings, ModelPrior, PredictOptions
from .synthesis.fill_topics import synthesise
from .synthesis.results import Synthesis
from .synthesis.settings import DIVERSE_SAMPLING, FilterSettings, SynthesisSettings

__all__ = [
    "DecidedRow",
    "DIVERSE_SAMPLING",
    "DataSettings",
    "FilterSettings",
    "FitSettings",
    "HARMLESS_TEXT",
    "HybridPipeline",
    "ModelPrior",
    "PredictOptions",
    "Result",
    "TrainingData",
    "Synthesis",
    "SynthesisSettings",
    "check_fit",
    "choose_device",
    "fault_of",
    "fit",
    "load_labelled",
    "read_sets",
    "synthesise",
]
