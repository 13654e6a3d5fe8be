import type { OpCall, Operand } from '@attune/core/backend';
import type { CrossEntropyOptions } from '@attune/core/tensor';
import {
  type DeviceFacts,
  defineKernel,
  f32,
  grid1d,
  type Kernel,
  type Stage,
  u32,
} from './kernel.js';
import { laneReductions } from './shader.js';
import { named, stage } from './stage.js';

/** Which forms of the loss are in the shader's text; their numbers are parameters. */
interface Form {
  readonly smoothed: boolean;
  readonly capped: boolean;
  readonly dft: boolean;
  /** Says of each label whether it has the largest logit, too. */
  readonly ranked: boolean;
}

/**
 * Reads logit `i` of the whole tensor through the cap. Very large arguments of tanh overflow in
 * some drivers.
 */
const logitFunction = (source: string, { capped }: Form): string =>
  capped
    ? `fn logit(i: u32) -> f32 { let t = ${source} / p.softcap; return p.softcap * select(tanh(t), sign(t), abs(t) > 15.0); }`
    : `fn logit(i: u32) -> f32 { return ${source}; }`;

const loop = (lanes: number, body: string) =>
  `  for (var i = lane; i < p.width; i += ${lanes}u) { ${body} }\n`;

/**
 * Maximum and sum of exponentials in one pass, rescaled when the maximum moves: `lse`, `picked`
 * (the logit of the label), `loss`, `weight`; where labels are ranked `own`, its logit without the
 * cap.
 */
const statistics = (
  lanes: number,
  { smoothed, dft, ranked, capped }: Form,
): string => `  var top = -3.4e38;
  var total = 0.0;
  var picked = 0.0;
  var sum = 0.0;
${ranked && capped ? '  var own = 0.0;\n' : ''}${loop(lanes, `let v = logit(first + i); if (i32(i) == label) { picked = v; ${ranked && capped ? 'own = out[first + i]; ' : ''}} ${smoothed ? 'sum += v; ' : ''}if (v > top) { total *= exp(top - v); top = v; } total += exp(v - top);`)}  let mine = top;
  top = laneMax(mine, lane);
  total = laneSum(total * exp(mine - top), lane);
  picked = laneSum(picked, lane);
${ranked ? `  ${capped ? '' : 'let '}own = ${capped ? 'laneSum(own, lane)' : 'picked'};\n` : ''}  let lse = top + log(total);
${smoothed ? '  sum = laneSum(sum, lane);\n  let nll = lse - p.keep * picked - p.spread * sum;' : '  let nll = lse - picked;'}
  let weight = ${dft ? 'exp(picked - lse)' : '1.0'};
  let loss = ${dft ? 'weight * nll' : 'nll'};`;

/** dLoss/dlogit of element `i`, whose capped logit is `v`. */
const slope = ({ smoothed, capped, dft }: Form): string => {
  const label = smoothed ? 'p.keep' : '1.0';
  const plain = `exp(v - lse)${smoothed ? ' - p.spread' : ''} - select(0.0, ${label}, i32(i) == label)`;
  const cap = capped ? ' * (1.0 - (v / p.softcap) * (v / p.softcap))' : '';
  return `${dft ? 'weight * ' : ''}(${plain})${cap}`;
};

/** Whether the raw logit of element `i` comes before that of the label. */
const beats =
  'let raw = out[first + i]; if (raw > own || (raw == own && i32(i) < label)) { beaten = 1.0; } ';

interface RowShader {
  readonly logits: Operand;
  /** Names of the inputs and outputs in the body, in the op's order. */
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** WGSL for raw logit `i` of the whole tensor. */
  readonly source: string;
  readonly body: (lanes: number, form: Form) => string;
}

/** A workgroup a row of logits [rows, width]. */
function rowStage(
  call: OpCall,
  facts: DeviceFacts,
  { logits, reads, writes, source, body }: RowShader,
): Stage[] {
  const attrs = call.attrs as unknown as CrossEntropyOptions & { readonly scale?: number };
  const { smoothing = 0, softcap = 0, dft = false, scale = 1 } = attrs;
  const form: Form = {
    smoothed: smoothing > 0,
    capped: softcap > 0,
    dft,
    ranked: call.outputs.length > 2,
  };
  const lanes = laneReductions(facts);
  const [rows, width] = logits.shape as [number, number];
  const forms = Object.entries(form).filter(([, on]) => on);
  return [
    stage({
      key: [call.op, ...forms.map(([name]) => name), ...call.inputs.map((o) => o.dtype)].join(':'),
      reads: named(call.inputs, ...reads),
      writes: named(call.outputs, ...writes),
      params: {
        rows: u32(rows),
        width: u32(width),
        keep: f32(1 - smoothing),
        spread: f32(smoothing / width),
        softcap: f32(softcap),
        scale: f32(scale),
      },
      ...lanes,
      declarations: () => `${lanes.declarations}\n${logitFunction(source, form)}`,
      body: () => `  if (group >= p.rows) { return; }
  let first = group * p.width;
${body(lanes.workgroup, form)}`,
      grid: grid1d(rows, 1),
    }),
  ];
}

const crossEntropyKernel = defineKernel({
  op: 'crossEntropy',
  plan: (call, facts) =>
    rowStage(call, facts, {
      logits: call.inputs[0]!,
      reads: ['logits', 'labels'],
      writes: ['losses', 'lses'],
      source: 'logits(i)',
      body: (lanes, form) => `  let label = i32(labels(group));
${statistics(lanes, form)}
  if (lane == 0u) { lses[group] = lse; losses[group] = select(loss, 0.0, label < 0); }`,
    }),
});

const crossEntropyIntoKernel = defineKernel({
  op: 'crossEntropyInto',
  plan: (call, facts) =>
    rowStage(call, facts, {
      logits: call.outputs[0]!,
      reads: ['labels'],
      writes: ['out', 'losses', 'tops'],
      source: 'out[i]',
      // A lane writes what it read, so the lanes need not wait for each other.
      // Raw logits are ranked: capped ones may be equal where these are not.
      body: (lanes, form) => `  let label = i32(labels(group));
${statistics(lanes, form)}
${form.ranked ? '  var beaten = 0.0;' : ''}
  let ignored = label < 0;
  if (lane == 0u) { losses[group] = select(loss, 0.0, ignored); }
${loop(lanes, `${form.ranked ? beats : ''}let v = logit(first + i); out[first + i] = select(p.scale * ${slope(form)}, 0.0, ignored);`)}${
  form.ranked
    ? `  beaten = laneMax(beaten, lane);
  if (lane == 0u) { tops[group] = select(1.0 - beaten, 0.0, ignored); }`
    : ''
}`,
    }),
});

const crossEntropyGradKernel = defineKernel({
  op: 'crossEntropyGrad',
  plan: (call, facts) =>
    rowStage(call, facts, {
      logits: call.inputs[0]!,
      reads: ['logits', 'labels', 'lses', 'gs'],
      writes: ['out'],
      source: 'logits(i)',
      body: (lanes, form) => `  let label = i32(labels(group));
  let lse = lses(group);
  let g = select(gs(group), 0.0, label < 0);
  let weight = ${form.dft ? 'exp(logit(first + u32(max(label, 0))) - lse)' : '1.0'};
${loop(lanes, `let v = logit(first + i); out[first + i] = g * ${slope(form)};`)}`,
    }),
});

/**
 * The maximum, then sums of e = exp(v - top), of e (v - top) and of e^2. Differences end at -1e4,
 * where exp is 0: a logit of -inf is 0 times a number.
 */
const rowStatisticsKernel = defineKernel({
  op: 'rowStatistics',
  plan: (call, facts) =>
    rowStage(call, facts, {
      logits: call.inputs[0]!,
      reads: ['logits', 'labels'],
      writes: ['out'],
      source: 'logits(i)',
      body: (lanes) => `  let share = 1.0 / f32(p.width);
  var top = -3.4e38;
  var mean = 0.0;
${loop(lanes, 'let v = logit(first + i); top = max(top, v); mean = fma(v, share, mean);')}  top = laneMax(top, lane);
  mean = laneSum(mean, lane);
  var total = 0.0;
  var weighted = 0.0;
  var squares = 0.0;
${loop(lanes, 'let below = max(logit(first + i) - top, -1e4); let e = exp(below); total += e; weighted = fma(e, below, weighted); squares = fma(e, e, squares);')}  total = laneSum(total, lane);
  weighted = laneSum(weighted, lane);
  squares = laneSum(squares, lane);
  if (lane == 0u) {
    let asked = labels(group) >= 0;
    out[3u * group] = select(0.0, log(total) - weighted / total, asked);
    out[3u * group + 1u] = select(0.0, mean, asked);
    out[3u * group + 2u] = select(0.0, log(squares) - 2.0 * log(total), asked);
  }`,
    }),
});

export const crossEntropyKernels: readonly Kernel[] = [
  crossEntropyKernel,
  crossEntropyGradKernel,
  crossEntropyIntoKernel,
  rowStatisticsKernel,
];
