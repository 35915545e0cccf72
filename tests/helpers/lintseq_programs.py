"""Programs that the LintSeq tests sample: real ones, and hostile ones."""

import sysconfig
from pathlib import Path

from d3.core.ids import LINE_BREAKS, content_id, normalise
from helpers.paths import REAL_DATA

SHARD = REAL_DATA / "stack" / "train-00001-of-00004.parquet"


def real_files(fewest: int, most: int) -> list[str]:
    """Return real programs with so many lines: of the shared shard, else of the standard library."""
    if SHARD.exists():
        import pyarrow.parquet as pq

        sources = pq.read_table(SHARD, columns=["content"]).column(0).to_pylist()
    else:
        paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py"))
        sources = [path.read_text(errors="replace") for path in paths]
    texts = [normalise(source) for source in sources]
    texts = [text for text in dict.fromkeys(texts) if not any(mark in text for mark in LINE_BREAKS)]
    return sorted((text for text in texts if fewest <= text.count("\n") + 1 <= most), key=content_id)


HOSTILE = {
    "too_long": "\n".join(f"x{number} = {number}" for number in range(5000)),
    "sum": "total = " + " + ".join(["1"] * 1500),
    "calls": "value = " + "str(" * 90 + "1" + ")" * 90,
    "deep_calls": "value = " + "str(" * 600 + "1" + ")" * 600,
    "attributes": "import os\nvalue = os" + ".path" * 1200,
    "tabs": "def double(x):\n\tif x:\n\t\treturn 2 * x\n\treturn 0",
    "crlf": "import os\r\n\r\n\r\ndef here():\r\n    return os.getcwd()",
    "form_feed": "import os\n\x0c\nprint(os.getcwd())",
    "separator": "text = 'a\u2028b'\nprint(text)",
    "python_2": "import os\nprint 'hello'\nfor name in os.listdir('.'):\n    print name",
    "comments": "# one\n# two\n\n# three",
    "empty": "",
    "blank": "\n\n  \n",
    "fence": 'def run():\n    """Do it.\n\n    ```python\n    run()\n    ```\n    """\n    return 1',
    "skip_file": "# pylint: skip-file\nimport nothing_here\n\n\ndef run():\n    return undefined_name",
    "pragmas": "import os  # pylint: disable=W0611\n# pylint: enable=missing-docstring\n\n\ndef run():\n    return 1",
    "plus": '"""A diff.\n\n+ added\n- removed\n@@ -1 +1 @@\n--- a\n+++ b\n<|diff|>\n"""\nX = 1\nprint(X)',
    "signs": "x = (1\n+ 2\n- 3\n)\nprint(x)",
    "recursion": "class A:\n    pass\n\n\nA.a = A\nA.b = A.a.a.a\n\n\ndef f(x):\n    return f(f)(f(x))\n\n\nf(f).g = f",
    "mutual": "class B(C):\n    pass\n\n\nclass C(B):\n    pass\n\n\nprint(B(), C())",
    "instances": """class Glue:
    def __init__(self, **given):
        self.__dict__.update(given)


def use(value):
    glue = Glue(name=value)
    glue.__dict__['a'] += 1
    print(glue.__dict__.keys, glue.__doc__.upper)
    return glue.__module__.upper()""",
    "brackets": "x = " + "[" * 150 + "]" * 150,
    "coding": "# -*- coding: latin-1 -*-\nx = 'é'\nprint(x)",
    "bad_coding": "# -*- coding: no-such-thing -*-\nx = 1",
    "bom_inside": "x = '\ufeff'\nprint(x)",
    "null": "x = 1\x00\ny = 2",
    "unterminated": "x = (1,\n     2",
    "huge_string": "x = '" + "a" * 200_000 + "'\nprint(x)",
}
