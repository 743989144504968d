// Only dimensions of known size are joined, and only where every tensor has both.
#x = affine_map<(b, h, s, o, c) -> (b, h, s, c)>
#w = affine_map<(b, h, s, o, c) -> (h, c, o)>
#y = affine_map<(b, h, s, o, c) -> (b, h, s, o)>
#z = affine_map<(a, b, m, n, k) -> (a, b, m, k)>
#v = affine_map<(a, b, m, n, k) -> (a, b, k, n)>
#u = affine_map<(a, b, m, n, k) -> (a, b, m, n)>
func.func @main(%x: tensor<4x2x?x8xf32>, %w: tensor<2x8x16xf32>, %z: tensor<4x2x8x16xf32>,
    %n: index) -> (tensor<4x2x?x16xf32>, tensor<4x2x?x16xf32>) {
  %y = call @main_dispatch_0(%x, %w, %n)
      : (tensor<4x2x?x8xf32>, tensor<2x8x16xf32>, index) -> tensor<4x2x?x16xf32>
  %u = call @main_dispatch_1(%x, %z, %n)
      : (tensor<4x2x?x8xf32>, tensor<4x2x8x16xf32>, index) -> tensor<4x2x?x16xf32>
  return %y, %u : tensor<4x2x?x16xf32>, tensor<4x2x?x16xf32>
}
func.func private @main_dispatch_0(%x: tensor<4x2x?x8xf32> {flow.dims = array<i64: 2>},
    %w: tensor<2x8x16xf32>, %n: index) -> (tensor<4x2x?x16xf32> {flow.dims = array<i64: 2>})
    attributes {flow.dispatch, flow.kind = "contraction"} {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty(%n) : tensor<4x2x?x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<4x2x?x16xf32>) -> tensor<4x2x?x16xf32>
  %p = linalg.generic {indexing_maps = [#x, #w, #y],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<4x2x?x8xf32>, tensor<2x8x16xf32>) outs(%f : tensor<4x2x?x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.mulf %a, %c : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<4x2x?x16xf32>
  return %p : tensor<4x2x?x16xf32>
}
func.func private @main_dispatch_1(%x: tensor<4x2x?x8xf32> {flow.dims = array<i64: 2>},
    %w: tensor<4x2x8x16xf32>, %n: index) -> (tensor<4x2x?x16xf32> {flow.dims = array<i64: 2>})
    attributes {flow.dispatch, flow.kind = "contraction"} {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty(%n) : tensor<4x2x?x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<4x2x?x16xf32>) -> tensor<4x2x?x16xf32>
  %p = linalg.generic {indexing_maps = [#z, #v, #u],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<4x2x?x8xf32>, tensor<4x2x8x16xf32>) outs(%f : tensor<4x2x?x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.mulf %a, %c : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<4x2x?x16xf32>
  return %p : tensor<4x2x?x16xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d4)>
#map1 = affine_map<(d0, d1, d2, d3, d4) -> (d1, d4, d3)>
#map2 = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3)>
#map3 = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>
#map4 = affine_map<(d0, d1, d2, d3) -> (d0, d3, d2)>
#map5 = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>
module {
  func.func @main(%arg0: tensor<4x2x?x8xf32>, %arg1: tensor<2x8x16xf32>, %arg2: tensor<4x2x8x16xf32>, %arg3: index) -> (tensor<4x2x?x16xf32>, tensor<4x2x?x16xf32>) {
    %0 = call @main_dispatch_0(%arg0, %arg1, %arg3) : (tensor<4x2x?x8xf32>, tensor<2x8x16xf32>, index) -> tensor<4x2x?x16xf32>
    %collapsed = tensor.collapse_shape %arg0 [[0, 1], [2], [3]] : tensor<4x2x?x8xf32> into tensor<8x?x8xf32>
    %collapsed_0 = tensor.collapse_shape %arg2 [[0, 1], [2], [3]] : tensor<4x2x8x16xf32> into tensor<8x8x16xf32>
    %1 = call @main_dispatch_1(%collapsed, %collapsed_0, %arg3) : (tensor<8x?x8xf32>, tensor<8x8x16xf32>, index) -> tensor<8x?x16xf32>
    %expanded = tensor.expand_shape %1 [[0, 1], [2], [3]] output_shape [4, 2, %arg3, 16] : tensor<8x?x16xf32> into tensor<4x2x?x16xf32>
    return %0, %expanded : tensor<4x2x?x16xf32>, tensor<4x2x?x16xf32>
  }
  func.func private @main_dispatch_0(%arg0: tensor<4x2x?x8xf32> {flow.dims = array<i64: 2>}, %arg1: tensor<2x8x16xf32>, %arg2: index) -> (tensor<4x2x?x16xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch, flow.kind = "contraction"} {
    %cst = arith.constant 0.000000e+00 : f32
    %0 = tensor.empty(%arg2) : tensor<4x2x?x16xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<4x2x?x16xf32>) -> tensor<4x2x?x16xf32>
    %2 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<4x2x?x8xf32>, tensor<2x8x16xf32>) outs(%1 : tensor<4x2x?x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %3 = arith.mulf %in, %in_0 : f32
      %4 = arith.addf %out, %3 : f32
      linalg.yield %4 : f32
    } -> tensor<4x2x?x16xf32>
    return %2 : tensor<4x2x?x16xf32>
  }
  func.func private @main_dispatch_1(%arg0: tensor<8x?x8xf32> {flow.dims = array<i64: 2>}, %arg1: tensor<8x8x16xf32>, %arg2: index) -> (tensor<8x?x16xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch, flow.kind = "contraction"} {
    %cst = arith.constant 0.000000e+00 : f32
    %0 = tensor.empty(%arg2) : tensor<8x?x16xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<8x?x16xf32>) -> tensor<8x?x16xf32>
    %2 = linalg.generic {indexing_maps = [#map3, #map4, #map5], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<8x?x8xf32>, tensor<8x8x16xf32>) outs(%1 : tensor<8x?x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %3 = arith.mulf %in, %in_0 : f32
      %4 = arith.addf %out, %3 : f32
      linalg.yield %4 : f32
    } -> tensor<8x?x16xf32>
    return %2 : tensor<8x?x16xf32>
  }
}
