// A constant of equal elements is made anew; a table keeps its dimensions, and others with it.
#x = affine_map<(b, a, m, n, k) -> (b, a, m, k)>
#w = affine_map<(b, a, m, n, k) -> (k, n)>
#y = affine_map<(b, a, m, n, k) -> (b, a, m, n)>
#id = affine_map<(b, a, m, n) -> (b, a, m, n)>
#t = affine_map<(b, a, m, n) -> (b, a, 0, 0)>
func.func @main(%x: tensor<3x2x5x8xf32>, %w: tensor<8x16xf32>) -> tensor<3x2x5x16xf32> {
  %y = call @main_dispatch_0(%x, %w)
      : (tensor<3x2x5x8xf32>, tensor<8x16xf32>) -> tensor<3x2x5x16xf32>
  %z = call @main_dispatch_1(%y, %w)
      : (tensor<3x2x5x16xf32>, tensor<8x16xf32>) -> tensor<3x2x5x16xf32>
  return %z : tensor<3x2x5x16xf32>
}
func.func private @main_dispatch_0(%x: tensor<3x2x5x8xf32>, %w: tensor<8x16xf32>)
    -> tensor<3x2x5x16xf32> attributes {flow.dispatch, flow.kind = "contraction"} {
  %zero = arith.constant 0.0 : f32
  %s = arith.constant dense<[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]], [[[5.0]], [[6.0]]]]>
      : tensor<3x2x1x1xf32>
  %e = tensor.empty() : tensor<3x2x5x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<3x2x5x16xf32>) -> tensor<3x2x5x16xf32>
  %p = linalg.generic {indexing_maps = [#x, #w, #y],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<3x2x5x8xf32>, tensor<8x16xf32>) outs(%f : tensor<3x2x5x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.mulf %a, %c : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<3x2x5x16xf32>
  %r = linalg.generic {indexing_maps = [#id, #t, #id],
      iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%p, %s : tensor<3x2x5x16xf32>, tensor<3x2x1x1xf32>)
      outs(%e : tensor<3x2x5x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.mulf %a, %c : f32
    linalg.yield %0 : f32
  } -> tensor<3x2x5x16xf32>
  return %r : tensor<3x2x5x16xf32>
}
func.func private @main_dispatch_1(%x: tensor<3x2x5x16xf32>, %w: tensor<8x16xf32>)
    -> tensor<3x2x5x16xf32> attributes {flow.dispatch, flow.kind = "contraction"} {
  %init = arith.constant dense<1.0> : tensor<3x2x5x8xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<3x2x5x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<3x2x5x16xf32>) -> tensor<3x2x5x16xf32>
  %p = linalg.generic {indexing_maps = [#x, #w, #y],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]}
      ins(%init, %w : tensor<3x2x5x8xf32>, tensor<8x16xf32>) outs(%f : tensor<3x2x5x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.mulf %a, %c : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<3x2x5x16xf32>
  %r = linalg.generic {indexing_maps = [#id, #id, #id],
      iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%p, %x : tensor<3x2x5x16xf32>, tensor<3x2x5x16xf32>)
      outs(%e : tensor<3x2x5x16xf32>) {
  ^bb0(%a: f32, %c: f32, %o: f32):
    %0 = arith.addf %a, %c : f32
    linalg.yield %0 : f32
  } -> tensor<3x2x5x16xf32>
  return %r : tensor<3x2x5x16xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d4)>
#map1 = affine_map<(d0, d1, d2, d3, d4) -> (d4, d3)>
#map2 = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3)>
#map3 = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#map4 = affine_map<(d0, d1, d2, d3) -> (d0, d1, 0, 0)>
#map5 = affine_map<(d0, d1, d2) -> (d0, d2)>
#map6 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map7 = affine_map<(d0, d1, d2) -> (d0, d1)>
#map8 = affine_map<(d0, d1) -> (d0, d1)>
module {
  func.func @main(%arg0: tensor<3x2x5x8xf32>, %arg1: tensor<8x16xf32>) -> tensor<3x2x5x16xf32> {
    %0 = call @main_dispatch_0(%arg0, %arg1) : (tensor<3x2x5x8xf32>, tensor<8x16xf32>) -> tensor<3x2x5x16xf32>
    %collapsed = tensor.collapse_shape %0 [[0, 1, 2], [3]] : tensor<3x2x5x16xf32> into tensor<30x16xf32>
    %1 = call @main_dispatch_1(%collapsed, %arg1) : (tensor<30x16xf32>, tensor<8x16xf32>) -> tensor<30x16xf32>
    %expanded = tensor.expand_shape %1 [[0, 1, 2], [3]] output_shape [3, 2, 5, 16] : tensor<30x16xf32> into tensor<3x2x5x16xf32>
    return %expanded : tensor<3x2x5x16xf32>
  }
  func.func private @main_dispatch_0(%arg0: tensor<3x2x5x8xf32>, %arg1: tensor<8x16xf32>) -> tensor<3x2x5x16xf32> attributes {flow.dispatch, flow.kind = "contraction"} {
    %cst = arith.constant 0.000000e+00 : f32
    %cst_0 = arith.constant dense<[[[[1.000000e+00]], [[2.000000e+00]]], [[[3.000000e+00]], [[4.000000e+00]]], [[[5.000000e+00]], [[6.000000e+00]]]]> : tensor<3x2x1x1xf32>
    %0 = tensor.empty() : tensor<3x2x5x16xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<3x2x5x16xf32>) -> tensor<3x2x5x16xf32>
    %2 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<3x2x5x8xf32>, tensor<8x16xf32>) outs(%1 : tensor<3x2x5x16xf32>) {
    ^bb0(%in: f32, %in_1: f32, %out: f32):
      %4 = arith.mulf %in, %in_1 : f32
      %5 = arith.addf %out, %4 : f32
      linalg.yield %5 : f32
    } -> tensor<3x2x5x16xf32>
    %3 = linalg.generic {indexing_maps = [#map3, #map4, #map3], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%2, %cst_0 : tensor<3x2x5x16xf32>, tensor<3x2x1x1xf32>) outs(%0 : tensor<3x2x5x16xf32>) {
    ^bb0(%in: f32, %in_1: f32, %out: f32):
      %4 = arith.mulf %in, %in_1 : f32
      linalg.yield %4 : f32
    } -> tensor<3x2x5x16xf32>
    return %3 : tensor<3x2x5x16xf32>
  }
  func.func private @main_dispatch_1(%arg0: tensor<30x16xf32>, %arg1: tensor<8x16xf32>) -> tensor<30x16xf32> attributes {flow.dispatch, flow.kind = "contraction"} {
    %cst = arith.constant dense<1.000000e+00> : tensor<30x8xf32>
    %cst_0 = arith.constant 0.000000e+00 : f32
    %0 = tensor.empty() : tensor<30x16xf32>
    %1 = linalg.fill ins(%cst_0 : f32) outs(%0 : tensor<30x16xf32>) -> tensor<30x16xf32>
    %2 = linalg.generic {indexing_maps = [#map5, #map6, #map7], iterator_types = ["parallel", "parallel", "reduction"]} ins(%cst, %arg1 : tensor<30x8xf32>, tensor<8x16xf32>) outs(%1 : tensor<30x16xf32>) {
    ^bb0(%in: f32, %in_1: f32, %out: f32):
      %4 = arith.mulf %in, %in_1 : f32
      %5 = arith.addf %out, %4 : f32
      linalg.yield %5 : f32
    } -> tensor<30x16xf32>
    %3 = linalg.generic {indexing_maps = [#map8, #map8, #map8], iterator_types = ["parallel", "parallel"]} ins(%2, %arg0 : tensor<30x16xf32>, tensor<30x16xf32>) outs(%0 : tensor<30x16xf32>) {
    ^bb0(%in: f32, %in_1: f32, %out: f32):
      %4 = arith.addf %in, %in_1 : f32
      linalg.yield %4 : f32
    } -> tensor<30x16xf32>
    return %3 : tensor<30x16xf32>
  }
}
