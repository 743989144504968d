"""Writes the words of a SPIR-V module: sections, unique types and constants, decorations.

After the SPIR-V specification, version 1.3. Nothing here knows of MLIR.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

MAGIC, VERSION_1_3 = 0x07230203, 0x00010300

# Operations, by the names of the specification.
OP = {
    "Name": 5, "Extension": 10, "ExtInstImport": 11, "ExtInst": 12, "MemoryModel": 14,
    "EntryPoint": 15, "ExecutionMode": 16, "Capability": 17, "TypeVoid": 19, "TypeBool": 20,
    "TypeInt": 21, "TypeFloat": 22, "TypeVector": 23, "TypeArray": 28, "TypeRuntimeArray": 29,
    "TypeStruct": 30, "TypePointer": 32, "TypeFunction": 33, "ConstantTrue": 41,
    "ConstantFalse": 42, "Constant": 43, "ConstantComposite": 44, "ConstantNull": 46,
    "Function": 54, "FunctionEnd": 56, "Variable": 59, "Load": 61, "Store": 62,
    "AccessChain": 65, "Decorate": 71, "MemberDecorate": 72, "VectorShuffle": 79,
    "CompositeConstruct": 80, "CompositeExtract": 81, "CompositeInsert": 82,
    "ConvertFToU": 109, "ConvertFToS": 110, "ConvertSToF": 111, "ConvertUToF": 112,
    "UConvert": 113, "SConvert": 114, "FConvert": 115, "Bitcast": 124, "SNegate": 126,
    "FNegate": 127, "IAdd": 128, "FAdd": 129, "ISub": 130, "FSub": 131, "IMul": 132,
    "FMul": 133, "UDiv": 134, "SDiv": 135, "FDiv": 136, "UMod": 137, "SRem": 138, "FRem": 140,
    "UMulExtended": 151, "SMulExtended": 152, "Any": 154, "All": 155, "IsNan": 156,
    "IsInf": 157, "LogicalEqual": 164, "LogicalNotEqual": 165, "LogicalOr": 166,
    "LogicalAnd": 167, "LogicalNot": 168, "Select": 169, "IEqual": 170, "INotEqual": 171,
    "UGreaterThan": 172, "SGreaterThan": 173, "UGreaterThanEqual": 174,
    "SGreaterThanEqual": 175, "ULessThan": 176, "SLessThan": 177, "ULessThanEqual": 178,
    "SLessThanEqual": 179, "FOrdEqual": 180, "FUnordEqual": 181, "FOrdNotEqual": 182,
    "FUnordNotEqual": 183, "FOrdLessThan": 184, "FUnordLessThan": 185, "FOrdGreaterThan": 186,
    "FUnordGreaterThan": 187, "FOrdLessThanEqual": 188, "FUnordLessThanEqual": 189,
    "FOrdGreaterThanEqual": 190, "FUnordGreaterThanEqual": 191, "ShiftRightLogical": 194,
    "ShiftRightArithmetic": 195, "ShiftLeftLogical": 196, "BitwiseOr": 197, "BitwiseXor": 198,
    "BitwiseAnd": 199, "Not": 200, "BitCount": 205, "ControlBarrier": 224, "Phi": 245,
    "LoopMerge": 246, "SelectionMerge": 247, "Label": 248, "Branch": 249,
    "BranchConditional": 250, "Unreachable": 255, "Return": 253,
}  # fmt: skip
CAPABILITY = {
    "Shader": 1, "Float64": 10, "Int64": 11, "StorageBuffer16BitAccess": 4433,
    "StorageBuffer8BitAccess": 4448,
}  # fmt: skip
_EXTENSION_OF = {
    "StorageBuffer16BitAccess": "SPV_KHR_16bit_storage",
    "StorageBuffer8BitAccess": "SPV_KHR_8bit_storage",
}
# Instructions of the set GLSL.std.450.
GLSL = {
    "RoundEven": 2, "Trunc": 3, "FAbs": 4, "SAbs": 5, "Floor": 8, "Ceil": 9, "Sqrt": 31,
    "InverseSqrt": 32, "SMin": 39, "UMin": 38, "SMax": 42, "UMax": 41, "Fma": 50,
    "FindILsb": 73, "FindUMsb": 75,
}  # fmt: skip
STORAGE = {
    "Input": 1,
    "Private": 6,
    "Workgroup": 4,
    "Function": 7,
    "PushConstant": 9,
    "StorageBuffer": 12,
}
_DECORATION = {
    "Block": 2, "ArrayStride": 6, "BuiltIn": 11, "Restrict": 19, "Aliased": 20,
    "NonWritable": 24, "Binding": 33, "DescriptorSet": 34, "Offset": 35, "NoContraction": 42,
}  # fmt: skip


class Assembler:
    """The sections of one module under construction; ids are numbers."""

    def __init__(self) -> None:
        self._bound = 1
        self._unique: dict[tuple, int] = {}
        self._capabilities: set[str] = {"Shader"}
        self._decorations: list[int] = []
        self._globals: list[int] = []
        self.locals: list[int] = []
        self.code: list[int] = []
        self.glsl = self.fresh()

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities required so far."""
        return frozenset(self._capabilities)

    def fresh(self) -> int:
        """Return an id that nothing has."""
        self._bound += 1
        return self._bound - 1

    def require(self, capability: str) -> None:
        """Declare a capability."""
        self._capabilities.add(capability)

    # Types and constants: equal ones are one.

    def kind(self, op: str, *operands: int) -> int:
        """Return the id of a type."""
        return self._define((op, *operands), OP[op], (), operands)

    def void(self) -> int:
        """Return the type without values."""
        return self.kind("TypeVoid")

    def boolean(self) -> int:
        """Return the type of truth values."""
        return self.kind("TypeBool")

    def integer(self, width: int) -> int:
        """Return an integer type; signedness is a matter of operations."""
        if width == 64:
            self.require("Int64")
        return self.kind("TypeInt", width, 0)

    def floating(self, width: int) -> int:
        """Return the type of single or double precision."""
        if width == 64:
            self.require("Float64")
        return self.kind("TypeFloat", width)

    def vector(self, element: int, count: int) -> int:
        """Return a vector type of 2, 3 or 4 elements."""
        return self.kind("TypeVector", element, count)

    def pointer(self, storage: str, pointee: int) -> int:
        """Return a pointer type."""
        return self.kind("TypePointer", STORAGE[storage], pointee)

    def constant(self, kind: int, words: Sequence[int]) -> int:
        """Return a number by the words of its bits."""
        return self._define(("Constant", kind, *words), OP["Constant"], (kind,), words)

    def composite(self, kind: int, parts: Sequence[int]) -> int:
        """Return a constant vector."""
        key = ("ConstantComposite", kind, *parts)
        return self._define(key, OP["ConstantComposite"], (kind,), parts)

    def truth(self, value: bool) -> int:
        """Return a constant truth value."""
        op = "ConstantTrue" if value else "ConstantFalse"
        return self._define((op,), OP[op], (self.boolean(),), ())

    def null(self, kind: int) -> int:
        """Return the zero of a type."""
        return self._define(("ConstantNull", kind), OP["ConstantNull"], (kind,), ())

    def _define(self, key: tuple, op: int, before: Sequence[int], after: Sequence[int]) -> int:
        found = self._unique.get(key)
        if found is None:
            found = self._unique[key] = self.fresh()
            words = [*before, found, *after]
            self._globals += [(len(words) + 1) << 16 | op, *words]
        return found

    # Declarations.

    def global_variable(self, pointer: int, storage: str) -> int:
        """Declare a variable of the module."""
        made = self.fresh()
        self._globals += [4 << 16 | OP["Variable"], pointer, made, STORAGE[storage]]
        return made

    def local_variable(self, pointer: int, initial: int | None = None) -> int:
        """Declare a variable of the function, which may start as a constant."""
        made = self.fresh()
        words = [pointer, made, STORAGE["Function"], *([] if initial is None else [initial])]
        self.locals += [(len(words) + 1) << 16 | OP["Variable"], *words]
        return made

    def struct(self, *members: int) -> int:
        """Return a structure type, different from all others."""
        made = self.fresh()
        self._globals += [(len(members) + 2) << 16 | OP["TypeStruct"], made, *members]
        return made

    def runtime_array(self, element: int, stride: int) -> int:
        """Return the type of an array whose length is that of the buffer."""
        key = ("TypeRuntimeArray", element)
        known = key in self._unique
        made = self._define(key, OP["TypeRuntimeArray"], (), (element,))
        if not known:
            self.decorate(made, "ArrayStride", stride)
        return made

    def decorate(self, target: int, decoration: str, *operands: int) -> None:
        """Decorate an id."""
        words = [target, _DECORATION[decoration], *operands]
        self._decorations += [(len(words) + 1) << 16 | OP["Decorate"], *words]

    def decorate_member(self, target: int, member: int, decoration: str, *operands: int) -> None:
        """Decorate a member of a structure."""
        words = [target, member, _DECORATION[decoration], *operands]
        self._decorations += [(len(words) + 1) << 16 | OP["MemberDecorate"], *words]

    # Code.

    def emit(self, op: str, kind: int, *operands: int) -> int:
        """Append an instruction with a result; return its id."""
        made = self.fresh()
        self.code += [(3 + len(operands)) << 16 | OP[op], kind, made, *operands]
        return made

    def effect(self, op: str, *operands: int) -> None:
        """Append an instruction without a result."""
        self.code += [(1 + len(operands)) << 16 | OP[op], *operands]

    def extended(self, name: str, kind: int, *operands: int) -> int:
        """Append an instruction of GLSL.std.450."""
        return self.emit("ExtInst", kind, self.glsl, GLSL[name], *operands)

    # The whole.

    def finish(self, name: str, workgroup: Sequence[int], interface: Sequence[int]) -> bytes:
        """Return the binary of a module with one entry point whose body is ``code``.

        Args:
            name: of the entry point.
            workgroup: its sizes in three dimensions.
            interface: the input variables that it uses.
        """
        void = self.void()
        signature = self.kind("TypeFunction", void)
        function, first = self.fresh(), self.fresh()
        head: list[int] = []
        for capability in sorted(self._capabilities):
            head += [2 << 16 | OP["Capability"], CAPABILITY[capability]]
        extensions = {"SPV_KHR_storage_buffer_storage_class"}
        extensions |= {_EXTENSION_OF[c] for c in self._capabilities if c in _EXTENSION_OF}
        for extension in sorted(extensions):
            head += _instruction("Extension", *_text(extension))
        head += _instruction("ExtInstImport", self.glsl, *_text("GLSL.std.450"))
        head += _instruction("MemoryModel", 0, 1)  # logical addressing, GLSL450
        head += _instruction("EntryPoint", 5, function, *_text(name), *interface)
        head += _instruction("ExecutionMode", function, 17, *workgroup)  # LocalSize
        body = _instruction("Function", void, function, 0, signature)
        body += _instruction("Label", first) + self.locals + self.code
        body += _instruction("Return") + _instruction("FunctionEnd")
        words = [MAGIC, VERSION_1_3, 0, self._bound, 0]
        words += head + self._decorations + self._globals + body
        return struct.pack(f"<{len(words)}I", *words)


def _instruction(op: str, *operands: int) -> list[int]:
    return [(1 + len(operands)) << 16 | OP[op], *operands]


def _text(text: str) -> list[int]:
    data = text.encode() + b"\0"
    data += b"\0" * (-len(data) % 4)
    return list(struct.unpack(f"<{len(data) // 4}I", data))
