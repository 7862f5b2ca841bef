"""What the browser's Python has imported before a lesson starts: the kernel, the widgets, vtdkit, lessons.

Run once, by remember.mjs, which then keeps the memory. A module that needs a package that is not there
(matplotlib, numpy) is left out; any other error ends the build.
"""

import importlib
import pkgutil

ABSENT = {"matplotlib", "numpy"}

for name in ("piplite.piplite", "pyodide_kernel", "ipywidgets", "anywidget"):
    importlib.import_module(name)
for name in ("vtdkit", "lessons"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        if module.name != "vtdkit.__main__":
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] not in ABSENT:
                    raise
# The first error of a session finds what draws a traceback in place.
importlib.import_module("pyodide_kernel").ipython_shell.run_cell("1 / 0")
