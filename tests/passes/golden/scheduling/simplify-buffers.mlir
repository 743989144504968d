// Sizes that are known are computed now.
func.func @main() -> !hal.buffer {
  %c4 = arith.constant 4 : index
  %n = arith.muli %c4, %c4 : index
  %0 = "hal.transient"(%n) {writer = "device"} : (index) -> !hal.buffer
  return %0 : !hal.buffer
}
// ----- after
module {
  func.func @main() -> !hal.buffer {
    %c16 = arith.constant 16 : index
    %0 = "hal.transient"(%c16) {writer = "device"} : (index) -> !hal.buffer
    return %0 : !hal.buffer
  }
}
