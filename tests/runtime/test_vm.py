"""The host program: bytecode, verification and what its operations do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime import support
from tests.runtime.support import code, floats, imm, param, tensor, whole

import iree_core
from iree_core.errors import InvocationError, ModuleFileError
from iree_core.hal.registry import open_device
from iree_core.runtime_api import LoadedModule
from iree_core.vm import bytecode
from iree_core.vm.instance import Instance
from iree_core.vm.program import (
    OPCODES,
    Binding,
    CommandList,
    Copy,
    Dispatch,
    Fill,
    Function,
    Global,
    Instruction,
    Program,
)
from iree_core.vm.verify import verify

# --- bytecode ------------------------------------------------------------------------------

words = st.integers(-(2**63), 2**63 - 1)
operands = st.tuples(st.sampled_from(["imm", "param"]), words)
bindings = st.builds(Binding, words, operands)
commands = st.one_of(
    st.builds(
        Dispatch,
        words,
        st.lists(bindings, max_size=3).map(tuple),
        st.lists(operands, max_size=3).map(tuple),
        operands,
        operands,
        words,
    ),
    st.builds(Copy, bindings, bindings, operands),
    st.builds(Fill, bindings, operands, st.sampled_from([b"1", b"12", b"1234", b"12345678"])),
)
_KINDS = {"s": st.text(max_size=5), "x": st.floats(allow_nan=False)}


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    op = draw(st.sampled_from(sorted(OPCODES)))
    args: list = []
    for kind, many in bytecode.parse_kinds(op):
        value = _KINDS.get(kind, words)
        args.append(draw(st.lists(value, max_size=3).map(tuple) if many else value))
    return Instruction(op, tuple(args))


types = st.builds(
    tensor, st.text(max_size=4), st.integers(0, 2**40), st.text(min_size=1, max_size=3)
)
programs = st.builds(
    Program,
    st.lists(
        st.builds(
            Function,
            st.text(max_size=8),
            st.lists(types, max_size=2).map(tuple),
            st.lists(types, max_size=2).map(tuple),
            st.lists(instructions(), max_size=6),
            st.tuples(words, words, words),
            st.booleans(),
        ),
        max_size=2,
    ),
    st.lists(st.builds(CommandList, st.lists(commands).map(tuple), words, words), max_size=2),
    st.lists(
        st.builds(Global, st.text(max_size=4), words, st.none() | st.integers(0)), max_size=2
    ).filter(lambda found: all((g.offset or 0) < 2**63 for g in found)),
)


@given(programs)
def test_a_program_survives_encoding(program: Program) -> None:
    assert bytecode.decode(bytecode.encode(program)) == program


def test_encoding_refuses_what_does_not_fit() -> None:
    program = Program([Function("f", (), (), [Instruction("const", (0, 2**63))])])
    with pytest.raises(ValueError, match="64 bits"):
        bytecode.encode(program)


# --- verification --------------------------------------------------------------------------


def function(text: str, **options: object) -> Function:
    return Function("f", (), (), code(text), (4, 4, 4), **options)  # type: ignore[arg-type]


DISPATCH = Dispatch(0, (whole(0),), (), imm(1), imm(0))
RETURN = "return () ()"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (Program([function("const i0 1")]), "does not end with a return"),
        (Program([Function("f", (), (), [])]), "does not end with a return"),
        (Program([function(f"const i9 1\n{RETURN}")]), "no register i9"),
        (Program([function(f"mov i0 i1\n{RETURN}")]), "reads register i1 before it is written"),
        (
            Program([function(f"const i0 1\nbr_if i0 3\nconst i1 1\nmov i2 i1\n{RETURN}")]),
            "instruction 3 reads register i1",
        ),
        (Program([function("br 7")]), "no instruction 7"),
        (Program([function(f"const i0 1\nwrap i0 i0 65\n{RETURN}")]), "no integer of 65 bits"),
        (Program([function(f"get_global b0 0\n{RETURN}")]), "no global 0"),
        (Program([function(f"execute 0 () ()\n{RETURN}")]), "no command list 0"),
        (
            Program([function(f"execute 0 () ()\n{RETURN}")], [CommandList((), 1, 0)]),
            "other numbers of operands",
        ),
        (Program([function(f"call 5 () () () ()\n{RETURN}")]), "no function 5"),
        (Program([function(f"call 0 () () () ()\n{RETURN}")]), "in a circle"),
        (Program([function("const i0 1\nreturn () (i0)")]), "returns another number of values"),
        (Program([function(RETURN), function(RETURN)]), "same name"),
        (Program([Function("f", (tensor("x", "n"),), (), code(RETURN))]), "fewer registers"),
        (Program([Function("f", (), (tensor("x", dtype="f3"),), code(RETURN))]), "element type"),
        (Program([], [CommandList((DISPATCH,), 0, 0)]), "no buffer 0"),
        (Program([], [CommandList((replace(DISPATCH, entry=1),), 1, 0)]), "no entry point 1"),
        (Program([], [CommandList((replace(DISPATCH, grid=param(0)),), 1, 0)]), "no parameter 0"),
        (Program([], [CommandList((replace(DISPATCH, grid=imm(-1)),), 1, 0)]), "negative"),
        (Program([], [CommandList((Fill(whole(0), imm(8), b"123"),), 1, 0)]), "3 bytes"),
        (Program([], [CommandList((), 1 << 40, 0)]), "out of range"),
        (Program([], [], [Global("g", 10, 60)]), "past the end of the data"),
        (Program([], [], [Global("g", -1, None)]), "negative"),
        (
            Program(
                [function(f"constants b0\nexecute 0 (b0) ()\n{RETURN}")],
                [CommandList((Fill(Binding(0, imm(65)), imm(1), b"0"),), 1, 0)],
            ),
            "past the end of the data",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(program: Program, message: str) -> None:
    with pytest.raises(ModuleFileError, match=message):
        verify(program, entries=1, data_size=64)


def test_a_register_written_on_every_path_may_be_read() -> None:
    text = """
        const i0 1
        br_if i0 4
        const i1 1
        br 5
        const i1 2
        return () ()
    """
    verify(Program([function(text)]), entries=0, data_size=0)


# --- operations ----------------------------------------------------------------------------


def evaluate(text: str, *, floats_out: bool = False) -> int | float:
    """Run instructions that leave their result in i0 (or f0) and return it."""
    store = "fstore f0 b0 i3 'f64'" if floats_out else "store i0 b0 i3 'i64'"
    body = f"const i3 8\nalloc b0 i3\nconst i3 0\n{text}\n{store}\nreturn (b0) (i3)"
    dtype = "f64" if floats_out else "i64"
    program = Program([Function("f", (), (tensor("r", dtype=dtype),), code(body), (4, 4, 4))])
    verify(program, entries=0, data_size=0)
    device = open_device("local-sync")
    instance = Instance(program, device, None, np.empty(0, np.uint8))
    (buffer,), _ = instance.invoke(0, (), ())
    return buffer.read(0, 8).view(np.float64 if floats_out else np.int64)[0]


@pytest.mark.parametrize(
    ("op", "left", "right", "result"),
    [
        ("add", 2, 3, 5), ("sub", 2, 3, -1), ("mul", -2, 3, -6),
        ("floordiv", -7, 2, -4), ("ceildiv", -7, 2, -3), ("mod", -7, 2, 1),
        ("divs", -7, 2, -3), ("divs", 7, -2, -3), ("rems", -7, 2, -1), ("rems", 7, -2, 1),
        ("min", 2, -3, -3), ("max", 2, -3, 2), ("and", 6, 3, 2), ("or", 6, 3, 7), ("xor", 6, 3, 5),
        ("shl", 3, 4, 48), ("shl", 1, 63, -(2**63)), ("shl", 1, 64, 0), ("shr", -8, 1, -4),
        ("eq", 1, 1, 1), ("ne", 1, 1, 0), ("lt", 1, 2, 1), ("le", 2, 2, 1), ("gt", 1, 2, 0),
        ("ge", 2, 2, 1),
    ],
)  # fmt: skip
def test_integers(op: str, left: int, right: int, result: int) -> None:
    assert evaluate(f"const i1 {left}\nconst i2 {right}\n{op} i0 i1 i2") == result


@pytest.mark.parametrize(("bits", "result"), [(8, -56), (16, 200), (1, 0), (64, 200)])
def test_wrap(bits: int, result: int) -> None:
    assert evaluate(f"const i1 200\nwrap i0 i1 {bits}") == result


def test_select_and_conversions() -> None:
    assert evaluate("const i1 0\nconst i2 7\nconst i3 5\nselect i0 i1 i2 i3\nconst i3 0") == 5
    for value, result in (("2.9", 2), ("-2.9", -2), ("1e300.", None)):
        if result is not None:
            assert evaluate(f"fconst f1 {value}\nftoi i0 f1") == result
    assert evaluate("const i1 3\nitof f0 i1", floats_out=True) == 3.0


@pytest.mark.parametrize(
    ("op", "left", "right", "result"),
    [
        ("fadd", 1.5, 2.0, 3.5), ("fdiv", 1.0, 0.0, math.inf), ("fdiv", -1.0, 0.0, -math.inf),
        ("fpow", 8.0, 2.0, 64.0), ("fpow", -8.0, 0.5, math.nan), ("fpow", 0.0, -1.0, math.inf),
        ("fdiv", 0.0, 0.0, math.nan), ("fmin", 1.0, 2.0, 1.0), ("fmax", 1.0, math.nan, math.nan),
    ],
)  # fmt: skip
def test_floats(op: str, left: float, right: float, result: float) -> None:
    body = [Instruction("fconst", (1, left)), Instruction("fconst", (2, right))]
    body += [*code("const i3 8\nalloc b0 i3\nconst i3 0"), *code(f"{op} f0 f1 f2")]
    body += code("fstore f0 b0 i3 'f64'\nreturn (b0) (i3)")
    types = (tensor("r", dtype="f64"),)
    program = Program([Function("f", (), types, body, (4, 4, 4))])
    verify(program, entries=0, data_size=0)
    instance = Instance(program, open_device("local-sync"), None, np.empty(0, np.uint8))
    (buffer,), _ = instance.invoke(0, (), ())
    np.testing.assert_equal(buffer.read(0, 8).view(np.float64)[0], result)


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("sqrt", "2.25", 1.5), ("sqrt", "-1.0", math.nan), ("log", "0.0", -math.inf),
        ("exp", "1000.0", math.inf), ("floor", "-1.5", -2.0), ("ceil", "1.2", 2.0),
        ("round", "2.5", 3.0), ("roundeven", "2.5", 2.0), ("rsqrt", "0.25", 2.0),
        ("abs", "-3.0", 3.0), ("erf", "0.0", 0.0), ("neg", "1.0", -1.0),
        ("sinh", "-1000.0", -math.inf),
    ],
)  # fmt: skip
def test_math(name: str, value: str, result: float) -> None:
    found = evaluate(f"fconst f1 {value}\nfmath f0 '{name}' f1", floats_out=True)
    np.testing.assert_equal(found, result)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-3, 1e30, math.inf])
def test_floats_in_memory(dtype: str, value: float) -> None:
    from iree_core.vm.operations import pack_float

    with np.errstate(over="ignore"):
        expected = np.array(value).astype(iree_core.dtypes.to_numpy(dtype)).tobytes()
    assert pack_float(value, dtype) == expected


def test_division_by_zero_is_an_error() -> None:
    with pytest.raises(InvocationError, match="divides an integer by zero"):
        evaluate("const i1 1\nconst i2 0\nfloordiv i0 i1 i2")


def test_a_failed_check_raises_its_message() -> None:
    with pytest.raises(InvocationError, match="n must be even"):
        evaluate("const i1 0\ncheck i1 'n_must_be_even'\nconst i0 1")


def test_reads_outside_of_a_buffer_are_errors() -> None:
    from iree_core.errors import DeviceError

    for offset in (8, -1, 2**62):
        with pytest.raises(DeviceError, match="past the end"):
            evaluate(f"const i1 {offset}\nload i0 b0 i1 'i8'")


# --- functions -----------------------------------------------------------------------------


def load(tmp_path: Path, program: Program, device: object, constants: tuple = ()) -> LoadedModule:
    path = support.write(tmp_path / "m.vmfb", program, constants)
    return iree_core.load(path, device)  # type: ignore[arg-type]


def test_loops(tmp_path: Path, device: object) -> None:
    """main(x[4], n) adds 1 to x n times, each time into a fresh buffer."""
    commands = CommandList(
        (Dispatch(support.ADD_ONE, (whole(0), whole(1)), (), imm(4), imm(0)),), 2, 0
    )
    body = code(
        """
        const i0 0
        load i1 b1 i0 'i32'
        const i2 16
        const i3 1
        bmov b2 b0
        le i4 i1 i0
        br_if i4 12
        alloc b3 i2
        execute 0 (b2 b3) ()
        bmov b2 b3
        sub i1 i1 i3
        br 5
        return (b2) (i0)
        """
    )
    inputs = (tensor("x", 4), tensor("n", dtype="i32"))
    main = Function("main", inputs, (tensor("y", 4),), body, (5, 0, 4))
    module = load(tmp_path, Program([main], [commands]), device)
    x = floats(1, 2, 3, 4)
    for n in (0, 1, 5, 1000):
        np.testing.assert_array_equal(module.main(x, n), x + n)
    assert not np.shares_memory(module.main(x, 0), x)  # an input comes back as a copy


def test_calls_of_functions(tmp_path: Path, device: object) -> None:
    """main(x[n]) = helper(helper(x)), where the helper also returns n + 1."""
    length = param(0)
    commands = CommandList(
        (Dispatch(support.ADD_ONE, (whole(0), whole(1)), (), length, imm(0)),), 2, 1
    )
    main = Function(
        "main",
        (tensor("x", "n"),),
        (tensor("y", "n"), tensor("count", dtype="i64")),
        code(
            """
            call 1 (b0) (i0) (b1) (i1)
            call 1 (b1) (i0) (b1) (i2)
            add i1 i1 i2
            const i3 8
            alloc b2 i3
            const i3 0
            store i1 b2 i3 'i64'
            return (b1 b2) (i3 i3)
            """
        ),
        (4, 0, 3),
    )
    body = code(
        """
        const i1 4
        mul i1 i1 i0
        alloc b1 i1
        execute 0 (b0 b1) (i0)
        const i2 1
        add i2 i2 i0
        return (b1) (i2)
        """
    )
    helper = Function("helper", (), (), body, (3, 0, 2), public=False)
    module = load(tmp_path, Program([main, helper], [commands]), device)
    y, count = module.main(floats(1, 2, 3))
    np.testing.assert_array_equal(y, floats(3, 4, 5))
    assert count.shape == () and count == 8
    assert list(module) == ["main"]


def test_results_with_sizes_of_their_own(tmp_path: Path) -> None:
    """main(k) returns a tensor of k zeros: the size is known when the call returns."""
    commands = CommandList((Fill(whole(0), param(0), b"\0\0\x80\x3f"),), 1, 1)
    body = code(
        """
        const i1 0
        load i0 b0 i1 'i64'
        const i2 4
        mul i2 i2 i0
        alloc b1 i2
        execute 0 (b1) (i2)
        return (b1) (i1 i0)
        """
    )
    main = Function("main", (tensor("k", dtype="i64"),), (tensor("y", "m"),), body, (3, 0, 2))
    module = load(tmp_path, Program([main], [commands]), "local-sync")
    for k in (0, 3, 100):
        np.testing.assert_array_equal(module.main(k), np.ones(k, np.float32))


def test_state_survives_calls_and_belongs_to_the_instance(tmp_path: Path, device: object) -> None:
    data = floats(1, 2, 3, 4)
    program = support.state_program()
    one = load(tmp_path, program, device, (data.tobytes(),))
    two = load(tmp_path, program, device, (data.tobytes(),))
    for calls in (1, 2, 3):
        total, count = one.main()
        np.testing.assert_array_equal(total, data * calls)
        assert count == calls
    assert two.main()[1] == 1
    total[:] = -1  # a result is the caller's own
    np.testing.assert_array_equal(one.main()[0], data * 4)
    one.reset()
    np.testing.assert_array_equal(one.main()[0], data)
    assert two.main()[1] == 2


def test_state_starts_as_data(tmp_path: Path) -> None:
    body = code("get_global b0 0\nconst i0 0\nreturn (b0) (i0)")
    main = Function("main", (), (tensor("y", 4),), body, (1, 0, 1))
    program = Program([main], [], [Global("g", 16, 64)])
    constants = (bytes(64), floats(1, 2, 3, 4).tobytes())
    module = load(tmp_path, program, "local-sync", constants)
    first = module.main()
    np.testing.assert_array_equal(first, floats(1, 2, 3, 4))
    first[:] = 0
    np.testing.assert_array_equal(module.main(), floats(1, 2, 3, 4))


def test_constants_and_inputs_as_results_are_copies(tmp_path: Path) -> None:
    body = code("constants b1\nconst i0 0\nreturn (b0 b1 b1) (i0 i0 i0)")
    outputs = tuple(tensor(name, 4) for name in "abc")
    main = Function("main", (tensor("x", 4),), outputs, body, (1, 0, 2))
    data = floats(1, 2, 3, 4)
    module = load(tmp_path, Program([main]), "local-sync", (data.tobytes(),))
    x = floats(5, 6, 7, 8)
    results = module.main(x)
    for result in results:
        result += 1
    np.testing.assert_array_equal(x, floats(5, 6, 7, 8))
    np.testing.assert_array_equal(module.main(x)[2], data)


def test_two_results_in_one_allocation(tmp_path: Path, device: object) -> None:
    commands = CommandList(
        (
            Dispatch(support.ADD_ONE, (whole(0), whole(1)), (), imm(4), imm(0)),
            Copy(whole(0), Binding(1, imm(64)), imm(16)),
        ),
        2,
        0,
    )
    body = code(
        """
        const i0 80
        alloc b1 i0
        execute 0 (b0 b1) ()
        const i1 0
        const i2 64
        return (b1 b1) (i1 i2)
        """
    )
    outputs = (tensor("a", 4), tensor("b", 4))
    main = Function("main", (tensor("x", 4),), outputs, body, (3, 0, 2))
    module = load(tmp_path, Program([main], [commands]), device)
    x = floats(1, 2, 3, 4)
    a, b = module.main(x)
    np.testing.assert_array_equal(a, x + 1)
    np.testing.assert_array_equal(b, x)


def test_a_large_result_starts_on_a_cache_line(tmp_path: Path) -> None:
    module = load(tmp_path, support.add_program(1 << 14), "local-sync")
    x = np.ones(1 << 14, np.float32)
    result = module.main(x, x)
    assert result.ctypes.data % 64 == 0
    np.testing.assert_array_equal(result, x + x)
