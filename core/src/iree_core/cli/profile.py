"""Where the time and the memory of a compilation went, as a table."""

from __future__ import annotations

from collections import defaultdict

from iree_core.compiler_service import CompileReport, format_size

# A pass or dispatch with less than this share of the time is not listed by itself.
_SHARE = 0.01
_DISPATCHES = 10


def compile_profile(report: CompileReport) -> str:
    """Return the phases in order with their slow passes, the slowest dispatches, and the peak.

    Seconds are wall-clock, those of dispatches in child processes that run side by side.
    """
    lines = [f"{'seconds':>8} {'share':>6}  phase, pass"]
    passes: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for name, seconds in report.timings.items():
        phase, _, step = name.partition("/")
        passes[phase].append((step, seconds))
    total = max(report.seconds, 1e-9)
    # Started before all phases and written after them, whatever the order of the records.
    order = sorted(passes, key=lambda phase: (phase == "write") - (phase == "import"))
    for phase in order:
        lines.append(_line(sum(seconds for _, seconds in passes[phase]), total, phase))
        for step, seconds in sorted(passes[phase], key=lambda item: -item[1]):
            if step and seconds >= _SHARE * total:
                lines.append(_line(seconds, total, f"  {step}"))
    known = sum(report.timings.values())
    lines.append(_line(total - known, total, "other"))
    lines.append(_line(total, total, "total"))
    slowest = sorted(report.dispatch_seconds.items(), key=lambda item: -item[1])
    if slowest:
        lines.append(f"{'seconds':>8}         dispatch (of {len(slowest)} compiled)")
        lines += [f"{seconds:8.2f}         {name}" for name, seconds in slowest[:_DISPATCHES]]
    own, child = map(format_size, report.peak_bytes)
    lines.append(f"peak memory: {own}, of the largest child process {child}")
    return "\n".join(lines)


def _line(seconds: float, total: float, what: str) -> str:
    return f"{seconds:8.2f} {seconds / total:6.1%}  {what}"
