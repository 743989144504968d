"""The Vulkan driver: memory, commands, semaphores, and what it says when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tests.gpu.dispatches import elementwise
from tests.onnx.isolation import isolated
from tests.vulkan.harness import compile_dispatch, device, run_dispatch

from iree_backend_vulkan.driver import VulkanDevice, VulkanDriver, VulkanSemaphore
from iree_backend_vulkan.image import Entry, pack_image, parse_image
from iree_core.errors import DeviceError, ModuleFileError, UsageError
from iree_core.expr import const
from iree_core.hal import BufferView, Fence, transfers
from iree_core.hal.registry import open_device
from iree_core.vm.program import Binding, Command, CommandList, Copy, Dispatch, Fill, Operand

ADD = elementwise("%r = arith.addf %a, %b : f32", ["f32", "f32"], "f32")
IMAGE = pack_image(
    [Entry("kernel", b"\x03\x02\x23\x07" + bytes(16), 64, 1, 1, False, (const(4),), ("Shader",))]
)


@pytest.fixture(params=["0", "1"], ids=["mapped", "staged"])
def either(request: pytest.FixtureRequest) -> VulkanDevice:
    return device(staging=request.param)


def run(on: VulkanDevice, commands: list[Command], arrays: list[np.ndarray]) -> list[np.ndarray]:
    buffers = [on.allocator.import_host(a.view(np.uint8)) for a in arrays]
    recorded = on.record(CommandList(tuple(commands), len(buffers), 0), None)
    stream = on.create_stream()
    stream.execute(recorded, buffers, [])
    stream.synchronize()
    return [b.read(0, b.nbytes) for b in buffers]


def imm(number: int) -> Operand:
    return ("imm", number)


@pytest.mark.parametrize("offset,length", [(0, 64), (4, 8), (3, 5), (1, 63), (8, 0)])
@pytest.mark.parametrize("pattern", [b"\x07", b"\x01\x02", b"abcd", b"abcdefgh"])
def test_fill(either: VulkanDevice, offset: int, length: int, pattern: bytes) -> None:
    command = Fill(Binding(0, imm(offset)), imm(length), pattern)
    (found,) = run(either, [command], [np.zeros(64, np.uint8)])
    expected = bytes(offset) + (pattern * 64)[:length]
    assert found.tobytes() == expected.ljust(64, b"\0")


def test_copies_see_what_was_written_before(either: VulkanDevice) -> None:
    commands: list[Command] = [
        Fill(Binding(0, imm(0)), imm(8), b"\x05"),
        Copy(Binding(0, imm(2)), Binding(1, imm(7)), imm(5)),
        Copy(Binding(1, imm(7)), Binding(2, imm(0)), imm(5)),
    ]
    *_, last = run(either, commands, [np.zeros(16, np.uint8) for _ in range(3)])
    assert last.tobytes() == b"\x05" * 5 + bytes(11)


def test_buffers_check_their_range(either: VulkanDevice) -> None:
    buffer = either.allocator.allocate(100)
    buffer.write(90, np.arange(10, dtype=np.uint8))
    np.testing.assert_array_equal(buffer.read(95, 5), np.arange(5, 10))
    for action in (lambda: buffer.read(95, 6), lambda: buffer.write(100, np.zeros(1, np.uint8))):
        with pytest.raises(DeviceError, match="past the end"):
            action()


def test_mapped_results_outlive_their_buffer() -> None:
    view = BufferView(device().allocator.import_host(np.arange(4, dtype=np.uint8)), 0, "ui8", (4,))
    array = view.to_host()
    del view
    device().allocator.import_host(np.full(4, 9, np.uint8))
    np.testing.assert_array_equal(array, np.arange(4))


def test_tensors_at_odd_offsets_are_moved() -> None:
    backend, compiled = compile_dispatch(ADD)
    linked = backend.link([compiled], backend.resolve("full"))
    on = device()
    loaded = on.load_executable(memoryview(linked.data), linked.entries, format=linked.format)
    data = np.arange(12, dtype=np.float32)
    buffer = on.allocator.import_host(data.view(np.uint8))
    places = tuple(Binding(0, imm(offset)) for offset in (4, 16, 36))
    dispatch = Dispatch(0, places, (imm(3),), imm(3), imm(0))
    recorded = on.record(CommandList((dispatch,), 1, 0), loaded)
    stream = on.create_stream()
    stream.execute(recorded, [buffer], [])
    stream.synchronize()
    found = buffer.read(0, 48).view(np.float32)
    np.testing.assert_array_equal(found, [*range(9), 5, 7, 9])


def test_uploads_do_not_wait_and_later_work_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    on = VulkanDriver().create_device("", {"staging": "1"})
    waits: list[int] = []
    wait_for = VulkanSemaphore.wait_for

    def counted(self: VulkanSemaphore, value: int, seconds: float) -> bool:
        waits.append(value)
        return wait_for(self, value, seconds)

    monkeypatch.setattr(VulkanSemaphore, "wait_for", counted)
    data = np.arange(5000, dtype=np.uint8)
    source, target = on.allocator.import_host(data), on.allocator.allocate(5000)
    copy = Copy(Binding(0, imm(3)), Binding(1, imm(5)), imm(4000))
    stream = on.create_stream()
    stream.execute(on.record(CommandList((copy,), 2, 0), None), [source, target], [])
    assert not waits
    stream.synchronize()
    np.testing.assert_array_equal(target.read(5, 4000), data[3:4003])


def test_large_transfers_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "PIECE_BYTES", 1000)
    monkeypatch.setattr(transfers, "_MOST_UNFINISHED_BYTES", 2000)
    on = VulkanDriver().create_device("", {"staging": "1"})
    data = np.random.default_rng(0).integers(0, 256, 5001, np.uint8)
    buffers = [on.allocator.import_host(data) for _ in range(3)]
    for buffer in buffers:
        np.testing.assert_array_equal(buffer.read(1, 5000), data[1:])


def test_a_stream_waits_for_work_of_others() -> None:
    on = device()
    buffer, go = on.allocator.import_host(np.zeros(4, np.uint8)), on.create_semaphore()
    fill = on.record(CommandList((Fill(Binding(0, imm(0)), imm(4), b"a"),), 1, 0), None)
    stream = on.create_stream()
    stream.wait_for(Fence(((go, 1),)))
    stream.execute(fill, [buffer], [])
    assert not stream.fence().wait(0.01) and not buffer.read(0, 4).any()
    go.signal(1)
    stream.synchronize()
    assert buffer.read(0, 4).tobytes() == b"aaaa"


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


def test_work_that_never_ends_is_an_error_and_other_devices_go_on() -> None:
    hung = VulkanDriver().create_device("", {"timeout": "0.2"})
    with pytest.raises(DeviceError, match=r"did not finish its work in 0\.2 s"):
        hung.create_semaphore().wait(1)
    with pytest.raises(DeviceError, match="did not finish"):
        hung.create_semaphore().query()
    x = np.ones(4, np.float32)
    (result,), _ = run_dispatch(ADD, [x, x], [4], [((4,), np.float32)])
    np.testing.assert_array_equal(result, [2, 2, 2, 2])


def test_a_forked_process_opens_devices_of_its_own() -> None:
    inherited = open_device("vulkan")

    def child() -> None:
        with pytest.raises(DeviceError, match="before this process was forked"):
            inherited.create_semaphore().wait(0)
        own = open_device("vulkan")
        assert own is not inherited and open_device("vulkan") is own
        assert own.create_semaphore(1).wait(1)

    assert isolated(child) is None
    assert inherited.create_semaphore(1).wait(1)


def test_memory_runs_out() -> None:
    with pytest.raises(DeviceError, match="Out of memory"):
        device().allocator.allocate(1 << 45)


def test_a_tensor_too_large_for_a_shader_is_named() -> None:
    backend, compiled = compile_dispatch(ADD)
    linked = backend.link([compiled], backend.resolve("full"))
    on = device()
    loaded = on.load_executable(memoryview(linked.data), linked.entries, format=linked.format)
    count = on.physical.limits.maxStorageBufferRange // 4 + 1
    buffer = on.allocator.allocate(4 * count)
    place = Binding(0, imm(0))
    dispatch = Dispatch(0, (place,) * 3, (imm(count),), imm(count), imm(0))
    recorded = on.record(CommandList((dispatch,), 1, 0), loaded)
    with pytest.raises(DeviceError, match=r"operand 0 of kernel.*maxStorageBufferRange"):
        on.create_stream().execute(recorded, [buffer], [])


def test_commands_are_checked() -> None:
    for command in (
        Fill(Binding(1, imm(0)), imm(4), b"a"),
        Fill(Binding(0, ("param", 0)), imm(4), b"a"),
        Dispatch(0, (), (), imm(1), imm(0)),
    ):
        with pytest.raises(ModuleFileError, match="does not exist"):
            device().record(CommandList((command,), 1, 0), None)


def test_wrong_devices_and_options() -> None:
    driver = VulkanDriver()
    with pytest.raises(DeviceError, match="no Vulkan device '99'"):
        driver.create_device("99")
    with pytest.raises(UsageError, match="no option color"):
        driver.create_device("", {"color": "red"})
    with pytest.raises(UsageError, match="number of seconds"):
        driver.create_device("", {"timeout": "soon"})


def test_images_are_checked() -> None:
    (entry,) = parse_image(IMAGE)
    assert (entry.name, entry.workgroup, len(entry.code)) == ("kernel", 64, 20)
    for damaged in (b"", IMAGE[:-1], b"X" + IMAGE[1:], IMAGE.replace(b'"size":20', b'"size":24')):
        with pytest.raises(ModuleFileError):
            parse_image(damaged)
    for position in range(len(IMAGE)):
        broken = bytearray(IMAGE)
        broken[position] ^= 0x15
        try:
            parse_image(bytes(broken))
        except ModuleFileError:
            continue


def test_a_missing_feature_is_named() -> None:
    entry = Entry("k", b"\x03\x02\x23\x07" + bytes(16), 64, 0, 0, False, (), ("Shader", "Kernel"))
    with pytest.raises(ModuleFileError, match="needs Kernel"):
        device().load_executable(memoryview(pack_image([entry])), [("k", 0)], format="vulkan-spirv")


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_drivers_the_listing_says_so(tmp_path: Path) -> None:
    found = python(
        "from iree_core.cli import main; main(['devices'])",
        VK_ICD_FILENAMES=str(tmp_path / "none.json"),
        VK_DRIVER_FILES=str(tmp_path / "none.json"),
    )
    assert "vulkan" in found.stdout and "finds no driver" in found.stdout, found
    assert "local-task" in found.stdout


def test_the_validation_layer_is_silent(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import numpy as np
from tests.vulkan import harness, test_driver, test_kernels
for staging in "01":
    on = harness.device(staging=staging)
    test_driver.test_copies_see_what_was_written_before(on)
    test_driver.test_fill(on, 3, 5, b"ab")
test_driver.test_tensors_at_odd_offsets_are_moved()
test_driver.test_semaphores()
for strategy in ("auto", "general"):
    test_kernels.test_softmax(37, 31, strategy)
test_kernels.test_matmul_with_residual("m", True, 37, 24, 10)
test_kernels.test_small_floats_round_to_nearest_even("f16")
print("done")
"""
    found = python(code, VK_INSTANCE_LAYERS="VK_LAYER_KHRONOS_validation")
    assert found.stdout.strip() == "done", found.stdout[:2000] + found.stderr[:2000]


def test_a_process_may_end_before_its_work_does() -> None:
    """Devices that compute on threads of the process must not lose what they work on."""
    program = textwrap.dedent("""
        import numpy as np
        import iree_core
        kind = "tensor<512x512xf32>"
        module = iree_core.compile(f'''
            func.func @main(%x: {kind}) -> {kind} {{
              %y = stablehlo.dot_general %x, %x, contracting_dims = [1] x [0]
                  : ({kind}, {kind}) -> {kind}
              return %y : {kind}
            }}'''.encode(), target="vulkan:minimal")
        main = iree_core.load(module, device="vulkan").main
        x = np.ones((512, 512), np.float32)
        results = [main(x) for _ in range(8)]
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
