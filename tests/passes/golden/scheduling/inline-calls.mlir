// Host functions are inlined; a dispatch stays a call.
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
func.func private @layer(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @dispatch_0(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
func.func private @dispatch_0(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
  return %x : tensor<4xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {
    %0 = call @dispatch_0(%arg0) : (tensor<4xf32>) -> tensor<4xf32>
    return %0 : tensor<4xf32>
  }
  func.func private @dispatch_0(%arg0: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
    return %arg0 : tensor<4xf32>
  }
}
