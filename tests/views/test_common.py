"""What all widgets share in the browser: nodes that stay, parts that do not shrink, when Python
hears of a position.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from vtdkit.views.shared import bundle

pytestmark = pytest.mark.browser
_LOAD = """async (source) => {
  window.common = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  window.made = (tree) => typeof tree === "string" ? tree : common.el(tree[0], tree[1], tree.slice(2).map(made));
  window.node = common.el("div");
  document.body.append(node);
}"""


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page with `common`, a `node` in it, and `made(["p", { class: "a" }, "text", ...])`."""
    context = browser.new_context(viewport={"width": 800, "height": 600})
    shown = context.new_page()
    shown.set_content("<!doctype html><title>common</title>")
    shown.evaluate(_LOAD, bundle.module("shared/common.js"))
    yield shown
    context.close()


def tree(chosen: random.Random, depth: int) -> Any:
    """Random markup: text, or a name, attributes and children."""
    if depth == 0 or chosen.random() < 0.25:
        return chosen.choice(["a", "b", "long text"])
    attributes = {name: chosen.choice("xy") for name in ("class", "title", "data-k") if chosen.random() < 0.4}
    # Two texts in a row are one text once they are read again, so no two are made.
    children: list[Any] = []
    for _ in range(chosen.randrange(4)):
        child = tree(chosen, depth - 1)
        if not (isinstance(child, str) and children and isinstance(children[-1], str)):
            children.append(child)
    return [chosen.choice(["p", "span", "code"]), attributes, *children]


def test_renewed_content_is_the_content_given_whatever_was_there(page: Any) -> None:
    chosen = random.Random(7)
    trees = [
        [part for part in (tree(chosen, 3) for _ in range(4)) if not isinstance(part, str)]
        for _ in range(300)
    ]
    wrong = page.evaluate(
        """(trees) => trees.filter((each) => {
          common.renew(node, each.map(made));
          return !node.isEqualNode(common.el("div", {}, each.map(made)));
        }).length""",
        trees,
    )
    assert wrong == 0


def test_what_stays_the_same_is_left_alone(page: Any) -> None:
    changes = page.evaluate(
        """() => {
          const row = (text, lit) => common.el("p", { class: text === lit ? "lit" : "" }, common.el("b", { text }), "!");
          const rows = (lit) => ["one", "two", "three"].map((text) => row(text, lit));
          common.renew(node, rows("one"));
          const watcher = new MutationObserver(() => {});
          watcher.observe(node, { subtree: true, childList: true, attributes: true, characterData: true });
          common.renew(node, rows("one"));
          const none = watcher.takeRecords().length;
          common.renew(node, rows("two"));
          return [none, watcher.takeRecords().map(({ type, target }) => `${type} ${target.textContent}`)];
        }"""
    )
    assert changes == [0, ["attributes one!", "attributes two!"]]


def test_nothing_and_empty_text_make_no_node(page: Any) -> None:
    page.evaluate("() => common.renew(node, 'text', common.el('p'))")
    page.evaluate("() => common.renew(node, null, '', [undefined])")
    assert page.evaluate("() => node.childNodes.length") == 0


def test_what_a_person_unfolded_stays_open(page: Any) -> None:
    still_open = page.evaluate(
        """() => {
          const report = (text, more) => common.el("details", {}, common.el("summary", { text }), common.el("p", { text: more }));
          common.renew(node, report("one", "a"));
          node.firstChild.open = true;
          common.renew(node, report("one", "b"));
          const same = [node.firstChild.open, node.textContent];
          common.renew(node, report("two", "b"));
          return [...same, node.firstChild.open, node.textContent];
        }"""
    )
    assert still_open == [True, "oneb", False, "twob"]


def test_a_steady_part_grows_and_does_not_shrink_until_the_page_is_as_wide_as_another(page: Any) -> None:
    page.evaluate("() => common.steady(node)")
    fill = "(pixels) => common.renew(node, common.el('p', { style: `height:${pixels}px;margin:0` }))"
    frames = """async () => {
      for (let count = 0; count < 3; count++) await new Promise((done) => requestAnimationFrame(done));
      return node.clientHeight;
    }"""
    heights = []
    for pixels in (100, 300, 50):
        page.evaluate(fill, pixels)
        heights.append(page.evaluate(frames))
    page.set_viewport_size({"width": 500, "height": 600})
    heights.append(page.evaluate(frames))
    assert heights == [100, 300, 300, 50]


_MODEL = """() => {
  window.saved = [];
  window.timers = [];
  window.setTimeout = (act, pause) => timers.push({ act, pause });
  window.clearTimeout = (number) => number && (timers[number - 1] = null);
  const state = {};
  window.model = { set: (name, value) => (state[name] = value), save_changes: () => saved.push(state.step) };
}"""


def test_python_hears_of_a_position_once_the_keys_rest(page: Any) -> None:
    page.evaluate(_MODEL)
    page.evaluate("() => [1, 2, 3].forEach((step) => common.move(model, { step }))")
    assert page.evaluate("() => saved") == []
    waits = page.evaluate("() => timers.filter(Boolean).map(({ act, pause }) => { act(); return pause; })")
    assert (waits, page.evaluate("() => saved")) == ([150], [3])


def test_python_hears_at_once_of_what_somebody_waits_for(page: Any) -> None:
    page.evaluate(_MODEL)
    page.evaluate("() => { common.move(model, { step: 1 }); common.move(model, { step: 2 }, true); }")
    assert page.evaluate("() => [saved, timers.filter(Boolean).length]") == [[2], 0]


def test_several_traits_that_change_together_are_drawn_once(page: Any) -> None:
    drawn = page.evaluate(
        """async () => {
          const acts = [];
          const model = { on: (name, act) => acts.push(act) };
          let drawn = 0;
          common.watch(model, ["left", "right"], () => drawn++);
          const first = drawn;
          acts.forEach((act) => act());
          await null;
          acts[0]();
          await null;
          return [first, drawn];
        }"""
    )
    assert drawn == [1, 3]
