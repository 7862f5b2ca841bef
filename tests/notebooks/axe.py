"""What axe-core, Deque's checker of accessibility, has against a page: the rules of WCAG 2.2 A and AA that a
program can judge.

    assert violations(page, ".vtd") == []

axe-core is fetched once from npm by name, version and sum, as what handouts carry, and skips the test, with
the reason, where it cannot be had.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.labdriver import ROOT
from vtdkit.lab.handouts.vendor import Package, VendorError, fetched, unpack

AXE = Package(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    {"package/axe.min.js": "axe.js"},
)
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa")
ALSO = ("label-content-name-mismatch", "heading-order", "empty-table-header", "scrollable-region-focusable")
"""Rules besides those of the tags."""
# Without preload: it would fetch style sheets again, which a page from disk may not.
_RUN = """async ([within, tags, also]) => {
  const rules = Object.fromEntries(also.map((rule) => [rule, { enabled: true }]));
  const asked = { runOnly: { type: "tag", values: tags }, rules, preload: false };
  const { violations } = await axe.run(within, asked);
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, any, all, none }) =>
    `${id}: ${html.slice(0, 120)} ${[...any, ...all, ...none].map(({ message }) => message).join("; ")}`));
}"""


@cache
def _script() -> str:
    cache = ROOT / "build" / "npm"
    try:
        unpack(AXE, fetched(AXE, cache), cache)
    except VendorError as error:
        pytest.skip(str(error))
    return Path(cache / "axe.js").read_text(encoding="utf-8")


def violations(page: Any, within: str = "body") -> list[str]:
    """Each node that breaks a rule: the rule, the node, why."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_script())
    found: list[str] = page.evaluate(_RUN, [within, TAGS, ALSO])
    return found
