import type { Panel } from './curve.js';
import { cut, escapeXml } from './escapeXml.js';
import { linePlot, PANEL_WIDTH } from './linePlot.js';
import { PLOT_STYLE } from './plotStyle.js';

const GAP = 24;
const TITLE = 44;

/**
 * The panels of a run as one SVG, two in a row: an image for a README or a message.
 *
 * @param last the last update
 */
export function lossPlot(panels: readonly Panel[], last: number, title: string): string {
  const width = 2 * PANEL_WIDTH + 3 * GAP;
  let y = TITLE;
  const drawn: string[] = [];
  for (let i = 0; i < panels.length; i += 2) {
    const row = panels
      .slice(i, i + 2)
      .map((panel, k) => linePlot(panel, last, { x: GAP + k * (PANEL_WIDTH + GAP), y }));
    drawn.push(...row.map(({ svg }) => svg));
    y += Math.max(...row.map(({ height }) => height)) + GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}">
<style>${PLOT_STYLE}</style>
<rect width="100%" height="100%" style="fill: var(--paper)"/>
<text class="title" x="${GAP}" y="28">${escapeXml(cut(title, 70))}</text>
${drawn.join('\n')}
</svg>
`;
}
