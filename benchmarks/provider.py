"""The openai engine against a local server: answers lost or doubled under faults, and how busy its places are.

For both APIs: token ids to a server with `/completions`, and messages to one that only has `/chat/completions`, where
every answer of the drill takes two requests. The places are those of `engine.batch`. `rolling` sends the next
request when an answer is there; `chunks` waits for all of a chunk. Answers take 0.2 to 1.5 seconds.

    python benchmarks/provider.py --faults 500 --requests 400
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from d3.config.engine import Engine as EngineSettings
from d3.llm.ask import Question, ask_all
from d3.llm.engine import Request
from d3.llm.open_engine import open_engine
from helpers.fault_drill import drill, prompt
from helpers.openai_server import Server
from helpers.tiny_models import chat_model

PLACES = 8


def busy(model: Path, requests: int, batch: int, chunk: int | None, chat: bool) -> float:
    """Return the share of the places' time in which an answer was computed."""
    lengths = random.Random(0)
    seconds = [min(1.5, 0.2 + lengths.expovariate(3)) for _ in range(requests)]
    server = Server(lambda body, before: time.sleep(seconds[body["seed"]]), chat=chat)
    api: Any = "chat" if chat else "completions"
    settings = EngineSettings(kind="openai", api=api, served_model="judge", base_url=server.url, batch=batch)
    asked = [Request(key=f"r{n}", ids=prompt(n, chat), max_tokens=12, seed=n) for n in range(requests)]
    engine: Any = open_engine(settings, str(model))
    engine.ask(asked[:batch])  # connections and threads are there
    began = time.monotonic()
    if chunk is None:
        list(ask_all(engine, [Question(row=one, request=one) for one in asked], None, what="busy", total=None))
    else:
        for start in range(0, requests, chunk):
            engine.ask(asked[start : start + chunk])
    took = time.monotonic() - began
    server.stop()
    return sum(seconds) / (took * batch)


def main() -> None:
    """Print the drill's counts and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1"
    with tempfile.TemporaryDirectory() as folder:
        model = chat_model(Path(folder) / "model", length=256)
        bad = False
        print("api          faults  questions  lost  wrong  kept  asked again  places  rolling  chunks of 64")
        for chat in (False, True):
            found = drill(
                model, Path(folder) / f"journal-{chat}", faults=options.faults, requests=options.requests, chat=chat
            )
            rolling, chunks = (busy(model, options.requests, PLACES, chunk, chat) for chunk in (None, 64))
            print(
                f"{'chat' if chat else 'completions':11}  {sum(found.injected.values()):6}  {options.requests:9}  "
                f"{found.lost:4}  {found.wrong:5}  {found.journalled:4}  {found.asked_again:11}  {PLACES:6}  "
                f"{rolling:7.1%}  {chunks:12.1%}",
                flush=True,
            )
            print(f"  {found.injected}", flush=True)
            bad |= bool(found.lost or found.wrong or found.asked_again or found.journalled != options.requests)
    if bad:
        sys.exit("answers were lost or doubled")


if __name__ == "__main__":
    main()
