"""``training_step``: forward, backward and optimiser update as one compiled program.

Parameters, buffers and optimiser state are the program's own state: they stay on the device
between calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

import iree_core as iree
from iree_core.errors import UsageError
from iree_core.runtime_api import LoadedModule
from iree_frontend_torch.decompositions import table
from iree_frontend_torch.exporting import compile_program
from iree_frontend_torch.program import Input, Output, Program, simplify
from iree_frontend_torch.tensors import from_result, to_numpy

Loss = Callable[..., torch.Tensor]
"""``loss(model, *batch)``: calls ``model`` and returns a scalar."""

# Optimisers whose state is all zeros before their first step.
_ZERO_START = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.RMSprop,
)


def training_step(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    *batch: torch.Tensor,
    target: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> TrainingStep:
    """Compile a training step.

    Args:
        model: in the mode it is trained in; its parameters are where the training starts.
        loss: ``loss(model, *batch)`` returns the scalar to minimise.
        optimizer: over parameters of ``model``; its options (learning rate, decay) become
            constants of the program. State it has already is where the training goes on.
        batch: example tensors, whose shapes every call has.
        target, options: as for ``iree_core.compile``.
        device, threads: as for ``iree_core.load``.

    Raises:
        UsageError: the optimiser's first step cannot be prepared.
        UnsupportedOperatorError: naming every operator that no route supports.
        IreeError: as ``iree_core.compile``.
    """
    state = _State.of(model, optimizer)
    graph = _trace(model, loss, optimizer, state, batch)
    simplify(graph)
    inputs = [Input("state", name, value) for name, value in state.tensors.items()]
    inputs += [Input("user", f"batch{n}") for n in range(len(batch))]
    outputs = [Output("user", "loss"), *(Output("state", name) for name in state.tensors)]
    compiled = compile_program(Program(graph, inputs, outputs), target=target, **options)
    loaded = iree.load(compiled, device=device, threads=threads)
    return TrainingStep(compiled, loaded, state.tensors)


class TrainingStep:
    """A compiled training step; each call takes a batch and returns the loss.

    Attributes:
        compiled: the module file and the report of its compilation.
        loaded: the module on its device.
    """

    def __init__(
        self,
        compiled: iree.CompiledModule,
        loaded: LoadedModule,
        state: Mapping[str, torch.Tensor],
    ) -> None:
        self.compiled, self.loaded = compiled, loaded
        self._kinds = {name: tensor.to("meta") for name, tensor in state.items()}

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        """Update the parameters with one batch and return the loss before the update.

        Raises:
            InvocationError: the batch has other shapes or types than the example.
        """
        return from_result(self.loaded.main(*map(to_numpy, batch)))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return copies of parameters, buffers and optimiser state by name.

        Parameters and buffers have their names in the model, so that
        ``model.load_state_dict(step.state_dict(), strict=False)`` takes them back.
        """
        found = self.loaded.state()
        return {
            name: torch.from_numpy(found[name]).view(kind.dtype).reshape(kind.shape)
            for name, kind in self._kinds.items()
        }

    def reset(self) -> None:
        """Set the state to what it was when the step was compiled."""
        self.loaded.reset()


@dataclass
class _State:
    """All tensors that a step changes, by name, and what each is."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    buffers: list[str] = field(default_factory=list)
    of_optimizer: dict[str, dict[str, str]] = field(default_factory=dict)

    @staticmethod
    def of(model: nn.Module, optimizer: torch.optim.Optimizer) -> _State:
        """Collect the state, that of the optimiser as it is before its first step."""
        found = _State()
        names = {id(p): name for name, p in model.named_parameters()}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in names:
                    raise UsageError("The optimiser has parameters that the model does not have.")
                found.trained.append(names[id(parameter)])
                found.tensors[names[id(parameter)]] = parameter.detach()
        for name, buffer in model.named_buffers():
            found.buffers.append(name)
            found.tensors[name] = buffer
        for parameter, entries in _optimizer_state(optimizer).items():
            name = names[id(parameter)]
            found.of_optimizer[name] = {}
            for key, value in entries.items():
                if isinstance(value, torch.Tensor):
                    found.of_optimizer[name][key] = f"optimizer.{name}.{key}"
                    found.tensors[f"optimizer.{name}.{key}"] = value.detach()
        return found


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[torch.Tensor, dict[str, Any]]:
    """Return the optimiser's state by parameter, zeros where it has made no step yet."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if all(p in optimizer.state for p in parameters):
        return {p: dict(optimizer.state[p]) for p in parameters}
    if type(optimizer) not in _ZERO_START or any(
        group.get("dampening") for group in optimizer.param_groups
    ):
        raise UsageError(
            f"The first step of {type(optimizer).__name__} differs from the others.",
            hint="Do one step in PyTorch first.",
        )
    copies = {id(p): torch.zeros_like(p, requires_grad=True) for p in parameters}
    for copy in copies.values():
        copy.grad = torch.zeros_like(copy)
    dry = _with_parameters(optimizer, lambda p: copies[id(p)], {})
    dry.step()
    return {
        p: {
            key: torch.zeros_like(value) if isinstance(value, torch.Tensor) else value
            for key, value in dry.state[copies[id(p)]].items()
        }
        for p in parameters
    }


def _with_parameters(
    optimizer: torch.optim.Optimizer,
    replacement: Callable[[torch.Tensor], torch.Tensor],
    state: dict[torch.Tensor, dict[str, Any]],
) -> torch.optim.Optimizer:
    """Return an optimiser of the same kind and options over other tensors."""
    made = object.__new__(type(optimizer))
    made.__dict__.update(optimizer.__dict__)
    made.state = defaultdict(dict, state)
    made.param_groups = [
        {
            **group,
            "params": [replacement(p) for p in group["params"]],
            # One operator per tensor: the compiler fuses them itself.
            **{key: False for key in ("foreach", "fused", "capturable") if key in group},
        }
        for group in optimizer.param_groups
    ]
    return made


def _trace(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    state: _State,
    batch: Sequence[torch.Tensor],
) -> fx.GraphModule:
    """Return the graph from state and batch to loss and next state."""
    from torch._dispatch.python import enable_python_dispatcher
    from torch.fx.experimental.proxy_tensor import make_fx

    count = len(state.tensors)

    def step(*flat: torch.Tensor) -> list[torch.Tensor]:
        # Updates in place then change copies, which functionalisation removes.
        now = {n: t.clone() for n, t in zip(state.tensors, flat[:count], strict=True)}
        value, gradients = _loss_and_gradients(model, loss, state, now, flat[count:])
        _update(optimizer, model, state, now, gradients)
        return [value, *now.values()]

    functional = torch.func.functionalize(step, remove="mutations")
    # The dispatcher in Python knows that batch normalisation changes its running statistics.
    with _tracing(), enable_python_dispatcher():
        return make_fx(
            functional, tracing_mode="fake", decomposition_table=table(),
            _allow_non_fake_inputs=True,
        )(*state.tensors.values(), *batch)  # fmt: skip


def _loss_and_gradients(
    model: nn.Module,
    loss: Loss,
    state: _State,
    now: dict[str, torch.Tensor],
    batch: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss and its gradients; buffers in ``now`` become what the model makes them."""

    def forward(trained: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        buffers = {name: now[name].clone() for name in state.buffers}

        def call(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(model, {**trained, **buffers}, args, kwargs)

        return loss(call, *batch), buffers

    trained = {name: now[name] for name in state.trained}
    gradients, (value, buffers) = torch.func.grad_and_value(forward, has_aux=True)(trained)
    now.update(buffers)
    return value.detach(), gradients


def _update(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    state: _State,
    now: dict[str, torch.Tensor],
    gradients: dict[str, torch.Tensor],
) -> None:
    """Let the optimiser's own code change parameters and its state in place."""
    names = {id(p): name for name, p in model.named_parameters()}
    for name in state.trained:
        now[name].grad = gradients[name]
    entries = {
        now[name]: {key: now[full] for key, full in keys.items()}
        for name, keys in state.of_optimizer.items()
    }
    traced = _with_parameters(optimizer, lambda p: now[names[id(p)]], entries)
    step = type(optimizer).step
    while hasattr(step, "__wrapped__"):  # what profiles and switches gradients on and off
        step = step.__wrapped__
    with torch.no_grad():
        step(traced)


@contextmanager
def _tracing() -> Iterator[None]:
    """Make optimisers keep their step count a tensor, as they do under torch.compile."""
    import torch.compiler

    previous = torch.compiler._is_compiling_flag
    torch.compiler._is_compiling_flag = True
    try:
        yield
    finally:
        torch.compiler._is_compiling_flag = previous
