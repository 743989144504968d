// A product and its activation form one dispatch, which takes the batch size as a scalar.
#ij = affine_map<(i, j) -> (i, j)>
#ik = affine_map<(i, j, k) -> (i, k)>
#kj = affine_map<(i, j, k) -> (k, j)>
#out = affine_map<(i, j, k) -> (i, j)>
func.func @main(%x: tensor<?x8xf32>) -> tensor<?x64xf32> {
  %w = "flow.parameter"() {key = "w"} : () -> tensor<8x64xf32>
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x8xf32>
  %e = tensor.empty(%n) : tensor<?x64xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x64xf32>) -> tensor<?x64xf32>
  %y = linalg.generic {indexing_maps = [#ik, #kj, #out],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<?x8xf32>, tensor<8x64xf32>) outs(%f : tensor<?x64xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<?x64xf32>
  %r = linalg.generic {indexing_maps = [#ij, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%y : tensor<?x64xf32>) outs(%e : tensor<?x64xf32>) {
  ^bb0(%a: f32, %o: f32):
    %0 = arith.maximumf %a, %zero : f32
    linalg.yield %0 : f32
  } -> tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
#map3 = affine_map<(d0, d1) -> (d0, d1)>
module {
  func.func @main(%arg0: tensor<?x8xf32>) -> tensor<?x64xf32> {
    %cst = arith.constant 0.000000e+00 : f32
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x8xf32>
    %0 = "flow.parameter"() {key = "w"} : () -> tensor<8x64xf32>
    %1 = tensor.empty(%dim) : tensor<?x64xf32>
    %2 = call @main_dispatch_0(%arg0, %0, %dim) : (tensor<?x8xf32>, tensor<8x64xf32>, index) -> tensor<?x64xf32>
    return %2 : tensor<?x64xf32>
  }
  func.func private @main_dispatch_0(%arg0: tensor<?x8xf32> {flow.dims = array<i64: 2>}, %arg1: tensor<8x64xf32>, %arg2: index) -> (tensor<?x64xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch, flow.kind = "contraction"} {
    %cst = arith.constant 0.000000e+00 : f32
    %0 = tensor.empty(%arg2) : tensor<?x64xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<?x64xf32>) -> tensor<?x64xf32>
    %2 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<?x8xf32>, tensor<8x64xf32>) outs(%1 : tensor<?x64xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %4 = arith.mulf %in, %in_0 : f32
      %5 = arith.addf %out, %4 : f32
      linalg.yield %5 : f32
    } -> tensor<?x64xf32>
    %3 = linalg.generic {indexing_maps = [#map3, #map3], iterator_types = ["parallel", "parallel"]} ins(%2 : tensor<?x64xf32>) outs(%0 : tensor<?x64xf32>) {
    ^bb0(%in: f32, %out: f32):
      %4 = arith.maximumf %in, %cst : f32
      linalg.yield %4 : f32
    } -> tensor<?x64xf32>
    return %3 : tensor<?x64xf32>
  }
}
