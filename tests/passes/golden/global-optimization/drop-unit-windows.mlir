// A 1x1 convolution becomes a product over its channels.
#x = affine_map<(n, y, x, o, ky, kx, c) -> (n, y * 2 + ky, x * 2 + kx, c)>
#w = affine_map<(n, y, x, o, ky, kx, c) -> (o, ky, kx, c)>
#y = affine_map<(n, y, x, o, ky, kx, c) -> (n, y, x, o)>
func.func @main(%x: tensor<1x13x13x8xf32>) -> tensor<1x7x7x16xf32> {
  %w = "flow.parameter"() {key = "w"} : () -> tensor<16x1x1x8xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x7x7x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<1x7x7x16xf32>) -> tensor<1x7x7x16xf32>
  %y = linalg.generic {indexing_maps = [#x, #w, #y],
      iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction",
                        "reduction"]}
      ins(%x, %w : tensor<1x13x13x8xf32>, tensor<16x1x1x8xf32>)
      outs(%f : tensor<1x7x7x16xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<1x7x7x16xf32>
  return %y : tensor<1x7x7x16xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1 * 2, d2 * 2, d4)>
#map1 = affine_map<(d0, d1, d2, d3, d4) -> (d3, d4)>
#map2 = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3)>
module {
  func.func @main(%arg0: tensor<1x13x13x8xf32>) -> tensor<1x7x7x16xf32> {
    %0 = "flow.parameter"() {key = "w"} : () -> tensor<16x1x1x8xf32>
    %cst = arith.constant 0.000000e+00 : f32
    %1 = tensor.empty() : tensor<1x7x7x16xf32>
    %2 = linalg.fill ins(%cst : f32) outs(%1 : tensor<1x7x7x16xf32>) -> tensor<1x7x7x16xf32>
    %collapsed = tensor.collapse_shape %0 [[0, 1, 2], [3]] : tensor<16x1x1x8xf32> into tensor<16x8xf32>
    %3 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]} ins(%arg0, %collapsed : tensor<1x13x13x8xf32>, tensor<16x8xf32>) outs(%2 : tensor<1x7x7x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %4 = arith.mulf %in, %in_0 : f32
      %5 = arith.addf %out, %4 : f32
      linalg.yield %5 : f32
    } -> tensor<1x7x7x16xf32>
    return %3 : tensor<1x7x7x16xf32>
  }
}
