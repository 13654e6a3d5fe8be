/** Characters of a row, and of other texts in a table, that a page shows. */
export const ROW_SHOWN = 1500;
export const CELL_SHOWN = 200;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Half of a pair of surrogates. */
const HALF = /\p{Cs}/gu;

/** Control characters, and those that turn around the text beside them. */
const HIDDEN = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

/** Text as HTML shows it. Characters that show nothing, or turn text around, by their number. */
export const escaped = (text: string): string =>
  text
    .replace(HALF, '\ufffd')
    .replace(HIDDEN, (c) =>
      c === '\n' || c === '\t' ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
    )
    .replace(/[&<>"']/g, (c) => ENTITIES[c]!);

/** The beginning of a text, and how much is left out. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  return `${text.slice(0, most)} … ${grouped(text.length - most)} more characters`;
}

/** 1234567 as "1,234,567". */
export const grouped = (n: number): string => n.toLocaleString('en-US');

/** A number in few characters. */
export function brief(n: number): string {
  if (Number.isInteger(n)) return grouped(n);
  return Math.abs(n) >= 1000 ? grouped(Math.round(n)) : `${Number(n.toPrecision(3))}`;
}

/** Share of a whole: "8.0 %". */
export function percent(part: number, whole: number): string {
  if (whole === 0) return '-';
  const share = (100 * part) / whole;
  return part > 0 && share < 0.05 ? '< 0.1 %' : `${share.toFixed(1)} %`;
}

export const tableOf = (
  header: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string => {
  const line = (cells: readonly (string | number)[], tag: string) =>
    `<tr>${cells
      .map((cell) =>
        typeof cell === 'number'
          ? `<${tag} class="n">${brief(cell)}</${tag}>`
          : `<${tag} dir="auto">${escaped(cut(cell, CELL_SHOWN))}</${tag}>`,
      )
      .join('')}</tr>`;
  return `<div class="wide"><table>${header.length > 0 ? line(header, 'th') : ''}${rows
    .map((row) => line(row, 'td'))
    .join('')}</table></div>`;
};
