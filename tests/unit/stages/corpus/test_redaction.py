"""What is personal or secret is replaced in strings and comments; what only looks like it stays, and programs parse."""

import ast
import random
import re
import string
from pathlib import Path

import pytest

from d3.core import schemas
from d3.core.ids import content_id
from d3.core.opt_out import OptOut, touches
from d3.core.tables import read_rows
from d3.stages.corpus import redaction
from d3.stages.corpus.redaction import redact
from d3.stages.corpus.stage import run
from d3.stages.inputs import standard_library
from helpers.corpus_tables import open_config, stack_row, write_shard

DRAW = random.Random(5)
LETTERS = string.ascii_letters + string.digits


def some(count: int, letters: str = LETTERS) -> str:
    return "".join(DRAW.choices(letters, k=count))


def address() -> str:
    return ".".join(map(str, (DRAW.randrange(50, 99), *(DRAW.randrange(1, 255) for _ in range(3)))))


# Keys are put together here, so that no file holds one that a scanner would report.
KINDS = {
    "e-mail": lambda: f"{some(6)}.{some(4)}+x@{some(5).lower()}.co.uk",
    "IPv4": address,
    "IPv6": lambda: "2a02:" + ":".join(some(4, "0123456789abcdef") for _ in range(7)),
    "Amazon": lambda: "AKIA" + some(16, string.ascii_uppercase + string.digits),
    "GitHub": lambda: "ghp" + "_" + some(36),
    "GitLab": lambda: "glpat" + "-" + some(20),
    "Slack": lambda: "xoxb" + "-" + some(12, string.digits) + "-" + some(24),
    "Google": lambda: "AIza" + some(35),
    "Stripe": lambda: "sk_live" + "_" + some(24),
    "OpenAI": lambda: "sk" + "-" + some(48),
    "Hugging Face": lambda: "hf" + "_" + some(34),
    "SendGrid": lambda: "SG." + some(22) + "." + some(43),
    "JSON web token": lambda: ".".join(("eyJ" + some(20), "eyJ" + some(40), some(43))),
    "Twilio": lambda: "twilio SK" + some(32, "0123456789abcdef"),
    "npm": lambda: "npm" + "_" + some(36),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_found_in_strings_and_comments(kind: str) -> None:
    for number in range(10):
        value = KINDS[kind]()
        text = f'"""Ask {value} first."""\n\nx = ["{value}", f"to {value} {{len(x)}}"]  # or {value}\ny = {number}'
        changed = redact(text)
        assert value.split()[-1] not in changed
        assert sum(changed.count(mark) for mark in ("<EMAIL>", "<IP>", "<KEY>")) == 4
        assert changed.count("\n") == text.count("\n")
        ast.parse(changed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Jane <jane.doe [at] mail [dot] org>, 2019", "# Jane <<EMAIL>>, 2019"),
        ("# jane(at)mail.org", "# <EMAIL>"),
        ("x = 'j_doe {AT} cs.some-place{DOT}ac.uk'", "x = '<EMAIL>'"),
        ("# user [at] example [dot] com", None),
        ("# the value [at] position.one is used", "# the <EMAIL> is used"),
        ("# look (at) it", None),
        ("y = f(at)[at].x", None),
        ("# see [at] the end.", None),
    ],
)
def test_addresses_that_are_spelled_are_found(text: str, expected: str | None) -> None:
    assert redact(text) == (text if expected is None else expected)


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_private_keys_of_every_kind_go(kind: str) -> None:
    body = some(64)
    changed = redact(f'K = """-----BEGIN {kind}-----\n{body}\n{body}==\n-----END {kind}-----"""')
    assert body not in changed
    assert changed.count("\n") == 3


@pytest.mark.parametrize(
    "value",
    [
        "2a02:6b8::2:242",
        "https://jane:S3cr3tPa55@mail.org/x",
        "github_pat_" + "1A" * 20,
        "hooks.slack.com/services/" + "T0A/B0B/c1C2",
    ],
)
def test_further_forms_are_found(value: str) -> None:
    changed = redact(f'x = "{value}"')
    assert value not in changed
    ast.parse(changed)


@pytest.mark.parametrize(
    "line",
    [
        'password = "{}"',
        "DB_PASSWORD: str = '{}'",
        'config["api_key"] = "{}"',
        'connect(host, secret="{}")',
        '{{"access_token": "{}"}}',
        'os.environ.setdefault("SECRET_KEY", "{}")',
        'url = "postgres://admin:{}@db.internal/x"',
    ],
)
def test_secrets_are_found_by_their_names(line: str) -> None:
    for _ in range(10):
        secret = "a1Z" + some(12)
        changed = redact(line.format(secret))
        assert secret not in changed
        assert "<KEY>" in changed or "<PASSWORD>" in changed
        ast.parse(changed)


@pytest.mark.parametrize("form", ["block", "one line", "a string per line"])
def test_a_private_key_goes_and_the_lines_stay(form: str) -> None:
    lines = [
        "-----BEGIN RSA PRIVATE KEY-----",
        *(some(64) for _ in range(5)),
        some(10) + "==",
        "-----END RSA PRIVATE KEY-----",
    ]
    text = {
        "block": 'KEY = """' + "\n".join(lines) + '"""\nx = 1',
        "one line": 'KEY = "' + "\\n".join(lines) + '"\nx = 1',
        "a string per line": "KEY = (\n" + "".join(f'    "{line}\\n"\n' for line in lines) + ")\nx = 1",
    }[form]
    changed = redact(text)
    assert changed.count("\n") == text.count("\n")
    assert not any(line[:12] in changed for line in lines)
    assert changed.endswith("x = 1")
    ast.parse(changed)


@pytest.mark.parametrize(
    "text",
    [
        "y = weights@self.matrix.shape\nz = a@b.co",
        '"""git@github.com:owner/name, user@example.com, me@mail.example.org, x@localhost, icon@2x.png"""',
        '__version__ = "99.34.56.78"\nrequires = ["name==70.1.2.34"]\nn = "1.2.3.4"  # version 88.77.66.55',
        'HOSTS = ["127.0.0.1", "10.20.30.40", "192.168.100.200", "0.0.0.0", "8.8.8.8", "203.0.113.77"]',
        'at = "12:30:45"\nmac = "aa:bb:cc:dd:ee:ff"\nslice_ = x[1::2]\n"""as follows::"""\nlocal = "fe80::1"',
        'password = "password"\ntoken = "your-token-here"\nsecret = os.environ["SECRET_KEY"]\napi_key = "{key}"',
        'token = "comment"\nTOKEN_NAME = "access_token_2"\nPASSWORD_FIELD = "user.password"\nkeyword = "x1y2z3w4"',
        'sha = "da39a3ee5e6b4b0d3255bfef95601890afd80709"\nname = "task-specific-model-for-long-documents"',
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redact(text) == text


def test_ids_are_of_the_redacted_text_and_opt_outs_match_both(tmp_path: Path) -> None:
    plain = "import os\n\n\ndef area(side):\n    return side * side"
    text = f'{plain}\n\n\nAUTHOR = "jane.doe@mail.org"'
    shard = write_shard(tmp_path / "s.parquet", [stack_row(text), stack_row(plain)])
    kept, rejected = tmp_path / "kept.parquet", tmp_path / "rejected.parquet"
    run(open_config(), [shard], kept, rejected)
    rows = list(read_rows(kept, schemas.CORPUS))
    changed = text.replace("jane.doe@mail.org", "<EMAIL>")
    assert [(row["text"], row["id"], row["original"]) for row in rows] == [
        (changed, content_id(changed), content_id(text)),
        (plain, content_id(plain), content_id(plain)),
    ]
    for digest in (content_id(changed), content_id(text)):
        assert touches(OptOut(frozenset({f"file:{digest}"})), kept, rejected)
        (tmp_path / "opt-out.txt").write_text(f"file:{digest}\n")
        out = [tmp_path / digest / name for name in ("kept.parquet", "rejected.parquet")]
        run(open_config(), [shard], *out, opt_out=tmp_path / "opt-out.txt")
        (row,) = read_rows(out[1], schemas.REJECTED)
        assert (row["reason"], row["original"]) == ("opted_out", content_id(text))
        assert not touches(OptOut(frozenset({f"file:{digest}"})), *out)
    run(open_config(redact=False), [shard], kept, rejected)
    assert [row["text"] for row in read_rows(kept, schemas.CORPUS)] == [text, plain]


def test_strings_and_comments_are_those_of_the_tokenizer() -> None:
    programs = ["x = 'a' \"b\" # '''\ny = r'\\'' + b'' + '''\n'a\\'''' #\nz = \"\"\"\"q\" \\\"\"\" \"\"\"\n"]
    programs += [
        data.decode("utf-8", "replace") for path, data in standard_library() if path.split("/")[-1][0] in "abc"
    ]
    assert len(programs) > 20
    for program in programs:
        found = [match.span() for match in redaction.STRING_OR_COMMENT.finditer(program)]
        expected = [(start + len(prefix), end) for start, end in redaction._by_tokenizer(program)
                    for prefix in [re.match("[A-Za-z]*", program[start:end])[0]]]  # fmt: skip
        assert found == expected
