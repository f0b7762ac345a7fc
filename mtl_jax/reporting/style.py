"""How report.html looks: one column, light or dark as the reader's system is."""

INK_LIGHT, PAPER_LIGHT = "#1f2328", "#ffffff"
INK_DARK, PAPER_DARK = "#e2e6eb", "#14171b"

_COLOURS = f"""\
:root {{
  --ink: {INK_LIGHT}; --paper: {PAPER_LIGHT}; --faint: #656d76; --line: #d8dee4; --raised: #f6f8fa;
  --accent: #0a5cc2;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --ink: {INK_DARK}; --paper: {PAPER_DARK}; --faint: #98a2ad; --line: #353c45; --raised: #1c2127;
    --accent: #6cb0ff;
  }}
}}
"""
CSS = (
    _COLOURS
    + """\
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
main { max-width: 76rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0; }
h2 { font-size: 1.4rem; margin: 3rem 0 .75rem; padding-top: .75rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1.5rem 0 .5rem; color: var(--faint); }
p { margin: .5rem 0 1rem; max-width: 48rem; overflow-wrap: anywhere; }
p.caption { margin: 1.25rem 0 .35rem; font-weight: 600; }
a { color: var(--accent); }
nav ul { list-style: none; margin: 0 0 1rem; padding: .75rem 1rem; background: var(--raised);
  border-radius: .5rem; columns: 16rem; }
nav li { break-inside: avoid; overflow-wrap: anywhere; }
nav li.level3 { padding-left: 1rem; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-spacing: 0; font-size: .9rem; font-variant-numeric: tabular-nums;
  margin-bottom: .5rem; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { background: var(--raised); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; }
.text { text-align: left; }
td.text { white-space: normal; min-width: 6rem; }
tr > :first-child { position: sticky; left: 0; min-width: 7.5rem; text-align: left;
  max-width: 16rem; background: var(--paper); white-space: normal; overflow-wrap: break-word; }
thead tr > :first-child { background: var(--raised); }
pre { padding: .75rem 1rem; background: var(--raised); border-radius: .5rem; overflow-x: auto;
  font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: 0 0 1rem; }
figcaption { font-size: .9rem; font-weight: 600; margin-bottom: .25rem; }
.grid { display: grid; gap: 1rem 1.5rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.chart img { display: block; width: 100%; height: auto; max-width: 34rem; }
.chart.large img { width: auto; max-width: none; }
.strip img { display: block; height: auto; min-width: 52rem; max-width: 100%;
  background: #ffffff; border-radius: .25rem; }
@media (max-width: 40rem) {
  main { padding: .5rem .75rem 3rem; }
  th, td { padding: .25rem .5rem; }
  tr > :first-child { max-width: 9rem; }
}
@media print { .scroll { overflow: visible; } nav { display: none; } }
"""
)
