"""The linker: several dispatches in one blob, constants stored once, imports by name."""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import numpy as np
import pytest
from tests.llvm.llvm_kernels import BACKEND, ENTRY, elementwise, make_kernel, run_text

from iree_backend_llvm import elf
from iree_backend_llvm.image import parse_image
from iree_backend_llvm.link import link
from iree_backend_llvm.loader import NativeExecutable
from iree_backend_llvm.lower import lower_kernel
from iree_backend_llvm.target import cpu_model, parse_target
from iree_core.codegen import llvmir
from iree_core.errors import CompileError
from iree_core.ir import make_context


def assemble(text: str, triple: str = "x86_64") -> bytes:
    return llvmir.emit_object(text, parse_target(triple).machine())


def test_dispatches_share_names_and_constants() -> None:
    target = BACKEND.resolve("")
    operations = ("math.exp", "math.tanh", "math.sinh", "math.exp")
    compiled = [BACKEND.compile_kernel(make_kernel(elementwise(o)), target) for o in operations]
    executable = BACKEND.link(compiled, target)
    assert [name for name, _ in executable.entries] == ["kernel"] * 4
    alone = sum(len(BACKEND.link([one], target).data) for one in compiled)
    assert len(executable.data) < alone
    native = NativeExecutable(memoryview(executable.data), executable.entries)
    x = np.linspace(-2, 2, 16, dtype=np.float32)
    for address, function in zip(native.addresses, (np.exp, np.tanh, np.sinh, np.exp), strict=True):
        found = np.zeros_like(x)
        bindings = (ctypes.c_void_p * 2)(x.ctypes.data, found.ctypes.data)
        ENTRY(address)(ctypes.addressof(bindings), None, None, 0, 1)
        np.testing.assert_allclose(found, function(x), rtol=1e-6)


@pytest.mark.parametrize("width", [8, 16, 32])
def test_tables_that_end_in_zero_are_no_strings(width: int) -> None:
    # LLVM puts them into sections of strings, whose characters must stay together.
    text = f"""
    memref.global "private" constant @table : memref<6xi{width}> = dense<[1, 2, 1, 2, 2, 0]>
    func.func @kernel(%o: memref<?xi{width}>, %begin: index, %end: index) {{
      %c1 = arith.constant 1 : index
      %table = memref.get_global @table : memref<6xi{width}>
      scf.for %i = %begin to %end step %c1 {{
        %v = memref.load %table[%i] : memref<6xi{width}>
        memref.store %v, %o[%i] : memref<?xi{width}>
      }}
      return
    }}"""
    found = np.full(6, 9, f"i{width // 8}")
    run_text(text, [found], work=(0, 6))
    np.testing.assert_array_equal(found, [1, 2, 1, 2, 2, 0])


def test_no_dispatch_at_all() -> None:
    executable = BACKEND.link([], BACKEND.resolve(""))
    assert executable.entries == ()
    assert parse_image(executable.data).imports == ()


def test_functions_of_the_c_library_are_imported() -> None:
    text = elementwise("math.powf", 2, lanes=2, kind="f64")
    target = BACKEND.resolve("")
    executable = BACKEND.link([BACKEND.compile_kernel(make_kernel(text), target)], target)
    assert parse_image(executable.data).imports == ("pow",)
    x, y, found = np.array([2.0, 3.0]), np.array([10.0, 0.5]), np.zeros(2)
    run_text(text, [x, y, found])
    np.testing.assert_array_equal(found, x**y)


def test_unknown_function_is_named() -> None:
    code = "declare void @launch()\ndefine void @k() {\n call void @launch()\n ret void\n}\n"
    with pytest.raises(CompileError, match="launch, which the runtime does not provide"):
        link([(assemble(code), "k")])


def test_writable_data_and_addresses_are_refused() -> None:
    counter = (
        "@n = global i32 1\ndefine i32 @k() {\n %v = load i32, ptr @n\n %w = add i32 %v, 1\n"
        " store i32 %w, ptr @n\n ret i32 %w\n}\n"
    )
    with pytest.raises(CompileError, match="writable data"):
        link([(assemble(counter), "k")])


def test_objects_of_two_processors() -> None:
    code = "define void @k() {\n ret void\n}\n"
    with pytest.raises(CompileError, match="aarch64, x86_64"):
        link([(assemble(code), "k"), (assemble(code, "aarch64"), "k")])
    with pytest.raises(CompileError, match="not a 64-bit little-endian ELF object"):
        elf.parse_object(b"\x7fELF" + bytes(60))


def test_missing_entry_point() -> None:
    with pytest.raises(CompileError, match="does not define other"):
        link([(assemble("define void @k() {\n ret void\n}\n"), "other")])


def test_leftover_operations_are_named() -> None:
    text = """
    func.func @kernel(%a: memref<?xf32>, %begin: index, %end: index) {
      %c = "acme.spin"() : () -> f32
      memref.store %c, %a[%begin] : memref<?xf32>
      return
    }"""
    context = make_context()
    context.allow_unregistered_dialects = True
    with pytest.raises(CompileError, match=r"acme\.spin"):
        lower_kernel(make_kernel(text), context, cpu_model(parse_target("")))


def test_scratch_scalars_and_branches() -> None:
    text = """
    func.func @kernel(%a: memref<?xf32>, %o: memref<?xf32>, %n: index, %scratch: memref<?xi8>,
        %begin: index, %end: index) {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %copy = memref.view %scratch[%c0][] : memref<?xi8> to memref<8xf32>
      scf.for %i = %c0 to %n step %c1 {
        %one = memref.alloca() : memref<1xf32>
        %v = memref.load %a[%i] : memref<?xf32>
        memref.store %v, %one[%c0] : memref<1xf32>
        %w = memref.load %one[%c0] : memref<1xf32>
        memref.store %w, %copy[%i] : memref<8xf32>
      }
      scf.for %i = %begin to %end step %c1 {
        %m = vector.create_mask %n : vector<8xi1>
        %z = arith.constant dense<0.0> : vector<8xf32>
        %v = vector.maskedload %copy[%c0], %m, %z
          : memref<8xf32>, vector<8xi1>, vector<8xf32> into vector<8xf32>
        %s = vector.reduction <add>, %v : vector<8xf32> into f32
        memref.store %s, %o[%i] : memref<?xf32>
      }
      return
    }"""
    x, found = np.arange(8, dtype=np.float32), np.zeros(3, np.float32)
    run_text(text, [x, found], [5], work=(1, 3), scratch=64)
    np.testing.assert_array_equal(found, [0, 10, 10])


def test_literals_of_every_float_type_read_back() -> None:
    text = """
define void @k(ptr %p) {
  store float 3.14159274, ptr %p
  store double 0.1, ptr %p
  store half 0.3, ptr %p
  store bfloat f0x7FC0, ptr %p
  store float +inf, ptr %p
  store double -qnan, ptr %p
  store float +nan(0x1), ptr %p
  ret void
}
"""
    module = str(llvm.parse_assembly(llvmir.fix_literals(text)))
    for literal in ("0x400921FB60000000", "1.000000e-01", "0xH34CD", "0xR7FC0",
                    "0x7FF0000000000000", "0xFFF8000000000000", "0x7FF8000020000000"):  # fmt: skip
        assert literal in module
