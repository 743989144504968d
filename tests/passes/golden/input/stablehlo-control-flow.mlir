// A loop and a branch with tensors for numbers become structured control flow.
func.func @main(%a: tensor<i32>, %p: tensor<i1>) -> (tensor<i32>, tensor<i32>) {
  %ten = arith.constant dense<10> : tensor<i32>
  %r = stablehlo.while(%i = %a) : tensor<i32>
  cond {
    %c = stablehlo.compare LT, %i, %ten : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %n = stablehlo.add %i, %i : tensor<i32>
    stablehlo.return %n : tensor<i32>
  }
  %s = "stablehlo.if"(%p) ({
    stablehlo.return %r : tensor<i32>
  }, {
    stablehlo.return %ten : tensor<i32>
  }) : (tensor<i1>) -> tensor<i32>
  return %r, %s : tensor<i32>, tensor<i32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<i32>, %arg1: tensor<i1>) -> (tensor<i32>, tensor<i32>) {
    %cst = arith.constant dense<10> : tensor<i32>
    %0 = scf.while (%arg2 = %arg0) : (tensor<i32>) -> tensor<i32> {
      %2 = stablehlo.compare LT, %arg2, %cst : (tensor<i32>, tensor<i32>) -> tensor<i1>
      %extracted_0 = tensor.extract %2[] : tensor<i1>
      scf.condition(%extracted_0) %arg2 : tensor<i32>
    } do {
    ^bb0(%arg2: tensor<i32>):
      %2 = stablehlo.add %arg2, %arg2 : tensor<i32>
      scf.yield %2 : tensor<i32>
    }
    %extracted = tensor.extract %arg1[] : tensor<i1>
    %1 = scf.if %extracted -> (tensor<i32>) {
      scf.yield %0 : tensor<i32>
    } else {
      scf.yield %cst : tensor<i32>
    }
    return %0, %1 : tensor<i32>, tensor<i32>
  }
}
