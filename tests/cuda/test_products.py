"""Products in tiles: precisions, layouts, sizes that are no multiple of a tile, fusion."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx.parser
import pytest
from tests.cuda.harness import compile_dispatch, run_dispatch, stand_in
from tests.cuda.test_models import assemble, entries

import iree_core
from iree_backend_cuda import warpgroups
from iree_backend_cuda.driver import CudaDevice
from iree_backend_cuda.image import parse_image
from iree_core.errors import UsageError

RNG = np.random.default_rng(0)
DTYPES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32}


def product(
    m: int, n: int, k: int, kind: str, turned: str = "", dynamic: str = "", result: str = "f32"
) -> str:
    """Return the dispatch ``x @ w + 0.5``.

    ``turned`` names the operands (a, b) that are transposed in memory, ``dynamic`` the sizes
    (m, n, k) that are known at run time only.
    """
    size = {d: "?" if d in dynamic else str(s) for d, s in (("m", m), ("n", n), ("k", k))}
    argument = {d: 2 + number for number, d in enumerate(x for x in "mnk" if x in dynamic)}

    def tensor(dims: str, element: str) -> str:
        return f"tensor<{'x'.join(size[d] for d in dims)}x{element}>"

    def names(dims: str) -> str:
        found = [str(argument[d]) for d in dims if d in dynamic]
        return f" {{flow.dims = array<i64: {', '.join(found)}>}}" if found else ""

    left, right = ("km" if "a" in turned else "mk"), ("nk" if "b" in turned else "kn")
    loops = {"m": "i", "n": "j", "k": "k"}
    maps = ", ".join(
        f"affine_map<(i,j,k)->({','.join(loops[d] for d in dims)})>" for dims in (left, right, "mn")
    )
    wide = kind if kind == "f32" else "f32"
    factors = ["%a", "%b"]
    extend = ""
    if kind != wide:
        extend = "".join(f"%{x}w = arith.extf %{x} : {kind} to f32\n" for x in "ab")
        factors = ["%aw", "%bw"]
    out = tensor("mn", "f32")
    scalars = "".join(f", %{d}: index" for d in argument)
    sizes = ", ".join(f"%{d}" for d in "mn" if d in dynamic)
    return f"""
    func.func private @d(%x: {tensor(left, kind)}{names(left)}, %w: {tensor(right, kind)}
        {names(right)}{scalars}) -> ({tensor("mn", result)}{names("mn")})
        attributes {{flow.dispatch}} {{
      %z = arith.constant 0.5 : f32
      %e = tensor.empty({sizes}) : {out}
      %f = linalg.fill ins(%z : f32) outs(%e : {out}) -> {out}
      %p = linalg.generic {{indexing_maps = [{maps}],
          iterator_types = ["parallel", "parallel", "reduction"]}}
          ins(%x, %w : {tensor(left, kind)}, {tensor(right, kind)}) outs(%f : {out}) {{
        ^bb0(%a: {kind}, %b: {kind}, %c: f32):
          {extend}
          %0 = arith.mulf {", ".join(factors)} : f32
          %1 = arith.addf %c, %0 : f32
          linalg.yield %1 : f32 }} -> {out}
      return %p : {out}
    }}"""


@pytest.mark.parametrize(
    "kind,turned,dynamic,m,n,k",
    [
        ("f16", "", "", 64, 64, 32),
        ("f16", "b", "", 64, 64, 64),
        ("f16", "a", "", 64, 64, 96),
        ("f16", "ab", "", 130, 72, 40),
        ("f16", "b", "", 40, 80, 328),
        ("f16", "", "", 37, 51, 45),
        ("f16", "b", "", 700, 100, 32),  # eleven rows of tiles, in bands of eight
        ("f16", "b", "mn", 600, 70, 32),
        ("f16", "b", "mnk", 33, 48, 40),
        ("bf16", "ab", "mnk", 37, 51, 45),
        ("bf16", "", "m", 100, 96, 72),
        ("f32", "", "", 64, 64, 32),
        ("f32", "ab", "", 70, 52, 33),
        ("f32", "b", "m", 70, 52, 36),
        ("f32", "b", "", 40, 40, 200),
    ],
)
def test_products(
    on: CudaDevice, kind: str, turned: str, dynamic: str, m: int, n: int, k: int
) -> None:
    x, w = (RNG.standard_normal(s).astype(DTYPES[kind]) for s in ((m, k), (k, n)))
    passed = [np.ascontiguousarray(a.T if t in turned else a) for a, t in ((x, "a"), (w, "b"))]
    scalars = [{"m": m, "n": n, "k": k}[d] for d in "mnk" if d in dynamic]
    text = product(m, n, k, kind, turned, dynamic)
    (result,), compiled = run_dispatch(
        text, passed, scalars, [((m, n), np.float32)], options="sm_80,+tf32", on=on
    )
    assert compiled.kernel.schedule == "tensor-contraction"
    expected = x.astype(np.float64) @ w.astype(np.float64) + 0.5
    # Products of 16-bit floats are exact; tf32 has 10 bits of mantissa.
    tolerance = 1e-5 if kind != "f32" else 2.0**-10
    np.testing.assert_allclose(result, expected, atol=tolerance * 4 * np.sqrt(k))


@pytest.mark.parametrize(
    "kind,turned,options,size,whole,words",
    [
        ("f16", "", "sm_80", 4096, 2, 0),
        ("f16", "ab", "sm_90", 4096, 2, 0),
        ("f16", "", "sm_80", 4094, 0, 0),
        ("f32", "", "sm_80,+tf32", 4096, 2, 0),
        ("f32", "b", "sm_80,+tf32", 4095, 0, 2),
        ("f32", "", "sm_80", 4096, 1, 1),  # the rows are turned on the way
        ("f32", "", "sm_75", 4096, 0, 0),
    ],
)
def test_operands_are_copied_without_registers(
    kind: str, turned: str, options: str, size: int, whole: int, words: int
) -> None:
    _, compiled = compile_dispatch(product(size, size, size, kind, turned), options)
    code = bytes(parse_image(compiled.binary)[0].code).decode()
    # Two groups of each operand for every thread; three slices before the loop and one inside.
    assert code.count("cp.async.cg") == whole * 2 * 4
    assert code.count("cp.async.ca") == words * 2 * 4 * 4
    assert ("cp.async.wait_group" in code) == bool(whole + words)


def test_f32_keeps_its_precision_unless_asked() -> None:
    _, compiled = compile_dispatch(product(64, 64, 64, "f32"), "sm_80")
    assert compiled.kernel.schedule == "shared-contraction"
    with pytest.raises(UsageError, match="sm_75 has no tf32"):
        compile_dispatch(product(64, 64, 64, "f32"), "sm_75,+tf32")


def test_turing_computes_halves_without_tensor_cores() -> None:
    _, compiled = compile_dispatch(product(64, 64, 64, "f16"), "sm_75")
    assert compiled.kernel.schedule == "contraction"


@pytest.mark.parametrize(
    "turned,dynamic,m,n,k",
    [
        ("", "", 64, 64, 32),
        ("b", "", 64, 68, 64),
        ("a", "", 130, 72, 40),
        ("ab", "", 37, 51, 45),
        ("b", "mnk", 33, 48, 40),
    ],
)
def test_single_precision_goes_through_shared_memory(
    on: CudaDevice, turned: str, dynamic: str, m: int, n: int, k: int
) -> None:
    x, w = RNG.standard_normal((m, k), np.float32), RNG.standard_normal((k, n), np.float32)
    passed = [np.ascontiguousarray(a.T if t in turned else a) for a, t in ((x, "a"), (w, "b"))]
    scalars = [{"m": m, "n": n, "k": k}[d] for d in "mnk" if d in dynamic]
    text = product(m, n, k, "f32", turned, dynamic)
    (result,), compiled = run_dispatch(text, passed, scalars, [((m, n), np.float32)], on=on)
    assert compiled.kernel.schedule == "shared-contraction"
    np.testing.assert_allclose(result, x @ w + 0.5, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f16", "f32"])
def test_large_tiles(on: CudaDevice, kind: str) -> None:
    m, n, k = 1400, 1410, 40
    x, w = (RNG.standard_normal(s).astype(DTYPES[kind]) for s in ((m, k), (k, n)))
    text = product(m, n, k, kind)
    (result,), compiled = run_dispatch(text, [x, w], [], [((m, n), np.float32)], on=on)
    assert compiled.kernel.workgroup == 256
    expected = x.astype(np.float64) @ w.astype(np.float64) + 0.5
    np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.capability(90)
@pytest.mark.parametrize(
    "kind,turned,dynamic,m,n,k",
    [
        ("f16", "", "", 128, 256, 328),
        ("f16", "b", "mn", 100, 130, 1000),
        ("bf16", "a", "k", 136, 264, 70),
        ("bf16", "ab", "n", 200, 70, 72),
        ("f32", "b", "m", 130, 131, 84),
    ],
)
def test_warp_groups(
    on: CudaDevice,
    kind: str,
    turned: str,
    dynamic: str,
    m: int,
    n: int,
    k: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warpgroups, "LEAST_BLOCKS", 1)
    x, w = (RNG.standard_normal(s).astype(DTYPES[kind]) for s in ((m, k), (k, n)))
    passed = [np.ascontiguousarray(a.T if t in turned else a) for a, t in ((x, "a"), (w, "b"))]
    scalars = [{"m": m, "n": n, "k": k}[d] for d in "mnk" if d in dynamic]
    text = product(m, n, k, kind, turned, dynamic)
    (result,), compiled = run_dispatch(
        text, passed, scalars, [((m, n), np.float32)], options="sm_90a,+tf32", on=on
    )
    assert compiled.kernel.schedule == "warpgroup-contraction"
    expected = x.astype(np.float64) @ w.astype(np.float64) + 0.5
    tolerance = 1e-5 if kind != "f32" else 2.0**-9  # tf32 by cutting off bits
    np.testing.assert_allclose(result, expected, atol=tolerance * 4 * np.sqrt(k))


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_90a"])
@pytest.mark.parametrize("feature", ["", ",+tf32"])
def test_large_tiles_assemble(feature: str, arch: str, kind: str) -> None:
    _, compiled = compile_dispatch(product(4096, 4096, 4096, kind, "b"), arch + feature)
    schedule = "warpgroup" if arch == "sm_90a" else "tensor"
    schedule = "shared" if kind == "f32" and not feature else schedule
    assert compiled.kernel.schedule == f"{schedule}-contraction"
    (entry,) = parse_image(compiled.binary)
    assert entry.workgroup == (384 if schedule == "warpgroup" else 256)
    assemble(entry, arch)


@pytest.mark.parametrize("size", [1024, 4096])
@pytest.mark.parametrize("kind,turned", [("f16", ""), ("bf16", "a"), ("f16", "ab"), ("f32", "b")])
def test_warp_groups_assemble(kind: str, turned: str, size: int) -> None:
    """Both tile sizes; ``ptxas`` says where it cannot keep products under way."""
    _, compiled = compile_dispatch(product(size, size, size, kind, turned), "sm_90a,+tf32")
    assert compiled.kernel.schedule == "warpgroup-contraction"
    (entry,) = parse_image(compiled.binary)
    assert (b"m64n256" if size == 4096 else b"m64n128") in bytes(entry.code)
    assemble(entry, "sm_90a")


@pytest.mark.parametrize(
    "m,n,k,kind,turned,dynamic",
    [
        (4096, 4096, 4096, "f32", "", ""),  # only 16-bit operands can be turned
        (4096, 4096, 4100, "f16", "b", ""),  # lines that start anywhere
        (4096, 4096, 64, "f16", "b", "k"),
        (128, 768, 768, "f16", "", ""),  # too few blocks
    ],
)
def test_other_products_stay_with_warps(
    m: int, n: int, k: int, kind: str, turned: str, dynamic: str
) -> None:
    text = product(m, n, k, kind, turned, dynamic)
    _, compiled = compile_dispatch(text, "sm_90a,+tf32")
    assert compiled.kernel.schedule == "tensor-contraction"


def run_model(text: str, on: CudaDevice, *inputs: np.ndarray) -> np.ndarray:
    model = onnx.parser.parse_model(text)
    compiled = iree_core.compile(model, frontend="onnx", target="cuda:sm_80")
    try:
        return np.asarray(iree_core.load(compiled, on).main(*inputs))
    finally:
        assert not stand_in()[0].faults


def test_a_convolution_with_bias_and_relu_in_half_precision(on: CudaDevice) -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float16[1,16,18,18] x, float16[32,16,3,3] w, float16[32] b) => (float16[1,32,18,18] y) {
      c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
      y = Relu(c)
    }"""
    import torch

    x, w, b = (
        (RNG.standard_normal(s) / 4).astype(np.float16)
        for s in ((1, 16, 18, 18), (32, 16, 3, 3), (32,))
    )
    found = run_model(text, on, x, w, b)
    wide = [torch.from_numpy(a.astype(np.float32)) for a in (x, w, b)]
    expected = torch.relu(torch.nn.functional.conv2d(*wide, padding=1)).numpy()
    np.testing.assert_allclose(found.astype(np.float32), expected, atol=4e-3)


def test_a_batch_of_products_with_a_residual(on: CudaDevice) -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float16[3,N,32] x, float16[3,32,48] w, float16[3,N,48] r) => (float16[3,N,48] y) {
      p = MatMul(x, w)
      y = Add(p, r)
    }"""
    for n in (20, 35):
        shapes = (3, n, 32), (3, 32, 48), (3, n, 48)
        x, w, r = ((RNG.standard_normal(s) / 4).astype(np.float16) for s in shapes)
        wide = [a.astype(np.float32) for a in (x, w, r)]
        found = run_model(text, on, x, w, r)
        np.testing.assert_allclose(found.astype(np.float32), wide[0] @ wide[1] + wide[2], atol=4e-3)


@pytest.mark.capability(90)
def test_a_batch_for_warp_groups(on: CudaDevice) -> None:
    """A batch whose count is not known, with bias and activation; tensor maps in a graph."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float16[B,100,72] x, float16[B,72,136] w, float16[136] b) => (float16[B,100,136] y) {
      p = MatMul(x, w)
      s = Add(p, b)
      t = Relu(s)
      y = Mul(t, t)
    }"""
    model = onnx.parser.parse_model(text)
    compiled = iree_core.compile(model, frontend="onnx", target="cuda:sm_90a")
    assert any(b"wgmma" in bytes(entry.code) for entry in entries(compiled.path))
    loaded = iree_core.load(compiled, on)
    for count in (3, 2, 2):
        shapes = (count, 100, 72), (count, 72, 136), (136,)
        x, w, b = ((RNG.standard_normal(s) / 4).astype(np.float16) for s in shapes)
        wide = [a.astype(np.float32) for a in (x, w, b)]
        found = np.asarray(loaded.main(x, w, b)).astype(np.float32)
        expected = np.maximum(wide[0] @ wide[1] + wide[2], 0) ** 2
        np.testing.assert_allclose(found, expected, atol=4e-3, rtol=4e-3)
    assert not stand_in()[0].faults
