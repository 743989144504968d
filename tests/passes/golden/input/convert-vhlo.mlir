// The stored form of StableHLO becomes StableHLO.
vhlo.func_v1 @main(%arg0: !vhlo.tensor_v1<?x4x!vhlo.f32_v1>) -> (!vhlo.tensor_v1<?x4x!vhlo.f32_v1>) {
  %0 = "vhlo.tanh_v1"(%arg0) : (!vhlo.tensor_v1<?x4x!vhlo.f32_v1>) -> !vhlo.tensor_v1<?x4x!vhlo.f32_v1>
  "vhlo.return_v1"(%0) : (!vhlo.tensor_v1<?x4x!vhlo.f32_v1>) -> ()
} {arg_attrs = #vhlo.array_v1<[]>, res_attrs = #vhlo.array_v1<[]>, sym_visibility = #vhlo.string_v1<"">}
// ----- after
module {
  func.func @main(%arg0: tensor<?x4xf32>) -> tensor<?x4xf32> {
    %0 = stablehlo.tanh %arg0 : tensor<?x4xf32>
    return %0 : tensor<?x4xf32>
  }
}
