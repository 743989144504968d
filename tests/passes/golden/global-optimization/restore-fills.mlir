// Spreading a scalar is a fill; an output that is not read is an empty tensor.
#scalar = affine_map<(i, j) -> ()>
#ij = affine_map<(i, j) -> (i, j)>
func.func @main(%x: tensor<?x4xf32>, %o: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<?x4xf32>) {
  %zero = arith.constant 0.0 : f32
  %f = linalg.generic {indexing_maps = [#scalar, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%zero : f32) outs(%o : tensor<4x8xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  } -> tensor<4x8xf32>
  %y = linalg.generic {indexing_maps = [#ij, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x4xf32>) outs(%x : tensor<?x4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %0 = math.exp %a : f32
    linalg.yield %0 : f32
  } -> tensor<?x4xf32>
  return %f, %y : tensor<4x8xf32>, tensor<?x4xf32>
}
// ----- after
#map = affine_map<(d0, d1) -> (d0, d1)>
module {
  func.func @main(%arg0: tensor<?x4xf32>, %arg1: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<?x4xf32>) {
    %cst = arith.constant 0.000000e+00 : f32
    %0 = linalg.fill ins(%cst : f32) outs(%arg1 : tensor<4x8xf32>) -> tensor<4x8xf32>
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x4xf32>
    %1 = tensor.empty(%dim) : tensor<?x4xf32>
    %2 = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]} ins(%arg0 : tensor<?x4xf32>) outs(%1 : tensor<?x4xf32>) {
    ^bb0(%in: f32, %out: f32):
      %3 = math.exp %in : f32
      linalg.yield %3 : f32
    } -> tensor<?x4xf32>
    return %0, %2 : tensor<4x8xf32>, tensor<?x4xf32>
  }
}
