"""The frame of a self-contained page: style, tables, legends. No script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --bg:#fff; --fg:#1d2126; --dim:#626b76; --rule:#dde1e6; --good:#1a7f37; --bad:#c4302b;
  --c0:#1f6feb; --c1:#d9480f; --c2:#2b8a3e; --c3:#9c36b5; --c4:#b8860b; --c5:#0b7285; --c6:#c2255c; --c7:#5c5f66 }
@media (prefers-color-scheme: dark) { :root { --bg:#14171b; --fg:#e3e6ea; --dim:#98a1ac; --rule:#30363d; --good:#4ac26b;
  --bad:#ff7b72; --c0:#6cb0ff; --c1:#ff9455; --c2:#56d364; --c3:#d58cf0; --c4:#e3b341; --c5:#4fd1e0; --c6:#ff7eb0;
  --c7:#a0a8b2 } }
body { background:var(--bg); color:var(--fg); font:15px/1.5 system-ui, sans-serif; margin:0 auto; max-width:1340px;
  padding:1.5rem }
h1 { font-size:1.6rem } h2 { font-size:1.2rem; margin-top:2.2rem; border-top:1px solid var(--rule); padding-top:1rem }
h3 { font-size:1rem } .dim { color:var(--dim) } .good { color:var(--good) } .bad { color:var(--bad); font-weight:600 }
table { border-collapse:collapse; margin:.8rem 0; font-variant-numeric:tabular-nums; display:block; overflow-x:auto }
th, td { padding:.2rem .7rem; border-bottom:1px solid var(--rule); text-align:left; vertical-align:top }
td.n, th.n { text-align:right; white-space:nowrap }
.charts { display:grid; grid-template-columns:repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap:1rem }
.charts > div { overflow-x:auto } .charts svg { min-width:520px } /* on a telephone charts scroll, and read well */
svg { width:100%; height:auto; display:block } svg text { fill:var(--fg); font:11px system-ui, sans-serif }
svg .title { font-weight:600; font-size:12px } svg .tick { fill:var(--dim); font-size:10px }
svg .mark { font-size:9.5px; fill:var(--dim) } svg .grid { stroke:var(--rule); stroke-width:1 }
svg .axis { stroke:var(--dim) } svg .line { fill:none; stroke-width:1.7; stroke-linejoin:round }
svg .layer { opacity:.75 } svg .marker { stroke:var(--dim); stroke-dasharray:2 3 }
svg .whisker { stroke:var(--fg); stroke-width:1.4 }
.legend span { margin-right:1.2rem; white-space:nowrap }
.legend i { display:inline-block; width:1.4rem; height:.28rem; margin-right:.4rem; vertical-align:middle }
.legend .block i { width:.8rem; height:.8rem; opacity:.75 } .whole { white-space:nowrap }
details pre { overflow:auto; background:color-mix(in srgb, var(--fg) 6%, transparent); padding:.8rem; font-size:12px }
nav a { margin-right:1rem } a { color:var(--c0) }
"""


def document(title: str, parts: Sequence[str]) -> str:
    """A whole HTML page of these parts."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><body><h1>{escape(title)}</h1>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A table; cells are HTML already. `numeric` columns are set to the right."""

    def cell(tag: str, i: int, text: str) -> str:
        kind = ' class="n"' if i in numeric else ""
        return f"<{tag}{kind}>{text}</{tag}>"

    lines = ["".join(cell("th", i, h) for i, h in enumerate(head))]
    lines += ["".join(cell("td", i, c) for i, c in enumerate(row)) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def legend(entries: Sequence[tuple[str, int]], layers: Sequence[tuple[str, int]] = ()) -> str:
    """Names and palette indexes of the curves of the charts that follow, and of the layers of stacked ones."""
    spans = [f'<span><i style="background:var(--c{c})"></i>{escape(name)}</span>' for name, c in entries]
    spans += [f'<span class="block"><i style="background:var(--c{c})"></i>{escape(name)}</span>' for name, c in layers]
    return f'<p class="legend">{"".join(spans)}</p>'


def facts(about: dict[str, str]) -> str:
    """Machine, versions and the like, in a line. A version that begins with its program's name says it once."""
    told = (v if v.lower().startswith(k.lower()) else f"{k} {v}" for k, v in about.items())
    return '<p class="dim">' + escape("; ".join(told)) + "</p>"


def folded(summary: str, text: str) -> str:
    """Preformatted text that opens on a click: configurations, raw output."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"
