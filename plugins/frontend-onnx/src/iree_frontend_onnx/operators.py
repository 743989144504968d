"""The list of supported operators: ``python -m iree_frontend_onnx.operators`` prints it."""

from __future__ import annotations

import onnx

from iree_frontend_onnx import registry

DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview.training")
"""What the ``onnx`` package defines; ``""`` is the standard operator set."""

_LAST = 10_000


def main() -> None:
    """Print the operators of every domain as Markdown."""
    for domain in DOMAINS:
        print("\n".join(section(domain)))


def section(domain: str) -> list[str]:
    """Return the lines about ``domain``: three lists of names, each with its heading."""
    registry.load()
    lowered: dict[str, list[tuple[int, int]]] = {}
    for known, operator, since, until in registry.supported_operators():
        if known == domain:
            lowered.setdefault(operator, []).append((since, until))
    others = {s.name: s for s in onnx.defs.get_all_schemas() if s.domain == domain}
    missing = [name for name in sorted(others) if name not in lowered]
    bodies = [n for n in missing if _has_body(others[n])]
    rest = [n for n in missing if not _has_body(others[n])]
    lists = {
        "lowered": [f"{name}{_versions(lowered[name])}" for name in sorted(lowered)],
        "by their function bodies": bodies,
        "without a lowering": rest,
    }
    lines = []
    for heading, names in lists.items():
        if names:
            lines += [f"**`{domain or 'ai.onnx'}`, {heading}** ({len(names)}):", ""]
            lines += [*_wrapped(names), ""]
    return lines


def _has_body(schema: onnx.defs.OpSchema) -> bool:
    return schema.has_function or schema.has_context_dependent_function


def _versions(ranges: list[tuple[int, int]]) -> str:
    """Return the operator-set versions where they are not all."""
    first, last = min(since for since, _ in ranges), max(until for _, until in ranges)
    if last == _LAST:
        return "" if first == 1 else f" ({first}+)"
    return f" ({first} to {last})"


def _wrapped(names: list[str], width: int = 96) -> list[str]:
    lines = [""]
    for position, name in enumerate(names):
        text = name + ("," if position < len(names) - 1 else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + text
    return lines


if __name__ == "__main__":
    main()
