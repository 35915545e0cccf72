"""Runs a model-written program against its tests without trusting it, inside bubblewrap.

This folder imports nothing else of this package. Whoever decides to trust it reads, in this order: this
file; `limits.py` and `verdict.py`, what goes in and comes out; `supervisor.py`, which judges;
`fork_server.py`, which starts; `walls.py`, what bubblewrap makes visible; `server.py`, which builds the
walls of one program; `system_calls.py`; and what crosses between program and tests: `channel.py`,
`table.py`, `values.py`, `remote.py`, `program_side.py`, `tests_side.py`.

**Two sandboxes.** The program runs alone in a sandbox made for it and thrown away after it. The
tests run in another sandbox, which never runs model-written code; there the program's functions
are stand-ins. The program never sees a test, values reach the tests as exact copies and objects as
handles: printing "passed", leaving with exit code 0, patching `assert` or builtins, or answering with
an object that equals everything cannot make a verdict. Only answers that the tests accept can.

**Walls of a program.** A fork server in a bubblewrap sandbox forks a process for each program, with new
user, process, mount, network, IPC, host-name and control-group namespaces; no capabilities; a user that
owns nothing outside, never root; a read-only root that holds the interpreter, its standard library, the
shared libraries that they link to, the packages named and `/dev/null`; an empty `/tmp` of limited size
and number of files. An allow-list of system calls leaves out new processes, namespaces, tracing,
mounting, keys, shared memory, queues and locks. Limits on CPU time, address space, file size, open files
and threads. Output goes nowhere unless the tests read it. At the deadline all of it is killed.

**Not covered.**
- Faults of the kernel: the sandbox shares the host's. Use a virtual machine against those.
- Side channels, such as timing or the load of the machine.
- What cannot be carried between program and tests is the verdict `unsupported`, with the reason:
  ordering an object of the program against a builtin value, the operators `-`, `&`, `|` and `^` of the two,
  a class of the tests that derives from the program's, an object of a subclass of Fraction, a program that
  changes how the tests' objects compare, processes and time zones where they are not allowed.
- An object of the program compares unequal to every builtin value; a coroutine of the program runs to
  its end when the tests await it, one after the other, so that the tests cannot cut it short.
- What tests define does not replace what the program defines under the same name, and tracebacks do not
  cross. A signal that a program sends itself is ignored unless it handles it; SIGKILL ends it.
- A message is at most 64 MiB. Of MBPP+'s extended tests, task 255's (an answer of 128 million values)
  cannot be run for this reason.
- A program may remember earlier calls, as in every executor that runs a test in one process.
- The tests themselves are trusted to be tests; the gate of a benchmark is there to find those that are none.
- Memory is limited as address space, of each of program and tests.
- CPU time decides about a timeout, and it grows somewhat with the machine's load. Of processes that a program
  starts, only the clock's limit ends it, which is 4 times longer.
- Tried on x86-64; the system-call numbers for 64-bit ARM are from the kernel's tables. Other
  machines are refused.
"""

from d3.evals.sandbox.limits import LATE, LONGEST_WAIT, Limits
from d3.evals.sandbox.supervisor import Sandbox
from d3.evals.sandbox.verdict import SandboxError, Verdict
from d3.evals.sandbox.walls import bubblewraps, this_python, visible

__all__ = [
    "LATE",
    "LONGEST_WAIT",
    "Limits",
    "Sandbox",
    "SandboxError",
    "Verdict",
    "bubblewraps",
    "this_python",
    "visible",
]
