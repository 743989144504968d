// A transposed weight is another weight, computed when the module is written.
#ij = affine_map<(i, j) -> (i, j)>
#ji = affine_map<(i, j) -> (j, i)>
func.func @main() -> tensor<3x2xf32> {
  %w = "flow.parameter"() {key = "w"} : () -> tensor<2x3xf32>
  %e = tensor.empty() : tensor<3x2xf32>
  %t = linalg.generic {indexing_maps = [#ji, #ij], iterator_types = ["parallel", "parallel"]}
      ins(%w : tensor<2x3xf32>) outs(%e : tensor<3x2xf32>) {
  ^bb0(%a: f32, %o: f32):
    linalg.yield %a : f32
  } -> tensor<3x2xf32>
  return %t : tensor<3x2xf32>
}
// ----- after
module {
  func.func @main() -> tensor<3x2xf32> {
    %0 = "flow.parameter"() {key = "w"} : () -> tensor<2x3xf32>
    %1 = tensor.empty() : tensor<3x2xf32>
    %2 = "flow.parameter"() {key = "w#1"} : () -> tensor<3x2xf32>
    return %2 : tensor<3x2xf32>
  }
}
// parameter w#1: 3x2 float32 = [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
