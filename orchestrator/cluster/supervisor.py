"""Runs the command again when it is killed: Ray does not retry the driver of a job.

``python -m orchestrator.cluster.supervisor RETRIES ARGUMENTS...`` runs ``unlearn-sweep ARGUMENTS...``. A driver that
ends with an exit code of its own has said why, and is not run again; one that is killed, for want of memory for
example, is.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence


def supervise(command: Sequence[str], again: Sequence[str], *, retries: int) -> int:
    """Run ``command``, and while a signal ends it ``again``, at most ``retries`` times.

    A stop that was asked for is no reason to run again: Ray sends it to every process of the job, the driver too.

    Returns:
        The last exit code; 128 + the signal, if one ended it.
    """
    asked_to_stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: asked_to_stop.append(received))
    code = subprocess.run(command, check=False).returncode
    while code < 0 and retries > 0 and not asked_to_stop:
        print(  # noqa: T201  # a command of its own
            f"unlearn-sweep: the driver was ended by {signal.Signals(-code).name}; it goes on from its ledger",
            file=sys.stderr,
            flush=True,
        )
        retries -= 1
        code = subprocess.run(again, check=False).returncode
    return code if code >= 0 else 128 - code


def main(retries: str, *arguments: str) -> int:
    """Supervise ``unlearn-sweep`` with these arguments; ``run`` goes on by ``run --resume``."""
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return supervise(command, [*command, "--resume"] if arguments[0] == "run" else command, retries=int(retries))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
