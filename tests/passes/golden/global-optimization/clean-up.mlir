// Equal operations are one, and what nobody uses goes.
func.func @main(%x: tensor<?x4xf32>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %m = tensor.dim %x, %c0 : tensor<?x4xf32>
  %unused = arith.addi %n, %m : index
  return %n, %m : index, index
}
func.func private @never_called() {
  return
}
// ----- after
module {
  func.func @main(%arg0: tensor<?x4xf32>) -> (index, index) {
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x4xf32>
    return %dim, %dim : index, index
  }
}
