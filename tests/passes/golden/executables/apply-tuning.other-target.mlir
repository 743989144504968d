// A file that was measured for another target is left unused.
// options: file="tests/passes/golden/executables/other-target.json"
func.func private @main_dispatch_0(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
  return %x : tensor<4xf32>
}
// ----- after
module {
  func.func private @main_dispatch_0(%arg0: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
    return %arg0 : tensor<4xf32>
  }
}
// note: tests/passes/golden/executables/other-target.json is not used: it is for text:neon
