import { dirname, join, normalize, sep } from 'node:path';
import { describe, expect, it } from 'vitest';
import { imports, say } from '../../core/test/imports.js';

/** What each room of peft may import, besides itself and core; types count too. Lowest first. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  contract: [],
  methods: ['contract'],
  slots: ['contract'],
  plan: ['contract', 'slots'],
  files: ['contract', 'slots', 'plan'],
  interop: ['contract', 'files'],
  combine: ['contract', 'methods', 'slots', 'files', 'interop'],
  model: ['contract', 'methods', 'slots', 'plan', 'files', 'combine'],
};

/** Files beside the rooms, and the test kit, stand on top. */
const roomOf = (path: string): string =>
  path.includes('/') && !path.startsWith('testing/') ? path.split('/')[0]! : 'top';

describe('rooms of peft', () => {
  const inner = imports
    .filter((i) => i.file.startsWith('peft/src/') && i.specifier.startsWith('.'))
    .map((i) => {
      const from = i.file.slice('peft/src/'.length);
      const to = normalize(join(dirname(from), i.specifier))
        .split(sep)
        .join('/');
      return { ...i, room: roomOf(from), target: roomOf(to) };
    });

  it('are all in the table', () => {
    const found = new Set(inner.map(({ room }) => room));
    expect([...found].sort()).toEqual(['top', ...Object.keys(rooms)].sort());
  });

  it('import from the rooms below only', () => {
    const wrong = inner.filter(
      ({ room, target }) => room !== target && room !== 'top' && !rooms[room]!.includes(target),
    );
    expect(wrong.map(say)).toEqual([]);
  });

  it('stand in their order', () => {
    const order = Object.keys(rooms);
    for (const [room, below] of Object.entries(rooms))
      for (const next of below)
        expect(order.indexOf(next), `${room} -> ${next}`).toBeLessThan(order.indexOf(room));
  });
});
