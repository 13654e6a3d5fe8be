import type { DeviceFacts } from '../kernel.js';

/** Whether a head's features are read four at a time. */
export const vectorised = (d: number) => d % 4 === 0;

/** A head's features as named registers: `each` writes one line for every register. */
export function registers(d: number) {
  const width = vectorised(d) ? 4 : 1;
  const count = d / width;
  const each = (line: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join(' ');
  return {
    type: width === 4 ? 'vec4f' : 'f32',
    count,
    each,
    /** sum over all features of a_i * b_i, as an expression. */
    dot: (a: string, b: string) =>
      Array.from({ length: count }, (_, i) =>
        width === 4 ? `dot(${a}${i}, ${b}${i})` : `${a}${i} * ${b}${i}`,
      ).join(' + '),
  };
}

/**
 * What moves a lane's own row between memory and registers. On a software device one load or store
 * is a few hundred instructions, which take longer to compile than to run: there `step` of them are
 * written out, and a loop that the compiler cannot see the end of turns the registers round.
 */
export function ownRow(facts: DeviceFacts, d: number) {
  const { type, count, each } = registers(d);
  const step = count % 2 === 0 ? 2 : 1;
  const some = (line: (i: number) => string) =>
    Array.from({ length: step }, (_, i) => line(i)).join(' ');
  const turned = (name: string) =>
    each((i) => (i + step < count ? `${name}${i} = ${name}${i + step};` : ''));
  const loop = (body: string) => `for (var i = 0u; i < p.width; i += ${step}u) { ${body} }`;
  return {
    /** @param loads register name -> the expression that loads number `i` of the row */
    load(loads: Readonly<Record<string, (i: string) => string>>): string {
      const entries = Object.entries(loads);
      if (!facts.software)
        return entries
          .map(([name, of]) => each((i) => `let ${name}${i} = ${of(`${i}u`)};`))
          .join('\n  ');
      return `${entries.map(([name]) => each((i) => `var ${name}${i} = ${type}();`)).join('\n  ')}
  ${loop(
    entries
      .map(
        ([name, of]) =>
          `${some((i) => `let ${name}Next${i} = ${of(`(i + ${i}u)`)};`)} ${turned(name)} ${some((i) => `${name}${count - step + i} = ${name}Next${i};`)}`,
      )
      .join('\n    '),
  )}`;
    },
    /**
     * @param stores register name -> the statement that stores `value` as number `i`; the registers
     *   are lost
     */
    store(stores: Readonly<Record<string, (i: string, value: string) => string>>): string {
      const entries = Object.entries(stores);
      if (!facts.software)
        return entries.map(([name, to]) => each((i) => to(`${i}u`, `${name}${i}`))).join('\n    ');
      return loop(
        entries
          .map(([name, to]) => `${some((i) => to(`(i + ${i}u)`, `${name}${i}`))} ${turned(name)}`)
          .join('\n    '),
      );
    },
  };
}

/** Lanes that load one row together; a block of rows is what a subgroup loads at once. */
export function lanesPerRow(count: number, subgroupSize: number): number {
  let lanes = subgroupSize / 2;
  while (lanes > 1 && count % lanes !== 0) lanes /= 2;
  return Math.max(1, lanes);
}

/** Which lane holds register `i` of the block's row `turn`, and as its how-manieth. */
export const holder = (turn: number, i: number, perRow: number) => ({
  lane: turn * perRow + (i % perRow),
  slot: Math.floor(i / perRow),
});

/**
 * A loop over neighbouring rows that all lanes want: `rows[j]` for j in [from, to). With subgroups
 * some lanes load a row of a block together and shuffles hand it round (a load costs more than a
 * shuffle); without, every lane loads the same row.
 *
 * @param names registers to fill for row j, with the expression that loads number `i` of row `r`
 * @param numbers one number of each row, with the expression that loads it
 */
export function overRows(
  facts: DeviceFacts,
  d: number,
  range: { from: string; to: string },
  names: Readonly<Record<string, (row: string, i: string) => string>>,
  numbers: Readonly<Record<string, (row: string) => string>>,
  body: string,
): string {
  const { count, each } = registers(d);
  const entries = Object.entries(names);
  const single = Object.entries(numbers);
  const S = facts.subgroupSize;
  if (S === 0)
    return `for (var j = ${range.from}; j < ${range.to}; j++) {
    ${entries.map(([name, load]) => each((i) => `let ${name}${i} = ${load('j', `${i}u`)};`)).join('\n    ')}
    ${single.map(([name, load]) => `let ${name} = ${load('j')};`).join(' ')}
    ${body}
  }`;
  const perRow = lanesPerRow(count, S);
  const rows = S / perRow;
  const slots = Array.from({ length: count / perRow }, (_, slot) => slot);
  const shuffled = (name: string) =>
    each((i) => {
      const { lane, slot } = holder(0, i, perRow);
      return `let ${name}${i} = subgroupShuffle(${name}Mine${slot}, source + ${lane}u);`;
    });
  return `for (var block = ${range.from}; block < ${range.to}; block += ${rows}u) {
    let mine = min(block + lane / ${perRow}u, ${range.to} - 1u);
    let part = lane % ${perRow}u;
    ${entries
      .map(([name, load]) =>
        slots
          .map((slot) => `let ${name}Mine${slot} = ${load('mine', `(part + ${slot * perRow}u)`)};`)
          .join(' '),
      )
      .join('\n    ')}
    ${single.map(([name, load]) => `let ${name}Mine = ${load('mine')};`).join(' ')}
    let steps = min(${rows}u, ${range.to} - block);
    for (var turn = 0u; turn < steps; turn++) {
      let j = block + turn;
      let source = turn * ${perRow}u;
      ${entries.map(([name]) => shuffled(name)).join('\n      ')}
      ${single.map(([name]) => `let ${name} = subgroupShuffle(${name}Mine, source);`).join(' ')}
      ${body}
    }
  }`;
}
