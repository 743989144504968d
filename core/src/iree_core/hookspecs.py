"""The manual for plugin authors: every hook the core calls, in the order a model meets them.

A plugin is a distribution with an entry point in one of these groups. The entry point names a
small module that imports nothing heavy and marks functions with :data:`hookimpl`; its name is
what users type.

=================== ========================= =====================================
group               must implement            chosen by
=================== ========================= =====================================
``iree.frontends``  :func:`iree_frontend`     ``--frontend NAME`` or the file's content
``iree.backends``   :func:`iree_backend`      ``--target NAME``
``iree.drivers``    :func:`iree_driver`       ``--device NAME``
``iree.plugins``    any of the other hooks    always, when a hook of theirs is called
=================== ========================= =====================================

A whole plugin, in ``pyproject.toml``::

    dependencies = ["iree-core>=0.1,<0.2"]      # the range of the API you were written for

    [project.entry-points."iree.backends"]
    acme = "iree_backend_acme.plugin"

and in ``iree_backend_acme/plugin.py``::

    from iree_core.hookspecs import hookimpl

    @hookimpl
    def iree_backend():
        from iree_backend_acme.backend import AcmeBackend   # heavy things are imported here

        return AcmeBackend()

An implementation may take any subset of a hook's arguments, by name. Hooks without a result
change what they are given. Where several plugins implement a hook, the one registered last is
called first; ``@hookimpl(tryfirst=True)`` and ``trylast=True`` say otherwise. The requirement on
``iree-core`` is checked before the plugin is imported; whatever a plugin raises is shown by
``iree plugins`` and disturbs no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from iree_core.hal import Driver
    from iree_core.hal.observe import DispatchEvent
    from iree_core.interfaces import Backend, Frontend, Target
    from iree_core.passes.manager import Pass, PassEvent

hookspec = pluggy.HookspecMarker("iree")
hookimpl = pluggy.HookimplMarker("iree")


@hookspec(firstresult=True)
def iree_frontend(name: str) -> Frontend:  # type: ignore[empty-body]
    """Return the frontend. Group ``iree.frontends``.

    Called once per process, when the frontend is chosen by name or a model file is looked at;
    :class:`iree_core.interfaces.Frontend` says what it must do. Making it must be cheap:
    the libraries that read models are imported by ``import_model``.

    Args:
        name: the entry point's name, for a plugin that has several.
    """


@hookspec(firstresult=True)
def iree_backend(name: str) -> Backend:  # type: ignore[empty-body]
    """Return the code generator for a kind of target. Group ``iree.backends``.

    Called once per process, when the target is chosen;
    :class:`iree_core.interfaces.Backend` says what it must do.

    Args:
        name: the entry point's name, for a plugin that has several.
    """


@hookspec(firstresult=True)
def iree_driver(name: str) -> Driver:  # type: ignore[empty-body]
    """Return the driver of a kind of device. Group ``iree.drivers``.

    Called once per process, when a device is opened or devices are listed;
    :class:`iree_core.hal.Driver` says what it must do. It must not import the compiler: the
    machine that runs a module need not have one.

    Args:
        name: the entry point's name, for a plugin that has several.
    """


@hookspec
def iree_register_passes(phase: str, passes: list[Pass]) -> None:
    """Insert, replace or remove passes of a phase. Group ``iree.plugins``.

    Called inside the compiling process at the start of every phase, before the backend's
    :func:`iree_configure_pipeline`.

    Args:
        phase: a name from :data:`iree_core.phases.PHASES`.
        passes: the phase's passes in order; change the list in place. A pass is anything with
            the two members of :class:`iree_core.passes.manager.Pass`.
    """


@hookspec
def iree_configure_pipeline(target: Target, phase: str, passes: list[Pass]) -> None:
    """Adapt a phase to a target. The chosen backend's module and group ``iree.plugins``.

    Called inside the compiling process at the start of every phase, last of all.

    Args:
        target: what is compiled for; of several targets, the first one in the phases that run
            once for all (:data:`iree_core.phases.SHARED`).
        phase: a name from :data:`iree_core.phases.PHASES`.
        passes: the phase's passes in order; change the list in place.
    """


@hookspec
def iree_observe_pass(event: PassEvent) -> None:
    """Look at the module after a pass. Group ``iree.plugins``.

    Called inside the compiling process after each pass has run and its result was verified.

    Args:
        event: the phase, the pass, the seconds it took, and the module, which must not be
            changed.
    """


@hookspec
def iree_observe_dispatch(event: DispatchEvent) -> None:
    """Look at a dispatch that has run. Group ``iree.plugins``.

    Called in the process and thread that called the module's function, after each dispatch.
    While any plugin implements this hook, dispatches run one at a time and are waited for, so
    that their times add up; a call takes longer than without.

    Args:
        event: the entry point's name, the device, the number of work items and the seconds.
    """


@hookspec
def iree_cli_commands() -> list[click.Command]:  # type: ignore[empty-body]
    """Return commands to add to ``iree``. Group ``iree.plugins``.

    Called when the user types a command that the core does not have. A command named like
    one of the core's is never reached.
    """
