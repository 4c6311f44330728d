"""Counts the planted faults that `unskew inspect` finds, and its precision.

    python benchmarks/inspection.py --output runs/inspect [--data FOLDER] [--encoder BASE]

Makes a support file of 2,000 rows, plants blanks, exact and near repeats, texts with two topics and wrong labels,
inspects it, and counts. With FOLDER (a folder for each set, with train.jsonl), the same share of labels of real sets is
changed. Rows that are found there but not planted may be truly wrong, so precision is a lower bound. BASE is a
pretrained encoder for the probe; without one it is TF-IDF.
"""

import argparse
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from unskew.common import write_jsonl
from unskew.corpus import Record, load_usable
from unskew.encoder import EncoderSettings
from unskew.inspection import Inspection, inspect
from unskew.pipeline import DataSettings

ROWS = 2000
WRONG, BLANK, EXACT, NEAR, TWO = 0.05, 40, 60, 60, 20
# Each topic: its share, what its customers speak of, and the reply.
SUPPORT = {
    "delivery": (0.34, "parcel courier tracking delivered late address depot driver doorstep shipment van neighbour"),
    "billing": (0.24, "invoice charged twice card statement vat amount receipt payment debit overdue bank"),
    "login": (0.16, "password reset code locked account sign email verification token browser username expired"),
    "refund": (0.10, "refund money back return credit days policy reimbursed store voucher sum promised"),
    "damaged": (0.07, "broken cracked scratched box lid photo replacement torn dented leaking faulty piece"),
    "app crash": (0.04, "app freezes crash update phone screen android version tablet reinstall loading blank"),
    "cancel": (0.03, "cancel subscription membership stop renewal plan month end unsubscribe term notice close"),
    "warranty": (0.015, "warranty guarantee repair serial covered years technician part registration inspection claim"),
    "wholesale": (0.005, "wholesale bulk reseller pallet discount quote quantity distributor margin catalogue"),
}
SMALL_TALK = (
    "hello i have a question about my order please help me as soon as possible thank you it has been two weeks since i "
    "bought this and nobody answers the phone what should i do now best regards kind"
)


def support(seed: int) -> tuple[list[dict[str, Any]], dict[str, set[str]]]:
    """A support file, and the ids of what was planted in it, by kind."""
    chance = random.Random(seed)
    rows = [_ticket(f"ticket-{number}", chance) for number in range(ROWS - EXACT - NEAR - TWO)]
    planted: dict[str, set[str]] = {}
    picked = chance.sample(rows, EXACT + NEAR + TWO + BLANK)
    exact, near, two, blank = _cut(picked, EXACT, NEAR, TWO, BLANK)
    for kind, sources in (("exact", exact), ("near", near), ("two topics", two)):
        made = [{**row, "id": f"{row['id']}-{kind.replace(' ', '-')}"} for row in sources]
        planted[kind] = {row["id"] for row in made}
        for row in made:
            if kind == "near":
                words = row["text"].split()
                words[chance.randrange(len(words))] = chance.choice(SMALL_TALK.split())
                row["text"] = " ".join(words) + "!"
            if kind == "two topics":
                row["topic"] = _other(row["topic"], chance)
        rows += made
    for row in blank:
        row["text"] = chance.choice(["", "  ", "\n"])
    planted["blank"] = {row["id"] for row in blank}
    taken = planted["blank"] | {row["id"] for row in picked} | set().union(*planted.values())
    wrong = chance.sample([row for row in rows if row["id"] not in taken], int(WRONG * ROWS))
    for row in wrong:
        row["topic"] = _other(row["topic"], chance)
    planted["wrong label"] = {row["id"] for row in wrong}
    chance.shuffle(rows)
    return rows, planted


def count_found(name: str, found: set[Any], planted: set[Any]) -> dict[str, Any]:
    """One line of the table."""
    hits = len(found & planted)
    return {
        "fault": name, "planted": len(planted), "listed": len(found), "found": hits / max(1, len(planted)),
        "precision": hits / max(1, len(found)),
    }  # fmt: skip


def of_support(folder: Path, encoder: EncoderSettings) -> tuple[list[dict[str, Any]], float]:
    """The made-up file: each kind of fault, and the seconds that its inspection took."""
    rows, planted = support(0)
    write_jsonl(folder / "support.jsonl", rows)
    begun = time.perf_counter()
    found = inspect(DataSettings(str(folder / "support.jsonl")), folder / "support", encoder=encoder, overwrite=True)
    seconds = time.perf_counter() - begun
    repeats = found.repeats.examples
    pairs = {frozenset((repeat.id, repeat.twin)): repeat for repeat in repeats}
    made = {kind: {_pair(name) for name in planted[kind]} for kind in ("exact", "near", "two topics")}
    same = {pair for pair, repeat in pairs.items() if repeat.exact and repeat.same_topic}
    nearly = {pair for pair, repeat in pairs.items() if not repeat.exact}
    apart = {pair for pair, repeat in pairs.items() if not repeat.same_topic}
    blank = {rows[_line(example) - 1]["id"] for example in found.unusable_examples}
    lines = [
        {**count_found("blank text", blank, planted["blank"]), "listed": found.unusable},
        count_found("exact repeat", same, made["exact"]),
        count_found("near repeat", nearly, made["near"]),
        count_found("text under two topics", apart, made["two topics"]),
        count_found("wrong label", doubted(folder / "support"), planted["wrong label"]),
    ]
    lines[0]["found"] = found.unusable / len(planted["blank"])
    return lines, seconds


def of_real(source: Path, folder: Path, encoder: EncoderSettings) -> tuple[dict[str, Any], float, Inspection]:
    """A real set with a share of the labels of each topic changed."""
    chance = random.Random(0)
    records = [record for record in load_usable(str(source / "train.jsonl"))[0] if record.topic]
    names = sorted({str(record.topic) for record in records})
    wrong = set(chance.sample(range(len(records)), int(WRONG * len(records))))
    made = [_relabelled(record, names, chance) if n in wrong else record for n, record in enumerate(records)]
    write_jsonl(folder / f"{source.name}.jsonl", (record.to_row() for record in made))
    begun = time.perf_counter()
    data = DataSettings(str(folder / f"{source.name}.jsonl"))
    found = inspect(data, folder / source.name, encoder=encoder, overwrite=True)
    seconds = time.perf_counter() - begun
    line = count_found(source.name, doubted(folder / source.name), {records[n].id for n in wrong})
    return line, seconds, found


def doubted(folder: Path) -> set[str]:
    """Ids of the suspects whose label a probe doubts."""
    rows = [json.loads(line) for line in (folder / "suspects.jsonl").read_text("utf-8").splitlines()]
    return {row["id"] for row in rows if row["times"] > 0}


def _ticket(name: str, chance: random.Random) -> dict[str, Any]:
    topic = chance.choices(list(SUPPORT), [share for share, _ in SUPPORT.values()])[0]
    own, other = SUPPORT[topic][1].split(), SUPPORT[chance.choice(list(SUPPORT))][1].split()
    words = chance.choices(own, k=chance.randint(2, 5)) + chance.choices(SMALL_TALK.split(), k=chance.randint(6, 14))
    words += chance.choices(other, k=1)  # what a customer mentions beside the matter
    chance.shuffle(words)
    target = f"Thank you for writing about {topic}. We look at your case {chance.randrange(100)} and answer in a day."
    return {"id": name, "text": " ".join(words), "topic": topic, "target": target}


def _cut(rows: list[Any], *sizes: int) -> list[list[Any]]:
    found, start = [], 0
    for size in sizes:
        found.append(rows[start : start + size])
        start += size
    return found


def _other(topic: str, chance: random.Random) -> str:
    """Another topic, in proportion to frequency, like the errors of a careless labeller."""
    others = [name for name in SUPPORT if name != topic]
    return chance.choices(others, [SUPPORT[name][0] for name in others])[0]


def _relabelled(record: Record, names: list[str], chance: random.Random) -> Record:
    return replace(record, topic=chance.choice([name for name in names if name != record.topic]))


def _pair(name: str) -> frozenset[str]:
    """The ids of a planted repeat and of the row it repeats."""
    number = name.split("-")[1]
    return frozenset((name, f"ticket-{number}"))


def _line(example: str) -> int:
    return int(example.split("line ")[1].split(":")[0])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--encoder")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    encoder = EncoderSettings(given.encoder)
    lines, seconds = of_support(given.output, encoder)
    print(f"support file, {ROWS} rows, {seconds:.0f} s")
    for line in lines:
        _print(line)
    for source in sorted(given.data.iterdir()) if given.data else []:
        if (source / "train.jsonl").exists():
            line, seconds, found = of_real(source, given.output, encoder)
            _print(line)
            print(f"  {found.rows} rows, {len(found.topics)} topics, {seconds:.0f} s")


def _print(line: dict[str, Any]) -> None:
    print(
        f"| {line['fault']} | {line['planted']} | {line['listed']} | {line['found']:.2f} | {line['precision']:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
