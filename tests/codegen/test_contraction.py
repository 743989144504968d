"""Given a matrix multiplication in some form, the contraction schedule computes what numpy does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.codegen.harness import run_kernel

from iree_core.codegen import CpuModel, Kernel, build_kernel
from iree_core.codegen.blocking import packing_for

AVX512 = CpuModel()
AVX2 = CpuModel(vector_bytes=32, vector_registers=16, masked=False)
TARGETS = {"avx512": AVX512, "avx2": AVX2}


@dataclass
class Product:
    """A matrix multiplication as a dispatch function.

    Dimensions are numbers; those named in ``dynamic`` ("bmnk") are dynamic in the function.
    """

    m: int
    n: int
    k: int
    batch: int = 0
    left: str = "mk"
    right: str = "kn"
    result: str = "mn"
    dynamic: str = ""
    packed: bool = False
    kinds: tuple[str, str, str] = ("f32", "f32", "f32")
    epilogue: str = ""
    target: CpuModel = AVX512
    choices: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = {"b": self.batch, "m": self.m, "n": self.n, "k": self.k}
        if self.batch:
            self.left, self.right = "b" + self.left, "b" + self.right
            self.result = "b" + self.result

    def tensor(self, dims: str, kind: str, encoding: str = "") -> str:
        shape = "".join(f"{'?' if d in self.dynamic else self.sizes[d]}x" for d in dims)
        return f"tensor<{shape}{kind}{', ' + encoding if encoding else ''}>"

    def argument(self, name: str, dims: str, kind: str, encoding: str = "") -> str:
        numbers = [str(self.scalar_position(d)) for d in dims if d in self.dynamic]
        suffix = f" {{flow.dims = array<i64: {', '.join(numbers)}>}}" if numbers else ""
        return f"%{name}: {self.tensor(dims, kind, encoding)}{suffix}"

    def scalar_position(self, dim: str) -> int:
        return 2 + len(self.extra) + self.dynamic.index(dim)

    @property
    def extra(self) -> list[tuple[str, str]]:
        return {"bias": [("bias", "n")], "residual": [("rest", self.result)]}.get(self.epilogue, [])

    def layout(self):
        if not self.packed:
            return None
        shape = [self.sizes[d] for d in self.right]
        lane = self.right.index("n")
        order = [d for d in range(len(shape)) if d != lane]
        return packing_for(self.target, shape, lane, order, 32)

    def text(self) -> str:
        loops = ("b" if self.batch else "") + "mnk"
        a, b, c = self.kinds
        layout = self.layout()
        right = self.tensor(self.right, b, layout.to_attribute_text() if layout else "")

        def named(dims: str) -> str:
            return f"affine_map<({','.join(loops)})->({','.join(dims)})>"

        def outer(dims: str) -> str:
            names = ",".join(self.result)
            return f"affine_map<({names})->({','.join(dims)})>"

        out = self.tensor(self.result, c)
        arguments = [
            self.argument("a", self.left, a),
            self.argument("b", self.right, b, layout.to_attribute_text() if layout else ""),
            *(self.argument(name, dims, c) for name, dims in self.extra),
            *(f"%size_{d}: index" for d in self.dynamic),
        ]
        sizes = ", ".join(f"%size_{d}" for d in self.result if d in self.dynamic)
        numbers = ", ".join(str(self.scalar_position(d)) for d in self.result if d in self.dynamic)
        attribute = f" {{flow.dims = array<i64: {numbers}>}}" if numbers else ""
        iterators = ", ".join('"reduction"' if d == "k" else '"parallel"' for d in loops)
        given = ", ".join(f"{name} = {value}" for name, value in self.choices.items())
        chosen = f", flow.choices = {{{given}}}" if given else ""
        zero = "0.0" if c[0] in "fb" else "0"
        body = f"""
            func.func private @d({", ".join(arguments)}) -> ({out}{attribute})
                attributes {{flow.dispatch{chosen}}} {{
              %zero = arith.constant {zero} : {c}
              %e = tensor.empty({sizes}) : {out}
              %f = linalg.fill ins(%zero : {c}) outs(%e : {out}) -> {out}
              %r = linalg.generic {{
                  indexing_maps = [{named(self.left)}, {named(self.right)}, {named(self.result)}],
                  iterator_types = [{iterators}]}}
                  ins(%a, %b : {self.tensor(self.left, a)}, {right}) outs(%f : {out}) {{
                ^bb0(%x: {a}, %y: {b}, %s: {c}):
                  {self.multiply()}
                  linalg.yield %sum : {c}
              }} -> {out}
        """
        if not self.epilogue:
            return body + f"return %r : {out} }}"
        (name, dims) = self.extra[0]
        parallel = ", ".join(['"parallel"'] * len(self.result))
        return (
            body
            + f"""
              %q = linalg.generic {{
                  indexing_maps = [{outer(self.result)}, {outer(dims)}, {outer(self.result)}],
                  iterator_types = [{parallel}]}}
                  ins(%r, %{name} : {out}, {self.tensor(dims, c)}) outs(%e : {out}) {{
                ^bb0(%x: {c}, %y: {c}, %s: {c}):
                  %sum = arith.addf %x, %y : {c}
                  %most = arith.maximumf %sum, %zero : {c}
                  linalg.yield %most : {c}
              }} -> {out}
              return %q : {out} }}"""
        )

    def multiply(self) -> str:
        a, b, c = self.kinds
        if c[0] == "i":
            return f"""%xw = arith.extsi %x : {a} to {c}
                %yw = arith.extui %y : {b} to {c}
                %three = arith.constant 3 : {c}
                %yz = arith.subi %yw, %three : {c}
                %p = arith.muli %xw, %yz : {c}
                %sum = arith.addi %s, %p : {c}"""
        lines = []
        for name, kind in (("x", a), ("y", b)):
            same = kind == c
            lines.append("" if same else f"%{name}w = arith.extf %{name} : {kind} to {c}")
        x, y = ("%x" if a == c else "%xw"), ("%y" if b == c else "%yw")
        return "\n".join(
            [*lines, f"%p = arith.mulf {x}, {y} : {c}", f"%sum = arith.addf %s, %p : {c}"]
        )


NUMPY = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "i8": np.int8, "i32": np.int32}


def values(product: Product, dims: str, kind: str, rng: np.random.Generator) -> np.ndarray:
    shape = [product.sizes[d] for d in dims]
    if kind[0] == "i":
        return rng.integers(-128, 127, shape).astype(np.int8)
    return rng.standard_normal(shape).astype(NUMPY[kind])


def check(product: Product) -> Kernel:
    """Run the product and compare it with numpy in float64 (integers: exactly)."""
    rng = np.random.default_rng(1)
    left = values(product, product.left, product.kinds[0], rng)
    right = values(product, product.right, product.kinds[1], rng)
    extra = [values(product, dims, product.kinds[2], rng) for _, dims in product.extra]
    layout = product.layout()
    stored = layout.pack(right) if layout else right
    scalars = [product.sizes[d] for d in product.dynamic]
    shape = tuple(product.sizes[d] for d in product.result)
    kernel = build_kernel(product.text(), product.target)
    kind = NUMPY[product.kinds[2]]
    (found,) = run_kernel(
        kernel, [left, stored, *extra], scalars, [(shape, np.dtype(kind))], product.target
    )
    formula = f"{product.left},{product.right}->{product.result}"
    if kind == np.int32:
        wide = right.view(np.uint8).astype(np.int64) - 3
        np.testing.assert_array_equal(found, np.einsum(formula, left.astype(np.int64), wide))
        return kernel
    expected = np.einsum(formula, left.astype(np.float64), right.astype(np.float64))
    if product.epilogue:
        where = [product.result.index(d) for d in product.extra[0][1]]
        shape_of = [1] * len(shape)
        for position, size in zip(where, extra[0].shape, strict=True):
            shape_of[position] = size
        expected = np.maximum(expected + extra[0].reshape(shape_of), 0)
    tolerance = {np.float64: 1e-13, np.float32: 2e-6, np.float16: 2e-3}[kind]
    scale = np.sqrt(product.k) * 4
    np.testing.assert_allclose(found, expected, rtol=tolerance * 10, atol=tolerance * scale)
    return kernel


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dynamic", ["", "m", "n", "k", "mnk"])
@pytest.mark.parametrize("right", ["kn", "nk"])
def test_matrix_product(target: str, dynamic: str, right: str) -> None:
    kernel = check(Product(37, 75, 50, right=right, dynamic=dynamic, target=TARGETS[target]))
    assert kernel.schedule == "contraction"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("m", [1, 3, 8, 100])
@pytest.mark.parametrize("dynamic", ["", "m"])
def test_packed_constant_operand(target: str, m: int, dynamic: str) -> None:
    product = Product(m, 96 + 5, 40, packed=True, dynamic=dynamic, target=TARGETS[target])
    check(product)


@pytest.mark.parametrize("epilogue", ["", "bias"])
def test_long_reduction_is_done_in_slices(epilogue: str) -> None:
    small = CpuModel(l2_bytes=16 * 1024)
    check(Product(45, 70, 300, packed=True, target=small, epilogue=epilogue))


@pytest.mark.parametrize("dynamic", ["", "m"])
@pytest.mark.parametrize("k", [32, 150])
def test_weights_larger_than_the_cache_are_asked_for_ahead(k: int, dynamic: str) -> None:
    small = CpuModel(l2_bytes=16 * 1024)
    product = Product(100, 200, k, packed=True, target=small, dynamic=dynamic, epilogue="bias")
    assert str(check(product).module).count("memref.prefetch") > 0
    large = CpuModel(l2_bytes=1024 * 1024)
    product = Product(100, 200, k, packed=True, target=large)
    assert str(check(product).module).count("memref.prefetch") == 0


def test_transposed_left_operand() -> None:
    check(Product(33, 64, 40, left="km", packed=True))


def test_transposed_result() -> None:
    check(Product(33, 64, 40, result="nm"))


@pytest.mark.parametrize("right", ["kn", "nk"])
def test_batched_product_of_attention(right: str) -> None:
    check(Product(17, 20, 24, batch=3, right=right, dynamic="bm"))


@pytest.mark.parametrize("epilogue", ["bias", "residual"])
@pytest.mark.parametrize("dynamic", ["", "m"])
def test_consumers_run_on_the_register_tile(epilogue: str, dynamic: str) -> None:
    kernel = check(Product(20, 80, 30, packed=True, epilogue=epilogue, dynamic=dynamic))
    assert kernel.schedule == "contraction"


@pytest.mark.parametrize(
    "kinds",
    [("f64",) * 3, ("f16", "f16", "f32"), ("f32", "f16", "f32"), ("f16",) * 3, ("i8", "i8", "i32")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_element_types(kinds: tuple[str, str, str], packed: bool) -> None:
    check(Product(19, 40, 33, kinds=kinds, packed=packed))


@pytest.mark.parametrize("right", ["kn", "nk"])
def test_matrix_vector_product(right: str) -> None:
    """Lanes run along whatever is contiguous in the matrix."""
    kernel = check(Product(1, 130, 77, right=right))
    assert kernel.schedule == {"kn": "contraction", "nk": "rows"}[right]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 100),
    k=st.integers(1, 40),
    batch=st.sampled_from([0, 0, 2]),
    left=st.sampled_from(["mk", "km"]),
    right=st.sampled_from(["kn", "nk"]),
    dynamic=st.sampled_from(["", "m", "n", "mn", "mnk"]),
    target=st.sampled_from(list(TARGETS)),
)
def test_any_product(
    m: int, n: int, k: int, batch: int, left: str, right: str, dynamic: str, target: str
) -> None:
    check(Product(m, n, k, batch, left, right, dynamic=dynamic, target=TARGETS[target]))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    m=st.integers(1, 70),
    n=st.integers(16, 150),
    k=st.integers(1, 60),
    rows=st.integers(1, 40),
    cycles=st.sampled_from([1, 100, 10_000, 10_000_000]),
    panels=st.integers(1, 9),
    slice_=st.integers(0, 70),
    dynamic=st.sampled_from(["", "m", "n"]),
)
def test_any_choice_of_blocks(
    m: int, n: int, k: int, rows: int, cycles: int, panels: int, slice_: int, dynamic: str
) -> None:
    """Whatever block sizes a tuning file names, the result is right."""
    choices = {"rows": rows, "cycles": cycles, "panels": panels, "slice": slice_}
    check(Product(m, n, k, dynamic=dynamic, packed=dynamic != "n", choices=choices))


def test_choices_are_taken() -> None:
    product = Product(128, 256, 512, packed=True)
    usual = dict(check(product).choices)
    other = {"rows": usual["rows"] - 2, "cycles": 9_000, "panels": 2, "slice": 128}
    assert dict(check(replace(product, choices=other)).choices) == other
    assert dict(check(replace(product, choices={"rows": 99})).choices)["rows"] < 32


def run_text(text: str, inputs: list, scalars: list[int], shape: tuple[int, ...]) -> np.ndarray:
    kernel = build_kernel(text, AVX512)
    assert kernel.schedule == "contraction"
    kind = np.dtype(np.float32)
    (found,) = run_kernel(kernel, inputs, scalars, [(shape, kind)], AVX512)
    return found


PRODUCT = """
    #a = affine_map<(m, n, k) -> (m, k)>
    #b = affine_map<(m, n, k) -> (k, n)>
    #c = affine_map<(m, n, k) -> (m, n)>
    #traits = {
      indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]}
"""
MULTIPLY_ADD = """{
    ^bb0(%x: f32, %y: f32, %s: f32):
      %p = arith.mulf %x, %y : f32
      %sum = arith.addf %s, %p : f32
      linalg.yield %sum : f32 }"""


@pytest.mark.parametrize("head", [32, 8])
def test_result_is_split_into_heads(head: int) -> None:
    """The store of a tile follows a reshape and a transposition: [m, h*d] -> [h, m, d]."""
    heads = 64 // head
    text = f"""{PRODUCT}
    func.func private @d(%a: tensor<?x24xf32> {{flow.dims = array<i64: 2>}},
        %b: tensor<24x64xf32>, %m: index)
        -> (tensor<{heads}x?x{head}xf32> {{flow.dims = array<i64: 2>}})
        attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %e = tensor.empty(%m) : tensor<?x64xf32>
      %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x64xf32>) -> tensor<?x64xf32>
      %r = linalg.generic #traits ins(%a, %b : tensor<?x24xf32>, tensor<24x64xf32>)
          outs(%f : tensor<?x64xf32>) {MULTIPLY_ADD} -> tensor<?x64xf32>
      %h = tensor.expand_shape %r [[0], [1, 2]] output_shape [%m, {heads}, {head}]
          : tensor<?x64xf32> into tensor<?x{heads}x{head}xf32>
      %t = tensor.empty(%m) : tensor<{heads}x?x{head}xf32>
      %q = linalg.generic {{
          indexing_maps = [affine_map<(h, m, d) -> (m, h, d)>, affine_map<(h, m, d) -> (h, m, d)>],
          iterator_types = ["parallel", "parallel", "parallel"]}}
          ins(%h : tensor<?x{heads}x{head}xf32>) outs(%t : tensor<{heads}x?x{head}xf32>) {{
        ^bb0(%x: f32, %o: f32):
          linalg.yield %x : f32
      }} -> tensor<{heads}x?x{head}xf32>
      return %q : tensor<{heads}x?x{head}xf32> }}"""
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((13, 24), (24, 64)))
    found = run_text(text, [a, b], [13], (heads, 13, head))
    expected = (a @ b).reshape(13, heads, head).transpose(1, 0, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_producers_are_evaluated_on_the_way() -> None:
    """The left operand is a sum, the right one dequantised; both have a producer."""
    text = f"""{PRODUCT}
    #mk = affine_map<(m, k) -> (m, k)>
    func.func private @d(%a: tensor<40x24xf32>, %r: tensor<40x24xf32>, %b: tensor<24x80xi8>)
        -> tensor<40x80xf32> attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %scale = arith.constant 0.25 : f32
      %ea = tensor.empty() : tensor<40x24xf32>
      %left = linalg.generic {{
          indexing_maps = [#mk, #mk, #mk], iterator_types = ["parallel", "parallel"]}}
          ins(%a, %r : tensor<40x24xf32>, tensor<40x24xf32>) outs(%ea : tensor<40x24xf32>) {{
        ^bb0(%x: f32, %y: f32, %o: f32):
          %s = arith.addf %x, %y : f32
          linalg.yield %s : f32
      }} -> tensor<40x24xf32>
      %eb = tensor.empty() : tensor<24x80xf32>
      %right = linalg.generic {{
          indexing_maps = [#mk, #mk], iterator_types = ["parallel", "parallel"]}}
          ins(%b : tensor<24x80xi8>) outs(%eb : tensor<24x80xf32>) {{
        ^bb0(%x: i8, %o: f32):
          %w = arith.sitofp %x : i8 to f32
          %s = arith.mulf %w, %scale : f32
          linalg.yield %s : f32
      }} -> tensor<24x80xf32>
      %e = tensor.empty() : tensor<40x80xf32>
      %f = linalg.fill ins(%zero : f32) outs(%e : tensor<40x80xf32>) -> tensor<40x80xf32>
      %c = linalg.generic #traits ins(%left, %right : tensor<40x24xf32>, tensor<24x80xf32>)
          outs(%f : tensor<40x80xf32>) {MULTIPLY_ADD} -> tensor<40x80xf32>
      return %c : tensor<40x80xf32> }}"""
    rng = np.random.default_rng(4)
    a, r = (rng.standard_normal((40, 24)).astype(np.float32) for _ in range(2))
    b = rng.integers(-9, 9, (24, 80)).astype(np.int8)
    found = run_text(text, [a, r, b], [], (40, 80))
    np.testing.assert_allclose(found, (a + r) @ (b * 0.25), rtol=1e-4, atol=1e-4)
