// The size of a dimension is read on the host; a barrier holds nothing back.
func.func @main(%x: tensor<?x4xf32>) -> (tensor<i32>, tensor<?x4xf32>) {
  %n = stablehlo.get_dimension_size %x, dim = 0 : (tensor<?x4xf32>) -> tensor<i32>
  %y = stablehlo.optimization_barrier %x : tensor<?x4xf32>
  return %n, %y : tensor<i32>, tensor<?x4xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?x4xf32>) -> (tensor<i32>, tensor<?x4xf32>) {
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x4xf32>
    %0 = arith.index_cast %dim : index to i32
    %from_elements = tensor.from_elements %0 : tensor<i32>
    return %from_elements, %arg0 : tensor<i32>, tensor<?x4xf32>
  }
}
