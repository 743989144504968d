// An operation that no conversion knew is named.
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.custom_call @accelerate(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
// ----- after
// CompileError: These operations of the input are not supported: stablehlo.custom_call accelerate.
