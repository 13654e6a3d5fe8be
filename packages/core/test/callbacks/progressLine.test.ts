import { describe, expect, test } from 'vitest';
import { cutToWidth, displayWidth, LiveLine } from '../../src/callbacks/liveLine.js';
import { type CallbackContext, ProgressCallback } from '../../src/index.js';
import { brief } from '../../src/util/brief.js';

const CLEAR = '\r\x1b[2K';

/** A terminal that keeps what is written. */
const terminal = (columns: number, isTTY = true) => ({
  isTTY,
  columns,
  text: '',
  write(text: string) {
    this.text += text;
  },
});

const at = (globalStep: number, maxSteps = 1200) =>
  ({ state: { globalStep, maxSteps, numInputTokensSeen: 1e6 * globalStep } }) as CallbackContext;

const logs = { loss: 1.23456789, gradNorm: 0.000123456789, learningRate: 0.00012345678 };

describe('the progress line', () => {
  test.each([1, 5, 20, 30, 40, 60, 80, 100, 120, 200])('fits into %i columns', (columns) => {
    const screen = terminal(columns);
    const progress = new ProgressCallback(screen);
    progress.onTrainBegin(at(0));
    progress.onStepEnd(at(1));
    progress.onLog(at(1), logs);
    progress.onStepEnd(at(987));
    for (const line of screen.text.replaceAll(CLEAR, '\n').split('\n'))
      expect(displayWidth(line)).toBeLessThan(Math.max(columns, 2));
    if (columns >= 20) expect(screen.text).toContain('987/1200');
    if (columns >= 40) expect(screen.text).toContain('loss 1.2346');
    if (columns >= 120) expect(screen.text).toMatch(/\[#+\.+\].* lr 0\.00012346/);
  });

  test('follows the window when it is resized', () => {
    const screen = terminal(120);
    const progress = new ProgressCallback(screen);
    progress.onTrainBegin(at(0));
    progress.onLog(at(1), logs);
    screen.columns = 30;
    screen.text = '';
    progress.onStepEnd(at(2));
    expect(displayWidth(screen.text.replace(CLEAR, ''))).toBeLessThan(30);
  });

  test('is plain lines where there is no terminal, whole and without control characters', () => {
    const file = terminal(20, false);
    const progress = new ProgressCallback(file);
    progress.onTrainBegin(at(0));
    progress.onStepEnd(at(1));
    expect(file.text).toBe('');
    progress.onLog(at(1), logs);
    expect(file.text).toMatch(
      /^1\/1200 \[\.+\] .* {2}loss 1\.2346 {2}grad norm .* lr 0\.00012346\n$/,
    );
    expect(file.text).not.toContain('\x1b');
  });
});

describe('a line that others write beside', () => {
  test('is gone before their text, and comes back below it', () => {
    const screen = terminal(80);
    const { write } = screen;
    const line = new LiveLine(screen, [screen]);
    line.draw('bar 1');
    screen.write('a warning\n');
    line.draw('bar 2');
    screen.write('no end of line');
    line.draw('bar 3');
    line.end();
    expect(screen.text).toBe(
      `${CLEAR}bar 1${CLEAR}a warning\n${CLEAR}bar 2${CLEAR}no end of line\nbar 3\n`,
    );
    expect(screen.write).toBe(write);
  });
});

test('wide characters count twice, marks not at all', () => {
  expect(displayWidth('損失 1')).toBe(6);
  expect(displayWidth('e\u0301')).toBe(1);
  expect(cutToWidth('損失損失', 5)).toBe('損失');
});

test('numbers on screen have five significant digits at most', () => {
  for (const [value, text] of [
    [1.23456789, '1.2346'],
    [123.456789, '123.46'],
    [1234567, '1234600'],
    [1e-5, '0.00001'],
    [1.23456789e-9, '1.2346e-9'],
    [0, '0'],
    [Number.NaN, 'NaN'],
  ] as const)
    expect(brief(value)).toBe(text);
});
