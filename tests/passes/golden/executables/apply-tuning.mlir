// The dispatch that the file knows is annotated; the other is left to the cost model.
// options: file="tests/passes/golden/executables/tuning.json"
func.func private @main_dispatch_0(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
  return %x : tensor<4xf32>
}
func.func private @main_dispatch_1(%x: tensor<8xf32>) -> tensor<8xf32> attributes {flow.dispatch} {
  return %x : tensor<8xf32>
}
// ----- after
module {
  func.func private @main_dispatch_0(%arg0: tensor<4xf32>) -> tensor<4xf32> attributes {flow.choices = {cycles = 20000 : i64, rows = 6 : i64}, flow.dispatch} {
    return %arg0 : tensor<4xf32>
  }
  func.func private @main_dispatch_1(%arg0: tensor<8xf32>) -> tensor<8xf32> attributes {flow.dispatch} {
    return %arg0 : tensor<8xf32>
  }
}
