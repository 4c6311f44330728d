"""Puts the figures into words: the headline, and a verdict on each claim of the design. Knows only the results' arms.

No criterion was adapted to a result:

A difference is *significant* if its p, corrected over all arms, is under 0.05. An arm *beats* another if both macro-F1
and balanced accuracy are significantly better. Macro-F1 alone is not enough: it rewards guesses that are spread evenly
over the topics, even if the model has learnt nothing, but the balanced accuracy of any blind guess is 1 / C on average.
The contenders are the arms of that role and the baseline. The winner is the contender that no other beats and that
beats at least one. A claim is listed if its arms were run.

With fewer than five seeds the headline describes "these runs", and no claim is judged.

A claim *holds* if its difference is significant in the claimed direction, *holds partly* if the mean has that direction
but is not significant, and *does not hold here* otherwise. Less prior pull means a smaller distance from 0. If the test
rows have the shares of the training set, prior pull cannot be measured, and no claim about it is judged.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from .settings import SIGNIFICANT, AblationSettings
from .statistics import MIN_SEEDS

PULLED = 0.1  # smallest prior pull that counts as a copied prior: more than that of an ideal classifier
ALIKE = "the test rows have the training set's shares, so prior pull cannot be measured"
LISTENS = 0.9  # least share of outputs that read like their topic, relative to the targets, if a decoder follows it
EQUAL_LABELS = "hybrid_clean"  # its encoder has the decoder's labels, and no noisy ones

HOLDS, PARTLY, FAILS, UNKNOWN = "holds", "holds partly", "does not hold here", "not measured"
UNJUDGED = "not judged"

# A cure's name in a sentence, and the arm that has only this cure.
CURES = {
    "re-weighting the loss of the topic token": "decoder_class_balanced",
    "LoRA": "decoder_lora",
    "the instruction prompt": "decoder_instruction",
    "the fairness token": "decoder_fairness",
    "prior correction": "decoder_prior_correction",
}

Arm = Mapping[str, Any]
Claim = dict[str, str]


def write_headline(arms: Sequence[Arm], settings: AblationSettings) -> str:
    """One sentence: which arm wins and by how much, or that none does."""
    by_name = {arm["name"]: arm for arm in arms}
    contenders = [name for name in settings.contenders if name in by_name]
    if len(contenders) < 2:
        return "No comparison: run the baseline and at least one other arm that decides topics."
    if (seeds := _seeds(arms, settings)) < MIN_SEEDS:
        return f"Not judged: {_these_runs(seeds)}, {_differences(by_name, contenders, settings)}."
    beats = {(a, b) for a in contenders for b in contenders if a != b and _beats(by_name, a, b)}
    winners = [a for a in contenders if any(x == a for x, _ in beats) and not any(y == a for _, y in beats)]
    winners.sort(key=lambda name: -by_name[name]["mean"]["macro_f1"])
    if not winners:
        return f"No winner: {_differences(by_name, contenders, settings)}; none is significant."
    said = " and ".join(_titled(by_name[name]) for name in winners)
    others = [name for name in contenders if name not in winners]
    margins = [f"{_margin(by_name, winners[0], other)} over {_titled(by_name[other])}" for other in others]
    level = "" if len(winners) == 1 else f"; between them {_between(by_name, winners)}"
    figure = _interval_text(by_name[winners[0]], "macro_f1")
    verb = "leads" if len(winners) == 1 else "lead"
    return f"{said} {verb} with a macro-F1 of {figure}, {', '.join(margins)}{level}."


def judge_claims(
    arms: Sequence[Arm], settings: AblationSettings, topics: int, shifted: bool, targets_fit: float = 1.0
) -> list[Claim]:
    """Each claim with its verdict and figure.

    Args:
        arms: The arms of the results.
        settings: Settings of the ablation.
        topics: Number of topics.
        shifted: Whether test rows have other shares than training rows.
        targets_fit: Share of the test targets that read like their topic, which no decoder can be expected to exceed.
    """
    recommended = settings.recommended or ""
    by_name = {arm["name"]: arm for arm in arms}
    base = settings.compared_with
    if base not in by_name:
        return []
    decoder = settings.chosen[base].group == "decoder"
    claims = [_copies(by_name.get(base))] if decoder else []
    cures = {f"{cure} reduces the prior pull of the decoder alone": arm for cure, arm in CURES.items()}
    if recommended not in CURES.values():  # a single cure has its own claim
        cures["the recommended cures together reduce it"] = recommended
    claims += [_reduces(claim, by_name[arm], base) for claim, arm in cures.items() if decoder and arm in by_name]
    if not shifted:
        claims = [_claim(claim["claim"], UNKNOWN, ALIKE) for claim in claims]
    if (hybrid := by_name.get(settings.hybrid or "")) is not None:
        claims += [_balanced(hybrid, base, topics, shifted), _writes_well(hybrid, base, targets_fit)]
    if EQUAL_LABELS in by_name and recommended in by_name:
        claims.append(_equal_labels(by_name, recommended))
    if "shuffled_topics" in by_name:
        claims.append(_listens(by_name["shuffled_topics"], targets_fit))
    if (seeds := _seeds(arms, settings)) < MIN_SEEDS:
        claims = [_unjudged(claim, seeds) for claim in claims]
    return claims


def significant(arm: Arm, reference: str, metric: str) -> int:
    """1 if the arm's metric is significantly larger than the reference's, -1 if smaller, 0 if neither."""
    found = arm["against"].get(reference, {}).get(metric)
    if found is None or found["p_corrected"] is None or found["p_corrected"] >= SIGNIFICANT:
        return 0
    return 1 if found["difference"] > 0 else -1


def _beats(arms: Mapping[str, Arm], a: str, b: str) -> bool:
    def sign(metric: str) -> int:
        if b in arms[a]["against"]:
            return significant(arms[a], b, metric)
        return -significant(arms[b], a, metric)

    return sign("macro_f1") == sign("balanced_accuracy") == 1


def _between(arms: Mapping[str, Arm], winners: Sequence[str]) -> str:
    tested = all(b in arms[a]["against"] or a in arms[b]["against"] for a, b in combinations(winners, 2))
    return "no difference is significant" if tested else "nothing was tested"


def _differences(arms: Mapping[str, Arm], contenders: Sequence[str], settings: AblationSettings) -> str:
    base = settings.compared_with if settings.compared_with in contenders else contenders[-1]
    others = [name for name in contenders if name != base]
    parts = [f"{_titled(arms[name])} {_margin(arms, name, base)} macro-F1" for name in others]
    return f"{' and '.join(parts)} against {_titled(arms[base])}"


def _margin(arms: Mapping[str, Arm], a: str, b: str) -> str:
    """The difference in macro-F1 with its interval; either arm may be the reference."""
    forward = arms[a]["against"].get(b, {}).get("macro_f1")
    backward = arms[b]["against"].get(a, {}).get("macro_f1")
    if forward is not None:
        return _signed(forward["difference"], forward["interval"])
    if backward is not None:
        low, high = backward["interval"]
        return _signed(-backward["difference"], [-high, -low])
    return "an unknown amount"


def _copies(arm: Arm | None) -> Claim:
    claim = "decoder-only fine-tuning copies the training prior"
    if arm is None or arm["mean"].get("prior_pull") is None:
        return _claim(claim, UNKNOWN, "")
    low = (arm["interval"]["prior_pull"] or [float("-inf")])[0]
    pull = arm["mean"]["prior_pull"]
    verdict = HOLDS if low > PULLED else PARTLY if pull > PULLED else FAILS
    return _claim(claim, verdict, f"prior pull {_interval_text(arm, 'prior_pull')}; 0 is none and 1 a copy")


def _reduces(claim: str, arm: Arm | None, reference: str) -> Claim:
    found = None if arm is None else arm["against"].get(reference, {}).get("prior_pull")
    if arm is None or found is None:
        return _claim(claim, UNKNOWN, "")
    pull = arm["mean"]["prior_pull"]
    nearer = abs(pull) < abs(pull - found["difference"])
    verdict = FAILS if not nearer else HOLDS if significant(arm, reference, "prior_pull") else PARTLY
    figure = f"{_signed(found['difference'], found['interval'])} to {pull:.2f}"
    if found["p_corrected"] is not None:
        figure += f", corrected p {found['p_corrected']:.3g}"
    return _claim(claim, verdict, figure)


def _balanced(arm: Arm | None, reference: str, topics: int, shifted: bool) -> Claim:
    claim = "the hybrid classifies in balance"
    found = None if arm is None else arm["against"].get(reference, {}).get("balanced_accuracy")
    if arm is None or found is None:
        return _claim(claim, UNKNOWN, "")
    pull, accuracy = arm["mean"]["prior_pull"] if shifted else None, arm["mean"]["balanced_accuracy"]
    unpulled = pull is None or abs(pull) <= PULLED
    above = significant(arm, reference, "balanced_accuracy") > 0
    verdict = HOLDS if above and unpulled else PARTLY if found["difference"] > 0 and accuracy > 1 / topics else FAILS
    figure = f"balanced accuracy {_interval_text(arm, 'balanced_accuracy')}, "
    figure += f"{_signed(found['difference'], found['interval'])} over the baseline; prior pull "
    return _claim(claim, verdict, figure + ("not measurable" if pull is None else f"{pull:.2f}"))


def _equal_labels(arms: Mapping[str, Arm], reference: str) -> Claim:
    claim = (
        "with the clean labels alone, as the decoder has them, the encoder still beats the decoder's recommended cures"
    )
    arm = arms.get(EQUAL_LABELS)
    found = None if arm is None else arm["against"].get(reference, {}).get("macro_f1")
    if arm is None or found is None:
        return _claim(claim, UNKNOWN, "")
    verdict = HOLDS if _beats(arms, EQUAL_LABELS, reference) else PARTLY if found["difference"] > 0 else FAILS
    figure = f"macro-F1 {_interval_text(arm, 'macro_f1')}, {_signed(found['difference'], found['interval'])} over them"
    return _claim(claim, verdict, figure)


def _writes_well(arm: Arm | None, reference: str, targets_fit: float) -> Claim:
    claim = "the hybrid writes good outputs: as near their targets as the baseline's, and fitting their topic"
    found = None if arm is None else arm["against"].get(reference, {}).get("rougeL")
    if arm is None or found is None:
        return _claim(claim, UNKNOWN, "")
    fit = arm["mean"]["topic_fit"]
    near, fits = significant(arm, reference, "rougeL") >= 0, fit >= LISTENS * targets_fit
    verdict = HOLDS if near and fits else PARTLY if near or fits else FAILS
    figure = f"ROUGE-L {_interval_text(arm, 'rougeL')}, {_signed(found['difference'], found['interval'])} over "
    figure += f"the baseline; {fit:.1%} of the outputs read like their topic, {targets_fit:.1%} of the targets"
    return _claim(claim, verdict, figure)


def _listens(arm: Arm | None, targets_fit: float) -> Claim:
    claim = "the decoder writes what its topic token says, not what the text suggests"
    if arm is None or arm["mean"].get("topic_fit") is None:
        return _claim(claim, UNKNOWN, "")
    fit, true = arm["mean"]["topic_fit"], arm["mean"]["true_fit"]
    verdict = FAILS if fit <= true else HOLDS if fit >= LISTENS * targets_fit else PARTLY
    figure = f"given wrong topics, {fit:.1%} of the outputs read like the topic given and {true:.1%} like the true one"
    figure += f", of the targets {targets_fit:.1%} like theirs"
    return _claim(claim, verdict, figure)


def _seeds(arms: Sequence[Arm], settings: AblationSettings) -> int:
    """Number of seeds of the baseline, or of the first arm."""
    compared = [arm for arm in arms if arm["name"] in (settings.compared_with, settings.recommended)] or list(arms)
    return len(compared[0]["runs"]) if compared else 0


def _these_runs(seeds: int) -> str:
    return f"in these runs ({seeds} seed{'s' * (seeds != 1)}, {MIN_SEEDS} are needed)"


def _unjudged(claim: Claim, seeds: int) -> Claim:
    if claim["verdict"] == UNKNOWN:
        return claim
    return _claim(claim["claim"], UNJUDGED, f"{_these_runs(seeds)}: {claim['figure']}")


def _claim(claim: str, verdict: str, figure: str) -> Claim:
    return {"claim": claim, "verdict": verdict, "figure": figure}


def _titled(arm: Arm) -> str:
    return f'"{arm["title"]}"'


def _signed(difference: float, interval: Sequence[float]) -> str:
    return f"{difference:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"


def _interval_text(arm: Arm, metric: str) -> str:
    interval = arm["interval"][metric]
    around = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{arm['mean'][metric]:.3f}{around}"
