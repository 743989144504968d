// Only large constants leave the IR before the conversions, which look at small ones.
// options: min_elements=6
func.func @main() -> (tensor<2x3xf32>, tensor<2xi64>, tensor<8xf32>) {
  %weight = arith.constant dense<[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]> : tensor<2x3xf32>
  %shape = arith.constant dense<[3, 2]> : tensor<2xi64>
  %zeros = arith.constant dense<0.0> : tensor<8xf32>
  return %weight, %shape, %zeros : tensor<2x3xf32>, tensor<2xi64>, tensor<8xf32>
}
// ----- after
module {
  func.func @main() -> (tensor<2x3xf32>, tensor<2xi64>, tensor<8xf32>) {
    %0 = "flow.parameter"() {key = "constant_0"} : () -> tensor<2x3xf32>
    %cst = arith.constant dense<[3, 2]> : tensor<2xi64>
    %cst_0 = arith.constant dense<0.000000e+00> : tensor<8xf32>
    return %0, %cst, %cst_0 : tensor<2x3xf32>, tensor<2xi64>, tensor<8xf32>
  }
}
// parameter constant_0: 2x3 float32 = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
