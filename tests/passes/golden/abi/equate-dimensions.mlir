// An addition walks both operands together, so their sizes are one.
#identity = affine_map<(i) -> (i)>
func.func @add(%x: tensor<?xf32> {iree.name = "x", iree.dims = ["m"], iree.dtype = "f32"},
               %y: tensor<?xf32> {iree.name = "y", iree.dims = ["n"], iree.dtype = "f32"})
    -> (tensor<?xf32> {iree.name = "z", iree.dims = ["k"], iree.dtype = "f32"}) {
  %c0 = arith.constant 0 : index
  %m = tensor.dim %x, %c0 : tensor<?xf32>
  %e = tensor.empty(%m) : tensor<?xf32>
  %z = linalg.generic {indexing_maps = [#identity, #identity, #identity],
      iterator_types = ["parallel"]}
      ins(%x, %y : tensor<?xf32>, tensor<?xf32>) outs(%e : tensor<?xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %0 = arith.addf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<?xf32>
  return %z : tensor<?xf32>
}
// ----- after
#map = affine_map<(d0) -> (d0)>
module {
  func.func @add(%arg0: tensor<?xf32> {iree.dims = ["m"], iree.dtype = "f32", iree.name = "x"}, %arg1: tensor<?xf32> {iree.dims = ["m"], iree.dtype = "f32", iree.name = "y"}) -> (tensor<?xf32> {iree.dims = ["k"], iree.dtype = "f32", iree.name = "z"}) {
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?xf32>
    %0 = tensor.empty(%dim) : tensor<?xf32>
    %1 = linalg.generic {indexing_maps = [#map, #map, #map], iterator_types = ["parallel"]} ins(%arg0, %arg1 : tensor<?xf32>, tensor<?xf32>) outs(%0 : tensor<?xf32>) {
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %2 = arith.addf %in, %in_0 : f32
      linalg.yield %2 : f32
    } -> tensor<?xf32>
    return %1 : tensor<?xf32>
  }
}
