"""Draws the rooms, their sizes and who imports whom, as docs/rooms.svg; run `python docs/rooms.py`.

Read off the source by its imports, so that the picture cannot say what is not so; a test compares the arrows.
"""

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
# From the top down; rooms of one row do not import each other.
ROWS = [["cli"], ["ablation"], ["evaluation", "jobs", "inspection", "exporting", "serving", "tuning"], ["pipeline"],
        ["encoder", "decoder"], ["training"], ["balance", "runtime"], ["corpus"], ["common"]]  # fmt: skip
WIDTH, HEIGHT, GAP = 1400, 46, 34


def lines_of(room: str) -> int:
    """Lines of Python in a room."""
    return sum(len(path.read_text("utf-8").splitlines()) for path in (ROOT / room).rglob("*.py"))


def imports_of(room: str) -> set[str]:
    """The other rooms that a room imports from."""
    found = set()
    for path in (ROOT / room).rglob("*.py"):
        above = len(path.relative_to(ROOT).parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == above and node.module:
                found.add(node.module.partition(".")[0])
    return found - {room}


def draw() -> str:
    """The picture: a box for each room, an arrow for each import that no longer way down implies."""
    imports = {room: imports_of(room) for row in ROWS for room in row}
    places = {}
    for depth, row in enumerate(ROWS):
        for column, room in enumerate(row):
            places[room] = (WIDTH * (column + 1) / (len(row) + 1), 20 + depth * (HEIGHT + GAP))
    parts = []
    for room, others in imports.items():
        direct = {other for other in others if not any(other in imports[between] for between in others - {other})}
        for other in sorted(direct):
            (x, y), (to_x, to_y) = places[room], places[other]
            parts.append(f'<path d="M{x:.0f} {y + HEIGHT} L{to_x:.0f} {to_y - 3}" data-arrow="{room}-{other}"/>')
    for room, (x, y) in places.items():
        parts.append(f'<rect x="{x - 95:.0f}" y="{y}" width="190" height="{HEIGHT}" rx="8"/>')
        parts.append(f'<text x="{x:.0f}" y="{y + 20}">{escape(room)}</text>')
        parts.append(f'<text class="small" x="{x:.0f}" y="{y + 37}">{lines_of(room):,} lines</text>')
    height = 20 + len(ROWS) * (HEIGHT + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Rooms">'
        "<style>rect{fill:#fff;stroke:#2563d4;stroke-width:1.5}"
        "path{stroke:#5a6675;stroke-width:1.3;marker-end:url(#a)}"
        "text{font:600 15px sans-serif;text-anchor:middle;fill:#1b2430}"
        ".small{font:12px sans-serif;fill:#5a6675}</style>"
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" style="fill:#5a6675;stroke:none;marker-end:none"/></marker></defs>'
        f'<rect width="{WIDTH}" height="{height}" style="stroke:none;fill:#f6f8fb"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(draw(), "utf-8")
