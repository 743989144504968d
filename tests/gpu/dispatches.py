"""Dispatch functions that the tests of all GPU backends compile and run."""

from __future__ import annotations

from collections.abc import Sequence


def elementwise(body: str, kinds: Sequence[str], result: str, size: int | None = None) -> str:
    """Return a dispatch that computes ``body`` of ``%a``, ``%b``, ... and yields ``%r``."""
    names = "abcdef"[: len(kinds)]
    n = "?" if size is None else str(size)
    dims = f"{{flow.dims = array<i64: {len(kinds)}>}}" if size is None else ""
    map_ = "affine_map<(i)->(i)>"
    pairs = list(zip(names, kinds, strict=False))
    arguments = ", ".join(f"%t{x}: tensor<{n}x{k}> {dims}" for x, k in pairs)
    scalar = ", %n: index" if size is None else ""
    empty = f"tensor.empty({'%n' if size is None else ''}) : tensor<{n}x{result}>"
    block = ", ".join(f"%{x}: {k}" for x, k in pairs)
    return f"""
    func.func private @d({arguments}{scalar}) -> (tensor<{n}x{result}> {dims})
        attributes {{flow.dispatch}} {{
      %e = {empty}
      %o = linalg.generic {{indexing_maps = [{", ".join([map_] * (len(kinds) + 1))}],
          iterator_types = ["parallel"]}}
          ins({", ".join(f"%t{x}" for x, _ in pairs)} :
              {", ".join(f"tensor<{n}x{k}>" for k in kinds)})
          outs(%e : tensor<{n}x{result}>) {{
        ^bb0({block}, %out: {result}):
          {body}
          linalg.yield %r : {result} }} -> tensor<{n}x{result}>
      return %o : tensor<{n}x{result}>
    }}"""


MATMUL = """
func.func private @d(%x: tensor<{m}x{k}xf32> {{flow.dims = array<i64: {md}>}},
    %w: tensor<{k}x{n}xf32> {{flow.dims = array<i64: {nd}>}}, %r: tensor<{m}x{n}xf32>
    {{flow.dims = array<i64: {rd}>}} {scalars})
    -> (tensor<{m}x{n}xf32> {{flow.dims = array<i64: {rd}>}})
    attributes {{flow.dispatch {place}}} {{
  %z = arith.constant 0.0 : f32
  %e = tensor.empty({sizes}) : tensor<{m}x{n}xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
  %p = linalg.generic {{indexing_maps = [affine_map<(i,j,k)->(i,k)>, affine_map<(i,j,k)->(k,j)>,
      affine_map<(i,j,k)->(i,j)>], iterator_types = ["parallel", "parallel", "reduction"]}}
      ins(%x, %w : tensor<{m}x{k}xf32>, tensor<{k}x{n}xf32>) outs(%f : tensor<{m}x{n}xf32>) {{
    ^bb0(%a: f32, %b: f32, %c: f32):
      %0 = arith.mulf %a, %b : f32
      %1 = arith.addf %c, %0 : f32
      linalg.yield %1 : f32 }} -> tensor<{m}x{n}xf32>
  %o = linalg.generic {{indexing_maps = [affine_map<(i,j)->(i,j)>, affine_map<(i,j)->(i,j)>,
      affine_map<(i,j)->(i,j)>], iterator_types = ["parallel", "parallel"]}}
      ins(%p, %r : tensor<{m}x{n}xf32>, tensor<{m}x{n}xf32>) outs(%e : tensor<{m}x{n}xf32>) {{
    ^bb0(%a: f32, %b: f32, %c: f32):
      %0 = arith.addf %a, %b : f32
      linalg.yield %0 : f32 }} -> tensor<{m}x{n}xf32>
  return %o : tensor<{m}x{n}xf32>
}}"""


def matmul_text(m: int | None, n: int | None, k: int, in_place: bool = False) -> str:
    scalars = [name for name, size in (("%m", m), ("%n", n)) if size is None]
    first = 3
    md = str(first) if m is None else ""
    nd = str(first + (m is None)) if n is None else ""
    text = MATMUL.format(
        m="?" if m is None else m, n="?" if n is None else n, k=k, md=md, nd=nd,
        rd=", ".join(x for x in (md, nd) if x), sizes=", ".join(scalars),
        scalars="".join(f", {s}: index" for s in scalars),
        place=", flow.in_place = array<i64: 2>" if in_place else "",
    )  # fmt: skip
    return text.replace(" {flow.dims = array<i64: >}", "").replace(
        "\n    {flow.dims = array<i64: >}", ""
    )


SOFTMAX = """
func.func private @d(%x: tensor<?x?xf32> {flow.dims = array<i64: 1, 2>}, %m: index, %n: index)
    -> (tensor<?x?xf32> {flow.dims = array<i64: 1, 2>}) attributes {flow.dispatch} {
  %low = arith.constant 0xFF800000 : f32
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty(%m, %n) : tensor<?x?xf32>
  %v = tensor.empty(%m) : tensor<?xf32>
  %lows = linalg.fill ins(%low : f32) outs(%v : tensor<?xf32>) -> tensor<?xf32>
  %zeros = linalg.fill ins(%zero : f32) outs(%v : tensor<?xf32>) -> tensor<?xf32>
  %max = linalg.generic {indexing_maps = [affine_map<(i,j)->(i,j)>, affine_map<(i,j)->(i)>],
      iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<?x?xf32>) outs(%lows : tensor<?xf32>) {
    ^bb0(%a: f32, %b: f32):
      %0 = arith.maximumf %a, %b : f32
      linalg.yield %0 : f32 } -> tensor<?xf32>
  %exp = linalg.generic {indexing_maps = [affine_map<(i,j)->(i,j)>, affine_map<(i,j)->(i)>,
      affine_map<(i,j)->(i,j)>], iterator_types = ["parallel", "parallel"]}
      ins(%x, %max : tensor<?x?xf32>, tensor<?xf32>) outs(%e : tensor<?x?xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %0 = arith.subf %a, %b : f32
      %1 = math.exp %0 : f32
      linalg.yield %1 : f32 } -> tensor<?x?xf32>
  %sum = linalg.generic {indexing_maps = [affine_map<(i,j)->(i,j)>, affine_map<(i,j)->(i)>],
      iterator_types = ["parallel", "reduction"]}
      ins(%exp : tensor<?x?xf32>) outs(%zeros : tensor<?xf32>) {
    ^bb0(%a: f32, %b: f32):
      %0 = arith.addf %a, %b : f32
      linalg.yield %0 : f32 } -> tensor<?xf32>
  %o = linalg.generic {indexing_maps = [affine_map<(i,j)->(i,j)>, affine_map<(i,j)->(i)>,
      affine_map<(i,j)->(i,j)>], iterator_types = ["parallel", "parallel"]}
      ins(%exp, %sum : tensor<?x?xf32>, tensor<?xf32>) outs(%e : tensor<?x?xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %0 = arith.divf %a, %b : f32
      linalg.yield %0 : f32 } -> tensor<?x?xf32>
  return %o : tensor<?x?xf32>
}"""
