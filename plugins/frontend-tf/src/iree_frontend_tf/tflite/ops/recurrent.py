"""Recurrent layers over sequences, one time step after the other (``scf.for``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, tensors
from iree_core.lowering.element import F32
from iree_core.lowering.loops import for_loop
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import contract, elementwise
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.ops.accumulate import is_hybrid
from iree_frontend_tf.tflite.ops.common import NONE, activate, activate_scalar, clamp, is_quantized
from iree_frontend_tf.tflite.ops.matmul import times_filters
from iree_frontend_tf.tflite.ops.quantized_svdf import scaled_svdf
from iree_frontend_tf.tflite.ops.reduce import total
from iree_frontend_tf.tflite.registry import Node, lowering


def _require_floats(node: Node, positions: Sequence[int], weights: Sequence[int] = ()) -> None:
    """Refuse anything but floats; ``weights`` may be scaled integers that floats meet."""
    for position in (*positions, *weights):
        if not node.has(position) or node.value(position).element == F32:
            continue
        if position not in weights or not is_hybrid(node, position):
            node.unsupported(
                "recurrent layers are supported with f32 inputs only",
                "Convert the model without full integer quantization of its recurrent layers.",
            )


def _real(node: Node, position: int) -> Tensor:
    """Return the weights of input ``position`` as floats."""
    w = node.tensor(position)
    if w.element == F32:
        return w
    scale, _ = node.scale(node.input(position))

    def body(v: ir.Value) -> ir.Value:
        return arith.mulf(arith.sitofp(F32.type, v), constant(float(scale), F32))

    return elementwise([w], F32, body)


def _add(*parts: Tensor | None) -> Tensor:
    given = [p for p in parts if p is not None]
    result = given[0]
    for other in given[1:]:
        result = elementwise([result, other], F32, arith.addf)
    return result


def _mul(a: Tensor, b: Tensor) -> Tensor:
    return elementwise([a, b], F32, arith.mulf)


def _sigmoid(x: Tensor) -> Tensor:
    def body(v: ir.Value) -> ir.Value:
        one = constant(1, F32)
        return arith.divf(one, arith.addf(one, math.exp(arith.negf(v))))

    return elementwise([x], F32, body)


Step = Callable[[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]


def _over_time(
    x: Tensor, time_major: bool, state: list[Tensor], step: Step, width: int, *, reverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """Run ``step`` over the sequence; return its stacked outputs and the last state."""
    time, batch = (0, 1) if time_major else (1, 0)
    length = x.dims[time]
    dims = [length, x.dims[batch], width] if time_major else [x.dims[batch], length, width]
    start = [tensors.empty(dims, F32), *[s.value for s in state]]

    def body(place: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        at = index.value(index.sub(index.sub(length, 1), place)) if reverse else place
        offsets = [at if a == time else 0 for a in range(3)]
        sizes = [1 if a == time else d for a, d in enumerate(x.dims)]
        part = tensors.extract_slice(x, offsets, sizes, [1, 1, 1])
        now = [Tensor(v, s.dims, F32) for v, s in zip(carried[1:], state, strict=True)]
        output, following = step(tensors.squeeze(part, [time]), now)
        row = tensors.expand_dims(output, [time])
        into = tensors.insert_slice(row, Tensor(carried[0], tuple(dims), F32), offsets)
        fitted = [tensors.with_dims(f, s.dims) for f, s in zip(following, state, strict=True)]
        return [into.value, *[f.value for f in fitted]]

    made = for_loop(0, length, start, body)
    final = [Tensor(v, s.dims, F32) for v, s in zip(made[1:], state, strict=True)]
    return Tensor(made[0], tuple(dims), F32), final


class _Lstm:
    """The weights of one direction of an LSTM, at their places among the inputs.

    ``places`` maps: 0-3 input weights (input, forget, cell, output gate), 4-7 recurrent ones,
    8-10 peepholes (input, forget, output), 11-14 biases, 15 projection, 16 its bias,
    17-20 layer normalization.
    """

    def __init__(self, node: Node, places: Sequence[int]) -> None:
        def get(number: int) -> Tensor | None:
            return node.optional(places[number])

        matrices = [places[i] for i in (*range(11), 15)]
        _require_floats(node, [p for p in places if p not in matrices], matrices)
        self.node = node
        self.weights = places[:4]
        self.recurrent = places[4:8]
        peepholes = [_real(node, p) if node.has(p) else None for p in places[8:11]]
        self.peepholes = [peepholes[0], peepholes[1], None, peepholes[2]]
        self.biases = [get(11 + i) for i in range(4)]
        self.projection, self.projection_bias = places[15], get(16)
        self.norms = [get(17 + i) for i in range(4)] if len(places) > 17 else [None] * 4
        self.cell_clip = float(node.option("CellClip", 0.0))
        self.projection_clip = float(node.option("ProjClip", 0.0))
        self.activation = int(node.option("FusedActivationFunction", NONE))

    def gate(self, number: int, x: Tensor, h: Tensor, cell: Tensor | None) -> Tensor | None:
        w, r = self.weights[number], self.recurrent[number]
        if not self.node.has(w) or not self.node.has(r):
            return None
        sums = _add(times_filters(self.node, x, w), times_filters(self.node, h, r))
        peephole = self.peepholes[number]
        if peephole is not None and cell is not None:
            sums = _add(sums, _mul(cell, peephole))
        norm = self.norms[number]
        if norm is not None:
            sums = _mul(_normalized(sums), norm)
        bias = self.biases[number]
        return sums if bias is None else _add(sums, bias)

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the output and the following (output, cell)."""
        h, cell = state
        forget = self.gate(1, x, h, cell)
        modulation = self.gate(2, x, h, None)
        entry = self.gate(0, x, h, cell)
        if forget is None or modulation is None:
            self.node.unsupported("weights of the forget or the cell gate are missing")
        f = _sigmoid(forget)
        if entry is None:
            i = elementwise([f], F32, lambda v: arith.subf(constant(1, F32), v))
        else:
            i = _sigmoid(entry)
        g = activate(self.node, modulation, self.activation)
        cell = _add(_mul(f, cell), _mul(i, g))
        if self.cell_clip > 0:
            limit = self.cell_clip
            cell = elementwise([cell], F32, lambda v: clamp(v, -limit, limit, F32))
        leaving = self.gate(3, x, h, cell)
        if leaving is None:
            self.node.unsupported("weights of the output gate are missing")
        out = _mul(_sigmoid(leaving), activate(self.node, cell, self.activation))
        if self.node.has(self.projection):
            out = _add(times_filters(self.node, out, self.projection), self.projection_bias)
            if self.projection_clip > 0:
                limit = self.projection_clip
                out = elementwise([out], F32, lambda v: clamp(v, -limit, limit, F32))
        return out, [out, cell]


def _normalized(x: Tensor) -> Tensor:
    """Rows with mean 0 and variance 1 (``MeanStddevNormalization``)."""
    size = x.dims[-1]
    if not isinstance(size, int):
        raise TypeError("the number of units must be known")
    count = constant(float(size), F32)
    sums = total(x, [1], F32)
    mean = elementwise([sums], F32, lambda v: arith.divf(v, count))
    centred = elementwise([x, mean], F32, arith.subf)
    squares = total(_mul(centred, centred), [1], F32)

    def body(v: ir.Value, s: ir.Value) -> ir.Value:
        variance = arith.divf(s, constant(float(size), F32))
        return arith.divf(v, math.sqrt(arith.addf(variance, constant(1e-8, F32))))

    return elementwise([centred, squares], F32, body)


def _state(node: Node, position: int) -> Tensor:
    return node.tensor(position)


def _store(node: Node, positions: Sequence[int], state: Sequence[Tensor]) -> None:
    for position, tensor in zip(positions, state, strict=True):
        node.importer.store_state(node.info.inputs[position], tensor)


@lowering("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(node: Node) -> Tensor:
    """LSTM over a sequence; output and cell are kept from call to call."""
    _require_floats(node, [0])
    places = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 23]
    lstm = _Lstm(node, places)
    state = [_state(node, 18), _state(node, 19)]
    x = node.tensor(0)
    width = state[0].dims[1]
    time_major = bool(node.option("TimeMajor", False))
    output, final = _over_time(
        x,
        time_major,
        state,
        lstm.step,
        int(width),
        reverse=False,
    )
    _store(node, [18, 19], final)
    return output


@lowering("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_lstm(node: Node) -> list[Tensor]:
    """LSTMs over a sequence in both directions."""
    _require_floats(node, [0, 39])
    if node.has(39):
        node.unsupported("auxiliary inputs are not supported")
    x = node.tensor(0)
    time_major = bool(node.option("TimeMajor", False))
    outputs = []
    for first, states, reverse in ((1, (35, 36), False), (18, (37, 38), True)):
        lstm = _Lstm(node, [first + i for i in range(17)])
        state = [_state(node, s) for s in states]
        output, final = _over_time(
            x, time_major, state, lstm.step, int(state[0].dims[1]),
            reverse=reverse,
        )  # fmt: skip
        _store(node, states, final)
        outputs.append(output)
    if node.option("MergeOutputs", False):
        return [tensors.concat(outputs, 2)]
    return outputs


def _rnn_step(node: Node, first: int) -> Step:
    """Return a step with the weights, recurrent weights and bias at ``first`` and after."""
    kind = int(node.option("FusedActivationFunction", NONE))
    _require_floats(node, [0, first + 2], [first, first + 1])
    bias = node.tensor(first + 2)

    def step(x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        sums = _add(times_filters(node, x, first), times_filters(node, state[0], first + 1), bias)
        made = elementwise([sums], F32, lambda v: activate_scalar(node, v, F32, kind))
        return made, [made]

    return step


@lowering("RNN")
def rnn(node: Node) -> Tensor:
    """One step of a simple recurrent layer."""
    step = _rnn_step(node, 1)
    output, final = step(node.tensor(0), [_state(node, 4)])
    _store(node, [4], final)
    return output


@lowering("UNIDIRECTIONAL_SEQUENCE_RNN")
def sequence_rnn(node: Node) -> Tensor:
    """A simple recurrent layer over a sequence."""
    step = _rnn_step(node, 1)
    state = [_state(node, 4)]
    output, final = _over_time(
        node.tensor(0), bool(node.option("TimeMajor", False)), state, step,
        int(state[0].dims[1]), reverse=False,
    )  # fmt: skip
    _store(node, [4], final)
    return output


@lowering("BIDIRECTIONAL_SEQUENCE_RNN")
def bidirectional_rnn(node: Node) -> list[Tensor]:
    """Simple recurrent layers over a sequence in both directions."""
    if node.has(9):
        node.unsupported("auxiliary inputs are not supported")
    outputs = []
    for first, reverse in ((1, False), (5, True)):
        step = _rnn_step(node, first)
        state = [_state(node, first + 3)]
        output, final = _over_time(
            node.tensor(0), bool(node.option("TimeMajor", False)), state, step,
            int(state[0].dims[1]), reverse=reverse,
        )  # fmt: skip
        _store(node, [first + 3], final)
        outputs.append(output)
    if node.option("MergeOutputs", False):
        return [tensors.concat(outputs, 2)]
    return outputs


@lowering("LSTM")
def lstm_cell(node: Node) -> list[Tensor]:
    """One step of an LSTM; the basic kernel, with all weights in one matrix, as well."""
    if int(node.option("KernelType", 0)) == 1:
        return _basic_lstm(node)
    _require_floats(node, [0])
    places = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 23]
    lstm = _Lstm(node, places)
    output, final = lstm.step(node.tensor(0), [_state(node, 18), _state(node, 19)])
    _store(node, [18, 19], final)
    return [output]


def _basic_lstm(node: Node) -> list[Tensor]:
    """Inputs: data, output before, weights [4 * units, in + units], bias, cell before."""
    _require_floats(node, range(5))
    x, before, w, bias, cell = (node.tensor(i) for i in range(5))
    joined = tensors.concat([x, before], 1)
    sums = _add(times_filters(node, joined, 2), bias)
    units = index.floordiv(w.dims[0], 4)
    parts = [
        tensors.extract_slice(sums, [0, index.mul(units, i)], [sums.dims[0], units], [1, 1])
        for i in range(4)
    ]
    entry, modulation, forget, leaving = parts
    fresh = elementwise([modulation], F32, math.tanh)
    cell = _add(_mul(_sigmoid(entry), fresh), _mul(_sigmoid(forget), cell))
    output = _mul(_sigmoid(leaving), elementwise([cell], F32, math.tanh))
    return [output, cell, joined, sums]


@lowering("SVDF")
def svdf(node: Node) -> Tensor:
    """Filters of low rank over a sliding window of time (Nakkiran et al., 2015)."""
    if is_quantized(node):
        return scaled_svdf(node)
    _require_floats(node, [0, 3, 4], [1, 2])
    x, features, times, bias = node.tensor(0), node.tensor(1), _real(node, 2), node.optional(3)
    state = _state(node, 4)
    rank = int(node.option("Rank", 1))
    filters, memory = features.dims[0], times.dims[1]
    batch = x.dims[0]
    window = tensors.reshape(state, [batch, filters, memory])
    rest = tensors.extract_slice(
        window, [0, 0, 1], [batch, filters, index.sub(memory, 1)], [1, 1, 1]
    )
    now = tensors.expand_dims(times_filters(node, x, 1), [2])
    window = tensors.concat([rest, now], 2)
    _store(node, [4], [tensors.reshape(window, state.dims)])
    sums = contract(window, ["b", "f", "m"], times, ["f", "m"], ["b", "f"], F32)
    units = index.floordiv(filters, rank)
    grouped = total(tensors.reshape(sums, [batch, units, rank]), [2], F32, keep_dims=False)
    return activate(node, _add(grouped, bias))
