"""TensorFlow and Keras models give what TensorFlow gives; the compiler's process never loads it.

Floats agree within 2e-5 of the largest element, integers exactly.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import iree_core as iree
from iree_core.errors import ImportModelError, UnsupportedOperatorError, UsageError

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 2e-5
# Of keras.applications.
SAMPLE = ("MobileNetV2", "ResNet50", "EfficientNetB0")
OTHERS = (
    "ConvNeXtTiny", "DenseNet121", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3",
    "MobileNet", "MobileNetV3Large", "MobileNetV3Small", "NASNetMobile", "ResNet50V2", "VGG16",
    "Xception",
)  # fmt: skip


def make(folder: Path, *names: str) -> None:
    """Make models by a process that has TensorFlow."""
    subprocess.run(
        [sys.executable, "-m", "tests.tf.models", str(folder), *names],
        cwd=ROOT, check=True, capture_output=True, timeout=500,
    )  # fmt: skip


def calls(path: Path) -> Iterator[tuple[str, list, list]]:
    """Yield name, arguments and TensorFlow's results of every call."""
    stored = np.load(path)
    numbers: dict[int, str] = {}
    for key in stored.files:
        number, name, _, _ = key.split(".")
        numbers[int(number)] = name
    for number, name in sorted(numbers.items()):
        given, wanted = (
            [
                stored[f"{number}.{name}.{kind}.{n}"]
                for n in range(sum(k.startswith(f"{number}.{name}.{kind}.") for k in stored.files))
            ]
            for kind in ("in", "out")
        )
        yield name, given, wanted


def check(folder: Path, name: str) -> None:
    """Compile a model and compare every call."""
    module = iree.load(iree.compile(folder / name))
    for function, given, wanted in calls(folder / f"{name}.npz"):
        found = getattr(module, function)(*given)
        results = () if found is None else found if isinstance(found, tuple) else (found,)
        assert len(results) == len(wanted), function
        for result, expected in zip(results, wanted, strict=True):
            result = np.asarray(result)
            assert (result.shape, result.dtype) == (expected.shape, expected.dtype), function
            if expected.dtype.kind == "f":
                bound = TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0)))
                np.testing.assert_allclose(result, expected, rtol=0, atol=bound, err_msg=function)
            else:
                np.testing.assert_array_equal(result, expected, err_msg=function)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make(folder, "stateful", "operations", "training", "recurrent.keras")
    return folder


@pytest.mark.parametrize("name", ["stateful", "operations", "training", "recurrent.keras"])
def test_model_gives_what_tensorflow_gives(models: Path, name: str) -> None:
    check(models, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit.keras", *(f"{name}.keras" for name in SAMPLE)])
def test_large_model_gives_what_tensorflow_gives(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    check(tmp_path, name)


@pytest.mark.corpus
@pytest.mark.parametrize("name", [f"{name}.keras" for name in OTHERS])
def test_application_gives_what_tensorflow_gives(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    check(tmp_path, name)


def test_models_are_found_by_content(models: Path, tmp_path: Path) -> None:
    from iree_frontend_tf.programs.frontend import TensorflowFrontend

    frontend = TensorflowFrontend()
    renamed = tmp_path / "renamed.bin"
    renamed.write_bytes((models / "recurrent.keras").read_bytes())
    assert frontend.matches(models / "stateful")
    assert frontend.matches(models / "stateful" / "saved_model.pb")
    assert frontend.matches(renamed)
    assert not frontend.matches(tmp_path)


def test_missing_tensorflow_is_one_clear_error(models: Path, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(UsageError, match=r"takes TensorFlow.*iree-frontend-tf\[tensorflow\]"):
        iree.compile(models / "stateful", frontend_options={"python": str(bare)})


def test_unknown_function_is_named(models: Path) -> None:
    with pytest.raises(UsageError, match=r"no function 'walk'; it has main, power, reset"):
        iree.compile(models / "stateful", frontend_options={"functions": "walk"})


def test_damaged_model_is_one_error(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01garbage")
    with pytest.raises(ImportModelError, match="TensorFlow cannot load model"):
        iree.compile(folder)


def test_operations_without_lowering_are_named_with_their_place(tmp_path: Path) -> None:
    make(tmp_path, "unsupported")
    with pytest.raises(UnsupportedOperatorError) as caught:
        iree.compile(tmp_path / "unsupported")
    error = caught.value
    assert error.what.startswith("2 kinds of operations cannot be compiled.")
    assert "] Igamma (shift/twice)" in error.what
    assert re.search(r"\] MatrixSquareRoot \(my_roots\w*/MatrixSquareRoot\)", error.what)
    assert error.hint is not None
    assert "tf.TensorSpec without None) may help with Igamma" in error.hint
    assert "MatrixSquareRoot has no lowering at all" in error.hint
