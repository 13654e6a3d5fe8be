import { inverseFrequencies, type RopeScaling, rotaryAngles } from '@attune/core/nn';
import { expect, it } from 'vitest';
import { longestSequence, rotaryFromConfig } from '../../src/models/families/rotaryConfig.js';
import { fixtureJson, largestDifference } from './support.js';

/**
 * inv_freq of LlamaRotaryEmbedding in transformers 5.23 with head_dim 16, and cos at position 5000.
 */
const cases: [RopeScaling['type'], Record<string, unknown>, inv: number[], cos: number[]][] = [
  [
    'default',
    { rope_type: 'default', rope_theta: 500000 },
    [
      1, 0.193922758102417, 0.03760603070259094, 0.00729266507551074, 0.001414213445968926,
      0.00027424818836152554, 5.3182957344688475e-5, 1.0313385246263351e-5,
    ],
    [
      0.1546684056520462, -0.41908371448516846, 0.8936386108398438, 0.32877859473228455,
      0.7053482532501221, 0.19823352992534637, 0.964852511882782, 0.9986706972122192,
    ],
  ],
  [
    'linear',
    { rope_type: 'linear', rope_theta: 10000, factor: 4 },
    [
      0.25, 0.07905694097280502, 0.02500000037252903, 0.007905694656074047, 0.0024999999441206455,
      0.0007905694656074047, 0.0002500000118743628, 7.905694656074047e-5,
    ],
    [
      0.9380365610122681, 0.8493857979774475, 0.7877144813537598, -0.255693256855011,
      0.9977982640266418, -0.6885892152786255, 0.3153223693370819, 0.9228869676589966,
    ],
  ],
  [
    'llama3',
    {
      rope_type: 'llama3',
      rope_theta: 500000,
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
    [
      1, 0.193922758102417, 0.03760603070259094, 0.00729266507551074, 0.0005248460220173001,
      3.428102354519069e-5, 6.647869668086059e-6, 1.289173155782919e-6,
    ],
    [
      0.1546684056520462, -0.41908371448516846, 0.8936386108398438, 0.32877859473228455,
      -0.8691266775131226, 0.9853460788726807, 0.9994476437568665, 0.9999792575836182,
    ],
  ],
];

it.each(cases)('%s frequencies and angles are those of transformers', (type, raw, inv, cos) => {
  const { theta, scaling } = rotaryFromConfig({ rope_parameters: raw });
  expect(scaling.type).toBe(type);
  const options = { headDim: 16, theta, scaling, maxPositions: 5001 };
  const ours = inverseFrequencies(options);
  // The power is one float32 rounding off at most: its relative error is 2^-23.
  for (const [i, frequency] of inv.entries())
    expect(Math.abs(ours[i]! / frequency - 1)).toBeLessThan(2e-7);
  expect(largestDifference(rotaryAngles(options).cos.slice(-8), cos)).toBeLessThan(2e-4);
});

for (const { name, attrs, outputs } of fixtureJson('row230-rope-scaling.json').cases)
  it(`${name} turn as in transformers`, () => {
    const { max_position_embeddings, head_dim: headDim, length, positions } = attrs;
    const settings = rotaryFromConfig({
      rope_parameters: attrs.rope_parameters,
      max_position_embeddings,
    });
    const { cos, sin } = rotaryAngles({ ...settings, headDim, maxPositions: length }, length);
    const rows = (table: Float32Array) =>
      positions.flatMap((at: number) => [...table.slice(at * 8, at * 8 + 8)]);
    // One float32 rounding of a frequency, 200 positions on, is 1e-5 of a turn.
    expect(largestDifference(rows(cos), outputs.cos.data)).toBeLessThan(5e-5);
    expect(largestDifference(rows(sin), outputs.sin.data)).toBeLessThan(5e-5);
  });

it('lets sequences be as long as the scaling makes them', () => {
  const long = (rope_parameters: Record<string, unknown>) => {
    const config = { rope_parameters, max_position_embeddings: 128 };
    return longestSequence(rotaryFromConfig(config).scaling, config);
  };
  expect(long({ rope_type: 'linear', factor: 4 })).toBe(128);
  expect(long({ rope_type: 'dynamic', factor: 4 })).toBe(512);
  expect(long({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 })).toBe(256);
  expect(long({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 })).toBe(128);
});

it('reads the spelling of transformers 4 and 5', () => {
  const scaling = { rope_type: 'linear', factor: 2 };
  expect(rotaryFromConfig({ rope_theta: 5, rope_scaling: { type: 'linear', factor: 2 } })).toEqual({
    theta: 5,
    scaling: { type: 'linear', factor: 2 },
    partialRotaryFactor: 1,
  });
  expect(rotaryFromConfig({ rope_parameters: { ...scaling, rope_theta: 7 } }).theta).toBe(7);
  expect(rotaryFromConfig({}).theta).toBe(10000);
  expect(rotaryFromConfig({ rope_scaling: null }).scaling).toEqual({ type: 'default' });
});

it.each([
  ['ROPE_UNSUPPORTED', { rope_scaling: { rope_type: 'axial', factor: 4 } }, /"axial".*llama3/],
  [
    'ROPE_UNSUPPORTED',
    { rope_scaling: { type: 'linear', factor: 2, partial_rotary_factor: 0.5 } },
    /partial_rotary/,
  ],
  ['CONFIG_INVALID', { rope_scaling: { type: 'linear' } }, /factor/],
])('%s for what it cannot compute', (code, config, says) => {
  expect(() => rotaryFromConfig(config)).toThrowError(says);
  expect(() => rotaryFromConfig(config)).toThrowError(new RegExp(`^${code}`));
});

it('refuses an odd head', () => {
  const odd = { headDim: 7, theta: 1e4, scaling: { type: 'default' }, maxPositions: 1 } as const;
  expect(() => inverseFrequencies(odd)).toThrowError(/ROPE_HEAD_DIM/);
});
