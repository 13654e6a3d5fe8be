import { expect, test } from 'vitest';
import { Events } from '../../src/training/events.js';
import { ListLogger } from '../trainer/support.js';

const moment = { step: 3, epoch: 0.5 };

test('listeners are called in their order; errors and rejections reach the logger alone', async () => {
  const logger = new ListLogger();
  const events = new Events(logger);
  const seen: unknown[] = [];
  events.on('save', () => {
    throw new Error('one');
  });
  events.on('save', (event) => void seen.push(event));
  events.on('save', (async () => {
    throw new Error('two');
  }) as () => void);
  events.on('save', ({ folder }) => void seen.push(folder));
  events.emit('save', { ...moment, folder: 'out' });
  expect(seen).toEqual([{ ...moment, folder: 'out' }, 'out']);
  await Promise.resolve();
  expect(logger.lines).toEqual([
    'error: a listener of "save" failed: one',
    'error: a listener of "save" failed: two',
  ]);
});

test('one that is taken off is called no more, one that comes meanwhile from the next event on', () => {
  const events = new Events(new ListLogger());
  const calls: string[] = [];
  const late = () => void calls.push('late');
  const twice = () => void calls.push('twice');
  const first = () => {
    calls.push('first');
    events.off('step', first);
    events.off('step', twice);
    events.on('step', late);
  };
  events.on('step', first);
  events.on('step', twice);
  events.on('step', twice);
  events.on('stepEnd', twice);
  events.emit('step', moment);
  expect(calls.splice(0)).toEqual(['first', 'twice', 'twice']);
  events.emit('step', moment);
  expect(calls.splice(0)).toEqual(['late']);
  events.emit('stepEnd', moment);
  expect(calls).toEqual(['twice']);
});
