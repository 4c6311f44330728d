from .abilities import check_abilities, check_length
from .adaptation import TrainableParameters, merge
from .control import FAIRNESS_TOKEN, ControlTokens, topic_token
from .fitting import fit_decoder
from .generation import TokenCallback
from .judges import FrameJudge, TopicJudge, are_slot_frames, judge_of_records, make_judge, parse_frame
from .obedience import Obedience, ObedienceTrial, judge_obedience, log_probability_gap, measure_obedience
from .preparation import check_base
from .sampling import has_target, topic_loss_link, topic_prior_from_loss
from .saving import load_base_config, save_plain
from .settings import BALANCED_RATIO, Backend, DecoderSettings, GenerationSettings
from .stored import StoredAdapter, StoredDecoder
from .templates import INSTRUCTION, PLAIN, TEMPLATES
from .topic_decoder import TopicDecoder
from .vllm_backend import check_backend
from .zero_shot import ZeroShot

__all__ = [
    "TrainableParameters",
    "BALANCED_RATIO",
    "ControlTokens",
    "DecoderSettings",
    "FAIRNESS_TOKEN",
    "FrameJudge",
    "GenerationSettings",
    "INSTRUCTION",
    "Obedience",
    "PLAIN",
    "StoredAdapter",
    "StoredDecoder",
    "TEMPLATES",
    "TopicDecoder",
    "TopicJudge",
    "ObedienceTrial",
    "TokenCallback",
    "Backend",
    "ZeroShot",
    "are_slot_frames",
    "check_abilities",
    "check_base",
    "check_backend",
    "check_length",
    "fit_decoder",
    "has_target",
    "topic_prior_from_loss",
    "judge_obedience",
    "load_base_config",
    "judge_of_records",
    "log_probability_gap",
    "make_judge",
    "measure_obedience",
    "merge",
    "parse_frame",
    "save_plain",
    "topic_loss_link",
    "topic_token",
]
