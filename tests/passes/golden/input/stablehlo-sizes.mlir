// Twice a size is computed on the host, what is no size stays.
func.func @main(%x: tensor<?x4xf32>, %k: tensor<i32>) -> (tensor<i32>, tensor<i32>) {
  %c0 = arith.constant 0 : index
  %d = tensor.dim %x, %c0 : tensor<?x4xf32>
  %i = arith.index_cast %d : index to i32
  %n = tensor.from_elements %i : tensor<i32>
  %c2 = stablehlo.constant dense<2> : tensor<i32>
  %m = stablehlo.multiply %n, %c2 : tensor<i32>
  %l = stablehlo.multiply %k, %c2 : tensor<i32>
  return %m, %l : tensor<i32>, tensor<i32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?x4xf32>, %arg1: tensor<i32>) -> (tensor<i32>, tensor<i32>) {
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x4xf32>
    %0 = arith.index_cast %dim : index to i32
    %from_elements = tensor.from_elements %0 : tensor<i32>
    %c = stablehlo.constant dense<2> : tensor<i32>
    %c2_i32 = arith.constant 2 : i32
    %1 = arith.muli %0, %c2_i32 : i32
    %from_elements_0 = tensor.from_elements %1 : tensor<i32>
    %2 = stablehlo.multiply %arg1, %c : tensor<i32>
    return %from_elements_0, %2 : tensor<i32>, tensor<i32>
  }
}
