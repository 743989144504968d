// The first result is a transient of a size that follows from the input's.
func.func @main(%x: tensor<?x4xf32> {iree.name = "x", iree.dims = ["n"], iree.dtype = "f32"})
    -> (tensor<?x4xf32> {iree.name = "y", iree.dims = ["n"], iree.dtype = "f32"}) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %0 = call @dispatch_0(%x, %n) : (tensor<?x4xf32>, index) -> tensor<?x4xf32>
  %1 = call @dispatch_0(%0, %n) : (tensor<?x4xf32>, index) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}
func.func private @dispatch_0(%x: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %n: index)
    -> (tensor<?x4xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
  %0 = tensor.concat dim(0) %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
// ----- after
module {
  func.func @main(%arg0: index, %arg1: !hal.buffer) -> !hal.buffer attributes {iree.inputs = ["x:f32[n,4]"], iree.outputs = ["y:f32[n,4]"]} {
    %c0 = arith.constant 0 : index
    %c16 = arith.constant 16 : index
    %0 = arith.muli %arg0, %c16 : index
    %1 = "hal.transient"(%0) {writer = "device"} : (index) -> !hal.buffer
    "hal.dispatch"(%arg1, %1, %arg0) {entry = @dispatch_0, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    %c16_0 = arith.constant 16 : index
    %2 = arith.muli %arg0, %c16_0 : index
    %3 = "hal.transient"(%2) {writer = "device"} : (index) -> !hal.buffer
    "hal.dispatch"(%1, %3, %arg0) {entry = @dispatch_0, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    return %3 : !hal.buffer
  }
  func.func private @dispatch_0(%arg0: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %arg1: index) -> (tensor<?x4xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
    %concat = tensor.concat dim(0) %arg0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
    return %concat : tensor<?x4xf32>
  }
}
