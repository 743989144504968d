"""Recurrent layers: RNN, GRU, LSTM in one or both directions.

The products with the inputs of all time steps are one contraction before the loop; the loop
holds the products with the state and the gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import for_loop
from iree_core.lowering.structured import (
    computed,
    contract,
    convert,
    elementwise,
    elementwise_many,
    loop_index,
)
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.elementwise import hard_sigmoid, number, sigmoid, softplus
from iree_frontend_onnx.registry import Node, lowering

Activation = Callable[[ir.Value, ElementType], ir.Value]
Step = Callable[[Tensor, list[Tensor]], list[Tensor]]


def _activation(node: Node, name: str, alpha: float | None, beta: float | None) -> Activation:
    def default(given: float | None, usual: float) -> float:
        return usual if given is None else given

    table: dict[str, Activation] = {
        "sigmoid": sigmoid,
        "tanh": lambda v, e: math.tanh(v),
        "relu": lambda v, e: arith.maximumf(v, number(0, e)),
        "softplus": softplus,
        "softsign": lambda v, e: arith.divf(v, arith.addf(number(1.0, e), math.absf(v))),
        "hardsigmoid": lambda v, e: hard_sigmoid(v, e, default(alpha, 0.2), default(beta, 0.5)),
        "affine": lambda v, e: arith.addf(
            arith.mulf(v, number(default(alpha, 1.0), e)), number(default(beta, 0.0), e)
        ),
        "leakyrelu": lambda v, e: arith.select(
            scalars.compare("ge", v, number(0, e), e),
            v,
            arith.mulf(v, number(default(alpha, 0.01), e)),
        ),
        "elu": lambda v, e: arith.select(
            scalars.compare("ge", v, number(0, e), e),
            v,
            arith.mulf(math.expm1(v), number(default(alpha, 1.0), e)),
        ),
        "scaledtanh": lambda v, e: arith.mulf(
            number(default(alpha, 1.0), e),
            math.tanh(arith.mulf(v, number(default(beta, 1.0), e))),
        ),
    }
    if name.lower() not in table:
        node.unsupported(f"activation {name!r} is unknown")
    return table[name.lower()]


class _Layer:
    """What all three layers share: inputs, directions and the loop over time."""

    def __init__(self, node: Node, gates: int, usual: Sequence[str]) -> None:
        self.node, self.gates = node, gates
        x = node.tensor(0)
        self.layout = node.attr("layout", 0)
        self.x = tensors.transpose(x, [1, 0, 2]) if self.layout else x
        self.element = x.element
        self.hidden: int = node.attr("hidden_size") or _static(node, node.tensor(2).dims[-1])
        direction = node.attr("direction", "forward")
        self.reverse = {"forward": [False], "reverse": [True]}.get(direction, [False, True])
        names = node.attr("activations") or [*usual] * len(self.reverse)
        alphas, betas = node.attr("activation_alpha", []), node.attr("activation_beta", [])
        made = [_activation(node, n, _at(alphas, i), _at(betas, i)) for i, n in enumerate(names)]
        count = len(usual)
        self.activations = [made[i : i + count] for i in range(0, len(made), count)]
        self.lengths = node.optional(4)
        self.clip = node.attr("clip", 0.0) or 0.0

    def part(self, position: int, direction: int) -> Tensor | None:
        """Return one direction's part of an input."""
        whole = self.node.optional(position)
        if whole is None:
            return None
        sizes: list[Dim] = [1, *whole.dims[1:]]
        offsets: list[Dim] = [direction] + [0] * (whole.rank - 1)
        part = tensors.extract_slice(whole, offsets, sizes, [1] * whole.rank)
        return tensors.squeeze(part, [0])

    def initial(self, position: int, direction: int) -> Tensor:
        """Return a state before the first step, [batch, hidden]."""
        if self.node.has(position):
            whole = self.node.tensor(position)
            if self.layout:
                whole = tensors.transpose(whole, [1, 0, 2])
            offsets: list[Dim] = [direction, 0, 0]
            part = tensors.extract_slice(whole, offsets, [1, *whole.dims[1:]], [1, 1, 1])
            return tensors.squeeze(part, [0])
        return tensors.fill([self.x.dims[1], self.hidden], self.element, 0)

    def projected(self, direction: int, bias: Tensor | None) -> Tensor:
        """Return X W' + bias for all steps, [time, batch, gates * hidden]."""
        w = self.part(1, direction)
        assert w is not None
        e = self.element
        product = contract(self.x, ["t", "b", "k"], w, ["n", "k"], ["t", "b", "n"])
        if bias is None:
            return convert(product, e)
        wide = product.element

        def body(v: ir.Value, b: ir.Value) -> ir.Value:
            total = arith.addf(v, scalars.convert(b, e, wide))
            return scalars.convert(total, wide, e)

        return elementwise([product, bias], e, body)

    def gate(self, whole: Tensor, place: int) -> Tensor:
        """Return one gate's columns."""
        sizes: list[Dim] = [*whole.dims[:-1], self.hidden]
        offsets: list[Dim] = [0] * (whole.rank - 1) + [place * self.hidden]
        return tensors.extract_slice(whole, offsets, sizes, [1] * whole.rank)

    def clipped(self, v: ir.Value) -> ir.Value:
        """Inside a body: limit an activation's input."""
        if not self.clip:
            return v
        e = self.element
        return arith.minimumf(arith.maximumf(v, number(-self.clip, e)), number(self.clip, e))

    def run(self, direction: int, inputs: Tensor, states: list[Tensor], step: Step) -> list[Tensor]:
        """Loop over time; return all outputs [time, batch, hidden] and the final states."""
        reverse = self.reverse[direction]
        steps = self.x.dims[0]
        per_entry = reverse and self.lengths is not None
        if per_entry:
            inputs = self._reversed_by_length(inputs)
        outputs = tensors.empty([steps, *states[0].dims], self.element)

        def body(t: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            place: Dim = index.sub(index.sub(steps, 1), t) if reverse and not per_entry else t
            now = tensors.extract_slice(inputs, [place, 0, 0], [1, *inputs.dims[1:]], [1, 1, 1])
            now = tensors.squeeze(now, [0])
            before = [
                Tensor(v, s.dims, s.element) for v, s in zip(carried[1:], states, strict=True)
            ]
            after = step(now, before)
            shown = after[0]
            if self.lengths is not None:
                after = [self._held(t, a, b) for a, b in zip(after, before, strict=True)]
                shown = self._held(t, shown, None)
            whole = Tensor(carried[0], (steps, *states[0].dims), self.element)
            row = tensors.expand_dims(shown, [0])
            whole = tensors.insert_slice(row, whole, [place, 0, 0])
            return [
                whole.value,
                *(tensors.with_dims(a, s.dims).value for a, s in zip(after, states, strict=True)),
            ]

        made = for_loop(0, steps, [outputs, *[s.value for s in states]], body)
        result = Tensor(made[0], (steps, *states[0].dims), self.element)
        if per_entry:
            result = self._reversed_by_length(result)
        final = [Tensor(v, s.dims, s.element) for v, s in zip(made[1:], states, strict=True)]
        return [result, *final]

    def _held(self, t: ir.Value, after: Tensor, before: Tensor | None) -> Tensor:
        """Beyond an entry's length keep the state, and show zero."""
        lengths = self.lengths
        assert lengths is not None
        e = self.element

        def body(v: ir.Value, *old: ir.Value) -> ir.Value:
            count = tensor.extract(lengths.value, [loop_index(0)])
            limit = arith.index_cast(ir.IndexType.get(), count)
            running = arith.cmpi(arith.CmpIPredicate.slt, t, limit)
            return arith.select(running, v, old[0] if old else number(0, e))

        return elementwise([after] if before is None else [after, before], e, body)

    def _reversed_by_length(self, x: Tensor) -> Tensor:
        lengths = self.lengths
        assert lengths is not None

        def body(t: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
            count = arith.index_cast(ir.IndexType.get(), tensor.extract(lengths.value, [b]))
            one = arith.constant(ir.IndexType.get(), 1)
            mirrored = arith.subi(arith.subi(count, one), t)
            inside = arith.cmpi(arith.CmpIPredicate.slt, t, count)
            return tensor.extract(x.value, [arith.select(inside, mirrored, t), b, c])

        return computed(x.dims, [x.element], body)[0]

    def join(self, per_direction: list[list[Tensor]]) -> list[Tensor]:
        """Return Y and final states with the directions' axis put in."""
        ys = [tensors.expand_dims(made[0], [1]) for made in per_direction]
        y = tensors.concat(ys, 1)
        results = [tensors.transpose(y, [2, 0, 1, 3]) if self.layout else y]
        for place in range(1, len(per_direction[0])):
            parts = [tensors.expand_dims(made[place], [0]) for made in per_direction]
            state = tensors.concat(parts, 0)
            results.append(tensors.transpose(state, [1, 0, 2]) if self.layout else state)
        return results

    def recur(self, state: Tensor, r: Tensor) -> Tensor:
        """Return state R'."""
        return convert(contract(state, ["b", "k"], r, ["n", "k"], ["b", "n"]), self.element)


def _static(node: Node, dim: Dim) -> int:
    if not isinstance(dim, int):
        node.unsupported("the hidden size must be static")
    return dim


def _at(values: Sequence[float], place: int) -> float | None:
    return values[place] if place < len(values) else None


def _sum(parts: Sequence[Tensor], e: ElementType) -> Tensor:
    def body(*values: ir.Value) -> ir.Value:
        result = values[0]
        for value in values[1:]:
            result = arith.addf(result, value)
        return result

    return elementwise(list(parts), e, body)


def _columns(bias: Tensor, start: int, count: int) -> Tensor:
    return tensors.extract_slice(bias, [start], [count], [1])


@lowering("RNN")
def rnn(node: Node) -> list[Tensor]:
    """H = f(X W' + H R' + bias)."""
    layer = _Layer(node, 1, ["Tanh"])
    e, h = layer.element, layer.hidden
    made = []
    for d in range(len(layer.reverse)):
        bias, r = layer.part(3, d), layer.part(2, d)
        assert r is not None
        total = None
        if bias is not None:
            total = _sum([_columns(bias, 0, h), _columns(bias, h, h)], e)
        (f,) = layer.activations[d]

        def step(
            now: Tensor, states: list[Tensor], r: Tensor = r, f: Activation = f
        ) -> list[Tensor]:
            product = layer.recur(states[0], r)
            return [
                elementwise([now, product], e, lambda a, b: f(layer.clipped(arith.addf(a, b)), e))
            ]

        made.append(layer.run(d, layer.projected(d, total), [layer.initial(5, d)], step))
    return layer.join(made)


@lowering("LSTM")
def lstm(node: Node) -> list[Tensor]:
    """Gates in the order input, output, forget, cell; optional peepholes."""
    layer = _Layer(node, 4, ["Sigmoid", "Tanh", "Tanh"])
    e, h = layer.element, layer.hidden
    coupled = bool(node.attr("input_forget", 0))
    made = []
    for d in range(len(layer.reverse)):
        bias, r, peep = layer.part(3, d), layer.part(2, d), layer.part(7, d)
        assert r is not None
        total = None
        if bias is not None:
            total = _sum([_columns(bias, 0, 4 * h), _columns(bias, 4 * h, 4 * h)], e)
        f, g, shape = layer.activations[d]
        peeps = [_columns(peep, i * h, h) for i in range(3)] if peep is not None else []

        def step(
            now: Tensor,
            states: list[Tensor],
            r: Tensor = r,
            f: Activation = f,
            g: Activation = g,
            shape: Activation = shape,
            peeps: list[Tensor] = peeps,
        ) -> list[Tensor]:
            gates = _sum([now, layer.recur(states[0], r)], e)
            parts = [layer.gate(gates, i) for i in range(4)]

            def body(*values: ir.Value) -> list[ir.Value]:
                i, o, forget, c, cell = values[:5]
                p = values[5:]
                if p:
                    i = arith.addf(i, arith.mulf(p[0], cell))
                    forget = arith.addf(forget, arith.mulf(p[2], cell))
                i = f(layer.clipped(i), e)
                one = number(1.0, e)
                forget = arith.subf(one, i) if coupled else f(layer.clipped(forget), e)
                fresh = g(layer.clipped(c), e)
                cell = arith.addf(arith.mulf(forget, cell), arith.mulf(i, fresh))
                if p:
                    o = arith.addf(o, arith.mulf(p[1], cell))
                o = f(layer.clipped(o), e)
                return [arith.mulf(o, shape(cell, e)), cell]

            return elementwise_many([*parts, states[1], *peeps], [e, e], body)

        states = [layer.initial(5, d), layer.initial(6, d)]
        made.append(layer.run(d, layer.projected(d, total), states, step))
    return layer.join(made)


@lowering("GRU")
def gru(node: Node) -> list[Tensor]:
    """Gates in the order update, reset, hidden."""
    layer = _Layer(node, 3, ["Sigmoid", "Tanh"])
    e, h = layer.element, layer.hidden
    after_product = bool(node.attr("linear_before_reset", 0))
    made = []
    for d in range(len(layer.reverse)):
        bias, r = layer.part(3, d), layer.part(2, d)
        assert r is not None
        w_bias = _columns(bias, 0, 3 * h) if bias is not None else None
        r_bias = _columns(bias, 3 * h, 3 * h) if bias is not None else (tensors.fill([3 * h], e, 0))
        f, g = layer.activations[d]
        r_gates = tensors.extract_slice(r, [0, 0], [2 * h, h], [1, 1])
        r_hidden = tensors.extract_slice(r, [2 * h, 0], [h, h], [1, 1])

        def step(
            now: Tensor,
            states: list[Tensor],
            r_gates: Tensor = r_gates,
            r_hidden: Tensor = r_hidden,
            r_bias: Tensor = r_bias,
            f: Activation = f,
            g: Activation = g,
        ) -> list[Tensor]:
            (state,) = states
            x = [layer.gate(now, i) for i in range(3)]
            product = layer.recur(state, r_gates)
            gates = [
                elementwise(
                    [x[i], layer.gate(product, i), _columns(r_bias, i * h, h)],
                    e,
                    lambda a, b, c: f(layer.clipped(arith.addf(arith.addf(a, b), c)), e),
                )
                for i in (0, 1)
            ]
            bias_h = _columns(r_bias, 2 * h, h)
            if after_product:
                inner = layer.recur(state, r_hidden)
                inner = elementwise(
                    [inner, bias_h, gates[1]], e, lambda a, b, s: arith.mulf(s, arith.addf(a, b))
                )
            else:
                scaled = elementwise([gates[1], state], e, lambda a, b: arith.mulf(a, b))
                inner = _sum([layer.recur(scaled, r_hidden), bias_h], e)

            def finish(z: ir.Value, a: ir.Value, b: ir.Value, old: ir.Value) -> ir.Value:
                fresh = g(layer.clipped(arith.addf(a, b)), e)
                keep = arith.mulf(z, old)
                return arith.addf(arith.mulf(arith.subf(number(1.0, e), z), fresh), keep)

            return [elementwise([gates[0], x[2], inner, state], e, finish)]

        made.append(layer.run(d, layer.projected(d, w_bias), [layer.initial(5, d)], step))
    return layer.join(made)
