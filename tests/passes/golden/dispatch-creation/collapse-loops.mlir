// Images, rows and pixels become one loop of the product; the bias has none of them.
#x = affine_map<(n, y, x, o, c) -> (n, y, x, c)>
#w = affine_map<(n, y, x, o, c) -> (o, c)>
#y = affine_map<(n, y, x, o, c) -> (n, y, x, o)>
#id = affine_map<(n, y, x, o) -> (n, y, x, o)>
#o = affine_map<(n, y, x, o) -> (o)>
func.func @main(%x: tensor<2x7x7x8xf32>, %w: tensor<16x8xf32>, %b: tensor<16xf32>)
    -> tensor<2x7x7x16xf32> {
  %y = call @main_dispatch_0(%x, %w, %b)
      : (tensor<2x7x7x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<2x7x7x16xf32>
  return %y : tensor<2x7x7x16xf32>
}
func.func private @main_dispatch_0(%x: tensor<2x7x7x8xf32>, %w: tensor<16x8xf32>,
    %b: tensor<16xf32>) -> tensor<2x7x7x16xf32>
    attributes {flow.dispatch, flow.kind = "contraction"} {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<2x7x7x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<2x7x7x16xf32>) -> tensor<2x7x7x16xf32>
  %p = linalg.generic {indexing_maps = [#x, #w, #y],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<2x7x7x8xf32>, tensor<16x8xf32>) outs(%f : tensor<2x7x7x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.mulf %a, %c : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<2x7x7x16xf32>
  %r = linalg.generic {indexing_maps = [#id, #o, #id],
      iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%p, %b : tensor<2x7x7x16xf32>, tensor<16xf32>) outs(%e : tensor<2x7x7x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.addf %a, %c : f32
    %1 = arith.maximumf %0, %zero : f32
    linalg.yield %1 : f32
  } -> tensor<2x7x7x16xf32>
  return %r : tensor<2x7x7x16xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d1, d2)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
#map3 = affine_map<(d0, d1) -> (d0, d1)>
#map4 = affine_map<(d0, d1) -> (d1)>
module {
  func.func @main(%arg0: tensor<2x7x7x8xf32>, %arg1: tensor<16x8xf32>, %arg2: tensor<16xf32>) -> tensor<2x7x7x16xf32> {
    %collapsed = tensor.collapse_shape %arg0 [[0, 1, 2], [3]] : tensor<2x7x7x8xf32> into tensor<98x8xf32>
    %0 = call @main_dispatch_0(%collapsed, %arg1, %arg2) : (tensor<98x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<98x16xf32>
    %expanded = tensor.expand_shape %0 [[0, 1, 2], [3]] output_shape [2, 7, 7, 16] : tensor<98x16xf32> into tensor<2x7x7x16xf32>
    return %expanded : tensor<2x7x7x16xf32>
  }
  func.func private @main_dispatch_0(%arg0: tensor<98x8xf32>, %arg1: tensor<16x8xf32>, %arg2: tensor<16xf32>) -> tensor<98x16xf32> attributes {flow.dispatch, flow.kind = "contraction"} {
    %cst = arith.constant 0.000000e+00 : f32
    %0 = tensor.empty() : tensor<98x16xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<98x16xf32>) -> tensor<98x16xf32>
    %2 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<98x8xf32>, tensor<16x8xf32>) outs(%1 : tensor<98x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %4 = arith.mulf %in, %in_0 : f32
      %5 = arith.addf %out, %4 : f32
      linalg.yield %5 : f32
    } -> tensor<98x16xf32>
    %3 = linalg.generic {indexing_maps = [#map3, #map4, #map3], iterator_types = ["parallel", "parallel"]} ins(%2, %arg2 : tensor<98x16xf32>, tensor<16xf32>) outs(%0 : tensor<98x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %4 = arith.addf %in, %in_0 : f32
      %5 = arith.maximumf %4, %cst : f32
      linalg.yield %5 : f32
    } -> tensor<98x16xf32>
    return %3 : tensor<98x16xf32>
  }
}
