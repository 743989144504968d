"""The CPU drivers and their C library: threads, memory, loading of code, semaphores."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tests.runtime import support
from tests.runtime.support import imm, param, whole

import iree_core
from iree_backend_llvm import image as images
from iree_backend_llvm.driver import LocalDriver
from iree_backend_llvm.loader import NativeExecutable, library, missing_features
from iree_core.errors import DeviceError, ModuleFileError, UsageError
from iree_core.hal import CommandBuffer, Device
from iree_core.hal.registry import choose_device, open_device
from iree_core.vm.program import Binding, CommandList, Copy, Dispatch, Fill


def task(threads: int) -> Device:
    return LocalDriver("local-task").create_device("", {"threads": str(threads)})


def record(device: Device, *commands: object, slots: int, params: int = 0) -> CommandBuffer:
    code = support.executable()
    loaded = device.load_executable(memoryview(code.data), code.entries, format=code.format)
    return device.record(CommandList(commands, slots, params), loaded)  # type: ignore[arg-type]


def run(device: Device, commands: CommandBuffer, arrays: list[np.ndarray], *params: int) -> None:
    buffers = [device.allocator.import_host(a.reshape(-1).view(np.uint8)) for a in arrays]
    device.create_stream().execute(commands, buffers, params)


# --- threads -------------------------------------------------------------------------------


def test_every_work_item_is_done_once() -> None:
    device = task(4)
    dispatch = Dispatch(support.ADD_ONE, (whole(0), whole(0)), (), param(0), imm(0), 3)
    commands = record(device, dispatch, dispatch, slots=1, params=1)
    for count in (0, 1, 3, 4, 17, 1000, 12345):
        array = np.zeros(count + 8, np.float32)
        run(device, commands, [array], count)
        assert (array[:count] == 2).all() and (array[count:] == 0).all()


def test_small_grids_stay_in_the_calling_thread() -> None:
    device = task(4)
    for grain, parts in ((100, 1), (50, 2), (1, 50)):
        dispatch = Dispatch(support.WHERE, (whole(0),), (), imm(100), imm(0), grain)
        array = np.full(100, -1, np.int64)
        run(device, record(device, dispatch, slots=1), [array])
        assert array[0] == 0 and len(np.unique(array)) == parts


def test_scratch_is_private_aligned_and_grows() -> None:
    for device in (task(4), open_device("local-sync")):
        dispatch = Dispatch(support.SCRATCH_SUM, (whole(0),), (param(0),), imm(64), param(1))
        commands = record(device, dispatch, slots=1, params=2)
        for n in (1, 1000, 10, 20000):
            array = np.zeros(64, np.int64)
            run(device, commands, [array], n, 8 * n)
            assert (array == n * (n - 1) // 2).all()


def test_out_of_scratch_memory_is_an_error() -> None:
    for device in (task(2), open_device("local-sync")):
        dispatch = Dispatch(support.SCRATCH_SUM, (whole(0),), (imm(1),), imm(64), imm(1 << 60))
        with pytest.raises(DeviceError, match="Cannot allocate memory"):
            run(device, record(device, dispatch, slots=1), [np.zeros(64, np.int64)])


def test_one_pool_serves_several_callers() -> None:
    device = task(3)
    dispatch = Dispatch(support.ADD_ONE, (whole(0), whole(0)), (), imm(50000), imm(0), 100)
    commands = record(device, *[dispatch] * 10, slots=1)
    arrays = [np.zeros(50000, np.float32) for _ in range(4)]

    def repeat(array: np.ndarray) -> None:
        for _ in range(50):
            run(device, commands, [array])

    threads = [threading.Thread(target=repeat, args=(array,)) for array in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((array == 500).all() for array in arrays)


def test_an_idle_pool_costs_nothing(add_file: Path) -> None:
    device = task(4)
    module = iree_core.load(add_file, device)
    module.main([1, 2, 3, 4], [1, 2, 3, 4])
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.02


def test_threads_end_with_their_device() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/task"))

    gc.collect()
    before = count()
    device = task(6)
    assert count() == before + 5
    del device
    gc.collect()
    assert count() == before


def test_a_forked_child_can_call(add_file: Path) -> None:
    script = f"""
import os, numpy as np, iree_core
m = iree_core.load({str(add_file)!r}, "local-task", threads=3)
x = np.ones(4, np.float32)
m.main(x, x)
pid = os.fork()
if pid == 0:
    ok = (m.main(x, x) == 2).all()
    del m
    os._exit(0 if ok else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# --- copies and fills ----------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 7, 64, 3_000_001])
def test_copy(device: Device, length: int) -> None:
    source = np.random.default_rng(0).integers(0, 255, length + 5, np.uint8)
    target = np.zeros(length + 9, np.uint8)
    copy = Copy(Binding(0, imm(5)), Binding(1, param(0)), param(1))
    run(device, record(device, copy, slots=2, params=2), [source, target], 3, length)
    np.testing.assert_array_equal(target[3 : 3 + length], source[5:])
    assert not target[:3].any() and not target[3 + length :].any()


@pytest.mark.parametrize("pattern", [b"\7", b"\1\2", b"\1\2\3\4", b"\1\2\3\4\5\6\7\x88"])
def test_fill(device: Device, pattern: bytes) -> None:
    for count in (1, 3, 200_001):
        target = np.zeros(count * len(pattern) + 8, np.uint8)
        fill = Fill(whole(0), imm(count * len(pattern)), pattern)
        run(device, record(device, fill, slots=1), [target])
        assert bytes(target) == pattern * count + bytes(8)


# --- loading code --------------------------------------------------------------------------


def test_imported_functions_are_called(device: Device) -> None:
    x = np.linspace(-3, 3, 100, dtype=np.float32)
    y = np.zeros_like(x)
    dispatch = Dispatch(support.SINE, (whole(0), whole(1)), (), imm(100), imm(0))
    run(device, record(device, dispatch, slots=2), [x, y])
    np.testing.assert_allclose(y, np.sin(x), rtol=1e-6)
    assert "sinf" in images.parse_image(support.executable().data).imports


def test_the_library_has_every_import() -> None:
    address = library().iree_import_address
    assert not [name for name in images.IMPORTS if not address(name.encode())]
    assert not address(b"system")


def test_missing_processor_features_are_named() -> None:
    # No processor has both the first (AMD's, long ago) and the second (Intel's, of late).
    features = ("xop", "avx512fp16", "sse2", "sve2", "fast-hops")
    missing = missing_features(features)
    assert missing and "fast-hops" not in missing
    code = support.executable(features=features)
    with pytest.raises(ModuleFileError, match=f"lacks: {', '.join(missing)}.*--target"):
        open_device("local-sync").load_executable(
            memoryview(code.data), code.entries, format=code.format
        )


def permissions(address: int) -> str:
    """Return the permissions of the memory at ``address``, e.g. ``r-xp``."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permission, *_ = line.split()
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return permission
    return "none"


def test_code_is_never_writable() -> None:
    code = support.executable()
    device = open_device("local-sync")
    loaded = device.load_executable(memoryview(code.data), code.entries, format=code.format)
    assert isinstance(loaded, NativeExecutable)
    base = loaded.addresses[0] - code.entries[0][1]
    assert permissions(base) == "r-xp"
    assert permissions(base + images.parse_image(code.data).import_offset) == "r--p"
    del loaded
    gc.collect()
    assert "x" not in permissions(base)


def test_images_that_are_damaged() -> None:
    code = support.executable()
    device = open_device("local-sync")

    def load(data: bytes, entries: tuple = code.entries) -> None:
        device.load_executable(memoryview(data), entries, format=code.format)

    with pytest.raises(ModuleFileError, match="not an image"):
        load(b"something else" * 10)
    with pytest.raises(ModuleFileError, match="entry point 'add' lies outside"):
        load(code.data, (("add", 1 << 40),))
    with pytest.raises(ModuleFileError, match="version 7"):
        load(code.data[:8] + b"\7" + code.data[9:])
    unknown = images.pack_image(b"\xc3", arch=code.target, features=(), imports=("launch",))
    with pytest.raises(ModuleFileError, match="calls 'launch'"):
        load(unknown, ())
    rng = random.Random(0)
    header = len(code.data) - len(images.parse_image(code.data).code)
    for _ in range(3000):
        damaged = bytearray(code.data)
        damaged[rng.randrange(header)] = rng.randrange(256)
        with suppress(ModuleFileError):
            load(bytes(damaged[: rng.choice([len(damaged), rng.randrange(header)])]))


def test_recording_checks_what_commands_refer_to() -> None:
    device = open_device("local-sync")
    for wrong in (
        Dispatch(99, (), (), imm(1), imm(0)),
        Dispatch(0, (whole(1),), (), imm(1), imm(0)),
        Dispatch(0, (), (param(0),), imm(1), imm(0)),
        Copy(whole(0), whole(-1), imm(1)),
    ):
        with pytest.raises(ModuleFileError, match="does not exist"):
            record(device, wrong, slots=1)


# --- devices -------------------------------------------------------------------------------


def test_devices_are_found_and_shared() -> None:
    assert choose_device({support.executable().format}).name == "local-task"
    assert open_device("local-task?threads=2") is open_device("local-task", {"threads": "2"})
    assert open_device("local-task://0?threads=2", cached=False).description.endswith("2 threads")
    (info,) = LocalDriver("local-sync").query_devices()
    assert "1 thread" in info.description


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("nonsense", UsageError, "no driver 'nonsense'"),
        ("local-task?threads=0", UsageError, "from 1 to"),
        ("local-task?threads=many", UsageError, "from 1 to"),
        ("local-task?speed=9", UsageError, "no option speed"),
        ("local-sync?threads=2", UsageError, "local-task"),
        ("local-sync://7", DeviceError, "no device '7'"),
        ("", UsageError, "no device"),
    ],
)
def test_wrong_devices(device: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_device(device)


def test_code_without_a_driver() -> None:
    with pytest.raises(DeviceError, match=r"holds native-vax code.*local-sync, local-task"):
        choose_device({"native-vax"})


# --- memory and order ----------------------------------------------------------------------


def test_buffers(device: Device) -> None:
    buffer = device.allocator.allocate(100)
    assert buffer.nbytes == 100 and buffer.address % 64 == 0  # type: ignore[attr-defined]
    buffer.write(10, np.arange(5, dtype=np.uint8))
    assert buffer.read(11, 3).tolist() == [1, 2, 3]
    fixed = np.zeros(4, np.uint8)
    fixed.flags.writeable = False
    wrong: list[Callable[[], object]] = [
        lambda: buffer.read(99, 2),
        lambda: buffer.read(-1, 1),
        lambda: buffer.write(98, np.zeros(3, np.uint8)),
        lambda: device.allocator.import_host(fixed).write(0, np.zeros(1, np.uint8)),
        lambda: device.allocator.allocate(-1),
        lambda: device.allocator.allocate(1 << 62),
    ]
    for action in wrong:
        with pytest.raises(DeviceError):
            action()


def test_submissions_wait_for_semaphores(device: Device) -> None:
    array = np.zeros(4, np.float32)
    dispatch = Dispatch(support.ADD_ONE, (whole(0), whole(0)), (), imm(4), imm(0))
    commands = record(device, dispatch, slots=1)
    buffer = device.allocator.import_host(array.view(np.uint8))
    start, middle, end = (device.create_semaphore() for _ in range(3))
    device.submit(commands, [buffer], [], wait=[(middle, 1)], signal=[(end, 5)])
    device.submit(commands, [buffer], [], wait=[(start, 2)], signal=[(middle, 1)])
    start.signal(1)
    assert not end.wait(5, timeout=0.01) and not array.any()
    start.signal(2)
    assert end.wait(5, timeout=1) and end.query() == 5 and (array == 2).all()
    with pytest.raises(DeviceError, match="cannot be signalled"):
        start.signal(2)


def test_failures_travel_along_semaphores(device: Device) -> None:
    commands = record(device, slots=0)
    first, second = device.create_semaphore(), device.create_semaphore()
    device.submit(commands, [], [], wait=[(first, 1)], signal=[(second, 1)])
    first.fail(DeviceError("The device is lost."))
    with pytest.raises(DeviceError, match="lost"):
        second.wait(1, timeout=1)
    with pytest.raises(DeviceError, match="takes 0 buffers"):
        device.submit(commands, [device.allocator.allocate(1)], [])
