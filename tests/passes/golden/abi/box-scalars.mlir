// A public function takes and returns tensors; an index travels as i64.
func.func @scale(%s: f32, %n: index) -> (f32, index) {
  return %s, %n : f32, index
}
// ----- after
module {
  func.func @scale(%arg0: tensor<f32>, %arg1: tensor<i64>) -> (tensor<f32>, tensor<i64>) {
    %extracted = tensor.extract %arg1[] : tensor<i64>
    %0 = arith.index_cast %extracted : i64 to index
    %extracted_0 = tensor.extract %arg0[] : tensor<f32>
    %from_elements = tensor.from_elements %extracted_0 : tensor<f32>
    %1 = arith.index_cast %0 : index to i64
    %from_elements_1 = tensor.from_elements %1 : tensor<i64>
    return %from_elements, %from_elements_1 : tensor<f32>, tensor<i64>
  }
}
