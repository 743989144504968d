// One complex number fills its tensor; several are a parameter.
func.func @main() -> (tensor<4xcomplex<f32>>, tensor<2xcomplex<f32>>) {
  %same = arith.constant dense<(1.0, 2.0)> : tensor<4xcomplex<f32>>
  %different = arith.constant dense<[(1.0, 2.0), (3.0, 4.0)]> : tensor<2xcomplex<f32>>
  return %same, %different : tensor<4xcomplex<f32>>, tensor<2xcomplex<f32>>
}
// ----- after
module {
  func.func @main() -> (tensor<4xcomplex<f32>>, tensor<2xcomplex<f32>>) {
    %cst = complex.constant [1.000000e+00 : f32, 2.000000e+00 : f32] : complex<f32>
    %0 = tensor.empty() : tensor<4xcomplex<f32>>
    %1 = linalg.fill ins(%cst : complex<f32>) outs(%0 : tensor<4xcomplex<f32>>) -> tensor<4xcomplex<f32>>
    %2 = "flow.parameter"() {key = "constant_0"} : () -> tensor<2xcomplex<f32>>
    return %1, %2 : tensor<4xcomplex<f32>>, tensor<2xcomplex<f32>>
  }
}
// parameter constant_0: 2 complex64 = [(1+2j), (3+4j)]
