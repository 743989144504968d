"""How a compilation gets at its model: who reads the file, and what it reads.

MLIR and module files need no frontend; of the others, the frontends are asked by their content.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from iree_core.compiler_service import CompileRequest
from iree_core.errors import ImportModelError, UsageError
from iree_core.interfaces import ImportedModel, ImportOptions
from iree_core.ir import ir, make_context
from iree_core.parameter_files import load_safetensors
from iree_core.passes import portable
from iree_core.passes.input.load import is_mlir, load_mlir
from iree_core.passes.state import Progress
from iree_core.plugins import Plugins


def choose_frontend(request: CompileRequest, plugins: Plugins) -> str | None:
    """Return who reads the model: the frontend that was asked for, or that recognises it.

    None for module files and MLIR, which need no frontend.

    Raises:
        UsageError: there is no such file.
        ImportModelError: no frontend recognises it.
    """
    path = request.model
    if not path.exists():
        raise UsageError(f"There is no file {path}.")
    if request.frontend is not None:
        return request.frontend
    # Frontends are asked about text only where it cannot be read: loading them takes long.
    mlir = path.is_file() and is_mlir(path)
    mlir = mlir and (path.suffix == ".mlir" or not _claimed(path, plugins))
    if mlir or portable.is_module_file(path):
        return None
    return find_frontend(path, plugins)


def import_model(
    request: CompileRequest,
    name: str | None,
    plugins: Plugins,
    progress: Callable[[Progress], None],
) -> ImportedModel:
    """Read the model with the frontend of that name.

    Raises:
        UsageError: there is no such frontend, or it does not read folders.
        ImportModelError: the file is damaged.
    """
    path = request.model
    context = make_context()
    progress(Progress("import", path.name))
    if name is None and portable.is_module_file(path):
        return portable.load(path, context)
    if name is None:
        try:
            model = load_mlir(path, context)
        except ImportModelError:
            if path.suffix != ".mlir" or not _claimed(path, plugins):
                raise
            return import_model(request, find_frontend(path, plugins), plugins, progress)
        for file in request.parameters:
            load_safetensors(file, model.parameters)
        if request.options.from_phase is not None:
            _declare_missing_parameters(model)
        _require_parameters(model, path)
        return model
    options = ImportOptions(
        extra=request.frontend_options, progress=lambda text: progress(Progress("import", text))
    )
    frontend = plugins.frontend(name)
    if path.is_dir() and not frontend.reads_folders:
        raise UsageError(f"{path} is a folder; the frontend {name!r} reads files.")
    with context, ir.Location.unknown():
        return frontend.import_model(path, context, options)


def _claimed(path: Path, plugins: Plugins) -> bool:
    """Tell whether a frontend reads this MLIR better: it has dialects of its own."""
    return any(plugins.working("frontend", lambda name: plugins.recognises(name, path)))


def find_frontend(path: Path, plugins: Plugins) -> str:
    """Return the name of the frontend for the content of ``path``, asking by suffix first.

    Raises:
        ImportModelError: none recognises it.
    """
    found = list(plugins.working("frontend", lambda name: (name, plugins.frontend(name))))
    found.sort(key=lambda pair: path.suffix.lower() not in pair[1].suffixes)
    for name, _ in found:
        if plugins.recognises(name, path):
            return name
    known = ", ".join(name for name, _ in found) or "none"
    broken = [i for i in plugins.infos("frontend") if i.state in ("broken", "refused")]
    trouble = "".join(f" The frontend {i.name} is {i.state}: {i.cause}" for i in broken)
    raise ImportModelError(
        f"No frontend recognises {path} (installed: {known}).{trouble}",
        hint="Is the file complete? `pip install iree-frontend-NAME` adds formats.",
    )


def _missing_parameters(model: ImportedModel) -> dict[str, ir.RankedTensorType]:
    """Return the type of every parameter that the module names and the store lacks."""
    missing: dict[str, ir.RankedTensorType] = {}

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.operation.name == "flow.parameter":
            key = ir.StringAttr(op.attributes["key"]).value
            if key not in model.parameters:
                missing[key] = ir.RankedTensorType(op.results[0].type)
        return ir.WalkResult.ADVANCE

    model.module.operation.walk(visit)
    return missing


def _declare_missing_parameters(model: ImportedModel) -> None:
    """Give zeros to parameters of IR that was printed without its weights."""
    import numpy as np

    from iree_core import dtypes

    for key, kind in _missing_parameters(model).items():
        shape, dtype = tuple(kind.shape), dtypes.to_numpy(str(kind.element_type))
        model.parameters.derive(key, shape, dtype, partial(np.zeros, shape, dtype))


def _require_parameters(model: ImportedModel, path: Path) -> None:
    missing = list(_missing_parameters(model))
    if missing:
        raise ImportModelError(
            f"{path} names {len(missing)} parameters that no file holds, the first {missing[0]!r}.",
            hint="Say --parameters=FILE.safetensors; `iree import` writes one with "
            "--save-parameters.",
        )
