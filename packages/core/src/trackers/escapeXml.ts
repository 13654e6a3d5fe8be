import { cutToWidth, displayWidth } from '../callbacks/liveLine.js';

/** No character of XML 1.0, however it is written. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff\p{Surrogate}]/gu;

/** Text for elements and quoted attributes of HTML and SVG. What XML forbids becomes U+FFFD. */
export const escapeXml = (text: string): string =>
  text
    .replace(FORBIDDEN, '\ufffd')
    .replace(
      /[&<>"']/g,
      (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]!,
    );

/** A text that takes at most `columns`; an ellipsis says that there is more. */
export const cut = (text: string, columns: number): string =>
  displayWidth(text) > columns ? `${cutToWidth(text, columns - 1)}…` : text;
