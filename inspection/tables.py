"""Prints an inspection. Knows what was found; measures nothing."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..common import one_line
from .results import MOST_COMPARED, Inspection, Pair, TopicFacts
from .spelling import with_shown_names

ENDS = 8  # topics shown at each end of the list
SHOWN_PAIRS = 5
SHOWN_SUSPECTS = 5
LONGEST_TEXT = 70


def print_inspection(found: Inspection, console: Console) -> None:
    """Print topics, findings, the worst suspects, and recommendations."""
    found = with_shown_names(found)
    console.print(_topics(found))
    console.print(_facts(found))
    if found.worst_suspects:
        console.print(_suspects(found))
    for number, advice in enumerate(found.advice, start=1):
        console.print(Text(one_line(f"{number}. {advice.what}"), style="bold"), soft_wrap=True)
        console.print(Text(one_line(f"   {advice.why}")), soft_wrap=True)
    console.print(Text(one_line(found.command)), soft_wrap=True)


def facts(found: Inspection) -> list[tuple[str, str]]:
    """The findings, one per line: a name and figures."""
    repeats, lengths = found.repeats, found.lengths
    partly = found.noisy is not None and found.noisy.rows > MOST_COMPARED
    read = f" (of the noisy set, the first {MOST_COMPARED:,} rows were compared)" if partly else ""
    bands = ", ".join(f"{count} {band}" for band, count in found.bands.items())
    lines = [
        ("topics by band", f"{bands}; the most frequent has {found.imbalance:,.0f} times the rows of the rarest"),
        ("rows left out", _left_out(found)),
        ("repeated texts", f"{repeats.exact:,} exact, {repeats.near:,} near; {repeats.across:,} across sets{read}"),
        ("texts under two topics", f"{repeats.two_topics:,} rows"),
        ("doubted labels", f"{sum(topic.doubted for topic in found.topics):,} rows"),
        ("confusable topics", "; ".join(_pair(pair) for pair in found.pairs[:SHOWN_PAIRS]) or "none"),
        (
            "tokens a text",
            f"median {lengths.median:,}, 95% at most {lengths.p95:,}, longest {lengths.longest:,}; "
            f"{lengths.cut:,} have more than the {lengths.limit:,} that are read",
        ),
        ("scripts", ", ".join(f"{name} {rows:,}" for name, rows in found.scripts.items())),
        ("targets", _targets(found)),
    ]
    if found.probe is not None:
        lines += [(f"to expect, {_PRIORS[prior]}", _expected(its)) for prior, its in found.probe.metrics.items()]
    if found.noisy is not None:
        lines.append(("noisy set", _noisy(found)))
    for its in found.estimates:
        lines.append((f"fit, {its.stage}", f"about {duration(its.seconds)} here, {its.gigabytes:.1f} GB of memory"))
    return lines


_PRIORS = {"uniform": "topics alike", "train": "training shares"}


def duration(seconds: float) -> str:
    """Seconds in words, as coarse as an estimate."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _left_out(found: Inspection) -> str:
    return f"{found.unusable:,}" + (f", the first: {found.unusable_examples[0]}" if found.unusable_examples else "")


def _pair(pair: Pair) -> str:
    return f"{pair.topics[0]} and {pair.topics[1]} ({pair.rows:,} rows)"


def _targets(found: Inspection) -> str:
    its = found.targets
    if not its.rows:
        return "none"
    missing = f"; {its.missing:,} rows have none" if its.missing else ""
    return f"{its.rows:,} rows, {its.distinct:,} distinct; {its.repeated:,} share theirs{missing}"


def _expected(metrics: dict[str, float | None]) -> str:
    shown = {"accuracy": "accuracy", "macro_f1": "macro-F1", "recall_few": "recall of rare topics", "nll": "NLL"}
    return ", ".join(f"{title} {metrics[name]:.3f}" for name, title in shown.items() if metrics.get(name) is not None)


def _noisy(found: Inspection) -> str:
    its = found.noisy
    assert its is not None
    unknown = sum(its.unknown_topics.values())
    parts = [f"{its.rows:,} rows", *([f"{unknown:,} left out for their topics"] if unknown else [])]
    if its.agreement is not None and its.right is not None:
        parts.append(f"a probe agrees with {its.agreement:.0%} of {its.read:,}; about {its.right:.0%} are right")
    parts.append(f"worth training on ({its.nats:+.3f} nats)" if its.nats is not None else "no help to a probe")
    return "; ".join(parts)


def _facts(found: Inspection) -> Table:
    table = Table(show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, figures in facts(found):
        table.add_row(name, Text(one_line(figures)))
    return table


def _topics(found: Inspection) -> Table:
    rows = f"{found.rows:,} rows, {len(found.topics):,} topics"
    table = Table(title=rows, title_justify="left")
    table.add_column("topic", overflow="fold")
    noisy = found.noisy is not None
    for name in ("rows", "share", "band", "recall, held out", "doubted", *(["noisy rows", "agree"] if noisy else [])):
        table.add_column(name, justify="right")
    shown = found.topics if len(found.topics) <= 2 * ENDS + 1 else [*found.topics[:ENDS], *found.topics[-ENDS:]]
    for place, topic in enumerate(shown):
        if place == ENDS and len(shown) < len(found.topics):
            table.add_row(Text(f"... {len(found.topics) - 2 * ENDS:,} more"))
        table.add_row(*_topic(topic, noisy))
    return table


def _topic(topic: TopicFacts, noisy: bool) -> list[Text | str]:
    recall = "" if topic.recall is None else f"{topic.recall:.2f}"
    figures = [f"{topic.rows:,}", f"{topic.share:.1%}", topic.band, recall, f"{topic.doubted or ''}"]
    if noisy:
        figures += [f"{topic.noisy_rows:,}", "" if topic.noisy_agreement is None else f"{topic.noisy_agreement:.0%}"]
    return [Text(one_line(topic.topic)), *figures]


def _suspects(found: Inspection) -> Table:
    table = Table(title=f"{found.suspects:,} suspects, the worst first (suspects.jsonl)", title_justify="left")
    for name in ("id", "text", "topic", "rather"):
        table.add_column(name, overflow="fold")
    for its in found.worst_suspects[:SHOWN_SUSPECTS]:
        text = its.text if len(its.text) <= LONGEST_TEXT else its.text[: LONGEST_TEXT - 1] + "…"
        table.add_row(*(Text(one_line(part)) for part in (its.id, text, its.topic, its.suggestion or "")))
    return table
