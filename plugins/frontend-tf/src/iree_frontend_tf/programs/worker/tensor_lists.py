"""Tensor lists (``tf.TensorArray``), also with dynamic sizes, as tensors.

TensorFlow's own pass wants static sizes. Here a list becomes a tensor with one more
dimension. A list that is reserved before a loop gets the size of the first element that the loop
will set: its body is called once more, for that shape alone; what else it computes is dead code.

Works on the text of modules of the ``tf`` dialect, where every operation is one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .errors import ExportError

_LIST = re.compile(r"tensor<!tf_type\.variant<tensor<([^<>]*(?:complex<\w+>)?)>>>")
_OPERATION = re.compile(
    r'^(\s*)(?:(%[\w#]+(?:, %\w+)*)(?::\d+)? = )?"tf\.(\w+)"\(([^)]*)\)(.*?) : \((.*?)\) -> (.*)$'
)
_FUNCTION = re.compile(r'^  func\.func (?:private )?@("[^"]*"|[\w.$]+)\(')
_USED = re.compile(r'"tf\.((?:Empty)?TensorList\w*)"')
_BODY = re.compile(r'body = @("[^"]*"|[\w.$]+)')
_SIZES = re.compile(r"^((?:[\d?]+x)*)(.+)$")
_GROWS = "resize_if_index_out_of_bounds = true"
_FIRST = '"tf.Const"() <{value = dense<0> : tensor<i32>}> : () -> tensor<i32>'


@dataclass
class _Operation:
    """One line, taken apart."""

    indent: str
    result: str
    name: str
    operands: list[str]
    attributes: str
    types: list[str]
    kind: str

    @classmethod
    def parse(cls, line: str) -> _Operation | None:
        match = _OPERATION.match(line)
        if match is None:
            return None
        indent, result, name, operands, attributes, types, kind = match.groups()
        given = _split(operands), attributes, _split(types)
        return cls(indent, result or "", name, *given, kind.strip())


def replace_dynamic(text: str) -> str:
    """Replace all lists, unless all are static and TensorFlow's own pass knows more of them.

    Raises:
        ExportError: an operation on lists that only works with static sizes.
    """
    text = _with_ranks(text)
    used = set(_USED.findall(text))
    static = _GROWS not in text and not any("?" in kind for kind in _LIST.findall(text))
    if not used or (static and not used <= {*_REWRITINGS, "TensorListReserve"}):
        return text
    lines = _Reserved(text.splitlines()).allocate()
    numbers = iter(range(len(lines)))
    written = [new for line in lines for new in _rewrite(line, numbers.__next__)]
    return _LIST.sub(lambda match: _stacked(match[1]), "\n".join(written))


def _with_ranks(text: str) -> str:
    """Give lists of unknown rank the type of what is set in them, where that is one type."""
    found: dict[str, set[str]] = {}
    for operation in map(_Operation.parse, text.splitlines()):
        if operation is not None and operation.name == "TensorListSetItem":
            match = _LIST.search(operation.types[0])
            if match is not None and match[1].startswith("*x"):
                item = operation.types[2].removeprefix("tensor<").removesuffix(">")
                found.setdefault(match[1], set()).add(item)
    for unranked, items in found.items():
        if len(items) == 1:
            kind = f"tensor<!tf_type.variant<tensor<{unranked}>>>"
            text = text.replace(kind, f"tensor<!tf_type.variant<tensor<{items.pop()}>>>")
    return text


def _stacked(element: str) -> str:
    return f"tensor<?x{element}>"


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",\s*(?![^<]*>)", text) if part.strip()]


def _rank(kind: str) -> int:
    match = _SIZES.match(kind.removeprefix("tensor<").removesuffix(">"))
    assert match is not None
    return match[1].count("x")


def _zero(kind: str) -> str:
    match = _SIZES.match(kind)
    assert match is not None
    element = match[2]
    value = "false" if element == "i1" else "0" if element.startswith(("i", "ui")) else "0.0"
    if element.startswith("complex"):
        value = "(0.0, 0.0)"
    scalar = f"tensor<{element}>"
    return f'"tf.Const"() <{{value = dense<{value}> : {scalar}}}> : () -> {scalar}'


class _Reserved:
    """Allocates the lists that are reserved with elements of unknown size, for each user anew."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._added: list[str] = []
        self._grows = any(_GROWS in line for line in lines)
        self._count = 0

    def allocate(self) -> list[str]:
        """Return the lines with a tensor of zeros for every reserved list."""
        result: list[str] = []
        reserved: dict[str, _Operation] = {}
        for line in self._lines:
            if _FUNCTION.match(line):
                reserved = {}
            operation = _Operation.parse(line)
            if operation is not None and operation.name == "TensorListReserve":
                reserved[operation.result] = operation
                continue
            used = [o for o in reserved if operation is not None and o in operation.operands]
            if operation is not None and used:
                line = self._use(line, operation, {o: reserved[o] for o in used}, result)
            result.append(line)
        end = max(n for n, line in enumerate(result) if line.startswith("}"))
        return result[:end] + self._added + result[end:]

    def _use(
        self, line: str, user: _Operation, lists: dict[str, _Operation], result: list[str]
    ) -> str:
        """Emit what allocates ``lists``, and return the line of their user with their names."""
        places = {name: user.operands.index(name) for name in lists}
        shapes = {name: f"%list_shape_{self._count + n}" for n, name in enumerate(lists)}
        for name, reserve in lists.items():
            element = _element(reserve.kind)
            if "?" not in element:
                sizes = [int(d) for d in element.split("x")[: _rank(element)]]
                shape = f'"tf.Const"() <{{value = dense<{sizes}> : {_shape(element)}}}> : () -> '
                shape += _shape(element)
            elif user.name == "TensorListSetItem" and places[name] == 0:
                shape = f'"tf.Shape"({user.operands[2]}) : ({user.types[2]}) -> {_shape(element)}'
            elif user.name == "While":
                shape = self._shape_in_loop(line, user, places[name], lists, result)
            else:
                raise _unsupported(user.name)
            result.append(f"{user.indent}{shapes[name]} = {shape}")
            allocated = f"%list_{self._count}"
            result += _filled(user.indent, allocated, reserve, shapes[name], self._grows)
            line = re.sub(rf"{re.escape(name)}(?![\w#])", allocated, line)
            self._count += 1
        return line

    def _shape_in_loop(
        self,
        line: str,
        loop: _Operation,
        place: int,
        lists: dict[str, _Operation],
        result: list[str],
    ) -> str:
        """Return a call that computes the shape of what a loop's body sets in a list."""
        body = _BODY.search(line)
        assert body is not None
        function = self._function(body[1])
        element = _element(loop.types[place])
        name = f"list_element_{self._count}"
        self._added += _item_shape(function, place, name, _shape(element))
        operands = []
        for n, operand in enumerate(loop.operands):
            if operand in lists:
                empty = f"%list_empty_{self._count}_{n}"
                held = _element(loop.types[n])
                sizes = [1, *(1 if d == "?" else int(d) for d in held.split("x")[: _rank(held)])]
                kind = f"tensor<{len(sizes)}xi32>"
                result.append(
                    f'{loop.indent}{empty}_sizes = "tf.Const"() '
                    f"<{{value = dense<{sizes}> : {kind}}}> : () -> {kind}"
                )
                result.append(f"{loop.indent}{empty}_zero = {_zero(held)}")
                result.append(
                    f'{loop.indent}{empty} = "tf.Fill"({empty}_sizes, {empty}_zero) : '
                    f"({kind}, {_scalar(held)}) -> {loop.types[n]}"
                )
                operand = empty
            operands.append(operand)
        return (
            f'"tf.PartitionedCall"({", ".join(operands)}) <{{config = "", config_proto = "", '
            f'executor_type = "", f = @{name}}}> : ({", ".join(loop.types)}) -> {_shape(element)}'
        )

    def _function(self, name: str) -> list[str]:
        start = next(
            n
            for n, line in enumerate(self._lines)
            if (match := _FUNCTION.match(line)) and match[1] == name
        )
        end = next(n for n in range(start, len(self._lines)) if self._lines[n] == "  }")
        return self._lines[start : end + 1]


def _element(kind: str) -> str:
    match = _LIST.search(kind)
    if match is None or match[1].startswith("*"):
        raise _unsupported("a list with elements of unknown rank")
    return match[1]


def _shape(element: str) -> str:
    return f"tensor<{_rank(element)}xi32>"


def _scalar(element: str) -> str:
    match = _SIZES.match(element)
    assert match is not None
    return f"tensor<{match[2]}>"


def _filled(indent: str, name: str, reserve: _Operation, shape: str, grows: bool) -> list[str]:
    """Return the lines that make a tensor of zeros for a reserved list.

    Where it grows, its size is hidden: TensorFlow would take it for that of every turn of a loop.
    """
    element = _element(reserve.kind)
    rank = _rank(element)
    count, kind = reserve.operands[1], reserve.types[1]
    made = f"{name}_zeros" if grows else name
    hidden = f'{name} = "tf.SetAsideOfAnySize"({made}) : ({reserve.kind}) -> {reserve.kind}'
    return [
        f"{indent}{name}_first = {_FIRST}",
        f"{indent}{name}_zero = {_zero(element)}",
        f'{indent}{name}_count = "tf.Pack"({count}) <{{axis = 0 : i64}}> : ({kind}) -> '
        "tensor<1xi32>",
        f'{indent}{name}_sizes = "tf.ConcatV2"({name}_count, {shape}, {name}_first) : '
        f"(tensor<1xi32>, tensor<{rank}xi32>, tensor<i32>) -> tensor<{rank + 1}xi32>",
        f'{indent}{made} = "tf.Fill"({name}_sizes, {name}_zero) : '
        f"(tensor<{rank + 1}xi32>, {_scalar(element)}) -> {reserve.kind}",
        *([f"{indent}{hidden}"] if grows else []),
    ]


def _item_shape(function: list[str], place: int, name: str, shape: str) -> list[str]:
    """Return a copy of a loop's body that returns the shape of what it sets in a list."""
    head, lines = function[0], function[1:]
    for number, line in enumerate(lines):
        operation = _Operation.parse(line)
        if operation is None or operation.name != "TensorListSetItem":
            continue
        if operation.operands[0] != f"%arg{place}":
            continue
        start = head.index("(")
        opened = head[start : _results(head)]
        return [
            f"  func.func private @{name}{opened} -> {shape} {{",
            *lines[:number],
            f'    %item_shape = "tf.Shape"({operation.operands[2]}) : ({operation.types[2]}) -> '
            f"{shape}",
            f"    return %item_shape : {shape}",
            "  }",
        ]
    raise _unsupported("a list that a loop does not set itself")


def _results(head: str) -> int:
    """Return where the results of a function's first line begin."""
    depth, quoted = 0, False
    for position, character in enumerate(head):
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return position + 1
    raise AssertionError(head)


def _rewrite(line: str, number: Callable[[], int]) -> list[str]:
    """Return the lines that do on tensors what ``line`` does on a list."""
    operation = _Operation.parse(line)
    if operation is None or not operation.name.startswith(("TensorList", "EmptyTensorList")):
        return [line]
    rewriting = _REWRITINGS.get(operation.name)
    if rewriting is None:
        raise _unsupported(operation.name)
    return [operation.indent + new for new in rewriting(operation, f"%item_{number()}")]


def _identity(op: _Operation, _: str) -> list[str]:
    return [f'{op.result} = "tf.Identity"({op.operands[0]}) : ({op.types[0]}) -> {op.kind}']


def _get(op: _Operation, name: str) -> list[str]:
    return [
        f"{name}_first = {_FIRST}",
        f'{op.result} = "tf.GatherV2"({op.operands[0]}, {op.operands[1]}, {name}_first) '
        f"<{{batch_dims = 0 : i64}}> : ({op.types[0]}, {op.types[1]}, tensor<i32>) -> {op.kind}",
    ]


def _set(op: _Operation, name: str) -> list[str]:
    given, place, item = op.operands[:3]
    element = op.types[2].removeprefix("tensor<").removesuffix(">")
    rank = _rank(element)
    grown = [] if _GROWS not in op.attributes else _grown(op, name)
    given = f"{name}_grown" if grown else given
    zeros = ", ".join([f"{name}_first"] * rank)
    kinds = ", ".join(["tensor<i32>"] * (rank + 1))
    return [
        f"{name}_first = {_FIRST}",
        *grown,
        f'{name}_start = "tf.Pack"({place}{f", {zeros}" if rank else ""}) <{{axis = 0 : i64}}> : '
        f"({kinds}) -> tensor<{rank + 1}xi32>",
        f'{name}_item = "tf.ExpandDims"({item}, {name}_first) : ({op.types[2]}, tensor<i32>) -> '
        f"tensor<1x{element}>",
        f'{op.result} = "tf.XlaDynamicUpdateSlice"({given}, {name}_item, {name}_start) : '
        f"({op.types[0]}, tensor<1x{element}>, tensor<{rank + 1}xi32>) -> {op.kind}",
    ]


def _grown(op: _Operation, name: str) -> list[str]:
    """Return the lines that add zeros to a list that is set past its end."""
    given, place, item = op.operands[:3]
    kind = op.types[0]
    element = op.types[2].removeprefix("tensor<").removesuffix(">")
    rank = _rank(element)
    scalar = "tensor<i32>"
    shape, all_sizes = f"tensor<{rank}xi32>", f"tensor<{rank + 1}xi32>"
    two = f"({scalar}, {scalar}) -> {scalar}"
    return [
        f'{name}_one = "tf.Const"() <{{value = dense<1> : {scalar}}}> : () -> {scalar}',
        f"{name}_zero = {_zero(element)}",
        f'{name}_held = "tf.Shape"({given}) : ({kind}) -> {all_sizes}',
        f'{name}_many = "tf.GatherV2"({name}_held, {name}_first, {name}_first) '
        f"<{{batch_dims = 0 : i64}}> : ({all_sizes}, {scalar}, {scalar}) -> {scalar}",
        f'{name}_needed = "tf.AddV2"({place}, {name}_one) : {two}',
        f'{name}_more = "tf.Sub"({name}_needed, {name}_many) : {two}',
        f'{name}_missing = "tf.Maximum"({name}_more, {name}_first) : {two}',
        f'{name}_rows = "tf.Pack"({name}_missing) <{{axis = 0 : i64}}> : ({scalar}) -> '
        "tensor<1xi32>",
        f'{name}_item_shape = "tf.Shape"({item}) : ({op.types[2]}) -> {shape}',
        f'{name}_sizes = "tf.ConcatV2"({name}_rows, {name}_item_shape, {name}_first) : '
        f"(tensor<1xi32>, {shape}, {scalar}) -> {all_sizes}",
        f'{name}_zeros = "tf.Fill"({name}_sizes, {name}_zero) : '
        f"({all_sizes}, {_scalar(element)}) -> tensor<?x{element}>",
        f'{name}_grown = "tf.ConcatV2"({given}, {name}_zeros, {name}_first) : '
        f"({kind}, tensor<?x{element}>, {scalar}) -> {kind}",
    ]


def _length(op: _Operation, name: str) -> list[str]:
    sizes = f"tensor<{_rank(_element(op.types[0])) + 1}xi32>"
    return [
        f"{name}_first = {_FIRST}",
        f'{name}_sizes = "tf.Shape"({op.operands[0]}) : ({op.types[0]}) -> {sizes}',
        f'{op.result} = "tf.GatherV2"({name}_sizes, {name}_first, {name}_first) '
        f"<{{batch_dims = 0 : i64}}> : ({sizes}, tensor<i32>, tensor<i32>) -> {op.kind}",
    ]


def _gather(op: _Operation, name: str) -> list[str]:
    return [
        f"{name}_first = {_FIRST}",
        f'{op.result} = "tf.GatherV2"({op.operands[0]}, {op.operands[1]}, {name}_first) '
        f"<{{batch_dims = 0 : i64}}> : ({op.types[0]}, {op.types[1]}, tensor<i32>) -> {op.kind}",
    ]


def _concat(op: _Operation, name: str) -> list[str]:
    """Elements of a list have equal sizes here."""
    element = _element(op.types[0])
    rank = _rank(element)
    kind, lengths = _split(op.kind.removeprefix("(").removesuffix(")"))
    one, rest = "tensor<1xi32>", f"tensor<{rank - 1}xi32>"

    def constant(suffix: str, value: int) -> str:
        return f'{name}_{suffix} = "tf.Const"() <{{value = dense<{value}> : {one}}}> : () -> {one}'

    masks = "begin_mask = 0 : i64, ellipsis_mask = 0 : i64, new_axis_mask = 0 : i64"
    sizes = f"tensor<{rank + 1}xi32>"
    operands = f"{name}_sizes, {name}_two, {name}_two, {name}_one"
    kinds = f"({sizes}, {one}, {one}, {one})"
    return [
        f"{name}_first = {_FIRST}",
        constant("any", -1),
        constant("two", 2),
        constant("one", 1),
        f'{name}_sizes = "tf.Shape"({op.operands[0]}) : ({op.types[0]}) -> {sizes}',
        f'{name}_rest = "tf.StridedSlice"({operands}) '
        f"<{{{masks}, end_mask = 1 : i64, shrink_axis_mask = 0 : i64}}> : {kinds} -> {rest}",
        f'{name}_shape = "tf.ConcatV2"({name}_any, {name}_rest, {name}_first) : '
        f"({one}, {rest}, tensor<i32>) -> tensor<{rank}xi32>",
        f'{name}_joined = "tf.Reshape"({op.operands[0]}, {name}_shape) : '
        f"({op.types[0]}, tensor<{rank}xi32>) -> {kind}",
        f'{name}_length = "tf.GatherV2"({name}_sizes, {name}_one, {name}_first) '
        f"<{{batch_dims = 0 : i64}}> : ({sizes}, {one}, tensor<i32>) -> {one}",
        f'{name}_many = "tf.GatherV2"({name}_sizes, {name}_first, {name}_first) '
        f"<{{batch_dims = 0 : i64}}> : ({sizes}, tensor<i32>, tensor<i32>) -> tensor<i32>",
        f'{name}_times = "tf.Pack"({name}_many) <{{axis = 0 : i64}}> : (tensor<i32>) -> {one}',
        f'{name}_tiled = "tf.Tile"({name}_length, {name}_times) : ({one}, {one}) -> tensor<?xi32>',
        f'{name}_lengths = "tf.Cast"({name}_tiled) <{{Truncate = false}}> : '
        f"(tensor<?xi32>) -> {lengths}",
        f'{op.result} = "tf.IdentityN"({name}_joined, {name}_lengths) : '
        f"({kind}, {lengths}) -> ({kind}, {lengths})",
    ]


_REWRITINGS: dict[str, Callable[[_Operation, str], list[str]]] = {
    "TensorListConcatV2": _concat,
    "TensorListFromTensor": _identity,
    "TensorListGather": _gather,
    "TensorListGetItem": _get,
    "TensorListLength": _length,
    "TensorListSetItem": _set,
    "TensorListStack": _identity,
}


def _unsupported(what: str) -> ExportError:
    return ExportError(
        "unsupported",
        f"{what} does not work on tensor arrays whose elements have dynamic sizes.",
        hint="Trace the function with static shapes (a tf.TensorSpec without None).",
    )
