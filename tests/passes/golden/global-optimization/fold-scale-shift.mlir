// The scale of a batch normalisation goes into the weights.
#ij = affine_map<(i, j) -> (i, j)>
#j = affine_map<(i, j) -> (j)>
#ik = affine_map<(i, j, k) -> (i, k)>
#kj = affine_map<(i, j, k) -> (k, j)>
#out = affine_map<(i, j, k) -> (i, j)>
func.func @main(%x: tensor<?x2xf32>, %n: index) -> tensor<?x3xf32> {
  %w = "flow.parameter"() {key = "w"} : () -> tensor<2x3xf32>
  %scale = "flow.parameter"() {key = "scale"} : () -> tensor<3xf32>
  %shift = "flow.parameter"() {key = "shift"} : () -> tensor<3xf32>
  %e = tensor.empty(%n) : tensor<?x3xf32>
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x3xf32>) -> tensor<?x3xf32>
  %c = linalg.generic {indexing_maps = [#ik, #kj, #out],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<?x2xf32>, tensor<2x3xf32>) outs(%f : tensor<?x3xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<?x3xf32>
  %y = linalg.generic {indexing_maps = [#ij, #j, #j, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%c, %scale, %shift : tensor<?x3xf32>, tensor<3xf32>, tensor<3xf32>)
      outs(%e : tensor<?x3xf32>) {
  ^bb0(%a: f32, %s: f32, %t: f32, %o: f32):
    %0 = arith.mulf %a, %s : f32
    %1 = arith.addf %0, %t : f32
    linalg.yield %1 : f32
  } -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
#map3 = affine_map<(d0, d1) -> (d0, d1)>
#map4 = affine_map<(d0, d1) -> (d1)>
module {
  func.func @main(%arg0: tensor<?x2xf32>, %arg1: index) -> tensor<?x3xf32> {
    %0 = "flow.parameter"() {key = "w"} : () -> tensor<2x3xf32>
    %1 = "flow.parameter"() {key = "scale"} : () -> tensor<3xf32>
    %2 = "flow.parameter"() {key = "shift"} : () -> tensor<3xf32>
    %3 = tensor.empty(%arg1) : tensor<?x3xf32>
    %cst = arith.constant 0.000000e+00 : f32
    %4 = linalg.fill ins(%cst : f32) outs(%3 : tensor<?x3xf32>) -> tensor<?x3xf32>
    %5 = "flow.parameter"() {key = "w#1"} : () -> tensor<2x3xf32>
    %6 = "flow.parameter"() {key = "w#2"} : () -> tensor<3xf32>
    %7 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "reduction"]} ins(%arg0, %5 : tensor<?x2xf32>, tensor<2x3xf32>) outs(%4 : tensor<?x3xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %9 = arith.mulf %in, %in_0 : f32
      %10 = arith.addf %out, %9 : f32
      linalg.yield %10 : f32
    } -> tensor<?x3xf32>
    %8 = linalg.generic {indexing_maps = [#map3, #map4, #map3], iterator_types = ["parallel", "parallel"]} ins(%7, %6 : tensor<?x3xf32>, tensor<3xf32>) outs(%3 : tensor<?x3xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %9 = arith.addf %in, %in_0 : f32
      linalg.yield %9 : f32
    } -> tensor<?x3xf32>
    return %8 : tensor<?x3xf32>
  }
}
// parameter w#1: 2x3 float32 = [[0.0, 1.0, 4.0], [0.0, 4.0, 10.0]]
// parameter w#2: 3 float32 = [0.0, 1.0, 2.0]
