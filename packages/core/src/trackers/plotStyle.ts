/**
 * Colours by what the reader's system prefers; in `:root`, of a page as of an image that stands
 * alone.
 */
export const PLOT_STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2430; --soft: #596073; --grid: #e3e6ec; --a: #2563c9; --b: #b84e06; --c: #217a59; --d: #8a4bb0; --e: #c2255c; --f: #0b7285; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181d; --ink: #e8eaf0; --soft: #a5aec0; --grid: #303644; --a: #7aa9f7; --b: #f0a060; --c: #6fcfa5; --d: #c79be6; --e: #f783ac; --f: #66d9e8; } }
svg { font: 12px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
svg text { fill: var(--soft); } svg .axis, svg .name, svg .title { fill: var(--ink); } svg .title { font-size: 15px; font-weight: 600; }
.grid { stroke: var(--grid); } .line { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.a { stroke: var(--a); } .b { stroke: var(--b); } .c { stroke: var(--c); } .d { stroke: var(--d); } .e { stroke: var(--e); } .f { stroke: var(--f); }
circle.a { fill: var(--a); } circle.b { fill: var(--b); } circle.c { fill: var(--c); } circle.d { fill: var(--d); } circle.e { fill: var(--e); } circle.f { fill: var(--f); }
circle { stroke: none; }`;
