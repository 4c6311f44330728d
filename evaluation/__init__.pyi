from .audit_files import AuditColumns, read_labels
from .audit_predictions import AUDIT_RESULT, Audit, TopicSkew, audit, measure_skew
from .audit_tables import print_audit
from .bayes import bayes_posterior
from .evaluate_system import RESULT, Evaluation, evaluate
from .labelled_predictions import LEFT_OUT, LabelledPredictions, join
from .obedience import obedience
from .tables import print_evaluation
from .text_metrics import score_texts

__all__ = [
    "LabelledPredictions",
    "join",
    "measure_skew",
    "read_labels",
    "AUDIT_RESULT",
    "Audit",
    "AuditColumns",
    "Evaluation",
    "LEFT_OUT",
    "RESULT",
    "TopicSkew",
    "audit",
    "bayes_posterior",
    "evaluate",
    "obedience",
    "print_audit",
    "print_evaluation",
    "score_texts",
]
