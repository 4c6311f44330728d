"""One word for one thing: terms that were replaced do not come back. The exceptions read what old versions wrote."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
OLD_TERMS = {
    r"\b[dD]eciders?\b": "PosteriorCorrector, corrector",
    r"\bimplied_(topic_)?prior\b": "prior_from_loss, model_prior",
    r"\bmeasured_prior\b": "prior_from_predictions",
    r"\baimed_at\b": "with_target_prior",
    r"\b(Tempered|Fairness)Draw\b": "TemperedSampler, FairnessSampler",
    r"\bcounts_seen\b": "epoch_counts",
    r"\bset_apart\b": "split_paraphrases",
    r"\b(Guided|Watched)?Chooser\b": "TokenSelector",
    r"\brow_keys?\b": "row_seed",
    r"\bfree_topics\b": "generate_topics",
    r"\bAdaptationFacts\b": "TrainableParameters",
    r"\b(fit_|check_|Vllm)[wW]riter\b|--writer\b": "Backend, backend, fit_text_generator",
    r"\bPackedLinear\b|\bpack_linears\b": "PrepackedLinear, prepack_linears",
    r"\blet_go_of_files\b": "copy_from_mmap",
    r"\bSifter\b": "SyntheticFilter",
    r"\bAnsweredShard\b": "ShardResult",
    r"\bbundle_system\b": "open_model",
    r"\beach_seed\b": "map_seeds",
    r"\b(Compared|Stored|Tuned)Measure\b|\b(validation_|best_)measures\b|\[.measures.\]": "metrics",
    r"\btold_apart\b": "significant",
    r"\bbalance\.measure\b": "topic_metrics",
    r"\b(exchanged|smaller_by|redrawn_noise|both_nlls|corrector\.alike)\(": "the new name",
    r"\b(let_go_of_readers|Unbroken|some_of|judge_taught_by|are_frames|MOST_NOISY|HARMLESS|DIVERSE)\b": "the new name",
    r"\b(largest_input|same_logits|sensible_limit|too_fast|DRIFTED|SOME_ROWS_BAD)\b": "the new name",
    r"\b(protect|longest)_marks?\b": "chat tokens, topic tokens",
    r"\banew\b": "again",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"(?m)^\s+\w+: [Oo]f (?!the same)": "a noun phrase that makes sense alone",
}
EXCEPTIONS = {
    "CHANGELOG.md",  # names both
    "cli/old_names.py",  # reads old options
    "pipeline/manifest.py",  # reads old bundles
    "training/runner.py",  # reads old checkpoints
    "tests/training/test_runner.py",
    "jobs/inputs.py",
    "tests/cli/test_old_names.py",
    "tests/pipeline/test_hostile_bundles.py",
    "tests/test_schemas.py",
    "tests/test_words.py",
}


SUFFIXES = {".py", ".pyi", ".md", ".yaml", ".html", ".j2", ".toml"}
LEFT_OUT = ("benchmarks/results/", "build/", "runs/")  # what was measured keeps the words of its day


def _pages() -> dict[str, str]:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    paths = [*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*.*"))]
    names = {path.relative_to(ROOT).as_posix(): path for path in paths if path.suffix in SUFFIXES}
    kept = {name for name in names if not name.startswith(LEFT_OUT)} - EXCEPTIONS
    return {name: names[name].read_text("utf-8") for name in sorted(kept)}


def test_no_old_term_is_left():
    found = [
        f"{name}: {match.group().strip()!r}, now {new}"
        for name, page in _pages().items()
        for old, new in OLD_TERMS.items()
        for match in re.finditer(old, page)
    ]
    assert found == []
