"""Processes that work as one team over Gloo, started once and given many things to do.

They come from a server process that has imported everything already, so that a team starts in a moment.
"""

import gc
import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import tests.support  # noqa: F401  # for the server to have it
import trainables.trial.trial_run  # noqa: F401
from tests.limits import HANG_S


class GlooGroup:
    """``size`` processes with one process group; a team of one has none."""

    def __init__(self, size: int, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._processes, self._pipes = [], []
        for rank in range(size):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, size, folder / "rendezvous", theirs), daemon=True)
            process.start()
            self._processes.append(process)
            self._pipes.append(mine)

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Do the work in all processes at once, and give what each returned, by rank."""
        for pipe in self._pipes:
            pipe.send((work, arguments))
        for rank, pipe in enumerate(self._pipes):
            assert pipe.poll(HANG_S), f"rank {rank} waits for the others"
        answers = [pipe.recv() for pipe in self._pipes]
        for rank, (done, answer) in enumerate(answers):
            assert done, f"rank {rank}: {answer}"
        return [answer for _, answer in answers]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(rank: int, size: int, rendezvous: Path, pipe: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    gc.freeze()  # as in conftest.py: Accelerate collects garbage before every trial
    if size > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size))
        limit = timedelta(seconds=HANG_S)
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size, timeout=limit)
    while True:
        work, arguments = pipe.recv()
        try:
            pipe.send((True, work(*arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
