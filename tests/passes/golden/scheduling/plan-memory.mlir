// The first and the third value share a place, as they never live together; what is returned is
// memory of its own. Sizes follow from the argument %n.
func.func @main(%n: index, %x: !hal.buffer) -> !hal.buffer
    attributes {iree.inputs = ["x:f32[n]"], iree.outputs = ["y:f32[n]"]} {
  %c4 = arith.constant 4 : index
  %bytes = arith.muli %n, %c4 : index
  %0 = "hal.transient"(%bytes) {writer = "device"} : (index) -> !hal.buffer
  "hal.dispatch"(%x, %0, %n) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>}
      : (!hal.buffer, !hal.buffer, index) -> ()
  %1 = "hal.transient"(%bytes) {writer = "device"} : (index) -> !hal.buffer
  "hal.dispatch"(%0, %1, %n) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>}
      : (!hal.buffer, !hal.buffer, index) -> ()
  %2 = "hal.transient"(%bytes) {writer = "device"} : (index) -> !hal.buffer
  "hal.dispatch"(%1, %2, %n) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>}
      : (!hal.buffer, !hal.buffer, index) -> ()
  %3 = "hal.transient"(%bytes) {writer = "device"} : (index) -> !hal.buffer
  "hal.dispatch"(%2, %3, %n) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>}
      : (!hal.buffer, !hal.buffer, index) -> ()
  return %3 : !hal.buffer
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
    %c64 = arith.constant 64 : index
    %1 = arith.ceildivsi %0, %c64 : index
    %c64_0 = arith.constant 64 : index
    %2 = arith.muli %1, %c64_0 : index
    %c4_1 = arith.constant 4 : index
    %3 = arith.muli %arg0, %c4_1 : index
    %c64_2 = arith.constant 64 : index
    %4 = arith.ceildivsi %3, %c64_2 : index
    %c128 = arith.constant 128 : index
    %5 = arith.muli %4, %c128 : index
    %6 = "hal.arena"(%5) : (index) -> !hal.buffer
    %c0_3 = arith.constant 0 : index
    %c4_4 = arith.constant 4 : index
    %7 = arith.muli %arg0, %c4_4 : index
    %8 = "hal.subview"(%6, %c0) {hal.first = 2 : i64, hal.last = 5 : i64} : (!hal.buffer, index) -> !hal.buffer
    "hal.dispatch"(%arg1, %8, %arg0) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    %9 = "hal.subview"(%6, %2) {hal.first = 4 : i64, hal.last = 7 : i64} : (!hal.buffer, index) -> !hal.buffer
    "hal.dispatch"(%8, %9, %arg0) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    %10 = "hal.subview"(%6, %c0) {hal.first = 6 : i64, hal.last = 9 : i64} : (!hal.buffer, index) -> !hal.buffer
    "hal.dispatch"(%9, %10, %arg0) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    %11 = "hal.alloc"(%7) : (index) -> !hal.buffer
    "hal.dispatch"(%10, %11, %arg0) {entry = @exp, operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()
    return %11 : !hal.buffer
  }
  func.func private @exp(%arg0: tensor<?xf32> {flow.dims = array<i64: 1>}, %arg1: index) -> (tensor<?xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
    %concat = tensor.concat dim(0) %arg0 : (tensor<?xf32>) -> tensor<?xf32>
    return %concat : tensor<?xf32>
  }
}
