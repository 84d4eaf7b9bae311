"""A check that every machine of a cluster reads and writes the same storage, by doing so."""

import uuid
from typing import Any

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.resources.sessions import on_every_node
from orchestrator.storage import Storage


def require_shared(storage: Storage) -> list[str]:
    """Have every machine read a file that is written here, and write one, which is read here.

    Returns:
        The machines.

    Raises:
        SweepError: one of them does not see the storage, or sees another one; with what each said.
        RunStoppedError: one of them is silent.
        StorageError: it cannot be written from here.
    """
    here = _new_path()
    storage.publish(here, b"")
    answers: dict[str, Any] = {}
    try:
        answers = on_every_node(_answer, storage, here)
        problems = {name: _problem(storage, answer) for name, answer in answers.items()}
    finally:
        for path in [here, *(answer for answer in answers.values() if isinstance(answer, str))]:
            storage.remove(path)
    wrong = [f"  {name}: {problem}" for name, problem in problems.items() if problem is not None]
    silent = [name for name, answer in answers.items() if isinstance(answer, TimeoutError)]
    if silent:
        raise RunStoppedError(f"no answer from {', '.join(silent)}; see 'ray status', and resume when it is settled")
    if wrong:
        raise SweepError(
            f"storage {storage.uri}: not every machine of the cluster sees what is written there:\n"
            + "\n".join(wrong)
            + "\ngive a storage that they all reach with the same content: a URI (s3://bucket/sweeps), its credentials "
            "on every machine, or a folder that is mounted on all of them"
        )
    return list(answers)


def _new_path() -> str:
    return f".probes/{uuid.uuid4().hex[:12]}"


def _answer(storage: Storage, drivers: str) -> str:
    """Read what the driver wrote, and write a file beside it; runs on another machine."""
    if storage.read(drivers) is None:
        raise FileNotFoundError("a file that was just written is not there")
    path = _new_path()
    storage.publish(path, b"")
    return path


def _problem(storage: Storage, answer: Any) -> str | None:
    if isinstance(answer, RunStoppedError | OSError):
        return str(answer)
    if isinstance(answer, Exception):
        return f"{type(answer).__name__}: {answer}".splitlines()[0]
    return None if storage.read(answer) is not None else "what it writes is not seen from here"
