"""A broken, a too old and a too new plugin are installed: the rest works, the message helps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKEND = """
from iree_core.hookspecs import hookimpl

@hookimpl
def iree_backend(name):
    from iree_core.interfaces import Backend, Target

    class Fake(Backend):
        def resolve(self, options):
            return Target(name, f"{name}-spec{options}")
        def compile(self, dispatch, target, *, strategy="auto"):
            raise NotImplementedError
        def link(self, dispatches, target):
            raise NotImplementedError

    fake = Fake()
    fake.name = name
    return fake
"""


class Site:
    """A folder of installed packages, put on the path of a fresh interpreter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, package: str, points: str, code: str, requires: str = "iree-core>=0.1,<0.2"
    ) -> None:
        """Write a module and the metadata of its distribution."""
        module = package.replace("-", "_")
        (self.folder / f"{module}.py").write_text(code)
        info = self.folder / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\nRequires-Dist: {requires}\n"
        )
        (info / "entry_points.txt").write_text(points)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these packages installed beside the environment's."""
        path = os.pathsep.join([str(self.folder), *(p for p in sys.path if p)])
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def iree(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.run("-c", "from iree_core.cli import main; main()", *arguments)

    def states(self) -> dict[str, dict[str, str]]:
        """Return what ``iree plugins --json`` says, by name."""
        listed = json.loads(self.iree("plugins", "--json").stdout)
        return {entry["name"]: entry for entry in listed}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def _backend(name: str, module: str) -> str:
    return f"[iree.backends]\n{name} = {module}\n"


def test_a_good_plugin_is_listed_and_found_by_name(site: Site) -> None:
    site.install("fake-good", _backend("good", "fake_good"), BACKEND)
    entry = site.states()["good"]
    assert (entry["state"], entry["distribution"], entry["version"]) == (
        "loaded",
        "fake-good",
        "1.2",
    )
    found = site.run(
        "-c", "from iree_core.plugins import Plugins; print(Plugins().backend('good').resolve('!'))"
    )
    assert "spec='good-spec!'" in found.stdout


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import package_that_is_not_there", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('my own')", "Odd: my own"),
        ("x = (", "SyntaxError"),
        ("", "does not implement the hook iree_backend"),
        (BACKEND.replace("return fake", "return None"), "returned None"),
    ],
)
def test_a_broken_plugin_breaks_itself_only(site: Site, code: str, cause: str) -> None:
    site.install("fake-good", _backend("good", "fake_good"), BACKEND)
    site.install("fake-broken", _backend("broken", "fake_broken"), code)
    states = site.states()
    assert states["good"]["state"] == "loaded"
    assert states["broken"]["state"] == "broken"
    assert cause in states["broken"]["cause"]


FRONTEND = """
from iree_core.hookspecs import hookimpl
from iree_core.interfaces import Frontend

class Fake(Frontend):
    name, suffixes = "fake", (".mlirbc",)
    def matches(self, path):
        return 1 / 0
    def import_model(self, path, context, options):
        raise NotImplementedError

@hookimpl
def iree_frontend(name):
    return Fake()
"""


def test_a_frontend_that_fails_on_a_file_leaves_it_to_others(site: Site, tmp_path: Path) -> None:
    site.install("fake-frontend", "[iree.frontends]\nfake = fake_frontend\n", FRONTEND)
    model = tmp_path / "model.txt"
    model.write_text(
        "func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> { return %x : tensor<2xf32> }"
    )
    done = site.iree("compile", str(model), "-o", str(tmp_path / "m.vmfb"), "--target=llvm-cpu")
    assert done.returncode == 0, done.stderr
    assert "fake was left out: ZeroDivisionError" in done.stderr


def test_the_traceback_of_a_broken_plugin_is_shown_on_request(site: Site) -> None:
    code = "def deep():\n    return 1 / 0\ndeep()"
    site.install("fake-broken", _backend("broken", "fake_broken"), code)
    assert "in deep" in site.iree("plugins", "-v").stdout
    assert "in deep" not in site.iree("plugins").stdout


@pytest.mark.parametrize(
    ("requires", "wanted"),
    [("iree-core>=7", "'iree-core>=7'"), ("iree-core<0.0.9", "'iree-core<0.0.9'")],
    ids=["too new", "too old"],
)
def test_a_plugin_for_another_core_is_refused_before_it_is_imported(
    site: Site, tmp_path: Path, requires: str, wanted: str
) -> None:
    witness = tmp_path / "imported"
    code = f"open({str(witness)!r}, 'w').close()\n{BACKEND}"
    site.install("fake-other", _backend("other", "fake_other"), code, requires)
    site.install("fake-good", _backend("good", "fake_good"), BACKEND)
    states = site.states()
    assert states["good"]["state"] == "loaded"
    assert states["other"]["state"] == "refused"
    for part in (requires, "0.1.0", "pip install --upgrade fake-other", f"pip install {wanted}"):
        assert part in states["other"]["cause"]
    assert not witness.exists()


def test_asking_for_a_broken_plugin_by_name_shows_the_cause(site: Site, tmp_path: Path) -> None:
    site.install("fake-broken", _backend("broken", "fake_broken"), "raise OSError('no licence')")
    model = tmp_path / "model.mlir"
    model.write_text("func.func @main() { return }")
    done = site.iree("compile", str(model), "-o", str(tmp_path / "o.vmfb"), "--target", "broken")
    assert done.returncode == 1
    assert "fake-broken 1.2 is broken: OSError: no licence" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_name_lists_the_known_ones(site: Site) -> None:
    site.install("fake-good", _backend("good", "fake_good"), BACKEND)
    script = "from iree_core.plugins import Plugins; Plugins().backend('nonsense')"
    message = site.run("-c", script).stderr.splitlines()[-1]
    assert "There is no backend 'nonsense'" in message and "good" in message


def test_damaged_metadata_is_reported_and_disturbs_nothing(site: Site) -> None:
    site.install("fake-good", _backend("good", "fake_good"), BACKEND)
    site.install("fake-damaged", "[iree.plugins]\nno equals sign here\n", "")
    states = site.states()
    assert states["good"]["state"] == "loaded"


def test_choosing_a_plugin_imports_no_other(site: Site) -> None:
    site.install("fake-good", _backend("good", "fake_good"), BACKEND)
    site.install("fake-heavy", _backend("heavy", "fake_heavy"), "raise RuntimeError")
    script = (
        "import sys; from iree_core.plugins import Plugins; Plugins().backend('good');"
        "print('fake_heavy' in sys.modules, 'fake_good' in sys.modules)"
    )
    assert site.run("-c", script).stdout.split() == ["False", "True"]


def test_help_imports_no_plugin_and_no_compiler(site: Site) -> None:
    site.install("fake-heavy", _backend("heavy", "fake_heavy"), "raise RuntimeError")
    script = (
        "import sys; from iree_core.cli import run; run(['--help']);"
        "print([m for m in ('fake_heavy', 'torch_mlir', 'numpy', 'rich') if m in sys.modules])"
    )
    assert site.run("-c", script).stdout.splitlines()[-1] == "[]"


def test_two_names_of_one_module_are_two_plugins(site: Site) -> None:
    points = "[iree.backends]\none = fake_both\ntwo = fake_both\n"
    site.install("fake-both", points, BACKEND)
    script = (
        "from iree_core.plugins import Plugins; p = Plugins();"
        "print(p.backend('one').name, p.backend('two').name)"
    )
    assert site.run("-c", script).stdout.split() == ["one", "two"]


def test_a_plugin_adds_a_command(site: Site) -> None:
    code = """
import click
from iree_core.hookspecs import hookimpl

@click.command("hello")
@click.argument("name")
def hello(name):
    print("hello", name)

@hookimpl
def iree_cli_commands():
    return [hello]
"""
    site.install("fake-command", "[iree.plugins]\nfake-command = fake_command\n", code)
    assert site.iree("hello", "you").stdout == "hello you\n"


HOOKS = """
from iree_core.hookspecs import hookimpl
from iree_core.passes.manager import MlirPipeline

@hookimpl
def iree_register_passes(phase, passes):
    if phase == "abi":
        passes.append(MlirPipeline("added", "builtin.module(cse)"))

@hookimpl
def iree_configure_pipeline(target, phase, passes):
    print("configure", target.backend, phase, [p.name for p in passes][-1])

@hookimpl
def iree_observe_pass(event):
    print("observed", event.phase, event.name, event.seconds >= 0, "module" in str(event.module))
"""


def test_hooks_change_and_observe_a_phase(site: Site) -> None:
    site.install("fake-hooks", "[iree.plugins]\nhooks = fake_hooks\n", HOOKS)
    script = """
from iree_core.compile_worker import run_phases
from iree_core.interfaces import Target
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.state import CompilationState
from iree_core.plugins import Plugins
from iree_core import phases
phases.PHASES = {"abi": lambda state: []}
import iree_core.compile_worker as worker
worker.PHASES = phases.PHASES
with make_context():
    module = ir.Module.parse("module {}")
    state = CompilationState(ParameterStore(), Target("fake", ""), None)
    run_phases(module, state, ["abi"], Plugins())
"""
    done = site.run("-c", script)
    assert done.stdout.splitlines() == [
        "configure fake abi added",
        "observed abi added True True",
    ], done.stderr


def test_a_hook_that_raises_is_left_out_and_reported(site: Site) -> None:
    code = HOOKS.replace('print("configure"', 'print(1 / 0, "configure"')
    site.install("fake-hooks", "[iree.plugins]\nhooks = fake_hooks\n", code)
    script = """
from iree_core.plugins import Plugins
p = Plugins()
print(p.call("iree_configure_pipeline", target=None, phase="abi", passes=[]))
print(p.infos("plugin")[0].state, p.infos("plugin")[0].cause)
"""
    assert site.run("-c", script).stdout.splitlines() == [
        "[]",
        "broken ZeroDivisionError: division by zero.",
    ]


def test_dispatches_are_observed_while_a_plugin_wants_to_know(site: Site, tmp_path: Path) -> None:
    code = """
from iree_core.hookspecs import hookimpl

@hookimpl
def iree_observe_dispatch(event):
    print(event.name, event.device, event.work_items > 0, event.seconds > 0)
"""
    site.install("fake-observer", "[iree.plugins]\nobserver = fake_observer\n", code)
    source = """
func.func @main(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>) -> tensor<?x4xf32> {
  %0 = stablehlo.dot %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
"""
    script = f"""
import iree_core, numpy as np
module = iree_core.load(iree_core.compile({str(tmp_path / "m.mlir")!r}), device="local-task")
y = module.main(np.ones((3, 4), np.float32), np.eye(4, dtype=np.float32))
print(np.asarray(y).sum())
"""
    (tmp_path / "m.mlir").write_text(source)
    done = site.run("-c", script)
    assert done.stdout.splitlines() == ["main_dispatch_0 local-task True True", "12.0"], done.stderr
