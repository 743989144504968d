// Arithmetic of sizes becomes plain, equal sizes one; dispatches are not looked into.
func.func @main(%x: tensor<?x4xf32>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %a = affine.apply affine_map<(n) -> (n * 4)>(%n)
  %m = tensor.dim %x, %c0 : tensor<?x4xf32>
  return %a, %m : index, index
}
func.func private @dispatch_0(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
  %c0 = arith.constant 0 : index
  return %x : tensor<4xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?x4xf32>) -> (index, index) {
    %c4 = arith.constant 4 : index
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x4xf32>
    %0 = arith.muli %dim, %c4 overflow<nsw> : index
    return %0, %dim : index, index
  }
  func.func private @dispatch_0(%arg0: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
    %c0 = arith.constant 0 : index
    return %arg0 : tensor<4xf32>
  }
}
