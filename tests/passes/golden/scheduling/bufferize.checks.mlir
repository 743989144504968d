// A cast to a static size, a reshape and a shared size are checked where symbols do not prove them.
func.func @main(%x: tensor<?xf32> {iree.name = "x", iree.dims = ["n"], iree.dtype = "f32"},
                %y: tensor<?xf32> {iree.name = "y", iree.dims = ["m"], iree.dtype = "f32"})
    -> (tensor<3x4xf32> {iree.name = "z", iree.dtype = "f32"}) {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?xf32>
  %sum = call @add(%x, %y, %n) : (tensor<?xf32>, tensor<?xf32>, index) -> tensor<?xf32>
  %twelve = tensor.cast %sum : tensor<?xf32> to tensor<12xf32>
  %z = tensor.expand_shape %twelve [[0, 1]] output_shape [3, 4] : tensor<12xf32> into tensor<3x4xf32>
  return %z : tensor<3x4xf32>
}
func.func private @add(%x: tensor<?xf32> {flow.dims = array<i64: 2>},
    %y: tensor<?xf32> {flow.dims = array<i64: 2>}, %n: index)
    -> (tensor<?xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch} {
  %e = tensor.empty(%n) : tensor<?xf32>
  %0 = linalg.add ins(%x, %y : tensor<?xf32>, tensor<?xf32>) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
// ----- after
module {
  func.func @main(%arg0: index, %arg1: index, %arg2: !hal.buffer, %arg3: !hal.buffer) -> !hal.buffer attributes {iree.inputs = ["x:f32[n]", "y:f32[m]"], iree.outputs = ["z:f32[3,4]"]} {
    %c0 = arith.constant 0 : index
    %0 = arith.cmpi eq, %arg1, %arg0 : index
    "hal.check"(%0) {message = "Two sizes differ that the model takes for equal."} : (i1) -> ()
    %c4 = arith.constant 4 : index
    %1 = arith.muli %arg0, %c4 : index
    %2 = "hal.transient"(%1) {writer = "device"} : (index) -> !hal.buffer
    "hal.dispatch"(%arg2, %arg3, %2, %arg0) {entry = @add, operandSegmentSizes = array<i32: 2, 1, 1>} : (!hal.buffer, !hal.buffer, !hal.buffer, index) -> ()
    %c12 = arith.constant 12 : index
    %3 = arith.cmpi eq, %arg0, %c12 : index
    "hal.check"(%3) {message = "A size is not 12, as the model says."} : (i1) -> ()
    return %2 : !hal.buffer
  }
  func.func private @add(%arg0: tensor<?xf32> {flow.dims = array<i64: 2>}, %arg1: tensor<?xf32> {flow.dims = array<i64: 2>}, %arg2: index) -> (tensor<?xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch} {
    %0 = tensor.empty(%arg2) : tensor<?xf32>
    %1 = linalg.add ins(%arg0, %arg1 : tensor<?xf32>, tensor<?xf32>) outs(%0 : tensor<?xf32>) -> tensor<?xf32>
    return %1 : tensor<?xf32>
  }
}
