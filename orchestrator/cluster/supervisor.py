"""A program that restarts the driver of a job if it is killed, which Ray does not do.

``python -m orchestrator.cluster.supervisor RETRIES ARGUMENTS...`` runs ``unlearn-sweep ARGUMENTS...``. A driver that
is killed, for lack of memory for example, is restarted. One that ends with an exit code has reported why, and is not.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence


def supervise(command: Sequence[str], again: Sequence[str], *, retries: int) -> int:
    """Run a command; each time a signal ends it, run ``again``, at most ``retries`` times. Return the last exit code.

    The exit code is 128 + N if signal N ended the last run. A stop that was asked for is no reason to restart: Ray
    sends the signal to every process of a job, so this one gets it too.
    """
    asked_to_stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: asked_to_stop.append(received))
    code = subprocess.run(command, check=False).returncode
    while code < 0 and retries > 0 and not asked_to_stop:
        print(  # noqa: T201  # this module is a program
            f"unlearn-sweep: the driver was ended by {signal.Signals(-code).name}; "
            f"it is restarted, and resumes from its ledger",
            file=sys.stderr,
            flush=True,
        )
        retries -= 1
        code = subprocess.run(again, check=False).returncode
    return code if code >= 0 else 128 - code


def main(retries: str, *arguments: str) -> int:
    """Supervise ``unlearn-sweep`` with these arguments; ``run`` restarts with ``--resume``. Return its exit code."""
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return supervise(command, [*command, "--resume"] if arguments[0] == "run" else command, retries=int(retries))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
