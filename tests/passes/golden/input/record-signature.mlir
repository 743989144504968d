// Unsigned integers are noted before the IR forgets about signs.
func.func @main(%x: tensor<4xui8>, %y: tensor<?xi8>) -> tensor<4xui8> {
  return %x : tensor<4xui8>
}
// ----- after
module {
  func.func @main(%arg0: tensor<4xui8> {iree.dtype = "ui8"}, %arg1: tensor<?xi8>) -> (tensor<4xui8> {iree.dtype = "ui8"}) {
    return %arg0 : tensor<4xui8>
  }
}
