"""The openai engine against a local server: answers lost or doubled under faults, and how busy its places are.

The places are those of `engine.batch`. `rolling` sends the next request when an answer is there; `chunks` waits for
all of a chunk. Answers take 0.2 to 1.5 seconds.

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
from helpers.fault_drill import drill
from helpers.openai_server import Server
from helpers.tiny_models import chat_model

PLACES = 8


def busy(model: Path, requests: int, batch: int, chunk: int | None) -> float:
    """Return the share of the places' time in which an answer was computed."""
    lengths = random.Random(0)
    seconds = [min(1.5, 0.2 + lengths.expovariate(3)) for _ in range(requests)]
    server = Server(lambda body, before: time.sleep(seconds[body["seed"]]))
    settings = EngineSettings(kind="openai", served_model="judge", base_url=server.url, batch=batch)
    prompts = [(20, 30 + n % 100, 30 + n // 100) for n in range(requests)]
    asked = [Request(key=f"r{n}", ids=ids, max_tokens=12, seed=n) for n, ids in enumerate(prompts)]
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
        found = drill(model, Path(folder) / "journal", faults=options.faults, requests=options.requests)
        print(f"{sum(found.injected.values())} faults: {found.injected}")
        print(
            f"{options.requests} requests: {found.lost} lost, {found.wrong} wrong, {found.journalled} in the journal, "
            f"{found.asked_again} asked again by a second run"
        )
        print("places  rolling  chunks of 64")
        rolling, chunks = (busy(model, options.requests, PLACES, chunk) for chunk in (None, 64))
        print(f"{PLACES:6}  {rolling:7.1%}  {chunks:12.1%}")
    if found.lost or found.wrong or found.asked_again or found.journalled != options.requests:
        sys.exit("answers were lost or doubled")


if __name__ == "__main__":
    main()
