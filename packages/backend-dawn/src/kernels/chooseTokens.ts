import type { ops } from '@attune/core';
import { type DeviceFacts, defineKernel, f32, grid1d, u32 } from './kernel.js';
import { philoxDeclaration } from './random.js';
import { stage } from './stage.js';
import { add64, fixedExp, logitKeys } from './wideInteger.js';

/** Which rules are in the shader's text; their numbers are parameters. */
interface Form {
  readonly sampled: boolean;
  readonly topK: boolean;
  readonly topP: boolean;
  readonly minP: boolean;
  readonly logProbs: boolean;
}

/**
 * Lanes of the workgroup that reads a row. Software pays for lanes that wait at a barrier, and has
 * none to hide latency with.
 */
const lanesOf = ({ software }: DeviceFacts) => (software ? 64 : 256);

/**
 * One workgroup a row. No row is sorted: a threshold is a key of 32 bits (see {@link logitKeys}),
 * found 8 bits at a time from a histogram of what has the bits before it. Probabilities are
 * integers, so that sums are the same in any order: 2^30 e^((logit - top) / temperature).
 */
const declarations = (lanes: number): string => `${philoxDeclaration}
${add64}
${fixedExp}
${logitKeys}
var<workgroup> topKey: atomic<u32>;
var<workgroup> bestAt: atomic<u32>;
var<workgroup> faulty: atomic<u32>;
var<workgroup> low: array<atomic<u32>, 256>;
var<workgroup> high: array<atomic<u32>, 256>;
var<workgroup> cut: vec2u;       // the threshold's key, what is left to find behind it
var<workgroup> rest: vec2u;
var<workgroup> mass_: array<vec2u, ${lanes}>;  // of each lane's piece, ties left out
var<workgroup> ties: array<u32, ${lanes}>;
var<workgroup> piece: u32;
var<workgroup> passed: vec2u;
var<workgroup> tied: u32;
fn clearBins(lane: u32) {
  for (var b = lane; b < 256u; b += ${lanes}u) { atomicStore(&low[b], 0u); atomicStore(&high[b], 0u); }
}
fn addTo(b: u32, v: vec2u) {
  let before = atomicAdd(&low[b], v.x);
  atomicAdd(&high[b], v.y + select(0u, 1u, before + v.x < before));
}
fn binOf(b: u32) -> vec2u { return vec2u(atomicLoad(&low[b]), atomicLoad(&high[b])); }
fn massOf(x: f32, top: f32) -> u32 { return fixedExp((x - top) / p.temperature); }`;

/** The likeliest token: `top`, its logit, and `at`, its first place. */
const likeliest = (lanes: number): string => `  let first = group * p.width;
  if (lane == 0u) { atomicStore(&topKey, 0u); atomicStore(&bestAt, 0xffffffffu); atomicStore(&faulty, 0u); }
  workgroupBarrier();
  var best = 0u;
  var at = p.width - 1u;
  var fault = 0u;
  for (var i = lane; i < p.width; i += ${lanes}u) {
    let x = logits(first + i);
    if ((bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u) { fault = 1u; }
    let key = keyOf(x);
    if (key > best) { best = key; at = i; }
  }
  atomicMax(&topKey, best);
  atomicOr(&faulty, fault);
  workgroupBarrier();
  let highest = atomicLoad(&topKey);
  if (best == highest) { atomicMin(&bestAt, at); }
  let top = logitOf(highest);
  workgroupBarrier();
  var token = min(atomicLoad(&bestAt), p.width - 1u);`;

/** The key of the k-th highest logit into `floor_`. */
const kthHighest = (lanes: number): string => `
  if (lane == 0u) { cut = vec2u(0u, p.topK); }
  for (var shift = 24u; ; shift -= 8u) {
    clearBins(lane);
    workgroupBarrier();
    let prefix = cut.x;
    let known = select(0xffffffffu << (shift + 8u), 0u, shift == 24u);
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let key = keyOf(logits(first + i));
      if ((key & known) == prefix) { atomicAdd(&low[(key >> shift) & 255u], 1u); }
    }
    workgroupBarrier();
    if (lane == 0u) {
      var left = cut.y;
      var b = 255u;
      for (; b > 0u; b--) {
        let here = atomicLoad(&low[b]);
        if (left <= here) { break; }
        left -= here;
      }
      cut = vec2u(prefix | (b << shift), left);
    }
    workgroupBarrier();
    if (shift == 0u) { break; }
  }
  floor_ = cut.x;
  workgroupBarrier();`;

/** Sums what `mass` of each kept logit gives into `total`. */
const summed = (lanes: number, keep: string, mass: string): string => `
  if (lane == 0u) { atomicStore(&low[0], 0u); atomicStore(&high[0], 0u); }
  workgroupBarrier();
  {
    var sum = vec2u(0u);
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let x = logits(first + i);
      if (${keep}) { sum = add64(sum, vec2u(${mass}, 0u)); }
    }
    addTo(0u, sum);
  }
  workgroupBarrier();
  let all = binOf(0u);
  workgroupBarrier();`;

/**
 * The key below which probabilities add up to at most 1 - topP into `floor_`; `skip`: how many
 * that equal it are left out, too, the first ones.
 */
const nucleus = (lanes: number): string => `{
  ${summed(lanes, 'keyOf(x) >= floor_', 'massOf(x, top)')}
  // What may be left out: all (1 - topP).
  if (lane == 0u) { cut.x = 0u; rest = add64(vec2u(p.leftOut * all.y, mulHigh(p.leftOut, all.y)), vec2u(mulHigh(p.leftOut, all.x), 0u)); }
  for (var shift = 24u; ; shift -= 8u) {
    clearBins(lane);
    workgroupBarrier();
    let prefix = cut.x;
    let known = select(0xffffffffu << (shift + 8u), 0u, shift == 24u);
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let x = logits(first + i);
      let key = keyOf(x);
      if (key >= floor_ && (key & known) == prefix) { addTo((key >> shift) & 255u, vec2u(massOf(x, top), 0u)); }
    }
    workgroupBarrier();
    if (lane == 0u) {
      var left = rest;
      var b = 0u;
      for (; b < 255u; b++) {
        let here = binOf(b);
        if (less64(left, here)) { break; }
        left = sub64(left, here);
      }
      rest = left;
      cut.x = prefix | (b << shift);
    }
    workgroupBarrier();
    if (shift == 0u) { break; }
  }
  floor_ = cut.x;
  skip = divide64(rest, max(massOf(logitOf(floor_), top), 1u));
  workgroupBarrier();
  }`;

/**
 * Draws by integer probabilities: each lane adds up a piece of neighbouring tokens, one finds the
 * piece, and its lane the token.
 */
const drawn = (lanes: number, { minP }: Form): string => `
  let perLane = (p.width + ${lanes - 1}u) / ${lanes}u;
  let begin = min(lane * perLane, p.width);
  let end = min(begin + perLane, p.width);
  ${minP ? 'let tie = select(0u, massOf(logitOf(floor_), top), (logitOf(floor_) - top) / p.temperature >= p.logMinP);' : 'let tie = massOf(logitOf(floor_), top);'}
  var sum = vec2u(0u);
  var equals = 0u;
  for (var i = begin; i < end; i++) {
    let x = logits(first + i);
    let key = keyOf(x);
    if (key == floor_) { equals++; }
    else if (key > floor_${minP ? ' && (x - top) / p.temperature >= p.logMinP' : ''}) { sum = add64(sum, vec2u(massOf(x, top), 0u)); }
  }
  mass_[lane] = sum;
  ties[lane] = equals;
  workgroupBarrier();
  if (lane == 0u) {
    var kept = vec2u(0u);
    var seen = 0u;
    for (var l = 0u; l < ${lanes}u; l++) {
      let before = max(seen, skip);
      seen += ties[l];
      let count = max(seen, before) - before;
      mass_[l] = add64(mass_[l], vec2u(tie * count, mulHigh(tie, count)));
      kept = add64(kept, mass_[l]);
    }
    let words = philox(vec4u(draw >> 2u, 0u, stream, 0u), vec2u(p.seed, p.seedHigh));
    let n = words[draw & 3u] >> 8u;
    // floor(n kept / 2^24): the uniform number times all.
    let low_ = vec2u(n * kept.x, mulHigh(n, kept.x));
    let high_ = add64(vec2u(n * kept.y, mulHigh(n, kept.y)), vec2u(low_.y, 0u));
    let target_ = vec2u((low_.x >> 24u) | (high_.x << 8u), (high_.x >> 24u) | (high_.y << 8u));
    var sum_ = vec2u(0u);
    seen = 0u;
    var l = 0u;
    for (; l < ${lanes - 1}u; l++) {
      let next_ = add64(sum_, mass_[l]);
      if (less64(target_, next_)) { break; }
      sum_ = next_;
      seen += ties[l];
    }
    piece = l;
    tied = seen;
    passed = sub64(target_, sum_);
  }
  workgroupBarrier();
  if (lane == piece) {
    var left = passed;
    var seen = tied;
    for (var i = begin; i < end; i++) {
      let x = logits(first + i);
      let key = keyOf(x);
      var mass = 0u;
      if (key == floor_) { if (seen >= skip) { mass = tie; } seen++; }
      else if (key > floor_${minP ? ' && (x - top) / p.temperature >= p.logMinP' : ''}) { mass = massOf(x, top); }
      if (less64(left, vec2u(mass, 0u))) { token = i; break; }
      left = sub64(left, vec2u(mass, 0u));
    }
    tied = token;
  }
  workgroupBarrier();
  token = tied;`;

const body = (lanes: number, form: Form): string => `  if (group >= p.rows) { return; }
${likeliest(lanes)}
${
  form.sampled
    ? `  var floor_ = 0u;
  ${form.topP ? 'var' : 'let'} skip = 0u;
  let stream = u32(streams(2u * group));
  let draw = u32(i32(p.draw) - streams(2u * group + 1u));
${form.topK ? `  if (p.topK < p.width) {${kthHighest(lanes)}\n  }` : ''}
${form.topP ? nucleus(lanes) : ''}
${drawn(lanes, form)}`
    : ''
}
  let at_ = 2u * (group * p.slots + p.slot);
  var logProb = 0.0;
${
  form.logProbs
    ? `{${summed(lanes, 'true', 'fixedExp(x - top)')}
  logProb = logits(first + token) - top - log(f32(all.y) * 4.0 + f32(all.x) * 9.3132257461547852e-10);
  }`
    : ''
}
  if (lane == 0u) {
    let wrong = atomicLoad(&faulty) == 1u;
    next[group] = select(i32(token), 0, wrong);
    report[at_] = select(f32(token), -1.0, wrong);
    report[at_ + 1u] = select(logProb, 0.0, wrong);
  }`;

export const chooseTokensKernel = defineKernel({
  op: 'chooseTokens',
  plan: (call, facts) => {
    const [logits, streams] = call.inputs;
    const [next, report] = call.outputs;
    const attrs = call.attrs as ops.ChooseTokensAttrs;
    const [rows, width] = logits!.shape as [number, number];
    const form: Form = {
      sampled: attrs.doSample,
      topK: attrs.topK > 0,
      topP: attrs.topP < 1,
      minP: attrs.minP > 0,
      logProbs: attrs.logProbs,
    };
    const used = form.sampled
      ? Object.entries(form).filter(([, on]) => on)
      : [['logProbs', form.logProbs] as const].filter(([, on]) => on);
    const lanes = lanesOf(facts);
    return [
      stage({
        key: ['chooseTokens', lanes, ...used.map(([name]) => name), logits!.dtype].join(':'),
        reads: { logits: logits!, streams: streams! },
        writes: { next: next!, report: report! },
        params: {
          rows: u32(rows),
          width: u32(width),
          slots: u32(report!.shape[1]!),
          slot: u32(attrs.slot, 'slot'),
          draw: u32(attrs.draw, 'draw'),
          seed: u32(attrs.seed % 2 ** 32),
          seedHigh: u32(Math.floor(attrs.seed / 2 ** 32)),
          // In the range of float32: colder is the likeliest alone, hotter all alike.
          temperature: f32(Math.min(Math.max(attrs.temperature, 1e-30), 1e30)),
          topK: u32(Math.min(attrs.topK, width)),
          leftOut: u32(Math.min(Math.round((1 - attrs.topP) * 2 ** 32), 2 ** 32 - 1)),
          logMinP: f32(Math.log(attrs.minP)),
        },
        workgroup: lanes,
        declarations: () => declarations(lanes),
        body: () => body(lanes, form),
        grid: grid1d(rows, 1),
      }),
    ];
  },
});
