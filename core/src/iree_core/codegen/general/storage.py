"""Views of a kernel's flat buffers as the tensors of a dispatch, for the general schedule.

How a tensor lies in memory (codegen.kernel, layout) may differ from how the dispatch sees it: a
packed layout, booleans and narrow numbers in bytes. The wrapper written here converts between
the two with element-wise operations, which fuse into the code of the dispatch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iree_core.codegen.builder import function_of, storage_type
from iree_core.dialects import flow
from iree_core.errors import CompileError
from iree_core.ir import ir
from iree_core.layout import PackedLayout, layout_of

Size = int | str
"""A dimension in MLIR text: a number, or the name of an ``index`` value."""


@dataclass(frozen=True)
class _Tensor:
    """One tensor operand or result of the dispatch."""

    kind: ir.RankedTensorType
    sizes: tuple[Size, ...]

    @property
    def element(self) -> ir.Type:
        return self.kind.element_type

    @property
    def stored(self) -> ir.Type:
        return storage_type(self.element)

    @property
    def layout(self) -> PackedLayout | None:
        return layout_of(self.kind)

    @property
    def plain(self) -> bool:
        """Whether memory holds exactly what the dispatch sees."""
        return self.layout is None and self.stored == self.element

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(size if isinstance(size, int) else None for size in self.sizes)


class _Writer:
    """Collects lines of MLIR and hands out value names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._number = 0

    def name(self) -> str:
        self._number += 1
        return f"%v{self._number}"

    def emit(self, text: str) -> str:
        """Append ``result = text`` and return the result's name."""
        result = self.name()
        self.lines.append(f"{result} = {text}")
        return result

    def constant(self, number: int) -> str:
        return self.emit(f"arith.constant {number} : index")

    def value(self, size: Size) -> str:
        return self.constant(size) if isinstance(size, int) else size

    def binary(self, operation: str, a: Size, b: Size) -> Size:
        """Emit index arithmetic; multiplications of numbers are folded."""
        if isinstance(a, int) and isinstance(b, int) and operation == "muli":
            return a * b
        if operation == "muli" and 1 in (a, b):
            return b if a == 1 else a
        return self.emit(f"arith.{operation} {self.value(a)}, {self.value(b)} : index")


def wrap_dispatch(module: ir.Module) -> tuple[str, str]:
    """Return a module with the dispatch and a kernel that calls it, and the kernel's name.

    The kernel has the signature of codegen.kernel, scratch memory included.
    """
    function = function_of(module)
    name = function.name.value
    operands = list(function.regions[0].blocks[0].arguments)
    scalars = [a for a in operands if not isinstance(a.type, ir.RankedTensorType)]
    names = {a: f"%s{scalars.index(a)}" for a in scalars}
    by_position = {i: names[a] for i, a in enumerate(operands) if a in names}
    inputs = [
        _tensor(a.type, attributes, by_position)
        for a, attributes in _with_attributes(operands, function, "arg_attrs")
        if a not in names
    ]
    outputs = [
        _tensor(kind, attributes, by_position)
        for kind, attributes in _with_attributes(function.type.results, function, "res_attrs")
    ]
    writer = _Writer()
    buffers = [f"%b{i}" for i in range(len(inputs) + len(outputs))]
    tensors = iter([_load(writer, b, t) for b, t in zip(buffers, inputs, strict=False)])
    passed = [names[a] if a in names else next(tensors) for a in operands]
    _call(writer, name + "$tensors", passed, operands, outputs, buffers[len(inputs) :])
    signature = [
        *(f"{b}: memref<?x{t.stored}>" for b, t in zip(buffers, [*inputs, *outputs], strict=True)),
        *(f"{names[a]}: {a.type}" for a in scalars),
        "%scratch: memref<?xi8>",
        "%begin: index",
        "%end: index",
    ]
    _drop_layouts(module)
    function.operation.attributes["sym_name"] = ir.StringAttr.get(name + "$tensors")
    function.operation.attributes["sym_visibility"] = ir.StringAttr.get("private")
    body = "\n".join(writer.lines)
    kernel = f"func.func @{name}({', '.join(signature)}) {{\n{body}\nreturn\n}}\n"
    return f"{function.operation}\n{kernel}", name


def _with_attributes(values: Sequence, function: ir.OpView, which: str) -> Iterator[tuple]:
    attributes = function.operation.attributes
    listed = list(attributes[which]) if which in attributes else [None] * len(values)
    return zip(values, listed, strict=True)


def _tensor(
    kind: ir.RankedTensorType, attributes: ir.DictAttr | None, by_position: dict[int, str]
) -> _Tensor:
    positions = iter(attributes[flow.DIMS] if attributes and flow.DIMS in attributes else ())
    sizes = tuple(
        by_position[next(positions)] if kind.is_dynamic_dim(d) else kind.get_dim_size(d)
        for d in range(kind.rank)
    )
    return _Tensor(kind, sizes)


def _call(
    writer: _Writer,
    callee: str,
    passed: Sequence[str],
    operands: Sequence[ir.Value],
    outputs: Sequence[_Tensor],
    buffers: Sequence[str],
) -> None:
    kinds = [_dense(a.type) for a in operands]
    results = [str(_dense(t.kind)) for t in outputs]
    prefix = f"%r:{len(outputs)} = " if outputs else ""
    writer.lines.append(
        f"{prefix}func.call @{callee}({', '.join(passed)}) :"
        f" ({', '.join(map(str, kinds))}) -> ({', '.join(results)})"
    )
    for position, (buffer, tensor) in enumerate(zip(buffers, outputs, strict=True)):
        _store(writer, f"%r#{position}", buffer, tensor)


def _load(writer: _Writer, buffer: str, tensor: _Tensor) -> str:
    """View a buffer as the tensor the dispatch takes."""
    sizes = _storage_sizes(writer, tensor)
    view, view_kind = _view(writer, buffer, sizes, tensor.stored)
    stored_kind = view_kind.replace("memref", "tensor", 1)
    stored = writer.emit(f"bufferization.to_tensor {view} restrict : {view_kind} to {stored_kind}")
    if tensor.plain:
        return stored
    logical = _dense(tensor.kind)
    return _elementwise(
        writer,
        tensor.sizes,
        str(tensor.element),
        str(logical),
        source=(stored, stored_kind, str(tensor.stored)),
        layout=tensor.layout,
        convert=_decode(tensor),
    )


def _store(writer: _Writer, value: str, buffer: str, tensor: _Tensor) -> None:
    """Write a result of the dispatch to its buffer."""
    sizes = _storage_sizes(writer, tensor)
    view, view_kind = _view(writer, buffer, sizes, tensor.stored)
    stored_kind = view_kind.replace("memref", "tensor", 1)
    if not tensor.plain:
        source = (value, str(_dense(tensor.kind)), str(tensor.element))
        if tensor.layout is None:
            value = _elementwise(
                writer, sizes, str(tensor.stored), stored_kind, source, None, _encode(tensor)
            )
        else:
            value = _pack(writer, sizes, stored_kind, source, tensor)
    writer.lines.append(
        f"bufferization.materialize_in_destination {value} in restrict writable {view}"
        f" : ({stored_kind}, {view_kind}) -> ()"
    )


def _storage_sizes(writer: _Writer, tensor: _Tensor) -> tuple[Size, ...]:
    layout = tensor.layout
    if layout is None:
        return tensor.sizes
    split = tensor.sizes[layout.tile_dim]
    if isinstance(split, int):
        tiles: Size = -(-split // layout.tile)
    else:
        tiles = writer.binary("ceildivui", split, layout.tile)
    others: list[Size] = []
    for dim in layout.order:
        size, group = tensor.sizes[dim], layout.grouped(dim)
        if group > 1:
            size = (
                -(-size // group)
                if isinstance(size, int)
                else writer.binary("ceildivui", size, group)
            )
        others.append(size)
    inner = () if layout.group is None else (layout.group[1],)
    return (tiles, *others, layout.tile, *inner)


def _view(writer: _Writer, buffer: str, sizes: Sequence[Size], element: ir.Type) -> tuple[str, str]:
    """Give a flat buffer a row-major shape; returns the value and its type."""
    strides: list[Size] = []
    stride: Size = 1
    for size in reversed(sizes):
        strides.insert(0, stride)
        stride = writer.binary("muli", stride, size)
    kind = _shaped("memref", sizes, str(element))
    listed = ", ".join(map(str, sizes)), ", ".join(map(str, strides))
    view = writer.emit(
        f"memref.reinterpret_cast {buffer} to offset: [0], sizes: [{listed[0]}],"
        f" strides: [{listed[1]}] : memref<?x{element}> to {kind}"
    )
    return view, kind


def _shaped(container: str, sizes: Sequence[Size], element: str) -> str:
    shape = "".join(f"{size if isinstance(size, int) else '?'}x" for size in sizes)
    return f"{container}<{shape}{element}>"


def _elementwise(
    writer: _Writer,
    sizes: Sequence[Size],
    element: str,
    kind: str,
    source: tuple[str, str, str],
    layout: PackedLayout | None,
    convert: tuple[str, str],
) -> str:
    """Emit ``result[i] = convert(source[storage position of i])`` over a row-major result."""
    value, value_kind, value_element = source
    line, converted = convert
    empty = _empty(writer, sizes, kind)
    rank = len(sizes)
    dims = ", ".join(f"d{i}" for i in range(rank))
    identity = f"affine_map<({dims}) -> ({dims})>"
    iterators = ", ".join(['"parallel"'] * rank)
    if layout is None:
        head = f"ins({value} : {value_kind}) outs({empty} : {kind})"
        maps, block = f"{identity}, {identity}", f"%x: {value_element}, %o: {element}"
        body = []
    else:
        head, maps, block = f"outs({empty} : {kind})", identity, f"%o: {element}"
        body = [f"%i{d} = linalg.index {d} : index" for d in range(rank)]
        body += [
            f"%ct = arith.constant {layout.tile} : index",
            f"%tile = arith.divui %i{layout.tile_dim}, %ct : index",
            f"%lane = arith.remui %i{layout.tile_dim}, %ct : index",
        ]
        places = ["%tile", *(f"%i{d}" for d in layout.order), "%lane"]
        if layout.group is not None:
            dim, size = layout.group
            body += [
                f"%cg = arith.constant {size} : index",
                f"%group = arith.divui %i{dim}, %cg : index",
                f"%inside = arith.remui %i{dim}, %cg : index",
            ]
            places[1 + layout.order.index(dim)] = "%group"
            places.append("%inside")
        position = ", ".join(places)
        body.append(f"%x = tensor.extract {value}[{position}] : {value_kind}")
    return writer.emit(
        f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{iterators}]}} {head} {{\n"
        + "\n".join([f"^bb0({block}):", *body, line, f"linalg.yield {converted} : {element}"])
        + f"\n}} -> {kind}"
    )


def _pack(
    writer: _Writer, sizes: Sequence[Size], kind: str, source: tuple[str, str, str], tensor: _Tensor
) -> str:
    """Emit the packed form of a logical tensor, zeros in the padding of the last tile."""
    value, value_kind, _ = source
    layout = tensor.layout
    assert layout is not None
    if layout.group is not None:
        raise CompileError(f"A result cannot be stored in groups, as {layout} asks.")
    empty = _empty(writer, sizes, kind)
    rank = len(sizes)
    dims = ", ".join(f"d{i}" for i in range(rank))
    iterators = ", ".join(['"parallel"'] * rank)
    limit = writer.value(tensor.sizes[layout.tile_dim])
    last = writer.binary("subi", limit, 1)
    body = [f"%i{d} = linalg.index {d} : index" for d in range(rank)]
    body += [
        f"%ct = arith.constant {layout.tile} : index",
        "%start = arith.muli %i0, %ct : index",
        f"%at = arith.addi %start, %i{rank - 1} : index",
        f"%inside = arith.cmpi ult, %at, {limit} : index",
        f"%safe = arith.minui %at, {last} : index",
    ]
    position = {dim: f"%i{place + 1}" for place, dim in enumerate(layout.order)}
    position[layout.tile_dim] = "%safe"
    listed = ", ".join(position[d] for d in range(len(tensor.sizes)))
    zero = "0.0" if isinstance(tensor.stored, ir.FloatType) else "0"
    line, converted = _encode(tensor)
    body += [
        f"%x = tensor.extract {value}[{listed}] : {value_kind}",
        line,
        f"%zero = arith.constant {zero} : {tensor.stored}",
        f"%z = arith.select %inside, {converted}, %zero : {tensor.stored}",
    ]
    return writer.emit(
        f"linalg.generic {{indexing_maps = [affine_map<({dims}) -> ({dims})>],"
        f" iterator_types = [{iterators}]}} outs({empty} : {kind}) {{\n"
        + "\n".join([f"^bb0(%o: {tensor.stored}):", *body, f"linalg.yield %z : {tensor.stored}"])
        + f"\n}} -> {kind}"
    )


def _empty(writer: _Writer, sizes: Sequence[Size], kind: str) -> str:
    dynamic = ", ".join(size for size in sizes if isinstance(size, str))
    return writer.emit(f"tensor.empty({dynamic}) : {kind}")


def _decode(tensor: _Tensor) -> tuple[str, str]:
    """Return how to make the element type from ``%x`` as stored: a line, the value's name."""
    return _conversion(tensor.stored, tensor.element, "arith.trunci")


def _encode(tensor: _Tensor) -> tuple[str, str]:
    """Return how to make the stored form from ``%x``: a line, the value's name."""
    return _conversion(tensor.element, tensor.stored, "arith.extui")


def _conversion(source: ir.Type, target: ir.Type, resize: str) -> tuple[str, str]:
    if source == target:
        return "", "%x"
    if isinstance(source, ir.IndexType) or isinstance(target, ir.IndexType):
        return f"%y = arith.index_cast %x : {source} to {target}", "%y"
    lines, value = [], "%x"
    if isinstance(source, ir.FloatType):
        bits, source = source, ir.IntegerType.get_signless(source.width)
        lines.append(f"%c = arith.bitcast {value} : {bits} to {source}")
        value = "%c"
    bits = target
    if isinstance(target, ir.FloatType):
        bits = ir.IntegerType.get_signless(target.width)
    if source != bits:
        lines.append(f"%y = {resize} {value} : {source} to {bits}")
        value = "%y"
    if bits != target:
        lines.append(f"%f = arith.bitcast {value} : {bits} to {target}")
        value = "%f"
    return "\n".join(lines), value


def _dense(kind: ir.Type) -> ir.Type:
    """Return a tensor type without its layout."""
    if isinstance(kind, ir.RankedTensorType) and kind.encoding is not None:
        return ir.RankedTensorType.get(kind.shape, kind.element_type)
    return kind


def _drop_layouts(module: ir.Module) -> None:
    """Remove packed layouts from every type: inside the dispatch shapes are logical."""

    def visit(op: ir.Operation) -> ir.WalkResult:
        for region in op.regions:
            for block in region.blocks:
                for argument in block.arguments:
                    argument.set_type(_dense(argument.type))
        for result in op.results:
            result.set_type(_dense(result.type))
        if op.name == "func.func":
            kind = ir.TypeAttr(op.attributes["function_type"]).value
            op.attributes["function_type"] = ir.TypeAttr.get(
                ir.FunctionType.get(
                    [_dense(t) for t in kind.inputs], [_dense(t) for t in kind.results]
                )
            )
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
