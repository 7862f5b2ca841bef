"""The colours of all figures and widgets, one table: Okabe and Ito's set, which
colour-blind people tell apart.

Colour is never the only sign: whoever draws adds a hatch, a letter, a shape or a word. `light` is for white
paper, `dark` for a dark theme; `on_light` and `on_dark` are the ink that is read on top. In a style sheet a
hue is `var(--vtd-blue)` with `var(--vtd-on-blue)` on top; `css()` writes these, and the greys, which follow
JupyterLab's theme where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hue:
    """One colour: on white, on dark, and the ink on top in each."""

    name: str
    light: str
    dark: str
    on_light: str
    on_dark: str


_HUES = (
    Hue("blue", "#0072b2", "#56a8e0", "#ffffff", "#0b0b0b"),
    Hue("orange", "#e69f00", "#e69f00", "#0b0b0b", "#0b0b0b"),
    Hue("green", "#009e73", "#2fbf93", "#0b0b0b", "#0b0b0b"),
    Hue("purple", "#cc79a7", "#d58fb6", "#0b0b0b", "#0b0b0b"),
    Hue("red", "#d55e00", "#f0824a", "#0b0b0b", "#0b0b0b"),
    Hue("sky", "#56b4e9", "#8fd0f5", "#0b0b0b", "#0b0b0b"),
    Hue("yellow", "#f0e442", "#f0e442", "#0b0b0b", "#0b0b0b"),
)
HUES: dict[str, Hue] = {hue.name: hue for hue in _HUES}

#: name, on white, on dark, JupyterLab's variable where it has one that fits
_GREYS = (
    ("ink", "#1c1c1c", "#f2f2f2", "--jp-content-font-color1"),
    ("soft", "#595959", "#bdbdbd", ""),
    ("paper", "#ffffff", "#111111", "--jp-layout-color0"),
    ("raised", "#f4f5f7", "#232323", ""),
    ("sunken", "#e6e8eb", "#363636", ""),
    ("line", "#8c8c8c", "#8a8a8a", ""),
    ("faint", "#d4d6d9", "#484848", ""),
    ("focus", "#0550ae", "#8cc4ff", ""),
    ("tint", "#e3f0fa", "#12303f", ""),
    ("alarm", "#fdeadf", "#452313", ""),
    ("add", "#e2f5ec", "#10382b", ""),
)
PAPER = {name: light for name, light, _, _ in _GREYS} | {"warning": "#a34700", "hatch": "#b4b6ba"}
"""The greys on white paper, for stills and charts; red as ink, and a hatch on which text can be read."""

_DARK = (
    '[data-jp-theme-light="false"] .vtd, body[data-vscode-theme-kind*="dark"] .vtd, html[theme="dark"] .vtd'
)


def css() -> str:
    """The colours as custom properties of everything inside `.vtd`, for light and for dark surroundings."""
    light = [
        *(
            f"--vtd-{name}: {f'var({theirs}, {value})' if theirs else value};"
            for name, value, _, theirs in _GREYS
        ),
        *(f"--vtd-{hue.name}: {hue.light}; --vtd-on-{hue.name}: {hue.on_light};" for hue in _HUES),
    ]
    dark = [
        *(
            f"--vtd-{name}: {f'var({theirs}, {value})' if theirs else value};"
            for name, _, value, theirs in _GREYS
        ),
        *(f"--vtd-{hue.name}: {hue.dark}; --vtd-on-{hue.name}: {hue.on_dark};" for hue in _HUES),
    ]
    return (
        f".vtd {{ color-scheme: light; {' '.join(light)} }}\n{_DARK} {{ color-scheme: dark; "
        f"{' '.join(dark)} }}\n"
    )
