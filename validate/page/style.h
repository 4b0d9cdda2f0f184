// The page's style sheet: one for light and dark, wide and narrow.

#ifndef NARROW_VALIDATE_PAGE_STYLE_H_
#define NARROW_VALIDATE_PAGE_STYLE_H_

namespace narrow {

// Colours of series are Okabe and Ito's, which colour-blind readers tell
// apart; black and yellow are replaced, one each in the theme it is lost in.
inline constexpr char kPageStyle[] = R"css(
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --muted: #57606a; --rule: #d0d7de;
  --band: #f6f8fa; --accent: #0969da; --pass: #1a7f37; --fail: #cf222e;
  --undecided: #9a6700;
  --s0: #0072b2; --s1: #d55e00; --s2: #009e73; --s3: #cc79a7;
  --s4: #56b4e9; --s5: #b08800; --s6: #6f42c1; --s7: #57606a; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #0d1117; --ink: #e6edf3; --muted: #9198a1; --rule: #30363d;
  --band: #161b22; --accent: #58a6ff; --pass: #3fb950; --fail: #ff7b72;
  --undecided: #d29922;
  --s0: #58a6ff; --s1: #ff9a4d; --s2: #2fc08f; --s3: #e69fc7;
  --s4: #8fd3ff; --s5: #e3c84b; --s6: #b392f0; --s7: #9198a1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .4rem;
  overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p { margin: .3rem 0 .7rem; max-width: 75ch; overflow-wrap: anywhere; }
.muted { color: var(--muted); font-size: .9rem; }
.badge { display: inline-block; padding: 0 .55em; border-radius: 1em;
  border: 1px solid currentColor; font-size: .85rem; font-weight: 600; }
.pass { color: var(--pass); } .fail { color: var(--fail); }
.undecided { color: var(--undecided); }
.pictures { display: grid; gap: 12px 28px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
figure { margin: 0; max-width: 560px; }
figure p { margin: .2rem 0 0; }
figcaption { font-weight: 600; margin: .2rem 0 .3rem; }
figure > svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--ink); unicode-bidi: isolate;
  font-family: inherit; }
svg text.tick, svg text.title { fill: var(--muted); }
svg .grid { stroke: var(--rule); stroke-width: .7; }
svg .axis { stroke: var(--muted); stroke-width: 1; }
svg .leader { stroke: var(--muted); stroke-width: .6; }
svg .original { stroke: var(--muted); stroke-width: 1;
  stroke-dasharray: 5 4; }
svg .mark { fill: var(--accent); stroke: var(--accent); }
svg .mark.pass { fill: var(--pass); stroke: var(--pass); }
svg .mark.fail { fill: var(--fail); stroke: var(--fail); }
svg .mark.undecided { fill: var(--undecided); stroke: var(--undecided); }
svg .mark.cross { fill: none; stroke-width: 2.4; stroke-linecap: round; }
svg .mark.bar { stroke-width: 1.2; }
svg .series { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
svg .dot { stroke: none; }
svg .series.s0 { stroke: var(--s0); } svg .dot.s0 { fill: var(--s0); }
svg .series.s1 { stroke: var(--s1); } svg .dot.s1 { fill: var(--s1); }
svg .series.s2 { stroke: var(--s2); } svg .dot.s2 { fill: var(--s2); }
svg .series.s3 { stroke: var(--s3); } svg .dot.s3 { fill: var(--s3); }
svg .series.s4 { stroke: var(--s4); } svg .dot.s4 { fill: var(--s4); }
svg .series.s5 { stroke: var(--s5); } svg .dot.s5 { fill: var(--s5); }
svg .series.s6 { stroke: var(--s6); } svg .dot.s6 { fill: var(--s6); }
svg .series.s7 { stroke: var(--s7); } svg .dot.s7 { fill: var(--s7); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; list-style: none;
  margin: 4px 0 0; padding: 0; font-size: .85rem; overflow-wrap: anywhere; }
.legend svg { width: 22px; height: 8px; margin-right: 5px;
  vertical-align: middle; }
.scroll { overflow-x: auto; border: 1px solid var(--rule);
  border-radius: 6px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .87rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .6rem; text-align: left; vertical-align: top;
  white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
tr:last-child td { border-bottom: 0; }
th { background: var(--band); font-weight: 600; }
td.number, th.number { text-align: right; }
td.name { white-space: normal; overflow-wrap: anywhere; min-width: 8.5em; max-width: 26em; }
th.name:first-child, td.name:first-child { position: sticky; left: 0;
  background: var(--paper); z-index: 1; }
th.name:first-child { background: var(--band); }
td.prose { white-space: normal; overflow-wrap: anywhere; min-width: 9em; }
td.hash { white-space: normal; font: .8rem/1.6 ui-monospace, Consolas, monospace;
  overflow-wrap: anywhere; min-width: 16em; }
td.pass, td.fail, td.undecided { font-weight: 600; }
pre { background: var(--band); border: 1px solid var(--rule);
  border-radius: 6px; padding: .7rem .8rem; white-space: pre-wrap;
  overflow-wrap: anywhere;
  font: .85rem/1.5 ui-monospace, Consolas, monospace; }
summary { cursor: pointer; color: var(--accent); margin: .6rem 0; }
ul.warnings { padding-left: 1.2rem; color: var(--undecided); }
@media (max-width: 600px) {
  td.name:first-child { min-width: 6.5em; max-width: 9.5em; } }
@media print { .scroll, pre { overflow: visible; } }
)css";

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_STYLE_H_
