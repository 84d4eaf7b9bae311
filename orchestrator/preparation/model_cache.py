"""Trained models in a storage, by key, and the checkpoints of models that are still in training.

A model is a Hugging Face folder under ``<storage>/.models/<key>/``; it exists once ``complete.json`` does. Workers of
any number of sweeps read and write it concurrently: every file is published whole, and the first complete model stays.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.errors import RunStoppedError, StorageError
from orchestrator.storage import Storage, checked_path
from trainables.deferred import Deferred
from trainables.preparation import TrainingState

_save_model: Callable[..., None] = Deferred("trainables.models", "save_model")

COMPLETE = "complete.json"
CHECKPOINT = "checkpoint.safetensors"
TRAINING = "training.json"
"""File with the progress of a model in training, for display only: losing it does no harm."""
_MARKER = TypeAdapter(dict[str, list[str]])


class ModelCache:
    """The models of a storage, and a ``CheckpointStore`` by model key. Picklable."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage.child(".models")

    def holds(self, key: str) -> bool:
        """Return whether the cache has a complete model."""
        return self._storage.read(f"{key}/{COMPLETE}") is not None

    def fetch(self, key: str, folder: Path) -> Path:
        """Copy a model into a new local folder, and return the folder.

        Raises:
            RunStoppedError: the model is missing or incomplete.
        """
        folder.mkdir(parents=True)
        for name in self._names(key):
            content = self._storage.read(f"{key}/{name}")
            if content is None:
                raise self._damaged(key, f"this model lacks the file '{name}'")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    def _names(self, key: str) -> list[str]:
        """Return the names of a model's files."""
        marker = self._storage.read(f"{key}/{COMPLETE}")
        if marker is None:
            return [COMPLETE]
        try:
            names = _MARKER.validate_json(marker, strict=True)["files"]
        except (ValueError, KeyError) as error:
            raise self._damaged(key, f"its {COMPLETE} cannot be read ({str(error).splitlines()[0]})") from None
        return [checked_path(name) for name in names]

    def _damaged(self, key: str, reason: str) -> RunStoppedError:
        return RunStoppedError(f"{self._storage.uri}/{key}: {reason}; remove the folder, and resume to train it anew")

    def store(
        self,
        key: str,
        model: Any,
        tokenizer: Any,
        *,
        generation_file: bytes | None = None,
        check: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Write a model unless the cache has it by now, its completion marker last, and remove what its training left.

        Two sweeps that train the same model on GPUs get different last digits, and the measurements of the first must
        stay true: the first model stays. A race remains: if both find nothing and publish at the same moment, files of
        the later one replace those of the first, which may already be read. On CPUs both are equal.

        Args:
            key: the key of the model.
            model: see ``save_model``, as for ``tokenizer`` and ``generation_file``.
            tokenizer: the tokenizer that is kept beside the model.
            generation_file: the content of ``generation_config.json``; None: Transformers writes it.
            check: called with the local folder before it is published.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            _save_model(model, tokenizer, folder, generation_file=generation_file)
            check(folder)
            names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            if not self.holds(key):
                for name in names:
                    self._storage.publish(f"{key}/{name}", (folder / name).read_bytes())
                self._storage.publish(f"{key}/{COMPLETE}", json.dumps({"files": names}).encode())
        self.tidy(key)

    def tidy(self, key: str) -> None:
        """Remove what the training of a complete model left: its checkpoint, and files that a crash cut off.

        A worker of another sweep that still trains it may miss a file that it was writing; it finds the model complete.
        """
        self.discard_checkpoint(key)
        self._storage.remove(f"{key}/{TRAINING}")
        self._storage.child(key).remove_leftovers()

    def record_training_state(self, key: str, state: TrainingState) -> None:
        """Record the progress of a model in training. A failing storage is ignored: the next checkpoint raises."""
        with suppress(StorageError):
            self._storage.publish(f"{key}/{TRAINING}", state.encoded())

    def training_state(self, key: str) -> TrainingState | None:
        """Return the progress of a model in training; None: not known."""
        with suppress(StorageError):
            content = self._storage.read(f"{key}/{TRAINING}")
            return None if content is None else TrainingState.decoded(content)
        return None

    def save_checkpoint(self, key: str, payload: bytes) -> None:
        """See ``CheckpointStore``."""
        self._storage.publish(f"{key}/{CHECKPOINT}", payload)

    def load_checkpoint(self, key: str) -> bytes | None:
        """See ``CheckpointStore``."""
        return self._storage.read(f"{key}/{CHECKPOINT}")

    def discard_checkpoint(self, key: str) -> None:
        """See ``CheckpointStore``."""
        self._storage.remove(f"{key}/{CHECKPOINT}")
