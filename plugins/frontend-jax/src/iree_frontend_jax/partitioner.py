"""Takes the annotations of the Shardy partitioner out of StableHLO bytecode.

Only jaxlib reads their encoding. In a process that has JAX this is a function; elsewhere the
module runs as a program of its own, because MLIR of two builds does not share a process with
the compiler.
"""

from __future__ import annotations

import re
import subprocess
import sys

from iree_core.errors import ImportModelError

_PRODUCER = re.compile(rb"StableHLO_v(\d+\.\d+\.\d+)")
_TIMEOUT = 600.0


def has_annotations(module: bytes) -> bool:
    """Tell whether a StableHLO artifact or text names the dialect of the partitioner."""
    return b"\x00sdy\x00" in module or b"sdy." in module


def remove(artifact: bytes) -> bytes:
    """Return the artifact, at the same version of StableHLO, without annotations.

    Text and plain bytecode become an artifact as well.
    """
    from jax.interpreters import mlir
    from jaxlib.mlir.dialects import stablehlo

    found = _PRODUCER.search(artifact[:64])
    context = mlir.make_ir_context()
    if found is None:
        with context:
            return serialize(mlir.ir.Module.parse(artifact))
    with context, mlir.ir.Location.unknown(context):
        module = stablehlo.deserialize_portable_artifact(context, artifact)
        module.operation.walk(_strip(mlir.ir))
        version = found.group(1).decode()
        return stablehlo.serialize_portable_artifact(module, version)


def serialize(module) -> bytes:  # type: ignore[no-untyped-def]
    """Return a module of jaxlib as an artifact without annotations, readable for a month back."""
    from jax.interpreters import mlir
    from jaxlib.mlir.dialects import stablehlo

    with module.context, mlir.ir.Location.unknown(module.context):
        # JAX keeps the module for its own compilation.
        module = mlir.ir.Module.parse(mlir.module_to_bytecode(module))
        module.operation.walk(_strip(mlir.ir))
        requirement = stablehlo.StablehloCompatibilityRequirement.WEEK_4
        version = stablehlo.get_version_from_compatibility_requirement(requirement)
        return stablehlo.serialize_portable_artifact(module, version)


def _strip(ir):  # type: ignore[no-untyped-def]  # jaxlib's bindings have no types
    def visit(op):  # type: ignore[no-untyped-def]
        operation = op.operation
        for name in list(operation.attributes):
            if name.startswith("sdy."):
                del operation.attributes[name]
        for kind in ("arg_attrs", "res_attrs"):
            if kind in operation.attributes:
                entries = [
                    ir.DictAttr.get({name: entry[name] for name in _names(entry)})
                    for entry in operation.attributes[kind]
                ]
                operation.attributes[kind] = ir.ArrayAttr.get(entries)
        if operation.name == "sdy.sharding_constraint":
            operation.results[0].replace_all_uses_with(operation.operands[0])
            operation.erase()
        elif operation.name == "sdy.mesh":
            operation.erase()
        return ir.WalkResult.ADVANCE

    return visit


def _names(entry) -> list[str]:  # type: ignore[no-untyped-def]
    """Return the attributes of a dictionary that are not the partitioner's."""
    names = [named if isinstance(named, str) else named.name for named in entry]
    return [name for name in names if not name.startswith("sdy.")]


def remove_in_process_of_its_own(artifact: bytes) -> bytes:
    """Like :func:`remove`, for a process that must not load jaxlib.

    Raises:
        ImportModelError: jaxlib cannot read the artifact.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "iree_frontend_jax.partitioner"],
        input=artifact,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ImportModelError(
            "The annotations for the partitioner cannot be removed: "
            f"{lines[-1] if lines else f'exit code {done.returncode}'}.",
            hint="Export with jax.config.update('jax_use_shardy_partitioner', False).",
        )
    return done.stdout


if __name__ == "__main__":
    sys.stdout.buffer.write(remove(sys.stdin.buffer.read()))
