"""Redaction: e-mail addresses, public IP addresses, keys and passwords in strings and comments get placeholders.

A program keeps its lines and still parses, since nothing outside of its strings and comments is changed. Documentation
stays as it is: `example.com`, `git@github.com`, private and reserved addresses, versions like 1.2.3.4.

What this does not find: passwords without a name that says so, addresses spelled with a bare `at`, keys of a shape
that is not listed here, and anything about a person besides the address.
"""

import io
import math
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address

DOMAIN = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
MAILBOX = re.compile(r"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]{0,63}$")
SPELLED = re.compile(
    r"[\[({<][ \t]?at[ \t]?[\])}>][ \t]{0,2}"
    r"[A-Za-z0-9-]{1,63}(?:(?:\.|[ \t]{0,2}[\[({<][ \t]?(?:dot|\.)[ \t]?[\])}>][ \t]{0,2})[A-Za-z0-9-]{1,63}){1,4}",
    re.IGNORECASE,
)
"""The part of an address behind its mailbox, as in `jane [at] mail [dot] org`."""
SPELLED_HINT = re.compile(r"[\[({<] ?at ?[\])}>]", re.IGNORECASE)
SPELLED_MAILBOX = re.compile(r"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]{0,63}[ \t]{0,2}$")
SPELLING = re.compile(r"[\[({<\])}> \t]+(at|dot|\.)[\[({<\])}> \t]+", re.IGNORECASE)
EMAIL_KEPT = re.compile(
    r"^git@|@(?:[\w-]+\.)*(?:example|test|invalid|localhost|local)$|@(?:[\w-]+\.)*example\.\w+$"
    r"|\.(?:png|jpe?g|gif|svg|ico|py|js|css|html?|json|txt|md|rst|ya?ml|xml|so|dll|exe|gz|zip)$",
    re.IGNORECASE,
)
IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
IPV6 = re.compile(r"(?<![\w:.\\])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,6}:[0-9A-Fa-f]{1,4}(?![\w:])")
VERSION = re.compile(r"(?:(?:version|release)\w*\W{0,6}|\bv\.?|[=<>~!]=\s*|[<>~^]\s*)$", re.IGNORECASE)
RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"})
KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{16}(?![0-9A-Za-z])"  # Amazon
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}"
    r"|xox[abeposr]-[A-Za-z0-9-]{10,}|(?<=hooks\.slack\.com/services/)T\w+/B\w+/\w+"
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"  # Google
    r"|[rsp]k_(?:live|test)_[0-9A-Za-z]{16,}|sq0[a-z]{3}-[\w-]{22,}"  # Stripe, Square
    r"|sk-(?:proj-|ant-|or-)?[A-Za-z0-9][\w-]{30,}|hf_[A-Za-z0-9]{30,}"
    r"|pypi-[\w-]{50,}|npm_[A-Za-z0-9]{36}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|key-[0-9a-f]{32}(?![0-9A-Za-z])|\d{8,10}:AA[\w-]{33}"  # Mailgun, Telegram
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"  # JSON web tokens
    r"|do[opr]_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|dapi[0-9a-f]{32}"
    r"|(?<=AccountKey=)[A-Za-z0-9+/=]{40,}"
    r")"
)
NAMED_KEY = re.compile(
    r"[AMNS](?<![A-Za-z0-9].)"
    r"(?:(?:(?<=A)C|(?<=S)K)[0-9a-f]{32}(?![0-9A-Za-z])|(?<=[MN])[\w-]{23,25}\.[\w-]{6}\.[\w-]{27,})"  # Twilio, Discord
)
"""Keys without a mark of their own; the program must name what they are for."""
KEY_HINTS = (
    *("AKIA", "ASIA", "AGPA", "AIDA", "AROA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox"),
    *("hooks.slack", "AIza", "ya29.", "GOCSPX-", "k_live_", "k_test_", "sq0", "sk-", "hf_", "pypi-", "npm_", "SG."),
    *("key-", ":AA", "eyJ", "_v1_", "shpat_", "shpca_", "shppa_", "shpss_", "dapi", "AccountKey="),
)
"""One of these is in every file with a key; looking for them is cheap."""
NAMED_KEY_HINTS = ("oken", "OKEN", "twilio", "Twilio", "TWILIO", "SID", "sid", "iscord", "ISCORD")
IPV4_HINT = re.compile(r"\.\d{1,3}\.\d{1,3}")
IPV6_HINT = re.compile(r":[0-9A-Fa-f]{0,4}:")
"""Begin with a character that most texts have few of, and so are found fast."""
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----[\s\S]{0,10000}?-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----"
)
KEY_PIECE = re.compile(r"-----[A-Z0-9 ]+-----|(?<!\\)[A-Za-z0-9+/=]{4,}|(?<=\\[nr])[A-Za-z0-9+/=]{3,}")
URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@'\"{}<>%]+):([^\s/@'\"{}<>%$*]{3,})(?=@[\w.-]+)")
ASSIGNMENT = re.compile(
    r"(?:pass(?:word|wd|phrase)|passwd|pwd|secret|token|api_?key|access_?key|auth_?key|private_?key|signing_?key"
    r"|encryption_?key|credential)\w{0,20}['\"]?\]?\s*(?::\s*[\w\[\]| ]{1,30}=|=>|[=:,])\s*[rbuRBU]{0,2}"
    r"(?P<quote>['\"])(?P<value>[^\s'\"{}<>%$]{6,256})(?P=quote)",
    re.IGNORECASE,
)
SECRET_HINT = re.compile("pass|pwd|secret|token|key|credential")
"""For lines in lower case, since an expression that ignores case takes four times as long."""
WORDS = re.compile(
    r"[A-Za-z]?[a-z]*(?:[-_./:][A-Za-z]?[a-z]*)*\d{0,2}|(?:x|\*|\.|-|_|0)+|https?:.*|\$?\(.*", re.IGNORECASE
)
"""Values that are names, placeholders or addresses rather than secrets."""
STRING_OR_COMMENT = re.compile(
    r"\#[^\n]*"
    r"|\"\"\"[^\"\\]*(?:(?:\\[\s\S]|\"(?!\"\"))[^\"\\]*)*\"\"\"|'''[^'\\]*(?:(?:\\[\s\S]|'(?!''))[^'\\]*)*'''"
    r"|\"[^\"\\\n]*(?:\\[\s\S][^\"\\\n]*)*\"|'[^'\\\n]*(?:\\[\s\S][^'\\\n]*)*'"
)
F_STRING = re.compile(r"\b[rR]?[fF][rR]?['\"]")
Span = tuple[int, int]


def redact(text: str) -> str:
    """Return a text with placeholders in place of addresses and secrets; it has the same lines and still parses."""
    found = sorted(_findings(text))
    if not found:
        return text
    inside = _strings_and_comments(text)
    pieces: list[str] = []
    end = 0
    for start, stop, placeholder in found:
        if start >= end and any(first <= start and stop <= last for first, last in inside):
            pieces += [text[end:start], placeholder]
            end = stop
    return "".join([*pieces, text[end:]])


redacted = lru_cache(maxsize=1)(redact)
"""`redact`, which is asked twice about each text."""


def _findings(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and placeholder of what is to be replaced, wherever it is."""
    if "PRIVATE KEY" in text:
        for block in PRIVATE_KEY.finditer(text):
            yield from (
                (block.start() + piece.start(), block.start() + piece.end(), "<KEY>")
                for piece in KEY_PIECE.finditer(block[0])
            )
    if "@" in text:
        for match in URL_PASSWORD.finditer(text):
            if not WORDS.fullmatch(match[2]):
                yield *match.span(2), "<PASSWORD>"
        for domain in DOMAIN.finditer(text):
            mailbox = MAILBOX.search(text, max(domain.start() - 65, 0), domain.start())
            if mailbox and not EMAIL_KEPT.search(mailbox[0] + domain[0]):
                yield mailbox.start(), domain.end(), "<EMAIL>"
    if SPELLED_HINT.search(text):
        for domain in SPELLED.finditer(text):
            mailbox = SPELLED_MAILBOX.search(text, max(domain.start() - 67, 0), domain.start())
            plain = "" if mailbox is None else SPELLING.sub(_sign, mailbox[0] + domain[0])
            if mailbox and not EMAIL_KEPT.search(plain):
                yield mailbox.start(), domain.end(), "<EMAIL>"
    for hints, pattern in ((KEY_HINTS, KEY), (NAMED_KEY_HINTS, NAMED_KEY)):
        if any(hint in text for hint in hints):
            yield from ((*match.span(), "<KEY>") for match in pattern.finditer(text))
    start = 0
    for line in text.split("\n"):
        if ("'" in line or '"' in line) and SECRET_HINT.search(line.lower()):
            for match in ASSIGNMENT.finditer(line):
                if _is_secret(match["value"]):
                    first, last = match.span("value")
                    kind = "<PASSWORD>" if match[0][:3].lower() in ("pas", "pwd") else "<KEY>"
                    yield start + first, start + last, kind
        start += len(line) + 1
    for hint, pattern in ((IPV4_HINT, IPV4), (IPV6_HINT, IPV6)):
        if hint.search(text) is None:
            continue
        yield from ((*match.span(), "<IP>") for match in pattern.finditer(text) if _is_public(match))


def _sign(spelled: re.Match[str]) -> str:
    return "@" if spelled[1].lower() == "at" else "."


def _is_public(match: re.Match[str]) -> bool:
    """Return whether an address is one of the Internet and not a version or a well-known resolver."""
    try:
        address = ip_address(match[0])
    except ValueError:
        return False
    if not address.is_global or address.is_multicast or match[0] in RESOLVERS:
        return False
    if address.version == 4 and max(map(int, match[0].split("."))) < 32:
        return False
    return not VERSION.search(match.string, max(match.start() - 20, 0), match.start())


def _is_secret(value: str) -> bool:
    """Return whether a value is random enough: letters and digits, or many letters of both cases."""
    if WORDS.fullmatch(value):
        return False
    counts = Counter(value)
    entropy = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    digits = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return entropy >= 2.5 and (digits or (entropy >= 3.5 and value.lower() != value != value.upper()))


def _strings_and_comments(text: str) -> list[Span]:
    """Return where strings and comments are; the whole text if it cannot be read as Python.

    The tokenizer takes ten times as long as an expression, which fails where f-strings hold quotes of their own kind.
    """
    if sys.version_info < (3, 12) or not F_STRING.search(text):
        return [match.span() for match in STRING_OR_COMMENT.finditer(text)]
    return _by_tokenizer(text)


def _by_tokenizer(text: str) -> list[Span]:
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    spans: list[Span] = []
    opened: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            first, last = (starts[line - 1] + column for line, column in (token.start, token.end))
            kind = tokenize.tok_name[token.type]
            if kind in ("STRING", "COMMENT"):
                spans.append((first, last))
            elif kind == "FSTRING_START":
                opened.append(first)
            elif kind == "FSTRING_END":
                spans.append((opened.pop(), last))
    except (tokenize.TokenError, SyntaxError, IndexError):
        return [(0, len(text))]
    return spans
