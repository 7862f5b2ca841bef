"""The command line: `vtdkit VERB [options]`, or `python -m vtdkit VERB [options]`.

A verb is a line in `VERBS`: its name, what it does, and "module:function". The module is imported only when
the verb is used, so that each verb costs what it needs and no more. One of `lessons` stands beside the
notebooks, wherever this copy has them. The function takes the arguments after the verb and returns the exit
status: 0 all is well, 1 something was found, 2 the input cannot be used (with one line on standard error).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from vtdkit import __version__
from vtdkit.vtd.plain import quoted

VERBS: dict[str, tuple[str, str]] = {
    "lab": ("copy the lessons into a folder and open them in JupyterLab", "vtdkit.lab.classroom:main"),
    "inspect": (
        "print the tables of a machine: root, context, PASID, page tables",
        "vtdkit.vtd.image.commandline:inspect",
    ),
    "check": ("compare the model with what real machines did", "vtdkit.vtd.image.commandline:check"),
    "explain": (
        "explain logs, debugfs files, DMAR tables, registers and lock statistics of a machine",
        "vtdkit.explain.commandline:main",
    ),
    "findings": (
        "run every version of the driver and list which has which defect",
        "vtdkit.lab.findings.report:main",
    ),
    "claims": (
        "run the claims of the thread and print their verdicts",
        "lessons.claims.report:main",
    ),
    "handouts": (
        "make pages of notebooks that move with no kernel and no network, or slides",
        "vtdkit.lab.handouts.commandline:main",
    ),
    "collect": ("judge the notebooks of a class: one table", "vtdkit.lab.marks.collect:main"),
    "seeds": ("give each student of a class other numbers", "vtdkit.lab.marks.seeds:main"),
    "doctor": ("check this installation, one line for each thing", "vtdkit.lab.doctor:main"),
    "quirks": ("list where emulators differ from the specification", "vtdkit.vtd.image.commandline:quirks"),
}


def usage() -> str:
    """The text of `--help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {what}" for name, (what, _) in VERBS.items())
    return f"usage: vtdkit VERB [options]\n\n{verbs}\n\nEach verb has --help; --version says which this is."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"vtdkit {__version__}")
        return 0
    if words[0] not in VERBS:
        print(f"vtdkit: there is no verb {quoted(words[0])}; try --help", file=sys.stderr)
        return 2
    module, function = VERBS[words[0]][1].split(":")
    if module.startswith("lessons."):
        from vtdkit.lab.classroom import shipped

        try:
            sys.path.insert(0, str(shipped("notebooks")))
        except FileNotFoundError as error:
            print(f"vtdkit {words[0]}: {error}", file=sys.stderr)
            return 2
    try:
        return int(getattr(importlib.import_module(module), function)(words[1:]))
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("vtdkit"):
            raise
        what = f"{error.name} is not installed; pip install 'vtdkit[notebooks]'"
        print(f"vtdkit {words[0]}: {what}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output went away (`… | head`); that is no error of ours.
        sys.stderr.close()
        return 0
