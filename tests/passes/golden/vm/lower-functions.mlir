// Two dispatches without a branch between them are one command list with a parameter %n.
func.func @main(%n: index, %x: !hal.buffer) -> !hal.buffer
    attributes {iree.inputs = ["x:f32[n]"], iree.outputs = ["y:f32[n]"]} {
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : index
  %bytes = arith.muli %n, %c4 : index
  %arena = "hal.arena"(%bytes) : (index) -> !hal.buffer
  %0 = "hal.subview"(%arena, %c0) : (!hal.buffer, index) -> !hal.buffer
  "hal.dispatch"(%x, %0, %n) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>}
      : (!hal.buffer, !hal.buffer, index) -> ()
  %1 = "hal.alloc"(%bytes) : (index) -> !hal.buffer
  "hal.dispatch"(%0, %1, %n) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>}
      : (!hal.buffer, !hal.buffer, index) -> ()
  return %1 : !hal.buffer
}
func.func private @exp(%x: tensor<?xf32> {flow.dims = array<i64: 1>}, %n: index)
    -> (tensor<?xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
  %0 = tensor.concat dim(0) %x : (tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
// ----- after
module {
  func.func @main(%arg0: index, %arg1: !hal.buffer) -> !hal.buffer attributes {iree.inputs = ["x:f32[n]"], iree.outputs = ["y:f32[n]"]} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %0 = arith.muli %arg0, %c4 : index
    %1 = "hal.arena"(%0) : (index) -> !hal.buffer
    %2 = "hal.subview"(%1, %c0) : (!hal.buffer, index) -> !hal.buffer
    "hal.dispatch"(%arg1, %2, %arg0) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    %3 = "hal.alloc"(%0) : (index) -> !hal.buffer
    "hal.dispatch"(%2, %3, %arg0) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    return %3 : !hal.buffer
  }
  func.func private @exp(%arg0: tensor<?xf32> {flow.dims = array<i64: 1>}, %arg1: index) -> (tensor<?xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
    %concat = tensor.concat dim(0) %arg0 : (tensor<?xf32>) -> tensor<?xf32>
    return %concat : tensor<?xf32>
  }
}
// Command list 0: 3 buffers, 1 parameters
//   dispatch exp[1] b0+0 b1+0 p0
//   dispatch exp[1] b1+0 b2+0 p0
// Function main
//      0  const 2, 4
//      1  const 3, 0
//      2  mul 1, 0, 2
//      3  arena 1, 1
//      4  alloc 2, 1
//      5  execute 0, (0, 1, 2), (0,)
//      6  return (2,), (3,)
