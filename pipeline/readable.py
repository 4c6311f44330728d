"""Which texts no model can read. Knows no model."""


def fault_of(text: object) -> str | None:
    """Why a text cannot be read, to follow its number in a message; None if it can."""
    if not isinstance(text, str):
        return f"is {type(text).__name__}, not a string; leave it out"
    if not text.strip():
        return "is empty; leave it out"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is not a character; correct it or leave it out"
    return None
