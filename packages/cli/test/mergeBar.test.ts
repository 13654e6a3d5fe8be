import { expect, test } from 'vitest';
import { MergeBar, mergeLine } from '../src/mergeBar.js';

const progress = {
  bytesDone: 1.25e9,
  bytesTotal: 2.5e9,
  tensorsDone: 120,
  tensorsTotal: 291,
  secondsLeft: 75,
};

test('what matters least is left out where the terminal is narrow', () => {
  expect(mergeLine(progress, 79)).toBe(
    '[############............] 50%  01:15 left  1.3 GB/2.5 GB  120/291 tensors',
  );
  expect(mergeLine(progress, 45)).toBe('50%  01:15 left  1.3 GB/2.5 GB');
  expect(mergeLine(progress, 16)).toBe('50%  01:15 left');
  expect(mergeLine(progress, 2)).toBe('50%');
  for (let width = 15; width < 100; width++)
    expect(mergeLine(progress, width).length).toBeLessThanOrEqual(width);
});

test('nothing is known at the start, and nothing may be to write', () => {
  const start = { bytesDone: 0, bytesTotal: 0, tensorsDone: 0, tensorsTotal: 0, secondsLeft: null };
  expect(mergeLine(start, 40)).toBe('[###########] 100%  0 B/0 B  0/0 tensors');
});

test('it is drawn on a terminal alone, and taken away at the end', () => {
  const written: string[] = [];
  const stream = (isTTY: boolean) => ({
    isTTY,
    columns: 40,
    write: (text: string) => written.push(text),
  });
  new MergeBar(null).draw(progress);
  new MergeBar(stream(false)).draw(progress);
  expect(written).toEqual([]);
  const bar = new MergeBar(stream(true));
  bar.draw(progress);
  bar.end();
  expect(written.join('')).toContain('50%  01:15 left');
  expect(written.at(-1)).toBe('\r\x1b[2K');
});
