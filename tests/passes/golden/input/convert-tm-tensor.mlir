// A running sum becomes a loop that stays one dispatch.
func.func @main(%x: tensor<?xf32>, %out: tensor<?xf32>, %start: tensor<f32>) -> tensor<?xf32> {
  %y, %s = tm_tensor.scan dimension(0) inclusive(true)
      ins(%x : tensor<?xf32>) outs(%out, %start : tensor<?xf32>, tensor<f32>) {
  ^bb0(%a: f32, %b: f32):
    %0 = arith.addf %a, %b : f32
    tm_tensor.yield %0 : f32
  } -> tensor<?xf32>, tensor<f32>
  return %y : tensor<?xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?xf32>, %arg1: tensor<?xf32>, %arg2: tensor<f32>) -> tensor<?xf32> {
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?xf32>
    %c0_0 = arith.constant 0 : index
    %dim_1 = tensor.dim %arg1, %c0_0 : tensor<?xf32>
    %expanded = tensor.expand_shape %arg2 [] output_shape [1] : tensor<f32> into tensor<1xf32>
    %0:2 = scf.execute_region -> (tensor<?xf32>, tensor<1xf32>) no_inline {
      %1 = tensor.empty(%dim) : tensor<?xf32>
      %2 = tensor.empty() : tensor<1xf32>
      %c0_2 = arith.constant 0 : index
      %extracted = tensor.extract %expanded[%c0_2] : tensor<1xf32>
      %c0_3 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %3:2 = scf.for %arg3 = %c0_3 to %dim step %c1 iter_args(%arg4 = %extracted, %arg5 = %1) -> (f32, tensor<?xf32>) {
        %extracted_5 = tensor.extract %arg0[%arg3] : tensor<?xf32>
        %4 = arith.addf %arg4, %extracted_5 : f32
        %c0_6 = arith.constant 0 : index
        %5 = arith.cmpi eq, %arg3, %c0_6 : index
        %6 = arith.select %5, %extracted_5, %4 : f32
        %inserted_7 = tensor.insert %6 into %arg5[%arg3] : tensor<?xf32>
        scf.yield %6, %inserted_7 : f32, tensor<?xf32>
      }
      %c0_4 = arith.constant 0 : index
      %inserted = tensor.insert %3#0 into %2[%c0_4] : tensor<1xf32>
      scf.yield %3#1, %inserted : tensor<?xf32>, tensor<1xf32>
    } {flow.atomic}
    %collapsed = tensor.collapse_shape %0#1 [] : tensor<1xf32> into tensor<f32>
    return %0#0 : tensor<?xf32>
  }
}
