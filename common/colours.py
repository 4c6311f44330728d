"""The colours of pages and pictures, each for a light and a dark screen. Knows nothing else."""

# (light, dark); light colours are unique, because pages find them by value.
COLOURS = {
    "ink": ("#1b2430", "#e8ecf2"),
    "muted": ("#5a6675", "#9fabba"),
    "line": ("#d6dce4", "#37414e"),
    "surface": ("#ffffff", "#171d26"),
    "predicted": ("#2563d4", "#74a9ff"),
    "train": ("#d4691e", "#ffa45e"),
    "true": ("#b9c2cd", "#515d6c"),
    "decoder": ("#7b51c9", "#b699f7"),
    "encoder": ("#13877a", "#43c9b5"),
    "hybrid": ("#2563d5", "#74a9fe"),
    "reference": ("#8590a0", "#7c8898"),
    "many": ("#8491a2", "#8d9aab"),
    "medium": ("#13877b", "#43c9b4"),
    "few": ("#c72c62", "#ff7da9"),
}
