"""Output files that are there when they are complete, and not before.

Nothing here reads files, and nothing here knows what is in them.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iree_core.errors import CompileError


@contextmanager
def complete_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the name of an empty file that takes the place of ``path`` when all went well.

    It is in the same folder, so that the change is atomic; whatever is there before stays until
    then. If an exception leaves the block, it is removed, and so is every file whose name
    contains its own. A ``path`` that is no regular file (``/dev/null``, a pipe) is not replaced:
    the content is copied to it at the end.

    Raises:
        CompileError: ``path`` cannot be written, or an ``OSError`` leaves the block.
    """
    target = Path(path)
    try:
        with _partial(target) as partial:
            yield partial
    except OSError as error:
        raise CompileError(
            f"Cannot write {target}: {error.strerror or error}.",
            hint="Check the folder's permissions and the space left on the disk.",
        ) from error


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
    special = target.exists() and not target.is_file()
    folder = Path(tempfile.gettempdir()) if special else target.parent
    partial = folder / f".{target.name}.{os.getpid()}.partial"
    try:
        partial.touch()
        yield partial
        if special:
            with partial.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        else:
            partial.replace(target)
    finally:
        for leftover in folder.glob(f"*{glob.escape(partial.name)}*"):
            leftover.unlink(missing_ok=True)
