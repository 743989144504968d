"""The CUDA driver: memory, commands, graphs, order, and what it says when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx.parser
import pytest
from tests.cuda import fake
from tests.cuda.harness import compile_dispatch
from tests.gpu.dispatches import elementwise

import iree_core
from iree_backend_cuda import cu
from iree_backend_cuda.driver import CudaDevice, CudaDriver
from iree_backend_cuda.image import Entry, pack_image, parse_image
from iree_backend_cuda.launch import read_launch
from iree_core.errors import DeviceError, ModuleFileError, UsageError
from iree_core.expr import const
from iree_core.hal import BufferView, dlpack
from iree_core.hal.host import HostSemaphore
from iree_core.vm.program import Binding, Command, CommandList, Copy, Dispatch, Fill, Operand

ADD = elementwise("%r = arith.addf %a, %b : f32", ["f32", "f32"], "f32")
PTX = b".version 7.0\n.target sm_80\n"


@pytest.fixture
def pair() -> Iterator[tuple[fake.FakeCuda, CudaDevice]]:
    """Return a fresh stand-in and its device; it must not have met a fault."""
    library, device = fake.open_device(arch=80)
    yield library, device
    assert not library.faults


def imm(number: int) -> Operand:
    return ("imm", number)


def run(on: CudaDevice, commands: list[Command], arrays: list[np.ndarray]) -> list[np.ndarray]:
    buffers = [on.allocator.import_host(a.view(np.uint8)) for a in arrays]
    recorded = on.record(CommandList(tuple(commands), len(buffers), 0), None)
    stream = on.create_stream()
    stream.execute(recorded, buffers, [])
    stream.synchronize()
    return [b.read(0, b.nbytes) for b in buffers]


def adder(on: CudaDevice) -> Any:
    """Return a command list that adds two vectors of 3 in slots 0 and 1 into slot 2, twice."""
    backend, compiled = compile_dispatch(ADD)
    linked = backend.link([compiled], backend.resolve("sm_80"))
    loaded = on.load_executable(memoryview(linked.data), linked.entries, format=linked.format)
    places = tuple(Binding(slot, imm(0)) for slot in range(3))
    dispatch = Dispatch(0, places, (imm(3),), imm(3), imm(0))
    return on.record(CommandList((dispatch, dispatch), 3, 0), loaded)


def vectors(on: CudaDevice) -> list[Any]:
    data = [np.arange(3, dtype=np.float32), np.full(3, 10, np.float32), np.zeros(3, np.float32)]
    return [on.allocator.import_host(x.view(np.uint8)) for x in data]


@pytest.mark.parametrize("offset,length", [(0, 64), (4, 8), (3, 5), (1, 63), (8, 0)])
@pytest.mark.parametrize("pattern", [b"\x07", b"\x01\x02", b"abcd", b"abcdefgh"])
def test_fill(on: CudaDevice, offset: int, length: int, pattern: bytes) -> None:
    command = Fill(Binding(0, imm(offset)), imm(length), pattern)
    (found,) = run(on, [command], [np.zeros(64, np.uint8)])
    expected = bytes(offset) + (pattern * 64)[:length]
    assert found.tobytes() == expected.ljust(64, b"\0")


def test_copies_see_what_was_written_before(on: CudaDevice) -> None:
    commands: list[Command] = [
        Fill(Binding(0, imm(0)), imm(8), b"\x05"),
        Copy(Binding(0, imm(2)), Binding(1, imm(7)), imm(5)),
        Copy(Binding(1, imm(7)), Binding(2, imm(0)), imm(5)),
    ]
    *_, last = run(on, commands, [np.zeros(16, np.uint8) for _ in range(3)])
    assert last.tobytes() == b"\x05" * 5 + bytes(11)


def test_buffers_check_their_range(on: CudaDevice) -> None:
    buffer = on.allocator.allocate(100)
    buffer.write(90, np.arange(10, dtype=np.uint8))
    np.testing.assert_array_equal(buffer.read(95, 5), np.arange(5, 10))
    for action in (lambda: buffer.read(95, 6), lambda: buffer.write(100, np.zeros(1, np.uint8))):
        with pytest.raises(DeviceError, match="past the end"):
            action()


def test_large_transfers_go_in_pieces(on: CudaDevice) -> None:
    data = np.random.default_rng(0).integers(0, 255, (9 << 20) + 5, np.uint8)
    buffer = on.allocator.import_host(data)
    np.testing.assert_array_equal(buffer.read(0, data.nbytes), data)


def test_tensors_at_odd_offsets_are_moved(on: CudaDevice) -> None:
    backend, compiled = compile_dispatch(ADD)
    linked = backend.link([compiled], backend.resolve("sm_80"))
    loaded = on.load_executable(memoryview(linked.data), linked.entries, format=linked.format)
    buffer = on.allocator.import_host(np.arange(12, dtype=np.float32).view(np.uint8))
    places = tuple(Binding(0, imm(offset)) for offset in (4, 16, 36))
    recorded = on.record(
        CommandList((Dispatch(0, places, (imm(3),), imm(3), imm(0)),), 1, 0), loaded
    )
    stream = on.create_stream()
    stream.execute(recorded, [buffer], [])
    stream.synchronize()
    found = buffer.read(0, 48).view(np.float32)
    np.testing.assert_array_equal(found, [*range(9), 5, 7, 9])


def test_a_list_that_runs_again_is_a_graph(pair: tuple[fake.FakeCuda, CudaDevice]) -> None:
    library, on = pair
    commands, buffers, stream = adder(on), vectors(on), on.create_stream()
    for _ in range(4):
        stream.execute(commands, buffers, [])
    stream.synchronize()
    np.testing.assert_array_equal(buffers[2].read(0, 12).view(np.float32), [10, 11, 12])
    assert library.count("GraphInstantiateWithFlags") == 1
    assert library.count("GraphLaunch") == 3
    assert library.count("LaunchKernel") == 4  # two as they are, two into the graph
    assert len(library.launches) == 8


def test_uploads_do_not_wait_for_kernels(pair: tuple[fake.FakeCuda, CudaDevice]) -> None:
    library, on = pair
    commands, buffers = adder(on), vectors(on)
    library.hold = True
    x = np.array([1, 2, 3], np.float32)
    buffers[0].write(0, x.view(np.uint8))
    x[:] = 0  # it has been read
    done = on.create_semaphore()
    on.submit(commands, buffers, [], signal=[(done, 1)])
    assert done.query() == 0 and not done.wait(1, timeout=0.01)
    assert library.count("StreamWaitEvent") == 4  # the uploads of the three vectors, and this one
    library.release()
    assert done.wait(1)
    np.testing.assert_array_equal(buffers[2].read(0, 12).view(np.float32), [11, 12, 13])


def test_memory_in_use_is_not_given_to_others(pair: tuple[fake.FakeCuda, CudaDevice]) -> None:
    library, on = pair
    commands, buffers = adder(on), vectors(on)
    library.hold = True
    done = on.create_semaphore()
    on.submit(commands, buffers, [], signal=[(done, 1)])
    address = buffers[0].address
    buffers.clear()
    assert on.allocator.allocate(12).address != address
    library.release()
    done.wait(1)
    addresses = [on.allocator.allocate(12).address for _ in range(1)]
    assert addresses and library.count("MemAlloc_v2") == 4


def test_semaphores(on: CudaDevice) -> None:
    semaphore = on.create_semaphore(3)
    assert semaphore.query() == 3 and semaphore.wait(3) and not semaphore.wait(4, timeout=0.01)
    semaphore.signal(5)
    assert semaphore.query() == 5
    with pytest.raises(DeviceError, match="cannot be signalled"):
        semaphore.signal(5)
    semaphore.fail(DeviceError("gone"))
    with pytest.raises(DeviceError, match="gone"):
        semaphore.wait(6)


def test_work_waits_for_the_host_and_for_other_devices(on: CudaDevice) -> None:
    commands, buffers = adder(on), vectors(on)
    go, done, again = (on.create_semaphore() for _ in range(3))
    other = HostSemaphore()
    other.signal(1)
    on.submit(commands, buffers, [], wait=[(go, 1), (other, 1)], signal=[(done, 1)])
    on.submit(commands, buffers, [], wait=[(done, 1)], signal=[(again, 1)])
    assert done.query() == 0 and again.query() == 0
    threading.Timer(0.01, go.signal, [1]).start()
    assert again.wait(1, timeout=60) and done.query() == 1
    np.testing.assert_array_equal(buffers[2].read(0, 12).view(np.float32), [10, 11, 12])


def test_work_behind_a_failed_semaphore_fails(on: CudaDevice) -> None:
    commands, buffers = adder(on), vectors(on)
    go, done = on.create_semaphore(), on.create_semaphore()
    on.submit(commands, buffers, [], wait=[(go, 1)], signal=[(done, 1)])
    go.fail(DeviceError("the first step failed"))
    with pytest.raises(DeviceError, match="the first step failed"):
        done.wait(1, timeout=60)


def test_tensors_are_shared_by_dlpack(pair: tuple[fake.FakeCuda, CudaDevice]) -> None:
    _, on = pair
    x = np.arange(6, dtype=np.float32)
    view = BufferView(on.allocator.import_host(x.view(np.uint8)), 8, "f32", (2, 2))
    assert view.__dlpack_device__() == (2, 0)
    buffer, dtype, shape = on.allocator.import_tensor(view) or pytest.fail("not taken")
    assert (dtype, shape, buffer.address) == ("f32", (2, 2), view.buffer.address + 8)
    np.testing.assert_array_equal(buffer.read(0, 16).view(np.float32), x[2:])
    host = dlpack.take(view, dl_device=dlpack.HOST_DEVICE)
    assert host.shape == (2, 2) and host.is_dense
    np.testing.assert_array_equal(np.asarray(view), x[2:].reshape(2, 2))


def test_work_that_never_ends_is_an_error() -> None:
    library = fake.FakeCuda()
    with fake.installed(library):
        hung = CudaDriver().create_device("", {"timeout": "0.2"})
    library.hold = True
    commands, buffers, done = adder(hung), vectors(hung), hung.create_semaphore()
    hung.submit(commands, buffers, [], signal=[(done, 1)])
    with pytest.raises(DeviceError, match=r"did not finish its work in 0\.2 s"):
        done.wait(1)
    with pytest.raises(DeviceError, match="did not finish"):
        hung.create_semaphore().query()


def test_a_device_that_is_lost_stays_lost(pair: tuple[fake.FakeCuda, CudaDevice]) -> None:
    library, on = pair
    commands, buffers, stream = adder(on), vectors(on), on.create_stream()
    library.fail["LaunchKernel"] = fake.ILLEGAL_ADDRESS
    with pytest.raises(DeviceError, match=r"is lost: cuLaunchKernel failed: CUDA_ERROR_700"):
        stream.execute(commands, buffers, [])
    with pytest.raises(DeviceError, match="is lost"):
        stream.execute(commands, buffers, [])


def test_memory_runs_out(on: CudaDevice) -> None:
    with pytest.raises(DeviceError, match="Out of memory"):
        on.allocator.allocate(1 << 45)
    assert on.allocator.allocate(64).nbytes == 64


def test_commands_are_checked(on: CudaDevice) -> None:
    for command in (
        Fill(Binding(1, imm(0)), imm(4), b"a"),
        Fill(Binding(0, ("param", 0)), imm(4), b"a"),
        Dispatch(0, (), (), imm(1), imm(0)),
    ):
        with pytest.raises(ModuleFileError, match="does not exist"):
            on.record(CommandList((command,), 1, 0), None)
    outside = Fill(Binding(0, imm(60)), imm(8), b"a")
    with pytest.raises(DeviceError, match="8 bytes at offset 60"):
        run(on, [outside], [np.zeros(64, np.uint8)])


def test_newer_code_and_refused_code_are_named(pair: tuple[fake.FakeCuda, CudaDevice]) -> None:
    library, on = pair
    newer = Entry("k", PTX, 64, 0, 1, False, (const(4),), ("sm_90",))
    with pytest.raises(ModuleFileError, match=r"for sm_90, .* older.*--target cuda:sm_80"):
        on.load_executable(memoryview(pack_image([newer])), [("k", 0)], format="cuda-ptx")
    assert "is older" in (on.accepts("cuda-ptx", "sm_90") or "")
    hopper, blackwell = (fake.open_device(arch=arch)[1] for arch in (90, 100))
    assert hopper.accepts("cuda-ptx", "sm_90a,+tf32") is None
    assert "for sm_90a alone" in (blackwell.accepts("cuda-ptx", "sm_90a") or "")
    assert blackwell.accepts("cuda-ptx", "sm_90") is None
    library.fail["ModuleLoadDataEx"] = cu.UNSUPPORTED_PTX
    entry = Entry("k", PTX, 64, 0, 1, False, (const(4),), ("sm_80",))
    with pytest.raises(DeviceError, match=r"does not take kernel k.*newer driver"):
        on.load_executable(memoryview(pack_image([entry])), [("k", 0)], format="cuda-ptx")


def test_images_are_checked() -> None:
    image = pack_image([Entry("k", PTX, 64, 1, 1, False, (const(4),), ("sm_80",))])
    (entry,) = parse_image(image)
    assert (entry.name, entry.workgroup, entry.needs) == ("k", 64, ("sm_80",))
    for details in ({"shared": -1}, {"maps": [{"binding": 1}]}, {"maps": 3}):
        one = Entry("k", PTX, 64, 0, 1, False, (const(4),), (), details=details)
        with pytest.raises(ModuleFileError, match="launch cannot be read"):
            read_launch(one)
    for damaged in (b"", image[:-1], b"X" + image[1:], image.replace(b".version", b".verslon")):
        with pytest.raises(ModuleFileError):
            parse_image(damaged)


def test_wrong_devices_and_options() -> None:
    with fake.installed(fake.FakeCuda()):
        driver = CudaDriver()
        assert "sm_80" in driver.query_devices()[0].description
        with pytest.raises(DeviceError, match="no CUDA device '99'"):
            driver.create_device("99")
        with pytest.raises(UsageError, match="no option color"):
            driver.create_device("", {"color": "red"})
        with pytest.raises(UsageError, match="number of seconds"):
            driver.create_device("", {"timeout": "soon"})


@pytest.mark.parametrize(
    "options,message",
    [
        ({"devices": 0}, "finds no device"),
        ({"version": 10020}, "is for CUDA 10.2"),
        ({"arch": 61}, "compute capability 6.1 is below 7.5"),
    ],
)
def test_unusable_drivers_and_devices_say_why(options: dict[str, int], message: str) -> None:
    with (
        fake.installed(fake.FakeCuda(**options)),
        pytest.raises(DeviceError, match=message),
    ):
        CudaDriver().create_device()


def test_without_a_driver_the_listing_says_so() -> None:
    code = """
import ctypes
real = ctypes.CDLL
def load(name, *rest, **options):
    if "cuda" in str(name):
        raise OSError(name)
    return real(name, *rest, **options)
ctypes.CDLL = load
from iree_core.cli import main
main(["devices"])
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "There is no CUDA driver on this machine" in found.stdout, found
    assert "local-task" in found.stdout


def test_a_module_without_a_device_says_why() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[4] x) => (float[4] y) { y = Relu(x) }'
    )
    module = iree_core.compile(model, frontend="onnx", target="cuda:sm_90")
    library = fake.FakeCuda(arch=80, devices=0)
    with fake.installed(library), pytest.raises(DeviceError, match=r"cuda: .*finds no device"):
        iree_core.load(module)
