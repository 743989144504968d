"""Given products of bytes or bf16 numbers, dot-product instructions compute what numpy does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.codegen.harness import run_kernel

from iree_backend_llvm.lower import lower_kernel
from iree_backend_llvm.target import cpu_model, host_target, parse_target
from iree_core.codegen import CpuModel, Kernel, build_kernel, llvmir
from iree_core.ir import make_context
from iree_core.layout import PackedLayout

HOST = cpu_model(host_target())
SAPPHIRE = "x86_64,cpu=sapphirerapids"
ALDER = "x86_64,cpu=alderlake"
GRAVITON = "aarch64,cpu=neoverse-v1"
DOT_ARM = "aarch64,features=+dotprod"


@dataclass
class Product:
    """``r[m, n] = sum over k of (a[m, k] - zero) * w`` as a dispatch function.

    Attributes:
        kinds: types of the operands: ``u8``, ``s8`` or ``bf16``.
        zero: subtracted from ``a``; as an operand where ``zero_operand``.
        right: the dimensions of ``w`` as they lie in memory.
        dynamic: which of ``mnk`` are known at run time only.
    """

    m: int
    n: int
    k: int
    kinds: tuple[str, str] = ("u8", "s8")
    zero: int = 0
    zero_operand: bool = False
    right: str = "kn"
    packed: bool = True
    dynamic: str = ""
    target: CpuModel = field(default_factory=lambda: HOST)

    @property
    def size(self) -> dict[str, int]:
        return {"m": self.m, "n": self.n, "k": self.k}

    def layout(self) -> PackedLayout | None:
        if not self.packed:
            return None
        n, k = self.right.index("n"), self.right.index("k")
        group = 2 if self.kinds[0] == "bf16" else 4
        return PackedLayout((k,), n, 2 * self.target.lanes(32), (k, group))

    def tensor(self, dims: str, kind: str, encoding: str = "") -> str:
        shape = "".join("?x" if d in self.dynamic else f"{self.size[d]}x" for d in dims)
        return f"tensor<{shape}{kind}{encoding}>"

    def text(self) -> str:
        kind, out = ("bf16", "f32") if self.kinds[0] == "bf16" else ("i8", "i32")
        layout = self.layout()
        encoding = f", {layout.to_attribute_text()}" if layout else ""
        left, right = self.tensor("mk", kind), self.tensor(self.right, kind, encoding)
        result = self.tensor("mn", out)
        first = 3 if self.zero_operand else 2

        def dims(names: str) -> str:
            numbers = [str(first + self.dynamic.index(d)) for d in names if d in self.dynamic]
            return f" {{flow.dims = array<i64: {', '.join(numbers)}>}}" if numbers else ""

        arguments = [f"%a: {left}{dims('mk')}", f"%w: {right}{dims(self.right)}"]
        arguments += ["%z: tensor<i8>"] if self.zero_operand else []
        arguments += [f"%size_{d}: index" for d in self.dynamic]
        sizes = ", ".join(f"%size_{d}" for d in "mn" if d in self.dynamic)
        zero_map = ", affine_map<(m, n, k) -> ()>" if self.zero_operand else ""
        operand = (", %z", ", tensor<i8>", "%o: i8, ") if self.zero_operand else ("", "", "")
        return f"""
            func.func private @d({", ".join(arguments)}) -> ({result}{dims("mn")})
                attributes {{flow.dispatch}} {{
              %c0 = arith.constant {"0.0" if out == "f32" else "0"} : {out}
              %e = tensor.empty({sizes}) : {result}
              %f = linalg.fill ins(%c0 : {out}) outs(%e : {result}) -> {result}
              %r = linalg.generic {{
                  indexing_maps = [affine_map<(m, n, k) -> (m, k)>,
                    affine_map<(m, n, k) -> ({", ".join(self.right)})>{zero_map},
                    affine_map<(m, n, k) -> (m, n)>],
                  iterator_types = ["parallel", "parallel", "reduction"]}}
                  ins(%a, %w{operand[0]} : {left}, {right}{operand[1]}) outs(%f : {result}) {{
                ^bb0(%x: {kind}, %y: {kind}, {operand[2]}%s: {out}):
                  {self.body()}
                  linalg.yield %sum : {out}
              }} -> {result}
              return %r : {result} }}"""

    def body(self) -> str:
        if self.kinds[0] == "bf16":
            return """%xw = arith.extf %x : bf16 to f32
                %yw = arith.extf %y : bf16 to f32
                %p = arith.mulf %xw, %yw : f32
                %sum = arith.addf %s, %p : f32"""
        x, y = ("arith.extsi" if kind == "s8" else "arith.extui" for kind in self.kinds)
        centred = self.zero or self.zero_operand
        zero = f"%zw = arith.constant {self.zero} : i32"
        if self.zero_operand:
            zero = f"%zw = {x} %o : i8 to i32"
        return f"""%xw = {x} %x : i8 to i32
            %yw = {y} %y : i8 to i32
            {zero}
            {"%xz = arith.subi %xw, %zw : i32" if centred else ""}
            %p = arith.muli {"%xz" if centred else "%xw"}, %yw : i32
            %sum = arith.addi %s, %p : i32"""


def random_bytes(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    dtype = np.int8 if kind == "s8" else np.uint8
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def check(product: Product) -> Kernel:
    """Run an integer product on the host and compare it with numpy exactly."""
    rng = np.random.default_rng(1)
    left = random_bytes(product.kinds[0], (product.m, product.k), rng)
    shape = tuple(product.size[d] for d in product.right)
    right = random_bytes(product.kinds[1], shape, rng)
    layout = product.layout()
    inputs = [left, layout.pack(right) if layout else right]
    if product.zero_operand:
        inputs.append(np.array(product.zero, left.dtype))
    kernel = build_kernel(product.text(), product.target)
    scalars = [product.size[d] for d in product.dynamic]
    (found,) = run_kernel(
        kernel, inputs, scalars, [((product.m, product.n), np.dtype(np.int32))], product.target
    )
    wide = right.astype(np.int64)
    expected = (left.astype(np.int64) - product.zero) @ (wide if product.right == "kn" else wide.T)
    np.testing.assert_array_equal(found, expected)
    return kernel


def assembly(product: Product, spec: str) -> str:
    target = parse_target(spec)
    model = cpu_model(target)
    kernel = build_kernel(replace(product, target=model).text(), model)
    text = lower_kernel(kernel, make_context(), model)
    return llvmir.emit_assembly(text, target.machine(), abi=target.abi)


KINDS = [(a, b) for a in ("u8", "s8") for b in ("u8", "s8")]


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("zero", [0, 3])
@pytest.mark.parametrize("m", [1, 5, 37])
def test_packed_weights(kinds: tuple[str, str], zero: int, m: int) -> None:
    kernel = check(Product(m, 75, 50, kinds, zero))
    assert kernel.schedule == "contraction"
    assert ("dot_" in kernel.module) == bool(HOST.dots)


@pytest.mark.parametrize("dynamic", ["m", "k", "n", "mnk"])
@pytest.mark.parametrize("packed", [True, False])
def test_dynamic_sizes(dynamic: str, packed: bool) -> None:
    if packed and dynamic != "m":
        dynamic = "m"
    check(Product(37, 75, 50, ("s8", "s8"), -7, dynamic=dynamic, packed=packed))


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("right", ["kn", "nk"])
def test_operands_computed_at_run_time(kinds: tuple[str, str], right: str) -> None:
    kernel = check(Product(67, 75, 141, kinds, right=right, packed=False))
    assert ("dot_" in kernel.module) == bool(HOST.dots)


@pytest.mark.parametrize("kinds", KINDS)
def test_zero_point_known_at_run_time(kinds: tuple[str, str]) -> None:
    kernel = check(Product(20, 64, 33, kinds, 100, zero_operand=True))
    assert ("dot_" in kernel.module) == bool(HOST.dots)


def test_long_reduction_is_done_in_slices() -> None:
    small = replace(HOST, l2_bytes=16 * 1024)
    check(Product(45, 70, 1003, ("s8", "s8"), 1, target=small))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    m=st.integers(1, 50),
    n=st.integers(2, 100),
    k=st.integers(1, 80),
    kinds=st.sampled_from(KINDS),
    zero=st.integers(0, 127),
    packed=st.booleans(),
    right=st.sampled_from(["kn", "nk"]),
)
def test_any_shape(
    m: int, n: int, k: int, kinds: tuple[str, str], zero: int, packed: bool, right: str
) -> None:
    check(Product(m, n, k, kinds, zero, right=right, packed=packed))


@pytest.mark.parametrize(
    ("spec", "kinds", "instruction"),
    [
        (SAPPHIRE, ("u8", "s8"), "vpdpbusd"),
        (SAPPHIRE, ("s8", "s8"), "vpdpbusd"),
        (SAPPHIRE, ("u8", "u8"), "vpdpbusd"),
        (SAPPHIRE, ("bf16", "bf16"), "vdpbf16ps"),
        (ALDER, ("u8", "s8"), "vpdpbusd"),
        (GRAVITON, ("u8", "s8"), "usdot"),
        (GRAVITON, ("s8", "s8"), "sdot"),
        (GRAVITON, ("bf16", "bf16"), "bfdot"),
        (DOT_ARM, ("u8", "u8"), "udot"),
        (DOT_ARM, ("u8", "s8"), "sdot"),
    ],
)
def test_instruction_is_emitted(spec: str, kinds: tuple[str, str], instruction: str) -> None:
    text = assembly(Product(24, 64, 64, kinds, packed=True), spec)
    assert f"\t{instruction}\t" in text


@pytest.mark.parametrize("spec", ["x86_64", "x86_64,cpu=x86-64-v4", "aarch64", "riscv64"])
@pytest.mark.parametrize("kinds", [("u8", "s8"), ("bf16", "bf16")])
def test_targets_without_it_widen(spec: str, kinds: tuple[str, str]) -> None:
    text = assembly(Product(24, 64, 64, kinds, packed=False), spec)
    assert not any(name in text for name in ("vpdpbusd", "vdpbf16ps", "sdot", "udot", "bfdot"))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("k", [64, 77])
@pytest.mark.parametrize("m", [1, 70])
def test_bf16(packed: bool, k: int, m: int) -> None:
    rng = np.random.default_rng(2)
    left, right = rng.standard_normal((m, k)), rng.standard_normal((k, 75))
    product = Product(m, 75, k, ("bf16", "bf16"), packed=packed)
    halves = [(a.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) for a in (left, right)]
    exact = [(h.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for h in halves]
    layout = product.layout()
    stored = layout.pack(halves[1]) if layout else halves[1]
    kernel = build_kernel(product.text(), HOST)
    if packed:
        assert ("dot_bf16" in kernel.module) == ("bf16" in HOST.dots)
    (found,) = run_kernel(kernel, [halves[0], stored], [], [((m, 75), np.dtype(np.float32))], HOST)
    # Products are exact in float32; only the sum is rounded.
    bound = k * 2.0**-23 * (np.abs(exact[0]) @ np.abs(exact[1]))
    assert (np.abs(found - exact[0] @ exact[1]) <= bound).all()


@pytest.mark.parametrize("shape", [(5, 7), (3, 30, 2, 9)])
@pytest.mark.parametrize("size", [2, 4])
def test_groups_of_a_layout(shape: tuple[int, ...], size: int) -> None:
    layout = PackedLayout(tuple(range(1, len(shape))), 0, 4, (len(shape) - 1, size))
    array = np.arange(1, np.prod(shape) + 1).reshape(shape)
    stored = layout.pack(array)
    assert stored.shape == layout.storage_shape(shape)
    for position, number in np.ndenumerate(array):
        *others, last = position[1:]
        tile, lane = divmod(position[0], 4)
        assert stored[(tile, *others, last // size, lane, last % size)] == number
    assert np.count_nonzero(stored) == array.size
