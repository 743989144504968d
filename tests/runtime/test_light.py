"""Running a module needs no compiler, no framework and not much time."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

HEAVY = (
    "torch", "torch_mlir", "llvmlite", "onnx", "jax", "tensorflow", "iree.compiler",
    "iree.runtime", "ml_dtypes", "flatbuffers", "iree_core.ir", "iree_core.compiler_service",
    "iree_backend_llvm.backend", "iree_backend_llvm.link",
)  # fmt: skip
ALLOWED = {"iree-core", "numpy", "pluggy", "packaging"}


def test_running_imports_no_compiler(add_file: Path) -> None:
    script = f"""
import sys, numpy as np, iree_core
from iree_core import runtime
module = iree_core.load({str(add_file)!r})
x = np.ones(4, np.float32)
assert (module.main(x, x) == 2).all()
runtime.load_vm_flatbuffer(open({str(add_file)!r}, "rb").read(), driver="local-sync").main(x, x)
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
from importlib import metadata
owners = metadata.packages_distributions()
loaded = {{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)
found = {{dist for name in loaded for dist in owners.get(name, ())}}
print("\\n".join(sorted(found)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert {"iree-core", "numpy"} <= loaded <= ALLOWED | _drivers() | _support_of_site()


def _drivers() -> set[str]:
    """Return the packages whose drivers are asked where no device is named."""
    return {e.dist.name for e in metadata.entry_points(group="iree.drivers") if e.dist}


def _support_of_site() -> set[str]:
    """Return distributions that the interpreter of this environment loads by itself."""
    script = """
import sys
from importlib import metadata
owners = metadata.packages_distributions()
names = {name.partition(".")[0] for name in sys.modules}
print("\\n".join({dist for name in names for dist in owners.get(name, ())}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    return set(done.stdout.split())
