// Two projections of the same rows are one product with stacked weights.
#ik = affine_map<(i, j, k) -> (i, k)>
#kj = affine_map<(i, j, k) -> (k, j)>
#out = affine_map<(i, j, k) -> (i, j)>
func.func @main(%x: tensor<128x64xf32>) -> (tensor<128x8x8xf32>, tensor<128x8x8xf32>) {
  %wq = "flow.parameter"() {key = "wq"} : () -> tensor<64x64xf32>
  %wk = "flow.parameter"() {key = "wk"} : () -> tensor<64x64xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<128x64xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<128x64xf32>) -> tensor<128x64xf32>
  %q = linalg.generic {indexing_maps = [#ik, #kj, #out],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %wq : tensor<128x64xf32>, tensor<64x64xf32>) outs(%f : tensor<128x64xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<128x64xf32>
  %k = linalg.generic {indexing_maps = [#ik, #kj, #out],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %wk : tensor<128x64xf32>, tensor<64x64xf32>) outs(%f : tensor<128x64xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<128x64xf32>
  %qh = tensor.expand_shape %q [[0], [1, 2]] output_shape [128, 8, 8]
      : tensor<128x64xf32> into tensor<128x8x8xf32>
  %kh = tensor.expand_shape %k [[0], [1, 2]] output_shape [128, 8, 8]
      : tensor<128x64xf32> into tensor<128x8x8xf32>
  return %qh, %kh : tensor<128x8x8xf32>, tensor<128x8x8xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2, d3) -> (d1, d3)>
#map1 = affine_map<(d0, d1, d2, d3) -> (d0, d3, d2)>
#map2 = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>
module {
  func.func @main(%arg0: tensor<128x64xf32>) -> (tensor<128x8x8xf32>, tensor<128x8x8xf32>) {
    %0 = "flow.parameter"() {key = "wq"} : () -> tensor<64x64xf32>
    %1 = "flow.parameter"() {key = "wk"} : () -> tensor<64x64xf32>
    %cst = arith.constant 0.000000e+00 : f32
    %2 = tensor.empty() : tensor<128x64xf32>
    %3 = linalg.fill ins(%cst : f32) outs(%2 : tensor<128x64xf32>) -> tensor<128x64xf32>
    %4 = "flow.parameter"() {key = "wq#1"} : () -> tensor<2x64x64xf32>
    %5 = tensor.empty() : tensor<2x128x64xf32>
    %6 = linalg.fill ins(%cst : f32) outs(%5 : tensor<2x128x64xf32>) -> tensor<2x128x64xf32>
    %7 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} ins(%arg0, %4 : tensor<128x64xf32>, tensor<2x64x64xf32>) outs(%6 : tensor<2x128x64xf32>) {
    ^bb0(%in: f32, %in_2: f32, %out: f32):
      %8 = arith.mulf %in, %in_2 : f32
      %9 = arith.addf %out, %8 : f32
      linalg.yield %9 : f32
    } -> tensor<2x128x64xf32>
    %extracted_slice = tensor.extract_slice %7[0, 0, 0] [1, 128, 64] [1, 1, 1] : tensor<2x128x64xf32> to tensor<128x64xf32>
    %extracted_slice_0 = tensor.extract_slice %7[1, 0, 0] [1, 128, 64] [1, 1, 1] : tensor<2x128x64xf32> to tensor<128x64xf32>
    %expanded = tensor.expand_shape %extracted_slice [[0], [1, 2]] output_shape [128, 8, 8] : tensor<128x64xf32> into tensor<128x8x8xf32>
    %expanded_1 = tensor.expand_shape %extracted_slice_0 [[0], [1, 2]] output_shape [128, 8, 8] : tensor<128x64xf32> into tensor<128x8x8xf32>
    return %expanded, %expanded_1 : tensor<128x8x8xf32>, tensor<128x8x8xf32>
  }
}
// parameter wq#1: 2x64x64 float32
