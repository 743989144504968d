// Offsets within the arena are computed now.
func.func @main() -> !hal.buffer {
  %c64 = arith.constant 64 : index
  %c192 = arith.constant 192 : index
  %offset = arith.addi %c64, %c64 : index
  %size = arith.addi %offset, %c192 : index
  %arena = "hal.arena"(%size) : (index) -> !hal.buffer
  return %arena : !hal.buffer
}
// ----- after
module {
  func.func @main() -> !hal.buffer {
    %c320 = arith.constant 320 : index
    %0 = "hal.arena"(%c320) : (index) -> !hal.buffer
    return %0 : !hal.buffer
  }
}
