"""The Metal driver on the stand-in: memory, commands, semaphores, and its errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.gpu.dispatches import elementwise
from tests.metal import stand_in
from tests.metal.harness import compile_dispatch, device, open_stand_in, run_dispatch

from iree_backend_metal import framework
from iree_backend_metal.driver import MetalDevice, MetalDriver
from iree_backend_metal.image import Entry, pack_image, parse_image
from iree_core.errors import DeviceError, ModuleFileError, UsageError
from iree_core.expr import const
from iree_core.hal import BufferView, transfers
from iree_core.vm.program import Binding, Command, CommandList, Copy, Dispatch, Fill, Operand

ADD = elementwise("%r = arith.addf %a, %b : f32", ["f32", "f32"], "f32")
IMAGE = pack_image(
    [Entry("k", b"kernel void k() {}", 64, 1, 1, False, (const(4),), ("simdgroups",), (4,))]
)


@pytest.fixture(params=[False, True], ids=["shared", "private"])
def either(request: pytest.FixtureRequest) -> MetalDevice:
    return device(request.param)


def run(on: MetalDevice, commands: list[Command], arrays: list[np.ndarray]) -> list[np.ndarray]:
    buffers = [on.allocator.import_host(a.view(np.uint8)) for a in arrays]
    recorded = on.record(CommandList(tuple(commands), len(buffers), 0), None)
    stream = on.create_stream()
    stream.execute(recorded, buffers, [])
    stream.synchronize()
    return [b.read(0, b.nbytes) for b in buffers]


def imm(number: int) -> Operand:
    return ("imm", number)


@pytest.mark.parametrize("offset,length", [(0, 64), (4, 8), (3, 5), (1, 63), (8, 0)])
@pytest.mark.parametrize("pattern", [b"\x07", b"\xff", b"\x01\x02", b"abcd", b"abcdefgh"])
def test_fill(either: MetalDevice, offset: int, length: int, pattern: bytes) -> None:
    command = Fill(Binding(0, imm(offset)), imm(length), pattern)
    (found,) = run(either, [command], [np.zeros(64, np.uint8)])
    expected = bytes(offset) + (pattern * 64)[:length]
    assert found.tobytes() == expected.ljust(64, b"\0")


def test_copies_see_what_was_written_before(either: MetalDevice) -> None:
    commands: list[Command] = [
        Fill(Binding(0, imm(0)), imm(8), b"\x05"),
        Copy(Binding(0, imm(2)), Binding(1, imm(7)), imm(5)),
        Copy(Binding(1, imm(4)), Binding(2, imm(0)), imm(8)),
    ]
    *_, last = run(either, commands, [np.zeros(16, np.uint8) for _ in range(3)])
    assert last.tobytes() == bytes(3) + b"\x05" * 5 + bytes(8)


@pytest.mark.parametrize("offset,length", [(0, 100), (90, 10), (1, 1), (3, 6), (97, 3), (5, 0)])
def test_buffers_read_and_write_any_range(either: MetalDevice, offset: int, length: int) -> None:
    whole = np.arange(100, dtype=np.uint8)
    buffer = either.allocator.import_host(whole)
    whole[offset : offset + length] = 200
    buffer.write(offset, whole[offset : offset + length])
    np.testing.assert_array_equal(buffer.read(0, 100), whole)
    np.testing.assert_array_equal(buffer.read(offset, length), whole[offset : offset + length])


def test_buffers_check_their_range(either: MetalDevice) -> None:
    buffer = either.allocator.allocate(100)
    for action in (lambda: buffer.read(95, 6), lambda: buffer.write(100, np.zeros(1, np.uint8))):
        with pytest.raises(DeviceError, match="past the end"):
            action()


def test_mapped_results_outlive_their_buffer() -> None:
    view = BufferView(device().allocator.import_host(np.arange(4, dtype=np.uint8)), 0, "ui8", (4,))
    array = view.to_host()
    del view
    device().allocator.import_host(np.full(4, 9, np.uint8))
    np.testing.assert_array_equal(array, np.arange(4))


def add(on: MetalDevice, offsets: tuple[int, int, int]) -> tuple[np.ndarray, list]:
    """Add 3 floats at offsets of a buffer that holds 0, 1, ... 11; return it and the calls."""
    backend, compiled = compile_dispatch(ADD)
    linked = backend.link([compiled], backend.resolve(""))
    loaded = on.load_executable(memoryview(linked.data), linked.entries, format=linked.format)
    buffer = on.allocator.import_host(np.arange(12, dtype=np.float32).view(np.uint8))
    places = tuple(Binding(0, imm(offset)) for offset in offsets)
    recorded = on.record(
        CommandList((Dispatch(0, places, (imm(3),), imm(3), imm(0)),), 1, 0), loaded
    )
    stream = on.create_stream()
    on.handle.calls.clear()
    stream.execute(recorded, [buffer], [])
    stream.synchronize()
    return buffer.read(0, 48).view(np.float32), list(on.handle.calls)


def test_a_dispatch_is_one_call() -> None:
    found, calls = add(open_stand_in(), (0, 16, 32))
    np.testing.assert_array_equal(found, [*range(8), 4, 6, 8, 11])
    assert calls == [("dispatch", ("compute", 1, 64, 3)), ("commit", ())]


def test_tensors_at_odd_offsets_are_moved() -> None:
    found, calls = add(open_stand_in(), (4, 16, 36))
    np.testing.assert_array_equal(found, [*range(9), 5, 7, 9])
    assert [name for name, _ in calls] == ["copy", "copy", "dispatch", "copy", "commit"]


def test_a_command_list_is_prepared_once() -> None:
    on = open_stand_in()
    recorded = on.record(CommandList((Fill(Binding(0, imm(0)), imm(4), b"a"),), 1, 0), None)
    first, second = on.allocator.allocate(64), on.allocator.allocate(64)
    made = recorded.recording([first], [])
    assert recorded.recording([first], []) is made
    assert recorded.recording([second], []) is not made


def test_uploads_do_not_wait_and_later_work_sees_them() -> None:
    on = open_stand_in(private=True)
    target = on.allocator.allocate(5000)
    on.handle.stuck = True
    data = np.arange(5000, dtype=np.uint8)
    source = on.allocator.import_host(data)
    copy = Copy(Binding(0, imm(3)), Binding(1, imm(5)), imm(4000))
    stream = on.create_stream()
    stream.execute(on.record(CommandList((copy,), 2, 0), None), [source, target], [])
    del source
    on.handle.stuck = False
    on.handle.advance()
    stream.synchronize()
    np.testing.assert_array_equal(target.read(5, 4000), data[3:4003])


def test_large_transfers_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "PIECE_BYTES", 1000)
    monkeypatch.setattr(transfers, "_MOST_UNFINISHED_BYTES", 2000)
    on = open_stand_in(private=True)
    data = np.random.default_rng(0).integers(0, 256, 5001, np.uint8)
    buffers = [on.allocator.import_host(data) for _ in range(3)]
    for buffer in buffers:
        buffer.write(999, data[999:2002])
        np.testing.assert_array_equal(buffer.read(1, 5000), data[1:])


def test_semaphores() -> None:
    semaphore = device().create_semaphore(3)
    assert semaphore.query() == 3 and semaphore.wait(3) and not semaphore.wait(4, timeout=0.01)
    semaphore.signal(5)
    assert semaphore.query() == 5
    with pytest.raises(DeviceError, match="cannot be signalled"):
        semaphore.signal(5)
    semaphore.fail(DeviceError("gone"))
    with pytest.raises(DeviceError, match="gone"):
        semaphore.wait(6)


def test_work_waits_on_the_device_for_what_it_needs() -> None:
    on = open_stand_in()
    buffer = on.allocator.import_host(np.zeros(4, np.uint8))
    recorded = on.record(CommandList((Fill(Binding(0, imm(0)), imm(4), b"a"),), 1, 0), None)
    start, done = on.create_semaphore(), on.create_semaphore()
    on.submit(recorded, [buffer], [], wait=[(start, 2)], signal=[(done, 7)])
    assert done.query() == 0 and not buffer.read(0, 4).any()
    start.signal(2)
    assert done.wait(7)
    assert buffer.read(0, 4).tobytes() == b"aaaa"


def test_work_that_never_ends_is_an_error_and_other_devices_go_on() -> None:
    hung = open_stand_in(timeout=0.2)
    hung.handle.stuck = True
    with pytest.raises(DeviceError, match=r"did not finish its work in 0\.2 s"):
        hung.create_semaphore().wait(1)
    with pytest.raises(DeviceError, match="did not finish"):
        hung.create_semaphore().query()
    x = np.ones(4, np.float32)
    (result,), _ = run_dispatch(ADD, [x, x], [4], [((4,), np.float32)])
    np.testing.assert_array_equal(result, [2, 2, 2, 2])


def test_work_that_fails_says_why() -> None:
    on = open_stand_in()
    stream, buffer = on.create_stream(), on.allocator.allocate(4)
    recorded = on.record(CommandList((Fill(Binding(0, imm(0)), imm(4), b"a"),), 1, 0), None)
    on.handle.failure = "Caused GPU Hang Error"
    stream.execute(recorded, [buffer], [])
    with pytest.raises(DeviceError, match="Caused GPU Hang Error"):
        stream.synchronize()


def test_memory_runs_out() -> None:
    on = open_stand_in()
    on.handle.most = 1 << 20
    with pytest.raises(DeviceError, match="Out of memory"):
        on.allocator.allocate(2 << 20)
    with pytest.raises(DeviceError, match="Out of memory"):
        on.allocator.allocate(1 << 34)


def test_buffers_larger_than_an_allocation(either: MetalDevice) -> None:
    most, either.heap.most = either.heap.most, 1024
    try:
        commands: list[Command] = [
            Fill(Binding(0, imm(1022)), imm(5), b"ab"),
            Copy(Binding(0, imm(1000)), Binding(1, imm(2040)), imm(1100)),
        ]
        first, second = (np.arange(n * 1000, dtype=np.uint32).view(np.uint8) for n in (1, 2))
        found = run(either, commands, [first, second])
    finally:
        either.heap.most = most
    first, second = first.copy(), second.copy()
    first[1022:1027] = np.frombuffer(b"ababa", np.uint8)
    second[2040:3140] = first[1000:2100]
    np.testing.assert_array_equal(found[0], first)
    np.testing.assert_array_equal(found[1], second)


def test_freed_memory_is_used_again() -> None:
    on = open_stand_in()
    first = on.allocator.allocate(1000)
    kept = first.memory
    del first
    assert on.allocator.allocate(1001).memory is kept


def test_commands_are_checked() -> None:
    for command in (
        Fill(Binding(1, imm(0)), imm(4), b"a"),
        Fill(Binding(0, ("param", 0)), imm(4), b"a"),
        Dispatch(0, (), (), imm(1), imm(0)),
    ):
        with pytest.raises(ModuleFileError, match="does not exist"):
            device().record(CommandList((command,), 1, 0), None)
    outside = Fill(Binding(0, imm(60)), imm(8), b"a")
    recorded = device().record(CommandList((outside,), 1, 0), None)
    with pytest.raises(DeviceError, match="8 bytes at offset 60"):
        device().create_stream().execute(recorded, [device().allocator.allocate(64)], [])


def test_images_are_checked() -> None:
    (entry,) = parse_image(IMAGE)
    assert (entry.name, entry.workgroup, entry.needs) == ("k", 64, ("simdgroups",))
    for damaged in (b"", IMAGE[:-1], b"X" + IMAGE[1:], IMAGE.replace(b"kernel", b"\xffernel")):
        with pytest.raises(ModuleFileError):
            parse_image(damaged)


def test_a_missing_feature_is_named() -> None:
    old = open_stand_in(stand_in.Device(families=1006))
    with pytest.raises(ModuleFileError, match="needs shuffles and reductions in a simdgroup"):
        old.load_executable(memoryview(IMAGE), [("k", 0)], format="metal-msl")


def test_a_kernel_that_does_not_compile_is_an_error() -> None:
    image = pack_image([Entry("k", b"kernel nonsense", 64, 0, 0, False, ())])
    with pytest.raises(DeviceError, match="Metal's compiler refuses kernel k"):
        device().load_executable(memoryview(image), [("k", 0)], format="metal-msl")
    with pytest.raises(ModuleFileError, match="runs metal-msl, not vulkan-spirv"):
        device().load_executable(memoryview(image), [("k", 0)], format="vulkan-spirv")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    first = stand_in.Device("Apple M2", 1008)
    source = stand_in.framework(first, stand_in.Device("AMD", 1000))
    monkeypatch.setattr(framework, "load", lambda: source)
    driver = MetalDriver()
    devices = driver.query_devices()
    assert [d.path for d in devices] == ["0", "1"]
    assert devices[0].description == "Apple M2 (family apple8; 5120 MiB, unified memory)"
    assert "older than the families" in devices[1].description
    assert driver.create_device("0", {"timeout": "5"}).timeout == 5
    assert not driver.create_device("", {"private": "1"}).heap.mapped
    with pytest.raises(DeviceError, match="AMD is unusable"):
        driver.create_device("1")
    with pytest.raises(DeviceError, match="no Metal device '9'"):
        driver.create_device("9")
    with pytest.raises(UsageError, match="no option color"):
        driver.create_device("", {"color": "red"})
    with pytest.raises(UsageError, match="number of seconds"):
        driver.create_device("", {"timeout": "soon"})


def test_elsewhere_the_listing_says_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(DeviceError, match="Metal exists on macOS only; this system is linux"):
        MetalDriver().query_devices()
