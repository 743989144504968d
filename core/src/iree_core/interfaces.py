"""What plugins implement: frontends, backends and their data. Drivers are in iree_core.hal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iree_core.codegen.kernel import CompiledDispatch, CpuModel
from iree_core.params import ParameterStore
from iree_core.passes.state import Note

if TYPE_CHECKING:
    from iree_core.ir import ir


@dataclass
class ImportedModel:
    """A model inside MLIR: the ``input`` phase takes it from here.

    Attributes:
        module: public functions on tensors, in any input dialect.
        parameters: the weights that ``flow.parameter`` operations name.
        notes: what the user should know, such as operators that took another route than usual.
    """

    module: ir.Module
    parameters: ParameterStore
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class ImportOptions:
    """Options of one import.

    Attributes:
        dynamic_dims: names or ``input:axis`` of dimensions to make dynamic.
        extra: options of the one frontend, as given by ``--frontend-option key=value``.
        progress: called with a short line of what is being done.
    """

    extra: Mapping[str, str] = field(default_factory=dict)
    progress: Callable[[str], None] = lambda _: None


class Frontend(ABC):
    """Reads one kind of model file.

    Attributes:
        name: what users type.
        suffixes: of the files that it is asked about first.
        reads_folders: whether a model may be a folder; others are never asked about one.
    """

    name: str
    suffixes: Sequence[str]
    reads_folders: bool = False

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Tell from its content (a few bytes) whether ``path`` is a model of this kind."""

    @abstractmethod
    def import_model(
        self, path: Path, context: ir.Context, options: ImportOptions
    ) -> ImportedModel:
        """Read the model.

        Raises:
            ImportModelError: the file is damaged.
            UnsupportedOperatorError: naming every node that is not supported.
        """


@dataclass(frozen=True)
class Target:
    """One code generation target, resolved.

    Attributes:
        backend: name of the backend.
        spec: canonical text, e.g. ``x86_64-unknown-linux-gnu,cpu=znver5,features=+avx512f``;
            equal specs make equal code.
        cpu: the cost model (None for devices that are no CPU).
        attention: a schedule takes attention in one dispatch (true of every CPU).
        panel: how many columns of a constant factor of a matrix product lie side by side, for
            devices that are no CPU; 0: factors stay as they are.
    """

    backend: str
    spec: str
    cpu: CpuModel | None = None
    attention: bool = False
    panel: int = 0


@dataclass(frozen=True)
class Executable:
    """All dispatches of a module for one target.

    Attributes:
        format: what a driver recognises, e.g. ``native-x86_64``.
        target: the spec it was made for.
        data: the loadable image.
        entries: name and offset of each entry point, in dispatch order.
    """

    format: str
    target: str
    data: bytes
    entries: tuple[tuple[str, int], ...]


class Backend(ABC):
    """Turns dispatches into binaries of one kind of target."""

    name: str

    @abstractmethod
    def resolve(self, options: str) -> Target:
        """Parse what follows ``NAME:`` on the command line ("" for the host's default).

        Raises:
            UsageError: an unknown triple, processor or feature, naming the known ones.
        """

    @abstractmethod
    def compile(self, dispatch: str, target: Target, *, strategy: str = "auto") -> CompiledDispatch:
        """Compile the MLIR text of one dispatch function (runs inside a worker process).

        ``strategy`` is ``auto`` or ``general``; the latter asks for the schedule that handles
        everything, after ``auto`` crashed or failed.
        """

    @abstractmethod
    def link(self, dispatches: Sequence[CompiledDispatch], target: Target) -> Executable:
        """Join compiled dispatches into one loadable image."""

    def default_for_host(self) -> bool:
        """Tell whether this is the backend to use where the user names no target."""
        return False

    def supports(self, dispatch: str, target: Target) -> str | None:
        """Return None if the dispatch can be compiled, else the reason why not."""
        return None

    def options(self) -> Mapping[str, Any]:
        """Return what the phases before code generation should know, e.g. packing tiles."""
        return {}
