"""What one program may use."""

from dataclasses import dataclass

LONGEST_PROGRAM = 2**20
"""Largest program, in characters."""
LONGEST_WAIT = 4
"""Most wall time of a program, in limits; beyond it a program that waits is ended."""
LATE = 1.2
"""CPU time at which a program is ended, in limits: one that ends before it may have been slowed down by others."""
MOST_PROCESSES = 8


@dataclass(kw_only=True, slots=True, frozen=True)
class Limits:
    """What one program may use."""

    timeout_seconds: float = 5.0
    """CPU time of the program with its tests, from the moment its sandbox stands."""
    memory_mb: int = 1024
    """Address space of the program, and of its tests; the stacks of its threads come on top."""
    file_mb: int = 16
    """Size of `/tmp`, and of any one file."""
    files: int = 4096
    """Number of files in `/tmp`."""
    open_files: int = 64
    """Files open at the same time."""
    threads: int = 256
    """Threads at the same time, those of allowed processes among them."""
    processes: int = 0
    """Whether the program may start processes (`multiprocessing`): 0, or at most 8 beside its own."""
    time_zones: bool = False
    """Whether the program sees the machine's time-zone data."""
    interpreter: str | None = None
    """Path of another Python for the programs, which then see no packages; None: this one."""

    def __post_init__(self) -> None:
        if not 0 <= self.processes <= MOST_PROCESSES:
            raise ValueError(f"processes must be from 0 to {MOST_PROCESSES} (got {self.processes})")
