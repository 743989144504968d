// A convolution and what follows are stored channels last; what is returned is turned back.
#in = affine_map<(n, f, y, x, c, ky, kx) -> (n, c, y + ky, x + kx)>
#filter = affine_map<(n, f, y, x, c, ky, kx) -> (f, c, ky, kx)>
#out = affine_map<(n, f, y, x, c, ky, kx) -> (n, f, y, x)>
#id = affine_map<(n, f, y, x) -> (n, f, y, x)>
func.func @main(%x: tensor<?x3x8x8xf32>, %n: index) -> tensor<?x16x6x6xf32> {
  %w = "flow.parameter"() {key = "w"} : () -> tensor<16x3x3x3xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty(%n) : tensor<?x16x6x6xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x16x6x6xf32>) -> tensor<?x16x6x6xf32>
  %c = linalg.generic {indexing_maps = [#in, #filter, #out], iterator_types = ["parallel",
      "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]}
      ins(%x, %w : tensor<?x3x8x8xf32>, tensor<16x3x3x3xf32>)
      outs(%f : tensor<?x16x6x6xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<?x16x6x6xf32>
  %r = linalg.generic {indexing_maps = [#id, #id],
      iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%c : tensor<?x16x6x6xf32>) outs(%e : tensor<?x16x6x6xf32>) {
  ^bb0(%a: f32, %o: f32):
    %0 = arith.maximumf %a, %zero : f32
    linalg.yield %0 : f32
  } -> tensor<?x16x6x6xf32>
  return %r : tensor<?x16x6x6xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d6, d1 + d4, d2 + d5)>
#map1 = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3, d6, d4, d5)>
#map2 = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>
#map3 = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#map4 = affine_map<(d0, d1, d2, d3) -> (d0, d2, d3, d1)>
module {
  func.func @main(%arg0: tensor<?x3x8x8xf32>, %arg1: index) -> tensor<?x16x6x6xf32> {
    %0 = "flow.parameter"() {key = "w"} : () -> tensor<16x3x3x3xf32>
    %cst = arith.constant 0.000000e+00 : f32
    %1 = tensor.empty(%arg1) : tensor<?x16x6x6xf32>
    %2 = linalg.fill ins(%cst : f32) outs(%1 : tensor<?x16x6x6xf32>) -> tensor<?x16x6x6xf32>
    %3 = tensor.empty(%arg1) : tensor<?x6x6x16xf32>
    %4 = linalg.fill ins(%cst : f32) outs(%3 : tensor<?x6x6x16xf32>) -> tensor<?x6x6x16xf32>
    %5 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%arg0, %0 : tensor<?x3x8x8xf32>, tensor<16x3x3x3xf32>) outs(%4 : tensor<?x6x6x16xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %10 = arith.mulf %in, %in_0 : f32
      %11 = arith.addf %out, %10 : f32
      linalg.yield %11 : f32
    } -> tensor<?x6x6x16xf32>
    %6 = tensor.empty(%arg1) : tensor<?x6x6x16xf32>
    %7 = linalg.generic {indexing_maps = [#map3, #map3], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%5 : tensor<?x6x6x16xf32>) outs(%6 : tensor<?x6x6x16xf32>) {
    ^bb0(%in: f32, %out: f32):
      %10 = arith.maximumf %in, %cst : f32
      linalg.yield %10 : f32
    } -> tensor<?x6x6x16xf32>
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %7, %c0 : tensor<?x6x6x16xf32>
    %8 = tensor.empty(%dim) : tensor<?x16x6x6xf32>
    %9 = linalg.generic {indexing_maps = [#map4, #map3], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%7 : tensor<?x6x6x16xf32>) outs(%8 : tensor<?x16x6x6xf32>) {
    ^bb0(%in: f32, %out: f32):
      linalg.yield %in : f32
    } -> tensor<?x16x6x6xf32>
    return %9 : tensor<?x16x6x6xf32>
  }
}
