// The weight keeps its shape; its type says how it is stored.
#ik = affine_map<(i, j, k) -> (i, k)>
#kj = affine_map<(i, j, k) -> (k, j)>
#out = affine_map<(i, j, k) -> (i, j)>
func.func @main(%x: tensor<?x8xf32>, %f: tensor<?x96xf32>) -> tensor<?x96xf32> {
  %w = "flow.parameter"() {key = "w"} : () -> tensor<8x96xf32>
  %y = linalg.generic {indexing_maps = [#ik, #kj, #out],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<?x8xf32>, tensor<8x96xf32>) outs(%f : tensor<?x96xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}
// ----- after
#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
module {
  func.func @main(%arg0: tensor<?x8xf32>, %arg1: tensor<?x96xf32>) -> tensor<?x96xf32> {
    %0 = "flow.parameter"() {key = "w#packed1"} : () -> tensor<8x96xf32, {order = [0], tile = 32 : i64, tile_dim = 1 : i64}>
    %1 = "flow.parameter"() {key = "w"} : () -> tensor<8x96xf32>
    %2 = linalg.generic {indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "reduction"]} ins(%arg0, %0 : tensor<?x8xf32>, tensor<8x96xf32, {order = [0], tile = 32 : i64, tile_dim = 1 : i64}>) outs(%arg1 : tensor<?x96xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %3 = arith.mulf %in, %in_0 : f32
      %4 = arith.addf %out, %3 : f32
      linalg.yield %4 : f32
    } -> tensor<?x96xf32>
    return %2 : tensor<?x96xf32>
  }
}
// parameter w#packed1: 3x8x32 float32
