// What has not one value for all elements becomes a parameter.
// options: min_elements=3
func.func @main() -> (tensor<4xf16>, tensor<2xi32>, tensor<100xf32>) {
  %weight = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf16>
  %small = arith.constant dense<[3, 2]> : tensor<2xi32>
  %splat = arith.constant dense<1.0> : tensor<100xf32>
  return %weight, %small, %splat : tensor<4xf16>, tensor<2xi32>, tensor<100xf32>
}
// ----- after
module {
  func.func @main() -> (tensor<4xf16>, tensor<2xi32>, tensor<100xf32>) {
    %0 = "flow.parameter"() {key = "constant_0"} : () -> tensor<4xf16>
    %cst = arith.constant dense<[3, 2]> : tensor<2xi32>
    %cst_0 = arith.constant dense<1.000000e+00> : tensor<100xf32>
    return %0, %cst, %cst_0 : tensor<4xf16>, tensor<2xi32>, tensor<100xf32>
  }
}
// parameter constant_0: 4 float16 = [1.0, 2.0, 3.0, 4.0]
