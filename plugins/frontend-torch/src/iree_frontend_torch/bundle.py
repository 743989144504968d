"""How a program in this process reaches the compiler's: torch IR as bytecode and one weight file.

The weight file is in shared memory where there is room for it, so that weights are written once
and never read from a disk; the compiler maps it. Nothing here imports torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iree_core.dtypes import from_numpy, to_numpy
from iree_core.errors import ImportModelError
from iree_core.interfaces import ImportedModel
from iree_core.ir import ir
from iree_core.params import ParameterStore

_KIND = "iree-torch-bundle"
_HEAD = f'{{"kind": "{_KIND}"'.encode()
_ALIGNMENT = 64
_SHARED_MEMORY = Path("/dev/shm")


def is_bundle(path: Path) -> bool:
    """Tell whether ``path`` is the index file of a bundle."""
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD


@contextmanager
def written(module: ir.Module, weights: Mapping[str, NDArray]) -> Iterator[Path]:
    """Write a module and its weights; the index file exists inside the context.

    Raises:
        OSError: there is no room for the weights.
    """
    folder = _folder(sum(array.nbytes for array in weights.values()))
    try:
        with (folder / "module.mlirbc").open("wb") as file:
            module.operation.write_bytecode(file)
        index = {"kind": _KIND, "weights": _write_weights(folder / "weights.bin", weights)}
        path = folder / "program.json"
        path.write_text(json.dumps(index))
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(nbytes: int) -> Path:
    """Return a fresh folder with room for ``nbytes``, in shared memory if that leaves half free."""
    where = None
    if _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 2 * nbytes:
        where = _SHARED_MEMORY
    return Path(tempfile.mkdtemp(prefix="iree-torch-", dir=where))


def _write_weights(path: Path, weights: Mapping[str, NDArray]) -> dict[str, list]:
    entries = {}
    with path.open("wb") as file:
        for key, array in weights.items():
            file.write(bytes(-file.tell() % _ALIGNMENT))
            entries[key] = [file.tell(), list(array.shape), from_numpy(array.dtype)]
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return entries


def read(path: Path, context: ir.Context) -> ImportedModel:
    """Return the program whose index file is ``path``; the weights are mapped, not read.

    Raises:
        ImportModelError: a part of the bundle is missing or damaged.
    """
    store = ParameterStore()
    try:
        index = json.loads(path.read_text())
        for key, (offset, shape, dtype) in index["weights"].items():
            store.add_file_range(
                key, path.parent / "weights.bin", offset, tuple(shape), to_numpy(dtype)
            )
        with context:
            module = ir.Module.parse((path.parent / "module.mlirbc").read_bytes())
    except (OSError, ValueError, KeyError, ir.MLIRError) as error:
        raise ImportModelError(f"The bundle {path} is damaged: {error}.") from error
    return ImportedModel(module, store)
