"""Text from outside (names, answers, logs) as a terminal, a log or a page may show it."""

import unicodedata


def printable(text: object, keep: str = "") -> str:
    r"""Return a text with the code, such as <U+202E>, of every character that is not seen as itself.

    That is controls (ESC, BEL, line ends), changes of writing direction, other invisible characters and half
    characters: no text can move the cursor, set the terminal or forge a line. Those in `keep` stay.
    """
    string = str(text)
    if string.isprintable():
        return string
    return "".join(letter if letter in keep or _is_seen(letter) else f"<U+{ord(letter):04X}>" for letter in string)


def _is_seen(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"
