// The product of dequantised bytes is the scaled product of the bytes.
#ij = affine_map<(i, j) -> (i, j)>
#ik = affine_map<(i, j, k) -> (i, k)>
#kj = affine_map<(i, j, k) -> (k, j)>
#out = affine_map<(i, j, k) -> (i, j)>
func.func @main(%x: tensor<4x8xi8>, %w: tensor<8x16xi8>) -> tensor<4x16xf32> {
  %xs = arith.constant 0.5 : f32
  %ws = arith.constant 0.25 : f32
  %zero = arith.constant 0.0 : f32
  %xe = tensor.empty() : tensor<4x8xf32>
  %we = tensor.empty() : tensor<8x16xf32>
  %ye = tensor.empty() : tensor<4x16xf32>
  %xf = linalg.generic {indexing_maps = [#ij, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<4x8xi8>) outs(%xe : tensor<4x8xf32>) {
  ^bb0(%a: i8, %o: f32):
    %0 = arith.extsi %a : i8 to i32
    %1 = arith.sitofp %0 : i32 to f32
    %2 = arith.mulf %1, %xs : f32
    linalg.yield %2 : f32
  } -> tensor<4x8xf32>
  %wf = linalg.generic {indexing_maps = [#ij, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%w : tensor<8x16xi8>) outs(%we : tensor<8x16xf32>) {
  ^bb0(%a: i8, %o: f32):
    %0 = arith.extsi %a : i8 to i32
    %1 = arith.sitofp %0 : i32 to f32
    %2 = arith.mulf %1, %ws : f32
    linalg.yield %2 : f32
  } -> tensor<8x16xf32>
  %f = linalg.fill ins(%zero : f32) outs(%ye : tensor<4x16xf32>) -> tensor<4x16xf32>
  %y = linalg.generic {indexing_maps = [#ik, #kj, #out],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%xf, %wf : tensor<4x8xf32>, tensor<8x16xf32>) outs(%f : tensor<4x16xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %o, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<4x16xf32>
  return %y : tensor<4x16xf32>
}
// ----- after
#map = affine_map<(d0, d1) -> (d0, d1)>
#map1 = affine_map<(d0, d1, d2) -> (d0, d2)>
#map2 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map3 = affine_map<(d0, d1, d2) -> (d0, d1)>
module {
  func.func @main(%arg0: tensor<4x8xi8>, %arg1: tensor<8x16xi8>) -> tensor<4x16xf32> {
    %cst = arith.constant 5.000000e-01 : f32
    %cst_0 = arith.constant 2.500000e-01 : f32
    %cst_1 = arith.constant 0.000000e+00 : f32
    %0 = tensor.empty() : tensor<4x8xf32>
    %1 = tensor.empty() : tensor<8x16xf32>
    %2 = tensor.empty() : tensor<4x16xf32>
    %3 = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]} ins(%arg0 : tensor<4x8xi8>) outs(%0 : tensor<4x8xf32>) {
    ^bb0(%in: i8, %out: f32):
      %10 = arith.extsi %in : i8 to i32
      %11 = arith.sitofp %10 : i32 to f32
      %12 = arith.mulf %11, %cst : f32
      linalg.yield %12 : f32
    } -> tensor<4x8xf32>
    %4 = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]} ins(%arg1 : tensor<8x16xi8>) outs(%1 : tensor<8x16xf32>) {
    ^bb0(%in: i8, %out: f32):
      %10 = arith.extsi %in : i8 to i32
      %11 = arith.sitofp %10 : i32 to f32
      %12 = arith.mulf %11, %cst_0 : f32
      linalg.yield %12 : f32
    } -> tensor<8x16xf32>
    %5 = linalg.fill ins(%cst_1 : f32) outs(%2 : tensor<4x16xf32>) -> tensor<4x16xf32>
    %6 = tensor.empty() : tensor<4x16xi32>
    %c0_i32 = arith.constant 0 : i32
    %7 = linalg.fill ins(%c0_i32 : i32) outs(%6 : tensor<4x16xi32>) -> tensor<4x16xi32>
    %8 = linalg.generic {indexing_maps = [#map1, #map2, #map3], iterator_types = ["parallel", "parallel", "reduction"]} ins(%arg0, %arg1 : tensor<4x8xi8>, tensor<8x16xi8>) outs(%7 : tensor<4x16xi32>) {
    ^bb0(%in: i8, %in_2: i8, %out: i32):
      %10 = arith.extsi %in : i8 to i32
      %11 = arith.extsi %in_2 : i8 to i32
      %12 = arith.muli %10, %11 : i32
      %13 = arith.addi %out, %12 : i32
      linalg.yield %13 : i32
    } -> tensor<4x16xi32>
    %9 = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]} ins(%8 : tensor<4x16xi32>) outs(%2 : tensor<4x16xf32>) {
    ^bb0(%in: i32, %out: f32):
      %cst_2 = arith.constant 1.250000e-01 : f32
      %10 = arith.sitofp %in : i32 to f32
      %11 = arith.mulf %10, %cst_2 : f32
      linalg.yield %11 : f32
    } -> tensor<4x16xf32>
    return %9 : tensor<4x16xf32>
  }
}
