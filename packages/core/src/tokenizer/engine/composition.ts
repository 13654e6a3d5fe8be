import type { Piece } from './piece.js';
import { Rewriter } from './piece.js';

/**
 * Characters with a decomposition that Unicode gave them after version 9: the Rust library's
 * tables, which are older than JavaScript's, leave them as they are.
 */
const younger =
  /([\u32ff\ua7f1-\ua7f4\uab69\u{105c9}\u{105e4}\u{10781}-\u{10785}\u{10787}-\u{107b0}\u{107b2}-\u{107ba}\u{11383}\u{11385}\u{1138e}\u{11391}\u{113c5}\u{113c7}\u{113c8}\u{11938}\u{16121}-\u{16128}\u{16d68}-\u{16d6a}\u{1ccd6}-\u{1ccf9}\u{1e030}-\u{1e06d}\u{1f16c}\u{1fbf0}-\u{1fbf9}])/u;

const normalize = (text: string, form: Form): string =>
  younger.test(text)
    ? text
        .split(younger)
        .map((part, i) => (i % 2 === 0 ? part.normalize(form) : part))
        .join('')
    : text.normalize(form);

type Form = 'NFC' | 'NFD' | 'NFKC' | 'NFKD';

/**
 * One of Unicode's normal forms. Where each character comes from is followed within a letter and
 * the marks on it: characters made of one belong to it, the last of several to all that is left.
 */
export const composed =
  (form: Form) =>
  (piece: Piece): Piece => {
    const { text } = piece;
    if (!/[^\0-\x7f]/.test(text)) return piece;
    const whole = normalize(text, form);
    if (whole === text) return piece;
    if (!piece.from) return { ...piece, text: whole };
    const rewriter = new Rewriter(piece);
    for (const cluster of clusters(text)) {
      const before = Array.from(cluster);
      const after = Array.from(normalize(cluster, form));
      if (cluster === normalize(cluster, form)) for (const char of before) rewriter.replace(char);
      else if (!spread(rewriter, before, form, after)) align(rewriter, before.length, after);
    }
    const done = rewriter.done();
    // Clusters that act on one another (Hangul, rare scripts): positions of the old text no longer
    // fit.
    return done.text === whole ? done : fit(done, whole);
  };

/** A letter with the marks behind it, and all that composes with it. */
const clusters = (text: string): readonly string[] =>
  text.match(/[\s\S]\p{M}*[\u1160-\u11ff]*\p{M}*/gu) ?? [];

/** Each character on its own: true when that gives the form of the whole. */
function spread(
  rewriter: Rewriter,
  before: readonly string[],
  form: Form,
  after: readonly string[],
): boolean {
  const parts = before.map((char) => normalize(char, form));
  if (parts.join('') !== after.join('')) return false;
  for (const part of parts)
    for (const [i, char] of Array.from(part).entries())
      if (i === 0) rewriter.replace(char);
      else rewriter.insert(char);
  return true;
}

function align(rewriter: Rewriter, count: number, after: readonly string[]): void {
  const taken = Math.min(count, after.length);
  for (const [i, char] of after.entries())
    if (i >= taken) rewriter.insert(char);
    else rewriter.replace(char, i === taken - 1 ? count - taken : 0);
}

function fit(piece: Piece, text: string): Piece {
  const at = (positions: Int32Array) =>
    Int32Array.from(
      { length: text.length },
      (_, i) => positions[Math.min(i, positions.length - 1)]!,
    );
  return { ...piece, text, from: at(piece.from!), to: at(piece.to!) };
}
