// The product works on the dimensions that the reshapes around it merge and split.
#mk = affine_map<(m, n, k) -> (m, k)>
#kn = affine_map<(m, n, k) -> (k, n)>
#mn = affine_map<(m, n, k) -> (m, n)>
func.func @main(%x: tensor<4x64x8xf32>, %w: tensor<8x16xf32>) -> tensor<4x64x16xf32> {
  %zero = arith.constant 0.0 : f32
  %0 = tensor.collapse_shape %x [[0, 1], [2]] : tensor<4x64x8xf32> into tensor<256x8xf32>
  %e = tensor.empty() : tensor<256x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<256x16xf32>) -> tensor<256x16xf32>
  %1 = linalg.generic {indexing_maps = [#mk, #kn, #mn],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%0, %w : tensor<256x8xf32>, tensor<8x16xf32>) outs(%f : tensor<256x16xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %2 = arith.mulf %a, %b : f32
    %3 = arith.addf %o, %2 : f32
    linalg.yield %3 : f32
  } -> tensor<256x16xf32>
  %y = tensor.expand_shape %1 [[0, 1], [2]] output_shape [4, 64, 16]
      : tensor<256x16xf32> into tensor<4x64x16xf32>
  return %y : tensor<4x64x16xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
#map3 = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>
#map4 = affine_map<(d0, d1, d2, d3) -> (d3, d2)>
#map5 = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>
module {
  func.func @main(%arg0: tensor<4x64x8xf32>, %arg1: tensor<8x16xf32>) -> tensor<4x64x16xf32> {
    %cst = arith.constant 0.000000e+00 : f32
    %collapsed = tensor.collapse_shape %arg0 [[0, 1], [2]] : tensor<4x64x8xf32> into tensor<256x8xf32>
    %0 = tensor.empty() : tensor<256x16xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<256x16xf32>) -> tensor<256x16xf32>
    %2 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "reduction"]} ins(%collapsed, %arg1 : tensor<256x8xf32>, tensor<8x16xf32>) outs(%1 : tensor<256x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %6 = arith.mulf %in, %in_0 : f32
      %7 = arith.addf %out, %6 : f32
      linalg.yield %7 : f32
    } -> tensor<256x16xf32>
    %3 = tensor.empty() : tensor<4x64x16xf32>
    %4 = linalg.fill ins(%cst : f32) outs(%3 : tensor<4x64x16xf32>) -> tensor<4x64x16xf32>
    %5 = linalg.generic {indexing_maps = [#map3, #map4, #map5], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<4x64x8xf32>, tensor<8x16xf32>) outs(%4 : tensor<4x64x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %6 = arith.mulf %in, %in_0 : f32
      %7 = arith.addf %out, %6 : f32
      linalg.yield %7 : f32
    } -> tensor<4x64x16xf32>
    return %5 : tensor<4x64x16xf32>
  }
}
