import { describe, expect, it } from 'vitest';
import { checkForwardBackward, checkGeneration, families, loadTiny } from './familyParity.js';
import { fixtureJson, largestDifference, reference } from './support.js';

/**
 * Every family against transformers on the CPU in float32. Ours are float64, so what remains is
 * their rounding: at most some 1e-5 on logits of size 5.
 */
const tolerance = { logits: 3e-5, gradients: 1e-4 };

describe.each(families)('%s', (name) => {
  it('gives the logits, the loss and every gradient of transformers', async () => {
    await using attune = await reference();
    await checkForwardBackward(attune, name, tolerance);
  });

  it('continues a text and a padded batch as transformers does, with the cache', async () => {
    await using attune = await reference();
    await checkGeneration(attune, name, true);
  });

  it('gives the same logits at real positions, padded on the left or on the right', async () => {
    await using attune = await reference();
    const { engine } = attune;
    const model = await loadTiny(attune, name);
    const ids: number[] = fixtureJson(`${name}/forward.json`).greedy.promptIds;
    const { length } = ids;
    const pad = [0, 0, 0, 0, 0];
    const ints = (values: number[]) => engine.tensor(values, [1, values.length], 'int32');
    const alone = await model.forward({ inputIds: ints(ids) }).data();
    const right = model.forward({
      inputIds: ints([...ids, ...pad]),
      segments: ints([...ids.map(() => 0), ...pad.map(() => 1)]),
    });
    const left = model.forward({
      inputIds: ints([...pad, ...ids]),
      positions: ints([...pad, ...ids.map((_, i) => i)]),
      segments: ints([...pad.map(() => 1), ...ids.map(() => 0)]),
    });
    const ofRight = await right.slice(1, 0, length).data();
    const ofLeft = await left.slice(1, pad.length, pad.length + length).data();
    expect(largestDifference(ofRight, alone)).toBeLessThan(1e-12);
    expect(largestDifference(ofLeft, alone)).toBeLessThan(1e-12);
  });

  it('gives the same gradients with gradient checkpointing', async () => {
    await using attune = await reference();
    await checkForwardBackward(attune, name, tolerance, (m) => m.gradientCheckpointingEnable());
  });
});
