// Equal dispatches share a kernel; one that fails is compiled with the general schedule.
func.func private @main_dispatch_0(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
  return %x : tensor<4xf32>
}
func.func private @main_dispatch_1(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
  return %x : tensor<4xf32>
}
func.func private @main_dispatch_2(%x: tensor<8xf32>) -> tensor<8xf32>
    attributes {flow.dispatch, too.hard} {
  return %x : tensor<8xf32>
}
// ----- after
module {
  func.func private @main_dispatch_0(%arg0: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
    return %arg0 : tensor<4xf32>
  }
  func.func private @main_dispatch_1(%arg0: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
    return %arg0 : tensor<4xf32>
  }
  func.func private @main_dispatch_2(%arg0: tensor<8xf32>) -> tensor<8xf32> attributes {flow.dispatch, too.hard} {
    return %arg0 : tensor<8xf32>
  }
}
// entry main_dispatch_0: kernel 0
// entry main_dispatch_1: kernel 0
// entry main_dispatch_2: kernel 1
// kernel 0: auto schedule
// kernel 1: general schedule
// note: main_dispatch_2: general schedule, because ValueError: this is too hard
