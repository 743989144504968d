"""The ``flow`` dialect: parameters by name, and the attributes that mark dispatches.

A *parameter* is a tensor whose bytes live in the :class:`iree_core.params.ParameterStore`::

    %w = "flow.parameter"() {key = "encoder.weight"} : () -> tensor<768x3072xf32>

A *dispatch* is a call of a private function that carries ``flow.dispatch``. The callee holds
the fused tensor program, the call site is plain ``func.call``, so that the MLIR verifier
checks both against each other::

    func.func private @main_dispatch_0(
        %x: tensor<?x768xf32> {flow.dims = array<i64: 2>}, %w: tensor<768x3072xf32>, %n: index)
        -> (tensor<?x3072xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch}

``flow.dims`` on an argument or result names, for each dynamic dimension in order, the index of
the ``index``-typed argument that holds its size. It is absent where no dimension is dynamic.

``flow.in_place`` on a dispatch lists the arguments that some call lets the result overwrite, so
that code generation does not promise otherwise.

``flow.choices`` on a dispatch fixes block sizes that its schedule would choose otherwise; see
:mod:`iree_core.codegen.choices`.

``flow.origin`` on a dispatch says which of the model's operations it comes from.

``flow.check`` on a ``cf.assert`` says that the call must fail where its condition does not hold:
the model's sizes rest on it. All other assertions are dropped.

A *host function* is one of Python that whoever loads the module provides by name. Calls of it are
not moved, merged or left out; their results have fixed sizes. ``dtypes`` are the public element
types of operands and results::

    %f = "flow.host_function"() {callee = "callback_0", dtypes = ["ui8", "f32"]}
        : () -> ((tensor<4xi8>) -> tensor<4xf32>)
    %y = func.call_indirect %f(%x) : (tensor<4xi8>) -> tensor<4xf32>

A tensor type may carry a *packed layout* as its encoding; see :mod:`iree_core.layout`.
"""

from iree_core.ir import ext, ir

DISPATCH = "flow.dispatch"
DIMS = "flow.dims"
IN_PLACE = "flow.in_place"
CHECK = "flow.check"
ORIGIN = "flow.origin"
CHOICES = "flow.choices"


class Flow(ext.Dialect, name="flow"):
    """Dialect handle; :func:`iree_core.ir.make_context` loads it."""


class ParameterOp(Flow.Operation, name="parameter", traits=[ext.Pure]):
    """A tensor held by the parameter store under ``key``."""

    key: ir.StringAttr
    value: ext.Result[ir.RankedTensorType]


class HostFunctionOp(Flow.Operation, name="host_function", traits=[ext.Pure]):
    """The function of Python that is known as ``callee``."""

    callee: ir.StringAttr
    dtypes: ir.ArrayAttr
    value: ext.Result[ir.FunctionType]


def anonymous_text(dispatch: ir.Operation) -> str:
    """Return the text of a dispatch function without its name and origin.

    It is all that decides what the dispatch computes, so equal texts may share a binary.
    """
    hidden = {n: dispatch.attributes[n] for n in ("sym_name", ORIGIN) if n in dispatch.attributes}
    dispatch.attributes["sym_name"] = ir.StringAttr.get("_", context=dispatch.context)
    if ORIGIN in hidden:
        del dispatch.attributes[ORIGIN]
    text = dispatch.get_asm(use_local_scope=True, assume_verified=True)
    for name, value in hidden.items():
        dispatch.attributes[name] = value
    return text
