"""The part of the corpus that has TensorFlow: exports cases and writes what they give.

``python -m tests.tf.references names FILE`` lists the cases; ``trace FOLDER`` exports those in
``FOLDER/names.txt``: the program of number ``N`` goes to the folder ``N``, arguments and results
to ``N.npz``, and what is wrong instead to ``N.txt``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np
import tensorflow as tf
from tests.tf.cases import Case, all_cases

from iree_frontend_tf.programs.worker.program import lower_program, write_program
from iree_frontend_tf.programs.worker.sources import from_object

STATIC = "@static"


def names() -> list[str]:
    """Return the names of all cases; those with static shapes end in ``@static``."""
    found = []
    for name, case in all_cases().items():
        found.append(name)
        if case.shapes(True) != case.shapes(False):
            found.append(name + STATIC)
    return sorted(found)


def trace(case: Case, dynamic: bool, folder: Path) -> None:
    """Export one case, and write TensorFlow's results."""
    arrays = case.arrays()
    specs = [
        tf.TensorSpec(shape, array.dtype, name=f"x{n}")
        for n, (shape, array) in enumerate(zip(case.shapes(dynamic), arrays, strict=True))
    ]
    functions = from_object(case.function, specs, {})
    results = tf.nest.flatten(functions[0].concrete(*map(tf.constant, arrays)))
    stored = {f"in.{n}": array for n, array in enumerate(arrays)}
    for n, result in enumerate(results):
        value = result.numpy()
        stored[f"out.{n}"] = value if value.dtype.kind != "V" else value.astype(np.float32)
    np.savez(folder.with_suffix(".npz"), **stored)
    folder.mkdir()
    write_program(folder, functions)
    lower_program(folder)


def main() -> None:
    """Run as a program."""
    if sys.argv[1] == "names":
        Path(sys.argv[2]).write_text("\n".join(names()))
        return
    folder, cases = Path(sys.argv[2]), all_cases()
    for number, name in enumerate((folder / "names.txt").read_text().split("\n")):
        report = folder / f"{number}.txt"
        if report.exists():  # a process before this one came past it, or died of it
            continue
        report.write_text("TensorFlow's process died")
        try:
            trace(cases[name.removesuffix(STATIC)], not name.endswith(STATIC), folder / str(number))
        except Exception as error:
            report.write_text(f"{type(error).__name__}: {error}")
        else:
            report.write_text("")


if __name__ == "__main__":
    main()
