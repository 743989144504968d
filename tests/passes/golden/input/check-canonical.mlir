// What is in the canonical form stays as it is.
func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
  %0 = linalg.exp ins(%x : tensor<?xf32>) outs(%x : tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
// ----- after
module {
  func.func @main(%arg0: tensor<?xf32>) -> tensor<?xf32> {
    %0 = linalg.exp ins(%arg0 : tensor<?xf32>) outs(%arg0 : tensor<?xf32>) -> tensor<?xf32>
    return %0 : tensor<?xf32>
  }
}
