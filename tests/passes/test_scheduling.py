"""Scheduling, pass by pass: what a small host function looks like before and after."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iree_core.errors import CompileError
from iree_core.ir import count_operations, ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.manager import PassManager
from iree_core.passes.scheduling import passes
from iree_core.passes.scheduling.inplace import overwritable
from iree_core.passes.scheduling.packing import ALIGNMENT, Interval, best_fit, colour
from iree_core.passes.state import CompilationState

from .scheduling_kit import DISPATCH_TEXT, check

T = "tensor<?x4xf32>"
S = "tensor<8x4xf32>"
DIMS = '{iree.dims = ["n"]}'


def scheduled(text: str, last: int | None = None) -> tuple[str, Counter[str]]:
    """Return the text of @main after the first ``last`` passes, and its operations."""
    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(text + DISPATCH_TEXT)
        parameters = ParameterStore()
        parameters.add("w", np.ones(4, np.float32))
        state = CompilationState(parameters, None, None)  # type: ignore[arg-type]
        PassManager(passes(state)[:last]).run(module, state)
        main = next(
            op
            for op in module.body.operations
            if op.operation.name == "func.func" and op.name.value == "main"
        )
        return str(main), count_operations(main)


def test_inline_calls() -> None:
    text = f"""
func.func @main(%x: {T}) -> {T} {{
  %0 = func.call @layer(%x) : ({T}) -> {T}
  %1 = func.call @layer(%0) : ({T}) -> {T}
  return %1 : {T}
}}
func.func private @layer(%x: {T}) -> {T} {{
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : {T}
  %0 = func.call @mix(%x, %n) : ({T}, index) -> {T}
  return %0 : {T}
}}
"""
    result, operations = scheduled(text, 1)
    assert operations["func.call"] == 2
    assert "@layer" not in result


def test_recursion_is_refused() -> None:
    text = f"""
func.func @main(%x: {T}) -> {T} {{
  %0 = func.call @main(%x) : ({T}) -> {T}
  return %0 : {T}
}}
"""
    with pytest.raises(CompileError, match="calls itself"):
        scheduled(text)


def test_bufferize_overwrites_a_dead_operand() -> None:
    text = f"""
func.func @main(%x: {T} {DIMS}, %y: {T} {DIMS}) -> {T} {{
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : {T}
  %0 = func.call @mix(%x, %n) : ({T}, index) -> {T}
  %1 = func.call @add(%0, %y, %n) : ({T}, {T}, index) -> {T}
  return %1 : {T}
}}
"""
    result, operations = scheduled(text, 4)
    assert operations["hal.transient"] == 1
    assert result == (
        "func.func @main(%arg0: index, %arg1: !hal.buffer, %arg2: !hal.buffer) -> !hal.buffer "
        'attributes {iree.inputs = ["input0:f32[n,4]", "input1:f32[n,4]"], '
        'iree.outputs = ["output0:f32[n,4]"]} {\n'
        "  %c16 = arith.constant 16 : index\n"
        "  %0 = arith.muli %arg0, %c16 : index\n"
        '  %1 = "hal.transient"(%0) {writer = "device"} : (index) -> !hal.buffer\n'
        '  "hal.dispatch"(%arg1, %1, %arg0) {entry = @mix, operandSegmentSizes = '
        "array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()\n"
        '  "hal.dispatch"(%1, %arg2, %1, %arg0) {entry = @add, operandSegmentSizes = '
        "array<i32: 2, 1, 1>} : (!hal.buffer, !hal.buffer, !hal.buffer, index) -> ()\n"
        "  return %1 : !hal.buffer\n"
        "}"
    )


def test_plan_memory_reuses_the_arena_and_allocates_results() -> None:
    mixes = "\n".join(
        f"  %{i + 1} = func.call @mix(%{i}, %n) : ({T}, index) -> {T}" for i in range(5)
    )
    text = f"""
func.func @main(%x: {T} {DIMS}) -> {T} {{
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : {T}
  %0 = func.call @mix(%x, %n) : ({T}, index) -> {T}
{mixes}
  return %5 : {T}
}}
"""
    result, operations = scheduled(text)
    assert operations["hal.arena"] == 1
    assert operations["hal.alloc"] == 1
    assert operations["hal.transient"] == operations["hal.copy"] == 0
    offsets = {
        line.split("(")[1].split(")")[0] for line in result.splitlines() if "subview" in line
    }
    assert len(offsets) == 2  # five intermediate values take turns in two places


def test_a_loop_writes_one_place_where_it_updates_elementwise() -> None:
    text = f"""
func.func @main(%x: {T} {DIMS}, %y: {T} {DIMS}) -> {T} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  %n = tensor.dim %x, %c0 : {T}
  %r = scf.for %i = %c0 to %c9 step %c1 iter_args(%a = %x) -> ({T}) {{
    %0 = func.call @add(%a, %y, %n) : ({T}, {T}, index) -> {T}
    scf.yield %0 : {T}
  }}
  %s = func.call @mix(%r, %n) : ({T}, index) -> {T}
  return %s : {T}
}}
"""
    _, operations = scheduled(text)
    assert operations["hal.copy"] == 0
    assert operations["hal.subview"] == 1
    x, y = (np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32) for _ in range(2))
    check(text, x, y)


def test_a_loop_alternates_between_two_places_otherwise() -> None:
    text = f"""
func.func @main(%x: {T} {DIMS}) -> {T} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  %n = tensor.dim %x, %c0 : {T}
  %r = scf.for %i = %c0 to %c9 step %c1 iter_args(%a = %x) -> ({T}) {{
    %0 = func.call @mix(%a, %n) : ({T}, index) -> {T}
    scf.yield %0 : {T}
  }}
  %s = func.call @mix(%r, %n) : ({T}, index) -> {T}
  return %s : {T}
}}
"""
    _, operations = scheduled(text)
    assert operations["hal.copy"] == 0
    assert operations["hal.subview"] == 2
    check(text, np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32))


def test_a_loop_that_swaps_its_values() -> None:
    text = f"""
func.func @main(%x: {T} {DIMS}, %y: {T} {DIMS}) -> ({T}, {T}) {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c7 = arith.constant 7 : index
  %n = tensor.dim %x, %c0 : {T}
  %r, %s = scf.for %i = %c0 to %c7 step %c1 iter_args(%a = %x, %b = %y) -> ({T}, {T}) {{
    %0 = func.call @add(%a, %b, %n) : ({T}, {T}, index) -> {T}
    scf.yield %b, %0 : {T}, {T}
  }}
  return %r, %s : {T}, {T}
}}
"""
    x, y = (np.random.default_rng(2).normal(size=(2, 4)).astype(np.float32) for _ in range(2))
    check(text, x, y)


def test_results_never_share_memory() -> None:
    text = f"""
func.func @main(%x: {T} {DIMS}) -> ({T}, {T}, {T}, tensor<4xf32>) {{
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : {T}
  %k = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %0 = func.call @mix(%x, %n) : ({T}, index) -> {T}
  return %x, %0, %0, %k : {T}, {T}, {T}, tensor<4xf32>
}}
"""
    check(text, np.ones((3, 4), np.float32))
    _, operations = scheduled(text)
    assert operations["hal.copy"] == 3  # the input, the repetition and the constant


STATE = """
ml_program.global private mutable @s(dense<0.0> : tensor<4xf32>) : tensor<4xf32>
"""


def test_state_is_updated_in_place_where_its_old_value_is_dead() -> None:
    text = f"""{STATE}
func.func @main(%x: tensor<1x4xf32>) -> tensor<1x4xf32> {{
  %c1 = arith.constant 1 : index
  %s = ml_program.global_load @s : tensor<4xf32>
  %e = tensor.expand_shape %s [[0, 1]] output_shape [1, 4]
      : tensor<4xf32> into tensor<1x4xf32>
  %d = tensor.cast %e : tensor<1x4xf32> to {T}
  %y = tensor.cast %x : tensor<1x4xf32> to {T}
  %0 = func.call @add(%d, %y, %c1) : ({T}, {T}, index) -> {T}
  %1 = tensor.cast %0 : {T} to tensor<1x4xf32>
  %2 = tensor.collapse_shape %1 [[0, 1]] : tensor<1x4xf32> into tensor<4xf32>
  ml_program.global_store @s = %2 : tensor<4xf32>
  return %1 : tensor<1x4xf32>
}}
"""
    _, operations = scheduled(text)
    assert operations["hal.alloc"] == operations["hal.copy"] == 1  # for the result
    machine = check(text, np.ones((1, 4), np.float32), calls=3)
    assert machine.globals[0].view(np.float32).tolist() == [3.0] * 4


def test_an_operation_that_the_host_cannot_run_is_named() -> None:
    text = f"""
func.func @main(%x: {S}) -> tensor<4x8xf32> {{
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = linalg.transpose ins(%x : {S}) outs(%e : tensor<4x8xf32>) permutation = [1, 0]
  return %0 : tensor<4x8xf32>
}}
"""
    with pytest.raises(CompileError, match=r"cannot run linalg\.transpose"):
        scheduled(text)


INTERVALS = st.lists(
    st.builds(
        lambda first, length, size: Interval(first, first + length, size),
        st.integers(0, 20),
        st.integers(0, 8),
        st.integers(0, 1000),
    ),
    max_size=20,
)


@given(INTERVALS)
def test_best_fit_never_overlaps_and_never_exceeds_the_sum(intervals: list[Interval]) -> None:
    offsets, total = best_fit(intervals)
    for i, one in enumerate(intervals):
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] + one.size <= total
        for j, two in enumerate(intervals[:i]):
            if one.meets(two):
                assert offsets[i] + one.size <= offsets[j] or offsets[j] + two.size <= offsets[i]
    assert total <= sum(-(-one.size // ALIGNMENT) * ALIGNMENT for one in intervals)


@given(INTERVALS)
def test_colours_differ_where_lifetimes_meet(intervals: list[Interval]) -> None:
    slots = colour(intervals)
    for i, one in enumerate(intervals):
        for j, two in enumerate(intervals[:i]):
            assert slots[i] != slots[j] or not one.meets(two)


UPDATE = """
func.func private @update(%cache: tensor<8x4xf32>, %row: tensor<1x4xf32>, %at: index)
    -> tensor<8x4xf32> attributes {flow.dispatch} {
  %0 = tensor.insert_slice %row into %cache[%at, 0] [1, 4] [1, 1]
      : tensor<1x4xf32> into tensor<8x4xf32>
  return %0 : tensor<8x4xf32>
}
func.func private @reverse(%x: tensor<8x4xf32>, %y: tensor<8x4xf32>)
    -> tensor<8x4xf32> attributes {flow.dispatch} {
  %e = tensor.empty() : tensor<8x4xf32>
  %0 = linalg.generic {indexing_maps = [affine_map<(a, b) -> (-a + 7, b)>,
      affine_map<(a, b) -> (a, b)>, affine_map<(a, b) -> (a, b)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%x, %y : tensor<8x4xf32>, tensor<8x4xf32>) outs(%e : tensor<8x4xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %1 = arith.addf %a, %b : f32
    linalg.yield %1 : f32
  } -> tensor<8x4xf32>
  return %0 : tensor<8x4xf32>
}
"""


def test_which_operands_a_dispatch_may_overwrite() -> None:
    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(UPDATE + DISPATCH_TEXT)
        found = {op.name.value: set(overwritable(op)) for op in module.body.operations}
    assert found == {
        "update": {0},
        "reverse": {1},
        "add": {0, 1},
        "sub": {0, 1},
        "scale": {0},
        "mix": set(),
        "cat": set(),
        "pair": set(),
        "total": set(),
    }


def test_an_insertion_replaces_state_in_place() -> None:
    text = (
        """
ml_program.global private mutable @cache(dense<0.0> : tensor<8x4xf32>) : tensor<8x4xf32>
func.func @main(%row: tensor<1x4xf32>, %at: tensor<i64>) {
  %i = tensor.extract %at[] : tensor<i64>
  %at_index = arith.index_cast %i : i64 to index
  %c = ml_program.global_load @cache : tensor<8x4xf32>
  %0 = func.call @update(%c, %row, %at_index)
      : (tensor<8x4xf32>, tensor<1x4xf32>, index) -> tensor<8x4xf32>
  ml_program.global_store @cache = %0 : tensor<8x4xf32>
  return
}
"""
        + UPDATE
    )
    _, operations = scheduled(text)
    assert operations["hal.alloc"] == operations["hal.copy"] == operations["hal.arena"] == 0
