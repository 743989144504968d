// A named operation becomes a generic.
func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x64xf32>, %o: tensor<4x64xf32>)
    -> tensor<4x64xf32> {
  %y = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x64xf32>)
      outs(%o : tensor<4x64xf32>) -> tensor<4x64xf32>
  return %y : tensor<4x64xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
module {
  func.func @main(%arg0: tensor<4x8xf32>, %arg1: tensor<8x64xf32>, %arg2: tensor<4x64xf32>) -> tensor<4x64xf32> {
    %0 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<4x8xf32>, tensor<8x64xf32>) outs(%arg2 : tensor<4x64xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %1 = arith.mulf %in, %in_0 : f32
      %2 = arith.addf %out, %1 : f32
      linalg.yield %2 : f32
    } -> tensor<4x64xf32>
    return %0 : tensor<4x64xf32>
  }
}
