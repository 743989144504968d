"""Files of block sizes found by measurement: ``iree tune`` writes them, compilations read them.

A file is JSON. It names the target it was made for, and has an entry for every dispatch that
gained, by a digest of the dispatch's text; so one file serves all models that contain it, with
whatever weights. See :mod:`iree_core.codegen.choices` for what can be chosen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from iree_core.errors import UsageError
from iree_core.output_files import complete_file

_VERSION = 1


@dataclass(frozen=True)
class Tuned:
    """What was found for one dispatch.

    Attributes:
        choices: block sizes by name.
        before, after: microseconds of a call without and with them, measured in alternation.
        schedule: the schedule they belong to.
    """

    choices: Mapping[str, int]
    before: float
    after: float
    schedule: str


@dataclass
class TuningTable:
    """The content of a tuning file.

    Attributes:
        target: ``backend:spec`` that it was measured with; empty where nothing is in it yet.
        dispatches: what was found, by the dispatch's key.
    """

    target: str = ""
    dispatches: dict[str, Tuned] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the table, whole or not at all.

        Raises:
            CompileError: the file cannot be written.
        """
        content = {
            "iree-tuning": _VERSION,
            "target": self.target,
            "dispatches": {key: asdict(tuned) for key, tuned in sorted(self.dispatches.items())},
        }
        with complete_file(path) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> TuningTable:
        """Read a file.

        Raises:
            UsageError: it cannot be read, or is none of ours.
        """
        try:
            content = json.loads(path.read_text())
            if content["iree-tuning"] != _VERSION:
                raise UsageError(f"{path} is a tuning file of another version.", hint=_AGAIN)
            found = {
                key: Tuned(
                    {str(name): int(value) for name, value in entry["choices"].items()},
                    float(entry["before"]),
                    float(entry["after"]),
                    str(entry["schedule"]),
                )
                for key, entry in content["dispatches"].items()
            }
            return TuningTable(str(content["target"]), found)
        except OSError as error:
            raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is no tuning file.", hint=_AGAIN) from error


_AGAIN = "`iree tune MODEL -o FILE.json` makes one."
