"""JavaScript without a page: call a function of one of our modules, in Node where there is
one, else in chromium.

    call("pagewalk.js", "(module, given) => module.walk(...)", given)

The module is the very text a browser gets. Arguments and results are JSON; a BigInt in a result comes
back as 0x text.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.labdriver import chromium, why_no_browser
from vtdkit.views.shared import bundle

_PLAIN = (
    "JSON.stringify(result, (key, value) => typeof value === 'bigint' ? `0x${value.toString(16)}` : value)"
)
_NODE = "import * as module from './module.mjs';\nimport { readFileSync, writeFileSync } from 'node:fs';\n"
_PAGE = """async ([source, body, given]) => {{
  const module = await import(URL.createObjectURL(new Blob([source], {{ type: "text/javascript" }})));
  const result = await eval(body)(module, JSON.parse(given));
  return {plain};
}}"""


def call(name: str, body: str, given: Any) -> Any:
    """The result of `body`, a JavaScript function of the module `name` and `given`.

    Skips the test where nothing runs JavaScript.
    """
    source, text = bundle.module(name), json.dumps(given)
    if shutil.which("node"):
        return json.loads(_in_node(source, body, text))
    if reason := why_no_browser():
        pytest.skip(f"there is no node here, and {reason}")
    return json.loads(_in_browser(source, body, text))


def _in_node(source: str, body: str, given: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "module.mjs").write_text(source, encoding="utf-8")
        (home / "given.json").write_text(given, encoding="utf-8")
        read = f"{_NODE}const given = JSON.parse(readFileSync('given.json', 'utf8'));\n"
        script = f"{read}const result = await ({body})(module, given);\n"
        (home / "run.mjs").write_text(f"{script}writeFileSync('out.json', {_PLAIN});\n", encoding="utf-8")
        done = subprocess.run(
            ["node", "run.mjs"], cwd=home, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return (home / "out.json").read_text(encoding="utf-8")


def _in_browser(source: str, body: str, given: str) -> str:
    with chromium() as browser:
        page = browser.new_page()
        result: str = page.evaluate(_PAGE.format(plain=_PLAIN), [source, f"({body})", given])
        return result


@cache
def runs_javascript() -> bool:
    """Whether `call` finds something to run in."""
    return bool(shutil.which("node")) or why_no_browser() is None
