// A Cholesky factor is computed by loops that stay one dispatch.
func.func @main(%a: tensor<3x3xf32>) -> tensor<3x3xf32> {
  %l = stablehlo.cholesky %a, lower = true : tensor<3x3xf32>
  return %l : tensor<3x3xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<3x3xf32>) -> tensor<3x3xf32> {
    %0 = scf.execute_region -> tensor<3x3xf32> no_inline {
      %1 = tensor.empty() : tensor<3x3xf32>
      %c0 = arith.constant 0 : index
      %c3 = arith.constant 3 : index
      %c1 = arith.constant 1 : index
      %2 = scf.for %arg1 = %c0 to %c3 step %c1 iter_args(%arg2 = %1) -> (tensor<3x3xf32>) {
        %c1_0 = arith.constant 1 : index
        %3 = arith.addi %arg1, %c1_0 : index
        %c0_1 = arith.constant 0 : index
        %c1_2 = arith.constant 1 : index
        %4 = scf.for %arg3 = %c0_1 to %3 step %c1_2 iter_args(%arg4 = %arg2) -> (tensor<3x3xf32>) {
          %extracted = tensor.extract %arg0[%arg1, %arg3] : tensor<3x3xf32>
          %c0_6 = arith.constant 0 : index
          %c1_7 = arith.constant 1 : index
          %7 = scf.for %arg5 = %c0_6 to %arg3 step %c1_7 iter_args(%arg6 = %extracted) -> (f32) {
            %extracted_8 = tensor.extract %arg4[%arg1, %arg5] : tensor<3x3xf32>
            %extracted_9 = tensor.extract %arg4[%arg3, %arg5] : tensor<3x3xf32>
            %10 = arith.mulf %extracted_8, %extracted_9 : f32
            %11 = arith.subf %arg6, %10 : f32
            scf.yield %11 : f32
          }
          %8 = arith.cmpi eq, %arg1, %arg3 : index
          %9 = scf.if %8 -> (f32) {
            %10 = math.sqrt %7 : f32
            scf.yield %10 : f32
          } else {
            %extracted_8 = tensor.extract %arg4[%arg3, %arg3] : tensor<3x3xf32>
            %10 = arith.divf %7, %extracted_8 : f32
            scf.yield %10 : f32
          }
          %inserted = tensor.insert %9 into %arg4[%arg1, %arg3] : tensor<3x3xf32>
          scf.yield %inserted : tensor<3x3xf32>
        }
        %c1_3 = arith.constant 1 : index
        %5 = arith.addi %arg1, %c1_3 : index
        %c3_4 = arith.constant 3 : index
        %c1_5 = arith.constant 1 : index
        %6 = scf.for %arg3 = %5 to %c3_4 step %c1_5 iter_args(%arg4 = %4) -> (tensor<3x3xf32>) {
          %cst = arith.constant 0.000000e+00 : f32
          %inserted = tensor.insert %cst into %arg4[%arg1, %arg3] : tensor<3x3xf32>
          scf.yield %inserted : tensor<3x3xf32>
        }
        scf.yield %6 : tensor<3x3xf32>
      }
      scf.yield %2 : tensor<3x3xf32>
    } {flow.atomic}
    return %0 : tensor<3x3xf32>
  }
}
