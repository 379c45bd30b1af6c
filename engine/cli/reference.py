"""Generates files from the declarations of settings and metrics.

`make reference` writes them; a test fails if one is out of date. They are two pages of the documentation, and the type
of the keyword arguments of `App`: a type checker does not run code, so it needs the list written out.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..config.fields import Setting
from ..config.librdkafka import REFUSED
from ..config.settings import DEFAULTS, SETTINGS
from ..serve.metrics import CATALOGUE

__all__ = ["FILES", "arguments_module", "metrics_page", "settings_page"]

NOTE: Final = "<!-- Generated from the code by `make reference`; do not edit. -->"

SOURCES: Final = """\
A setting can be given in four places. Where two of them say different things, the later one in this list wins:

1. arguments of `App(...)`: `tm.App("views", commit_interval="1s")`
2. a file `tidemill.toml` in the working directory, or the one named by `--config` or `TIDEMILL_CONFIG`:
   `commit_interval = "1s"`
3. the environment: `TIDEMILL_COMMIT_INTERVAL=1s`
4. the command line: `--commit-interval 1s`

An unknown name, a value of the wrong kind or settings that contradict each other stop the program before it connects to
anything, with exit code 2. Values that a stronger source overrides are checked too.

In the file, `[state] memory = "1GiB"` is the same as `state_memory = "1GiB"`, and so for every setting whose name has a
`_`; `web` is `[web] port`. Options of the Kafka client have a table of their own, `[librdkafka]`; on the command line
they are `-X linger.ms=20`, in the environment `TIDEMILL_LIBRDKAFKA_LINGER_MS=20`. The tables of all four sources are
merged.

Durations are text with units (`"500ms"`, `"10s"`, `"1m30s"`, `"2d"`), in Python and TOML also an int of milliseconds.
Sizes are text with units (`"64MiB"`, `"1GiB"`; `"MB"` is 1,000,000 bytes), in Python and TOML also an int of bytes.
"""


def settings_page() -> str:
    """Return the content of docs/settings.md."""
    groups: dict[str, list[Setting]] = {}
    for setting in SETTINGS.values():
        groups.setdefault(setting.group, []).append(setting)
    lines = ["# Settings", "", NOTE, "", SOURCES]
    for group, members in groups.items():
        lines += [f"## {group}", ""]
        for setting in members:
            lines += [f"### `{setting.name}`", "", *describe_setting(setting), ""]
    lines += [
        "## Options of librdkafka that are refused",
        "",
        "| option | why, or what to set in its place |",
        "|---|---|",
        *(f"| `{name}` | {why} |" for name, why in REFUSED.items()),
    ]
    return "\n".join(lines) + "\n"


def describe_setting(setting: Setting) -> Iterator[str]:
    """Yield the meaning, kind, default and names of a setting."""
    yield setting.meaning
    yield ""
    default = "required" if setting.name not in DEFAULTS else f"`{setting.kind.show(DEFAULTS[setting.name])}`"
    yield f"- default: {default}"
    yield f"- {setting.kind.words}"
    if setting.name == "librdkafka":
        yield "- `-X NAME=VALUE`, `TIDEMILL_LIBRDKAFKA_...`, `[librdkafka]`"
    else:
        table, dot, key = setting.in_file.partition(".")
        place = f"[{table}] {key}" if dot else setting.in_file
        yield f"- `{setting.option} {setting.kind.metavar}`, `{setting.variable}`, `{place}`"


def metrics_page() -> str:
    """Return the content of docs/metrics.md."""
    return "\n".join(
        [
            "# Metrics",
            "",
            NOTE,
            "",
            "Served at `/metrics` when `web` is set, in the Prometheus text format. The process's own figures are",
            "there too, under `process_` (memory, CPU time, open files) and `python_`. With several workers the",
            "supervisor serves the metrics of all of them, each with the label `worker`.",
            "",
            "| metric | type | labels | meaning |",
            "|---|---|---|---|",
            *(
                f"| `{name}` | {it.type} | {', '.join(f'`{label}`' for label in it.labels)} | {it.meaning} |"
                for name, it in CATALOGUE.items()
            ),
            "",
        ]
    )


ARGUMENTS: Final = '''\
"""The settings as keyword arguments of `App(...)`, for editors and type checkers.

Generated from `settings.py` by `make reference`; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from typing_extensions import TypedDict

from ...operators.time.durations import Duration
from .sizes import Size

__all__ = ["Arguments"]


class Arguments(TypedDict, total=False):
    """The settings as keyword arguments of `App(...)`, except the application id."""

'''


def arguments_module() -> str:
    """Return the content of engine/config/arguments.py."""
    lines: list[str] = []
    for setting in SETTINGS.values():
        if setting.name in DEFAULTS:
            lines.append(f"{setting.name}: {setting.kind.accepts}")
            lines += textwrap.wrap(f'"""{setting.meaning}"""', 116)
    return ARGUMENTS + textwrap.indent("\n".join(lines), " " * 4) + "\n"


FILES: Final = {
    "docs/settings.md": settings_page,
    "docs/metrics.md": metrics_page,
    "engine/config/arguments.py": arguments_module,
}
"""The functions that generate the files, by path in the repository."""

if __name__ == "__main__":
    for path, content in FILES.items():
        Path(sys.argv[1], path).write_text(content())
