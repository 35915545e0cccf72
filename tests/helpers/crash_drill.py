"""The kill drill: the whole chain, killed again and again at random moments, ends in the same files.

    make crash-drill KILLS=50

A kill is SIGKILL to the whole process tree of `d3 run`, and the same command is the only remedy. A pass that
finished is compared with an undisturbed run, byte for byte, and verified; then the next one begins in an empty
folder, until enough kills hit a workflow that was at work.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from d3.audit.verify.verify import verify
from helpers.workflow_run import digests, run, run_command, tiny_config, write_config

ASIDE = "lineage/"
"""What says how a run was made (facts, index) is not compared."""


def kill_tree(process: "subprocess.Popen[Any]") -> bool:
    """Kill a process and all below it; tell whether it was still at work."""
    if process.poll() is not None:
        return False
    victims = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
    process.wait()
    return True


def killed_once(folder: Path, config: Path, delay: float) -> bool:
    """Start the workflow and kill it after `delay` seconds; False when it had finished before."""
    process = subprocess.Popen(
        run_command(folder, config), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    return kill_tree(process)


def differences(undisturbed: Path, folder: Path) -> list[str]:
    """Return what differs between the results of a killed and of an undisturbed run."""
    one, other = (
        {name: digest for name, digest in digests(place / "results").items() if not name.startswith(ASIDE)}
        for place in (undisturbed, folder)
    )
    found = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    found += [str(path) for path in (folder / "results").rglob("*.part")]
    return found + [str(finding) for finding in verify(folder).wrong]


def drill(
    undisturbed: Path, config: Path, work: Path, kills: int, seed: int, spread: tuple[float, float]
) -> Iterator[str]:
    """Kill `kills` times; yield a line for every kill and every pass. Raises AssertionError for a difference."""
    draw = random.Random(seed)
    done = passes = 0
    while done < kills:
        folder = work / f"pass-{passes}"
        folder.mkdir()
        while done < kills:
            delay = draw.uniform(*spread)
            if not killed_once(folder, config, delay):
                break
            done += 1
            yield f"kill {done} of {kills}, after {delay:.1f} s"
        finished = run(folder, config)
        assert finished.returncode == 0, finished.stdout[-6000:]
        found = differences(undisturbed, folder)
        assert not found, found
        passes += 1
        yield f"pass {passes}: same files as the undisturbed run, every statement true"


def main() -> int:
    """Run the drill in a temporary folder; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spread", type=float, nargs=2, default=(2.0, 25.0), help="seconds before a kill")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    from helpers.tiny_models import chat_model

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        config = write_config(work, tiny_config(chat_model(work / "model")))
        undisturbed = work / "undisturbed"
        undisturbed.mkdir()
        began = time.monotonic()
        done = run(undisturbed, config)
        assert done.returncode == 0, done.stdout[-6000:]
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
        for line in drill(undisturbed, config, work, arguments.kills, arguments.seed, tuple(arguments.spread)):
            print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
