"""A search that can be killed: after every step its state and the model's weights are on disk, or those of the last one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_hwcompress.errors import HwcmpError

_STATE = "state.json"


def settings_of(arguments: Mapping[str, Any], exclude: Collection[str]) -> dict[str, Any]:
    """The arguments of a search as JSON values; what is excluded does not decide whether a search may be continued."""
    return json.loads(json.dumps({k: v for k, v in arguments.items() if k not in exclude}, default=str))


class Checkpoint:
    """A folder with `state.json`, which names the file of weights that belongs to it.

    The state is replaced in one operation after the weights are complete: a kill at any moment leaves either the old
    step or the new one.

    Args:
        folder: made if missing; None saves nothing.
        settings: of `settings_of`; a folder with others is refused.
        model: the model that the search starts from; a folder of another model is refused.
    """

    def __init__(self, folder: str | Path | None, settings: dict[str, Any], model: keras.Model) -> None:
        self.folder = None if folder is None else Path(folder)
        self._settings = {**settings, "model": "" if folder is None else _digest(model)}

    def load(self, model: keras.Model) -> dict[str, Any] | None:
        """The saved state, with the weights put into `model`; None where nothing is saved.

        Raises:
            HwcmpError: the folder holds another search, or is damaged.
        """
        if self.folder is None or not (self.folder / _STATE).exists():
            return None
        try:
            saved = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
            self._check(saved["settings"])
            with np.load(self.folder / saved["weights"], allow_pickle=False) as file:
                model.set_weights([file[f"w{i}"] for i in range(len(file.files))])
            return saved["state"]
        except HwcmpError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HwcmpError(f"folder {str(self.folder)!r} cannot be continued from: {error}; delete it") from error

    def save(self, model: keras.Model, state: dict[str, Any]) -> None:
        """Replaces what is saved."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"step{len(state['steps'])}.npz"
        np.savez(self.folder / name, **{f"w{i}": weight for i, weight in enumerate(model.get_weights())})
        partial = self.folder / (_STATE + ".partial")
        partial.write_text(json.dumps({"settings": self._settings, "state": state, "weights": name}), encoding="utf-8")
        os.replace(partial, self.folder / _STATE)
        for old in self.folder.glob("step*.npz"):
            if old.name != name:
                old.unlink()

    def _check(self, saved: dict[str, Any]) -> None:
        for name, value in self._settings.items():
            if saved.get(name) != value:
                received = "another model" if name == "model" else f"{name}={value!r}, there {name}={saved.get(name)!r}"
                raise HwcmpError(
                    f"folder {str(self.folder)!r} holds a search with other settings: choose another folder or delete it. "
                    f"Received: {received}"
                )


def _digest(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(str((weight.shape, weight.dtype)).encode() + np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
