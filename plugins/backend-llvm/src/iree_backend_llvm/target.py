"""Targets of the CPU backend: what ``--target llvm-cpu:...`` may say, and what a processor has.

llvm-cpu                                          the host, with its real features
llvm-cpu:TRIPLE[,cpu=NAME][,features=+a,-b,...]   any other; the triple may be just x86_64
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from iree_core.codegen import llvmir
from iree_core.codegen.kernel import CpuModel
from iree_core.errors import UsageError

# Features that decide which instructions LLVM picks for numeric code. The others of a host
# (encryption, system instructions, ...) change nothing and would only make specs differ.
_RELEVANT_NAMES = {
    "x86_64": """
        sse3 ssse3 sse4.1 sse4.2 sse4a popcnt lzcnt bmi bmi2 tbm movbe adx avx avx2 f16c fma fma4
        xop avxvnni avxvnniint8 avxvnniint16 avxifma avxneconvert gfni avx512f avx512bw avx512cd
        avx512dq avx512vl avx512ifma avx512vbmi avx512vbmi2 avx512vnni avx512bitalg
        avx512vpopcntdq avx512bf16 avx512fp16
    """,
    "aarch64": """
        neon fp-armv8 fullfp16 dotprod i8mm bf16 lse rdm fp16fml sve sve2 jsconv complxnum
    """,
    "riscv64": """
        m a f d c v zfh zfhmin zba zbb zbs zvfh zvfhmin zvl128b zvl256b zvl512b zicond
    """,
}
_RELEVANT = {arch: frozenset(names.split()) for arch, names in _RELEVANT_NAMES.items()}
# What a triple alone means: processors of the last ten years.
_DEFAULT_CPU = {"x86_64": "x86-64-v3", "aarch64": "generic", "riscv64": "generic-rv64"}
_DEFAULT_FEATURES = {"riscv64": ("+m", "+a", "+f", "+d", "+c")}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}
_WIDE_X86 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_V3_X86 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")


@dataclass(frozen=True)
class CpuTarget:
    """A processor to compile for.

    Attributes:
        triple: LLVM's name of architecture, vendor and system.
        cpu: LLVM's name of the processor.
        features: ``+name`` or ``-name``, sorted, on top of what ``cpu`` implies.
    """

    triple: str
    cpu: str
    features: tuple[str, ...] = ()

    @property
    def arch(self) -> str:
        """Return ``x86_64``, ``aarch64`` or ``riscv64``."""
        return self.triple.split("-")[0]

    @property
    def spec(self) -> str:
        """Return the text that :func:`parse_target` reads back; equal for equal targets."""
        features = f",features={','.join(self.features)}" if self.features else ""
        return f"{self.triple},cpu={self.cpu}{features}"

    @property
    def abi(self) -> str:
        """Return the calling convention where the triple does not imply it."""
        return "lp64d" if self.arch == "riscv64" else ""

    def machine(self) -> llvm.TargetMachine:
        """Return a code generator for the target."""
        llvmir.initialize()
        features = self.features
        if self.arch == "riscv64":
            features = (*features, "-relax")  # our linker moves no code
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu, features=",".join(features), opt=3, reloc="pic", codemodel="small"
        )


def parse_target(options: str) -> CpuTarget:
    """Read what follows ``llvm-cpu:``; nothing means the host.

    Raises:
        UsageError: an unknown architecture, processor, feature or option.
    """
    if options in ("", "host"):
        return host_target()
    host = host_target()
    if options == host.spec:
        return host  # its names need no check, which would start a process
    triple, cpu, features = _split(options)
    if cpu == "host":
        if triple and triple.split("-")[0] != host.arch:
            raise UsageError(f"cpu=host means {host.arch}, which is not {triple}.")
        return replace(host, features=_merge(host.features, features))
    triple = _canonical_triple(triple) if triple else host.triple
    arch = triple.split("-")[0]
    if cpu or features:
        known_cpus, known_features = known_names(triple)
        if cpu:
            _require(cpu, known_cpus, f"processor of {arch}")
        for feature in features:
            _require(feature[1:], known_features, f"feature of {arch}")
    defaults = _DEFAULT_FEATURES.get(arch, ()) if not cpu else ()
    return CpuTarget(triple, cpu or _DEFAULT_CPU[arch], _merge(defaults, features))


@cache
def host_target() -> CpuTarget:
    """Return the machine this runs on."""
    llvmir.initialize()
    triple = _canonical_triple(llvm.get_process_triple())
    relevant = _RELEVANT[triple.split("-")[0]]
    try:
        found = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on some systems; the processor's name remains
        found = {}
    features = tuple(
        ("+" if present else "-") + name
        for name, present in sorted(found.items())
        if name in relevant
    )
    return CpuTarget(triple, llvm.get_host_cpu_name(), features)


def _split(options: str) -> tuple[str, str, list[str]]:
    triple, cpu = "", ""
    features: list[str] = []
    in_features = False
    for position, part in enumerate(options.split(",")):
        key, equals, value = part.partition("=")
        if equals and key == "features":
            in_features, part = True, value
        elif equals and key == "cpu":
            cpu, in_features = value, False
            continue
        elif equals:
            raise UsageError(
                f"Unknown option {key!r} of target llvm-cpu.", hint="Known: cpu, features."
            )
        elif position == 0:
            triple = part
            continue
        if not in_features or part[:1] not in ("+", "-"):
            raise UsageError(
                f"Cannot read {part!r} in target llvm-cpu:{options}.",
                hint="Write llvm-cpu:TRIPLE,cpu=NAME,features=+a,-b.",
            )
        features.append(part)
    return triple, cpu, features


def _merge(base: Iterable[str], changes: Iterable[str]) -> tuple[str, ...]:
    signs = {feature[1:]: feature[0] for feature in (*base, *changes)}
    return tuple(sign + name for name, sign in sorted(signs.items()))


def _canonical_triple(triple: str) -> str:
    arch, *rest = triple.split("-")
    arch = _ALIASES.get(arch, arch)
    _require(arch, sorted(_RELEVANT), "architecture")
    if not rest:
        rest = ["unknown", "linux", "gnu"]
    if len(rest) > 1 and rest[0] == "linux":
        rest = ["unknown", *rest]
    system = "-".join(rest)
    # Objects are ELF on every system: our own linker and loader handle them.
    if re.search("darwin|macos|ios|windows", system) and not system.endswith("-elf"):
        system += "-elf"
    return f"{arch}-{system}"


def _require(name: str, known: Iterable[str], what: str) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=6, cutoff=0.5)
    listed = near or names[:12]
    lead = "Near matches" if near else "Known ones include" if len(names) > 12 else "Known"
    raise UsageError(f"Unknown {what}: {name!r}.", hint=f"{lead}: {', '.join(listed)}.")


@cache
def known_names(triple: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the processors and the features that LLVM knows for an architecture.

    LLVM only prints them, to standard error, hence in a process of its own.
    """
    code = (
        "import llvmlite.binding as l; l.initialize_all_targets(); l.initialize_all_asmprinters();"
        f"l.Target.from_triple({triple!r}).create_target_machine(cpu='help', features='')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cpus, _, features = run.stderr.partition("Available features")
    pattern = re.compile(r"^  (\S+)\s+- ", re.MULTILINE)
    return tuple(pattern.findall(cpus)), tuple(pattern.findall(features))


def image_features(target: CpuTarget) -> tuple[str, ...]:
    """Return the features a loader has to find before it runs code for ``target``."""
    explicit = {f[1:] for f in target.features if f[0] == "+" and f[1:] in _RELEVANT[target.arch]}
    if target.arch == "x86_64":
        shape = _probe(target)
        if shape.vector_bytes >= 32 and shape.fma:
            explicit.update(_V3_X86)
        if shape.vector_bytes >= 64:
            explicit.update(_WIDE_X86)
        explicit -= {f[1:] for f in target.features if f[0] == "-"}
    return tuple(sorted(explicit))


@cache
def cpu_model(target: CpuTarget) -> CpuModel:
    """Return the cost model of a target: vectors by asking LLVM, caches of the host if it is."""
    model = _probe(target)
    if target != host_target():
        return model
    l1, l2 = _host_cache(1), _host_cache(2)
    return replace(model, l1_bytes=l1 or model.l1_bytes, l2_bytes=l2 or model.l2_bytes)


_CALL = re.compile(r"\b(callq?|bl|tail|jmp)\s")
_PROBE = """
define void @width(ptr %a) nounwind {
  %v = load <16 x float>, ptr %a
  %w = fadd <16 x float> %v, %v
  store <16 x float> %w, ptr %a
  ret void
}
define <4 x float> @fma(<4 x float> %a) nounwind {
  %r = call <4 x float> @llvm.fma.v4f32(<4 x float> %a, <4 x float> %a, <4 x float> %a)
  ret <4 x float> %r
}
define void @masked(ptr %a, ptr %b, <16 x i1> %m) nounwind {
  %z = insertelement <16 x i8> zeroinitializer, i8 0, i32 0
  %v = call <16 x i8> @llvm.masked.load.v16i8.p0(ptr %a, i32 1, <16 x i1> %m, <16 x i8> %z)
  store <16 x i8> %v, ptr %b
  ret void
}
define float @half(ptr %a) nounwind {
  %v = load half, ptr %a
  %w = fpext half %v to float
  ret float %w
}
define i32 @u8s8(<64 x i8> %a, <64 x i8> %b) nounwind {
  %x = zext <64 x i8> %a to <64 x i32>
  %y = sext <64 x i8> %b to <64 x i32>
  %p = mul <64 x i32> %x, %y
  %r = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %p)
  ret i32 %r
}
define i32 @s8s8(<64 x i8> %a, <64 x i8> %b) nounwind {
  %x = sext <64 x i8> %a to <64 x i32>
  %y = sext <64 x i8> %b to <64 x i32>
  %p = mul <64 x i32> %x, %y
  %r = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %p)
  ret i32 %r
}
define <16 x bfloat> @bf16(<16 x float> %a) nounwind {
  %r = fptrunc <16 x float> %a to <16 x bfloat>
  ret <16 x bfloat> %r
}
declare i32 @llvm.vector.reduce.add.v64i32(<64 x i32>)
declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)
declare <16 x i8> @llvm.masked.load.v16i8.p0(ptr, i32, <16 x i1>, <16 x i8>)
"""


def has_half_conversions(target: CpuTarget) -> bool:
    """Return whether instructions convert between f16 and f32."""
    return not _CALL.search(_probe_bodies(target)["half"])


def has_scaling(target: CpuTarget) -> bool:
    """Return whether AVX-512's ``vscalefps`` is there for all lengths of vectors."""
    return {"avx512f", "avx512vl"} <= set(image_features(target))


@cache
def _probe_bodies(target: CpuTarget) -> dict[str, str]:
    assembly = llvmir.emit_assembly(_PROBE, target.machine(), abi=target.abi)
    pattern = r"^(width|fma|masked|half|u8s8|s8s8|bf16):\n(.*?)(?=^\.Lfunc_end)"
    return dict(re.findall(pattern, assembly, re.MULTILINE | re.DOTALL))


def _probe(target: CpuTarget) -> CpuModel:
    """Read from what LLVM makes of small functions what the processor can do."""
    bodies = _probe_bodies(target)
    adds = len(re.findall(r"^\s+v?f?addp?s?(?:\.vv|\.s)?\s", bodies["width"], re.MULTILINE))
    grouped = re.search(r"vset\w+\s.*\bm([248])\b", bodies["width"])
    vector_bytes = 64 // max(1, adds)
    if grouped:
        vector_bytes //= int(grouped.group(1))
    registers = 16 if target.arch == "x86_64" and vector_bytes < 64 else 32
    if vector_bytes < 16:  # no vectors: groups of four scalars still hide latencies
        vector_bytes, registers = 16, 8
    return CpuModel(
        vector_bytes=vector_bytes,
        vector_registers=registers,
        fma=not _CALL.search(bodies["fma"]),
        masked=not re.search(r"^\.L", bodies["masked"], re.MULTILINE),
        dots=_dots(bodies, vector_bytes),
    )


def _dots(bodies: dict[str, str], vector_bytes: int) -> frozenset[str]:
    """Read from what LLVM makes of sums of products which dot-product instructions there are.

    No sum of bf16 products is turned into them; where they exist, conversions do.
    """
    found = set()
    if re.search(r"\s(vpdpbusd|usdot)\s", bodies["u8s8"]):
        found.add("u8s8")
    if re.search(r"\ssdot\s", bodies["s8s8"]):
        found |= {"s8s8", "u8u8"}
    # AVX-NE-CONVERT has the same conversion, but of narrower vectors and without products.
    wide = vector_bytes == 64 and re.search(r"\svcvtneps2bf16\s", bodies["bf16"])
    if wide or re.search(r"\sbfcvtn\s", bodies["bf16"]):
        found.add("bf16")
    return frozenset(found)


def _host_cache(level: int) -> int:
    """Return the bytes of a data cache of core 0, or 0 where the system does not tell."""
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind = (folder / "type").read_text().strip()
            number, size = (folder / "level").read_text(), (folder / "size").read_text().strip()
        except OSError:
            continue
        if int(number) == level and kind != "Instruction" and size.endswith("K"):
            return int(size[:-1]) * 1024
    return 0
