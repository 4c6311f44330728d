from .bundle import MANIFEST
from .datasets import Sets, load_labelled, read_sets
from .fitting import fit
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
    "MANIFEST",
    "ModelPrior",
    "PredictOptions",
    "Result",
    "Sets",
    "Synthesis",
    "SynthesisSettings",
    "choose_device",
    "fit",
    "load_labelled",
    "read_sets",
    "synthesise",
]
