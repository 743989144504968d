// Equal sizes are computed once on the host.
func.func @main(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %y = call @main_dispatch_0(%x, %n) : (tensor<?x4xf32>, index) -> tensor<?x4xf32>
  %m = tensor.dim %x, %c0 : tensor<?x4xf32>
  %z = call @main_dispatch_0(%y, %m) : (tensor<?x4xf32>, index) -> tensor<?x4xf32>
  return %y, %z : tensor<?x4xf32>, tensor<?x4xf32>
}
func.func private @main_dispatch_0(%x: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %n: index)
    -> (tensor<?x4xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
  return %x : tensor<?x4xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x4xf32>
    %0 = call @main_dispatch_0(%arg0, %dim) : (tensor<?x4xf32>, index) -> tensor<?x4xf32>
    %1 = call @main_dispatch_0(%0, %dim) : (tensor<?x4xf32>, index) -> tensor<?x4xf32>
    return %0, %1 : tensor<?x4xf32>, tensor<?x4xf32>
  }
  func.func private @main_dispatch_0(%arg0: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %arg1: index) -> (tensor<?x4xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
    return %arg0 : tensor<?x4xf32>
  }
}
