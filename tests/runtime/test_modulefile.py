"""Module files: what is written comes back, and nothing that is not one gets in."""

from __future__ import annotations

import contextlib
import io
import random
import resource
import tracemalloc
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime import support

import iree_core
from iree_core.errors import CompileError, ModuleFileError
from iree_core.hal.registry import open_device
from iree_core.modulefile import DataSection, ModuleFile
from iree_core.modulefile import writer as module_writer
from iree_core.modulefile.embedded import compress
from iree_core.modulefile.writer import VariantSource, write_module
from iree_core.params import ParameterStore


def variant() -> VariantSource:
    return VariantSource("llvm-cpu", "host", support.dynamic_program(), support.executable())


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    store = ParameterStore()
    store.add("w", np.arange(5, dtype=np.float32))
    store.add("b", np.ones((2, 3), np.int8))
    data = DataSection(store)
    offsets = [data.add_parameter("w"), data.add_bytes(b"small"), data.add_parameter("b")]
    assert offsets == [data.add_parameter("w"), data.add_bytes(b"small"), data.add_parameter("b")]
    path = tmp_path / "m.vmfb"
    size = write_module(
        path, [variant()], data, name="net", versions={"frontend": "1.2"}, ir=compress(b"module {}")
    )
    assert size == path.stat().st_size
    file = ModuleFile.open(path)
    assert file.name == "net" and file.ir() == b"module {}"
    assert file.versions == {"iree-core": iree_core.__version__, "frontend": "1.2"}
    (function,) = file.functions
    assert function.inputs == variant().program.functions[0].inputs
    assert file.program(file.variants[0]) == variant().program
    assert bytes(file.image(file.variants[0])) == support.executable().data
    assert [(p.key, p.offset, p.nbytes) for p in file.parameters] == [
        ("w", offsets[0], 20),
        ("b", offsets[2], 6),
    ]
    constants = file.constants
    assert constants.ctypes.data % 64 == 0 and all(offset % 64 == 0 for offset in offsets)
    assert constants[offsets[0] : offsets[0] + 20].view(np.float32).tolist() == [0, 1, 2, 3, 4]
    assert bytes(constants[offsets[1] : offsets[1] + 5]) == b"small"
    assert not constants.flags.writeable


def test_constants_from_bytes_are_aligned(tmp_path: Path) -> None:
    content = support.write(tmp_path / "m", support.add_program(), [b"x" * 100]).read_bytes()
    for shift in (0, 1, 8):
        view = memoryview(bytes(shift) + content)[shift:]
        constants = ModuleFile.from_bytes(view).constants
        assert constants.ctypes.data % 64 == 0 and bytes(constants[:100]) == b"x" * 100


def test_equal_variants_share_their_bytes(tmp_path: Path) -> None:
    data = DataSection(ParameterStore())
    one = write_module(tmp_path / "1", [variant()], data)
    two = write_module(tmp_path / "2", [variant(), variant()], data)
    assert two - one < len(support.executable().data)


def test_one_parameter_in_memory_at_a_time(tmp_path: Path) -> None:
    store, megabyte = ParameterStore(), 1 << 20
    for n in range(20):
        store.derive(f"p{n}", (megabyte,), np.uint8, partial(np.full, megabyte, n, np.uint8))
    data = DataSection(store)
    for n in range(20):
        data.add_parameter(f"p{n}")
    tracemalloc.start()
    write_module(tmp_path / "m", [variant()], data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * megabyte
    constants = ModuleFile.open(tmp_path / "m").constants
    assert constants[::megabyte].tolist() == list(range(20))


def test_a_failed_write_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.vmfb"
    path.write_bytes(b"before")

    def broken() -> np.ndarray:
        raise RuntimeError("cannot compute")

    store = ParameterStore()
    store.derive("w", (4,), np.uint8, broken)
    data = DataSection(store)
    data.add_parameter("w")
    with pytest.raises(RuntimeError):
        write_module(path, [variant()], data)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_unwritable_output(tmp_path: Path) -> None:
    data = DataSection(ParameterStore())
    with pytest.raises(CompileError, match=r"Cannot write.*No such file"):
        write_module(tmp_path / "no" / "m.vmfb", [variant()], data)


def test_no_space_left(tmp_path: Path) -> None:
    data = DataSection(ParameterStore())
    data.add_bytes(bytes(100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(CompileError, match=r"Cannot write.*space left on the disk"):
            write_module(tmp_path / "m.vmfb", [variant()], data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


FOREIGN = {
    "a module of the IREE project": _zip("module.fb", "main_dispatch_0_embedded_elf_x86_64.so"),
    "module of the IREE project": b"\x20\0\0\0IREE" + bytes(40),
    "a PyTorch file": _zip("archive/data.pkl"),
    "a numpy archive": _zip("arr_0.npy"),
    "a zip archive": _zip("readme.txt"),
    "MLIR text": b"module {\n  func.func @main() {\n    return\n  }\n}\n",
    "is text": "# ein Wörterbuch\n".encode() * 400,
    "an ELF binary": b"\x7fELF\2\1\1" + bytes(100),
    "MLIR bytecode": b"ML\xefR" + bytes(100),
    "an ONNX model": b"\x08\x0a\x12\x07pytorch" + bytes(100),
    "a TensorFlow Lite model": b"\x1c\0\0\0TFL3" + bytes(100),
    "a GGUF file": b"GGUF\3\0\0\0" + bytes(100),
    "only 0 bytes": b"",
    "only 5 bytes": b"\1\2\3\4\5",
    "not a module file": bytes(range(200, 256)) * 4,
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_files_are_recognised(tmp_path: Path, what: str) -> None:
    with pytest.raises(ModuleFileError, match=what):
        ModuleFile.from_bytes(FOREIGN[what])
    path = tmp_path / "foreign.vmfb"
    path.write_bytes(FOREIGN[what])
    with pytest.raises(ModuleFileError, match=r"foreign\.vmfb"):
        iree_core.load(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ModuleFileError, match="No such file"):
        iree_core.load(tmp_path / "missing.vmfb")
    with pytest.raises(ModuleFileError, match="Is a directory"):
        iree_core.load(tmp_path)


@pytest.mark.parametrize(("version", "cure"), [(99, "pip install --upgrade"), (0, "Compile")])
def test_other_versions_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, cure: str
) -> None:
    monkeypatch.setattr(module_writer, "FORMAT_VERSION", version)
    path = support.write(tmp_path / "m.vmfb", support.add_program())
    with pytest.raises(ModuleFileError, match=rf"version {version} .made by iree-core .*{cure}"):
        iree_core.load(path)


def test_code_for_another_machine(tmp_path: Path) -> None:
    other = support.executable(arch="s390x")
    path = support.write(tmp_path / "m.vmfb", support.add_program(), code=other)
    with pytest.raises(ModuleFileError, match=r"native-\w+, not native-s390x.*--target"):
        iree_core.load(path, "local-sync")


def small_module(tmp_path: Path) -> bytes:
    path = support.write(
        tmp_path / "m.vmfb", support.state_program(), [bytes(range(64))], ir=compress(b"module {}")
    )
    return path.read_bytes()


def load_all(content: bytes) -> None:
    """Read everything that loading would, short of running it."""
    device = open_device("local-sync")
    file = ModuleFile.from_bytes(content)
    file.constants.sum()
    for found in file.variants:
        file.program(found)
        if found.executable is not None:
            entries = found.executable.entries
            device.load_executable(file.image(found), entries, format=found.executable.format)


def test_truncation_is_noticed(tmp_path: Path) -> None:
    content = small_module(tmp_path)
    load_all(content)
    for length in range(0, len(content), 7):
        with pytest.raises(ModuleFileError):
            load_all(content[:length])


def test_flipped_bytes_are_noticed_or_harmless(tmp_path: Path) -> None:
    """A damaged file gives an error, except where the damage is in padding or weights."""
    content = small_module(tmp_path)
    rng = random.Random(0)
    for _ in range(1500):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        with contextlib.suppress(ModuleFileError):
            load_all(bytes(damaged))


def with_checksum(content: bytearray) -> bytes:
    """Return ``content`` with the right checksum, as a hostile author would make it."""
    size = int.from_bytes(content[:4], "little")
    if 8 + size <= len(content):
        content[4 + size : 8 + size] = zlib.crc32(content[4 : 4 + size]).to_bytes(4, "little")
    return bytes(content)


HOSTILE = st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])


@settings(max_examples=1500, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_hostile_offsets_sizes_and_counts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = _hostile_base(tmp_path_factory)
    size = int.from_bytes(content[:4], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, 4 + size - 4))
        width = data.draw(st.sampled_from([1, 2, 4]))
        value = data.draw(HOSTILE | st.integers(0, 2**32 - 1)) % (1 << 8 * width)
        content[at : at + width] = value.to_bytes(width, "little")
    with contextlib.suppress(ModuleFileError):
        load_all(with_checksum(content))


_base: dict[str, bytes] = {}


def _hostile_base(factory: pytest.TempPathFactory) -> bytearray:
    if "module" not in _base:
        _base["module"] = small_module(factory.mktemp("hostile"))
    return bytearray(_base["module"])


def test_tables_that_share_a_vector_cost_no_more_than_the_file() -> None:
    """Vectors of references to one big vector must not be read out in full."""
    import flatbuffers

    from iree_core.modulefile.flatbuffer import IDENTIFIER, put_table, put_tables

    b = flatbuffers.Builder(1024)
    tensor = put_table(b, ("ref", b.CreateString("x")), ("ref", b.CreateString("f32")))
    many = put_tables(b, [tensor] * 3000)
    signature = put_table(b, ("ref", b.CreateString("f")), ("ref", many), ("ref", many))
    signatures = put_tables(b, [signature] * 3000)
    root = put_table(b, ("u32", 1), ("ref", 0), ("ref", signatures))
    b.FinishSizePrefixed(root, file_identifier=IDENTIFIER)
    module = ModuleFile.from_bytes(with_checksum(bytearray(b.Output()) + bytes(200)))
    with pytest.raises(ModuleFileError, match="too often"):
        len(module.functions)
