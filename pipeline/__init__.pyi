from .datasets import TrainingData, load_labelled, read_sets
from .fitting import check_fit, fit
from .hybrid import Decided, HybridPipeline, Result, choose_device
from .settings import HARMLESS, DataSettings, FitSettings, ModelPrior, PredictOptions
from .synthesis.fill_topics import synthesise
from .synthesis.results import Synthesis
from .synthesis.settings import DIVERSE, FilterSettings, SynthesisSettings

__all__ = [
    "Decided",
    "DIVERSE",
    "DataSettings",
    "FilterSettings",
    "FitSettings",
    "HARMLESS",
    "HybridPipeline",
    "ModelPrior",
    "PredictOptions",
    "Result",
    "TrainingData",
    "Synthesis",
    "SynthesisSettings",
    "check_fit",
    "choose_device",
    "fit",
    "load_labelled",
    "read_sets",
    "synthesise",
]
