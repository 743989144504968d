"""Given a convolution or pooling window in some form, the result is that of plain loops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.codegen.harness import run_kernel

from iree_core.codegen import CpuModel, Kernel, build_kernel
from iree_core.codegen.blocking import packing_for

AVX512 = CpuModel()
AVX2 = CpuModel(vector_bytes=32, vector_registers=16, masked=False)


@dataclass
class Window:
    """A convolution (``kind`` conv, grouped, depthwise) or pooling (max, sum) on NHWC or NCHW.

    Sizes of ``dynamic`` ("nhw") dimensions are dynamic in the dispatch.
    """

    kind: str = "conv"
    batch: int = 1
    height: int = 9
    width: int = 11
    channels: int = 5
    filters: int = 40
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    dilation: int = 1
    pad: int = 1
    groups: int = 2
    order: str = "nhwc"
    dynamic: str = ""
    packed: bool = False
    target: CpuModel = AVX512

    @property
    def loops(self) -> str:
        return {"conv": "nyxfijc", "grouped": "nyxgfijc"}.get(self.kind, "nyxcij")

    @property
    def padded_zero(self) -> float:
        return float("-inf") if self.kind == "max" else 0.0

    def extents(self) -> dict[str, int]:
        kh, kw = self.kernel
        y = (self.height + 2 * self.pad - self.dilation * (kh - 1) - 1) // self.stride + 1
        x = (self.width + 2 * self.pad - self.dilation * (kw - 1) - 1) // self.stride + 1
        groups = self.groups if self.kind == "grouped" else 1
        return {
            "n": self.batch, "y": y, "x": x, "i": kh, "j": kw, "g": groups,
            "f": self.filters, "c": self.channels,
        }  # fmt: skip

    def input_dims(self) -> list[str]:
        """Return the index expression of every input coordinate."""
        y = f"y * {self.stride} + i * {self.dilation}"
        x = f"x * {self.stride} + j * {self.dilation}"
        channel = ["g", "c"] if self.kind == "grouped" else ["c"]
        return ["n", y, x, *channel] if self.order == "nhwc" else ["n", *channel, y, x]

    def input_shape(self, pad: int) -> list[int]:
        channel = [self.groups, self.channels] if self.kind == "grouped" else [self.channels]
        image = [self.height + 2 * pad, self.width + 2 * pad]
        return [self.batch, *image, *channel] if self.order == "nhwc" else [
            self.batch, *channel, *image
        ]  # fmt: skip

    def weight_dims(self) -> str:
        return {"conv": "fcij", "grouped": "gfcij", "depthwise": "ijc"}.get(self.kind, "ij")

    def result_dims(self) -> str:
        channel = {"conv": "f", "grouped": "gf"}.get(self.kind, "c")
        return f"nyx{channel}" if self.order == "nhwc" else f"n{channel}yx"

    def shape_text(self, sizes: list[int], names: list[str]) -> str:
        unknown = {"n": "n", "y": "h", "x": "w"}
        return "x".join(
            "?" if unknown.get(d[0], "-") in self.dynamic else str(s)
            for s, d in zip(sizes, names, strict=True)
        )

    def layout(self):
        if not self.packed:
            return None
        names, extents = self.weight_dims(), self.extents()
        shape = [extents[d] for d in names]
        order = [names.index(d) for d in "gijc" if d in names]
        return packing_for(self.target, shape, names.index("f"), order, 32)

    def scalars(self) -> list[int]:
        """Return the dynamic input sizes, then the dynamic result sizes."""
        extents = self.extents()
        inner = {"n": self.batch, "h": self.height, "w": self.width}
        outer = {"n": self.batch, "h": extents["y"], "w": extents["x"]}
        return [inner[d] for d in self.dynamic] + [outer[d] for d in self.dynamic]

    def text(self) -> str:
        extents = self.extents()
        inputs = self.input_dims()
        plain = self.shape_text(self.input_shape(0), inputs)
        padded = self.shape_text(self.input_shape(self.pad), inputs)
        result = self.shape_text([extents[d] for d in self.result_dims()], list(self.result_dims()))
        layout = self.layout()
        encoding = f", {layout.to_attribute_text()}" if layout else ""
        weight_shape = "x".join(str(extents[d]) for d in self.weight_dims())
        weight = f"tensor<{weight_shape}xf32{encoding}>"
        names = ",".join(self.loops)

        def map_(dims: list[str]) -> str:
            return f"affine_map<({names})->({', '.join(dims)})>"

        iterators = ", ".join(
            '"parallel"' if d in self.result_dims() else '"reduction"' for d in self.loops
        )
        count = len(self.dynamic)

        def dims(at: int) -> str:
            if not count:
                return ""
            order = [d for d in "nhw" if d in self.dynamic]
            numbers = ", ".join(str(at + self.dynamic.index(d)) for d in order)
            return f" {{flow.dims = array<i64: {numbers}>}}"

        scalars = "".join(f", %s{i}: index" for i in range(2 * count))
        known = ", ".join(f"%s{count + self.dynamic.index(d)}" for d in "nhw" if d in self.dynamic)
        pads = ", ".join(str(self.pad) if len(d) > 1 else "0" for d in inputs)
        zero = "0xFF800000" if self.kind == "max" else "0.0"
        arguments = ", ".join(f"%i{n}: index" for n in range(len(inputs)))
        source = "%x" if not self.pad else "%padded"
        pad = (
            ""
            if not self.pad
            else f"""
            %padded = tensor.pad %x low[{pads}] high[{pads}] {{
              ^bb0({arguments}): tensor.yield %zero : f32
            }} : tensor<{plain}xf32> to tensor<{padded}xf32>"""
        )
        body = {
            "max": "%sum = arith.maximumf %s, %a : f32",
            "sum": "%sum = arith.addf %s, %a : f32",
        }.get(self.kind, "%p = arith.mulf %a, %b : f32\n %sum = arith.addf %s, %p : f32")
        out = f"tensor<{result}xf32>"
        return f"""
            func.func private @d(%x: tensor<{plain}xf32>{dims(2)}, %w: {weight}{scalars})
                -> ({out}{dims(2 + count)}) attributes {{flow.dispatch}} {{
              %zero = arith.constant {zero} : f32
              {pad}
              %e = tensor.empty({known}) : {out}
              %f = linalg.fill ins(%zero : f32) outs(%e : {out}) -> {out}
              %r = linalg.generic {{
                  indexing_maps = [{map_(inputs)}, {map_(list(self.weight_dims()))},
                                   {map_(list(self.result_dims()))}],
                  iterator_types = [{iterators}]}}
                  ins({source}, %w : tensor<{padded}xf32>, {weight}) outs(%f : {out}) {{
                ^bb0(%a: f32, %b: f32, %s: f32):
                  {body}
                  linalg.yield %sum : f32
              }} -> {out}
              return %r : {out} }}"""

    def reference(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Compute in float64 what the dispatch means, one window position at a time."""
        extents = self.extents()
        spatial = self.input_dims()
        pads = [(self.pad, self.pad) if len(d) > 1 else (0, 0) for d in spatial]
        x = np.pad(x.astype(np.float64), pads, constant_values=self.padded_zero)
        rows = next(p for p, d in enumerate(spatial) if d[0] == "y")
        formula = "".join(d[0] for d in spatial)
        weight = self.weight_dims().replace("i", "").replace("j", "")
        total: np.ndarray | None = None
        for i in range(extents["i"]):
            for j in range(extents["j"]):
                cut = [slice(None)] * x.ndim
                for axis, k, count in ((rows, i, extents["y"]), (rows + 1, j, extents["x"])):
                    start = k * self.dilation
                    cut[axis] = slice(start, start + (count - 1) * self.stride + 1, self.stride)
                part = x[tuple(cut)]
                if self.kind in ("max", "sum"):
                    term = np.einsum(f"{formula}->{self.result_dims()}", part)
                else:
                    at = tuple({"i": i, "j": j}.get(d, slice(None)) for d in self.weight_dims())
                    term = np.einsum(
                        f"{formula},{weight}->{self.result_dims()}", part, w[at].astype(np.float64)
                    )
                if total is None:
                    total = term
                else:
                    total = np.maximum(total, term) if self.kind == "max" else total + term
        assert total is not None
        return total


def check(window: Window) -> Kernel:
    """Run a window and compare it with plain loops in float64."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal(window.input_shape(0)).astype(np.float32)
    extents = window.extents()
    w = rng.standard_normal([extents[d] for d in window.weight_dims()]).astype(np.float32)
    kernel = build_kernel(window.text(), window.target)
    layout = window.layout()
    shape = tuple(extents[d] for d in window.result_dims())
    (found,) = run_kernel(
        kernel,
        [x, layout.pack(w) if layout else w],
        window.scalars(),
        [(shape, np.dtype(np.float32))],
        window.target,
    )
    np.testing.assert_allclose(found, window.reference(x, w), rtol=1e-4, atol=1e-4)
    return kernel


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dynamic", ["", "n", "nhw"])
def test_convolution(stride: int, packed: bool, dynamic: str) -> None:
    kernel = check(Window(batch=2, stride=stride, packed=packed, dynamic=dynamic, width=21))
    assert kernel.schedule == "conv"


def test_first_layer() -> None:
    check(Window(channels=3, kernel=(7, 7), stride=2, pad=3, height=20, width=34, packed=True))


def test_window_without_padding() -> None:
    check(Window(pad=0, packed=True))


def test_dilation() -> None:
    check(Window(dilation=2, pad=2, packed=True))


def test_strided_pointwise_convolution() -> None:
    check(Window(kernel=(1, 1), pad=0, stride=2, packed=True))


def test_padding_wider_than_the_image() -> None:
    check(Window(height=2, width=2, kernel=(5, 5), pad=3, packed=True))


@pytest.mark.parametrize("packed", [False, True])
def test_grouped_convolution(packed: bool) -> None:
    check(Window(kind="grouped", filters=20, packed=packed))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dynamic", ["", "n", "nhw"])
def test_depthwise_convolution(stride: int, dynamic: str) -> None:
    check(Window(kind="depthwise", channels=45, stride=stride, dynamic=dynamic))


@pytest.mark.parametrize("kind", ["max", "sum"])
@pytest.mark.parametrize("dynamic", ["", "nhw"])
def test_pooling(kind: str, dynamic: str) -> None:
    check(Window(kind=kind, channels=40, stride=2, dynamic=dynamic))


@pytest.mark.parametrize("kind", ["conv", "depthwise", "max"])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_first(kind: str, stride: int) -> None:
    check(Window(kind=kind, order="nchw", stride=stride, width=20))


def test_registers_of_avx2() -> None:
    check(Window(packed=True, target=AVX2, channels=4))
    check(Window(kind="depthwise", target=AVX2, channels=21))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["conv", "depthwise", "max", "sum"]),
    height=st.integers(3, 12),
    width=st.integers(3, 30),
    channels=st.integers(1, 40),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 2),
    packed=st.booleans(),
    dynamic=st.sampled_from(["", "n", "hw"]),
)
def test_any_window(
    kind: str, height: int, width: int, channels: int, kernel: tuple[int, int], stride: int,
    dilation: int, pad: int, packed: bool, dynamic: str,
) -> None:  # fmt: skip
    window = Window(
        kind=kind, height=height, width=width, channels=channels, kernel=kernel, stride=stride,
        dilation=dilation, pad=pad, packed=packed and kind == "conv", dynamic=dynamic,
    )  # fmt: skip
    extents = window.extents()
    if extents["y"] > 0 and extents["x"] > 0:
        check(window)
