"""The shim and the emitter against another producer of MSL: SPIRV-Cross on the Vulkan shaders.

The same dispatches go through the Vulkan backend and Debian's ``spirv-cross --msl``; what that
writes is executed by the same shim. Where it agrees with numpy and with the Metal backend's own
text, the shim reads MSL as others do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.gpu.dispatches import SOFTMAX, elementwise, matmul_text
from tests.metal import cpu
from tests.metal.harness import run_dispatch

from iree_backend_vulkan.backend import VulkanBackend

RNG = np.random.default_rng(0)
_SIGNATURE = re.compile(r"kernel void kernel\((.*)\)\n\{")
_ARGUMENT = re.compile(r"(.*\S) \w+ \[\[(\w+)(?:\((\d+)\))?\]\]")
_INPUTS = {
    "threadgroup_position_in_grid": "uint3(group_id, 0, 0)",
    "threadgroups_per_grid": "uint3(groups, 1, 1)",
    "thread_position_in_threadgroup": "uint3(local_id, 0, 0)",
}
_ENTRY = """
[[kernel, max_total_threads_per_threadgroup({threads})]]
void compute(
{arguments},
    uint group_id [[threadgroup_position_in_grid]],
    uint local_id [[thread_position_in_threadgroup]],
    uint groups [[threadgroups_per_grid]]
) {{
    translated({call});
}}
"""
# MSL has no doubles, so a literal needs no suffix there.
_LITERAL = re.compile(r"(?<![\w.])(\d+\.\d+(?:e[-+]?\d+)?)(?![\w.])")
# SPIRV-Cross declares helpers on matrices even where none occur.
_MATRIX = "template <typename T, int C, int R> struct matrix { vec<T, R> columns[C]; };\n"


def translate(spirv: bytes, folder: Path, threads: int) -> cpu.Kernel:
    """Return the kernel that SPIRV-Cross makes of a shader; sizes are its buffer 0."""
    tool = shutil.which("spirv-cross")
    assert tool, "this test needs spirv-cross (apt-get install spirv-cross)"
    path = folder / "shader.spv"
    path.write_bytes(spirv)
    command = [tool, "--msl", "--msl-version", "20300", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    head = _SIGNATURE.search(text)
    assert head, text
    types, call, arguments = [], [], []
    for argument in head[1].split(", "):
        match = _ARGUMENT.fullmatch(argument)
        assert match, argument
        kind, attribute, number = match.groups()
        types.append(f"{kind} {argument.split()[-2]}")
        if attribute == "buffer":
            arguments.append(f"    device uchar* b{number} [[buffer({number})]]")
            call.append(f"*({kind.rstrip('&')}*)b{number}")
        else:
            call.append(_INPUTS[attribute])
    text = text.replace(head[0], f"void translated({', '.join(types)})\n{{")
    text = re.sub(r"template<typename T, int \w+, int \w+.*?\n}\n", "", text, flags=re.S)
    text = text.replace("#include <simd/simd.h>", "").replace(
        "using namespace metal;", f"using namespace metal;\n{_MATRIX}", 1
    )
    text = _LITERAL.sub(r"\1f", text)
    entry = _ENTRY.format(threads=threads, arguments=",\n".join(arguments), call=", ".join(call))
    return cpu.build(text + entry)["compute"]


def elements(name: str, kind: str, count: int) -> str:
    names = ["%a", "%b"][:count]
    return elementwise(f"%r = {name} {', '.join(names)} : {kind}", [kind] * count, kind)


CASES = {
    "softmax": (SOFTMAX, [(9, 70)], [9, 70], (9, 70), np.float32),
    "matmul": (matmul_text(12, 24, 10), [(12, 10), (10, 24), (12, 24)], [], (12, 24), np.float32),
    "f16": (elements("arith.mulf", "f16", 2), [(300,)] * 2, [300], (300,), np.float16),
    "i8": (elements("arith.divsi", "i8", 2), [(300,)] * 2, [300], (300,), np.int8),
    "tanh": (elements("math.tanh", "f32", 1), [(300,)], [300], (300,), np.float32),
}


@pytest.mark.parametrize("name", CASES)
def test_both_ways_to_msl_agree(name: str, tmp_path: Path) -> None:
    text, shapes, sizes, shape, dtype = CASES[name]
    if np.issubdtype(dtype, np.integer):
        inputs = [RNG.integers(1, 127, each).astype(dtype) for each in shapes]
    else:
        inputs = [RNG.standard_normal(each).astype(dtype) for each in shapes]
    (own,), _ = run_dispatch(text, inputs, sizes, [(shape, dtype)])
    backend = VulkanBackend("vulkan")
    compiled = backend.compile(text, backend.resolve("desktop"))
    kernel = compiled.kernel
    translated = translate(dict(compiled.listings)["spv"], tmp_path, kernel.workgroup)
    result, words = np.zeros(shape, dtype), np.array(sizes, np.int32)
    # Push constants come first, if there are any.
    arrays = [*([words] if sizes else []), *inputs, result]
    groups = -(-kernel.grid.evaluate(sizes) // kernel.workgroup)
    translated.run([a.ctypes.data for a in arrays], groups, kernel.workgroup)
    tolerance = 0 if dtype in (np.int8, np.float16) else 2e-6
    np.testing.assert_allclose(result, own, rtol=tolerance, atol=tolerance)
