// One dimension is provably the same and the other is split.
func.func @main(%x: tensor<?x32xf32>) -> tensor<?x4x8xf32> {
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : i64
  %c8 = arith.constant 8 : i64
  %d = tensor.dim %x, %c0 : tensor<?x32xf32>
  %n = arith.index_cast %d : index to i64
  %s = tensor.from_elements %n, %c4, %c8 : tensor<3xi64>
  %y = tensor.reshape %x(%s) : (tensor<?x32xf32>, tensor<3xi64>) -> tensor<?x4x8xf32>
  return %y : tensor<?x4x8xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?x32xf32>) -> tensor<?x4x8xf32> {
    %c8 = arith.constant 8 : index
    %c4 = arith.constant 4 : index
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x32xf32>
    %expanded = tensor.expand_shape %arg0 [[0], [1, 2]] output_shape [%dim, 4, 8] : tensor<?x32xf32> into tensor<?x4x8xf32>
    return %expanded : tensor<?x4x8xf32>
  }
}
