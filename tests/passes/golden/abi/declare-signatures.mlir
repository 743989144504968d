// Everything gets a name; what the frontend named keeps it.
func.func @main(%x: tensor<?x4xf32>, %y: tensor<?xi64> {iree.name = "tokens", iree.dims = ["n"]})
    -> tensor<?x4xf32> {
  return %x : tensor<?x4xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?x4xf32> {iree.dims = ["input0_d0"], iree.dtype = "f32", iree.name = "input0"}, %arg1: tensor<?xi64> {iree.dims = ["n"], iree.dtype = "i64", iree.name = "tokens"}) -> (tensor<?x4xf32> {iree.dims = ["output0_d0"], iree.dtype = "f32", iree.name = "output0"}) {
    return %arg0 : tensor<?x4xf32>
  }
}
