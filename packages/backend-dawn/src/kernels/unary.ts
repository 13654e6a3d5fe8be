import { defineKernel, type Kernel } from './kernel.js';
import { isVec4, pointwise } from './pointwise.js';
import { named } from './stage.js';

const erfDeclaration = `
fn erf_(x: T) -> T {
  // erfcc of Numerical Recipes (Press et al.), 1.2e-7 at worst; Abramowitz and Stegun 7.1.26 is too
  // coarse.
  let a = abs(x);
  let t = T(1.0) / (T(1.0) + T(0.5) * a);
  let poly = T(-1.26551223) + t * (T(1.00002368) + t * (T(0.37409196) + t * (T(0.09678418) + t * (T(-0.18628806)
    + t * (T(0.27886807) + t * (T(-1.13520398) + t * (T(1.48851587) + t * (T(-0.82215223) + t * T(0.17087277)))))))));
  let r = T(1.0) - t * exp(-a * a + poly);
  return select(-r, r, x >= T(0.0));
}`;
export const sigmoidDeclaration = 'fn sigmoid_(x: T) -> T { return T(1.0) / (T(1.0) + exp(-x)); }';
// tanh overflows in some drivers for large arguments. Not clamp: it may turn NaN into a number.
const tanhDeclaration =
  'fn tanh_(x: T) -> T { return select(tanh(x), sign(x), abs(x) > T(15.0)); }';
const tanhInner = 'T(0.7978845608028654) * (x + T(0.044715) * x * x * x)';

/** Functions of one number: op name -> [expression in x, declarations it needs] */
export const unaryExpressions: Readonly<Record<string, readonly [string, string?]>> = {
  exp: ['exp(x)'],
  log: ['log(x)'],
  sqrt: ['sqrt(x)'],
  rsqrt: ['inverseSqrt(x)'],
  square: ['x * x'],
  abs: ['abs(x)'],
  sign: ['sign(x)'],
  sin: ['sin(x)'],
  cos: ['cos(x)'],
  tanh: ['tanh_(x)', tanhDeclaration],
  sigmoid: ['sigmoid_(x)', sigmoidDeclaration],
  logSigmoid: ['min(x, T(0.0)) - log(T(1.0) + exp(-abs(x)))'],
  // Not max: it may turn NaN into 0, and a broken step would look sound.
  relu: ['select(x, T(0.0), x < T(0.0))'],
  silu: ['x * sigmoid_(x)', sigmoidDeclaration],
  siluGrad: ['sigmoid_(x) * (T(1.0) + x * (T(1.0) - sigmoid_(x)))', sigmoidDeclaration],
  gelu: ['T(0.5) * x * (T(1.0) + erf_(x * T(0.7071067811865476)))', erfDeclaration],
  geluGrad: [
    'T(0.5) * (T(1.0) + erf_(x * T(0.7071067811865476))) + x * exp(T(-0.5) * x * x) * T(0.3989422804014327)',
    erfDeclaration,
  ],
  geluTanh: [`T(0.5) * x * (T(1.0) + tanh_(${tanhInner}))`, tanhDeclaration],
  geluTanhGrad: [
    `T(0.5) * (T(1.0) + tanh_(${tanhInner})) + T(0.5) * x * (T(1.0) - tanh_(${tanhInner}) * tanh_(${tanhInner})) * T(0.7978845608028654) * (T(1.0) + T(0.134145) * x * x)`,
    tanhDeclaration,
  ],
};

export const unaryKernels: readonly Kernel[] = Object.entries(unaryExpressions).map(
  ([op, [expression, helpers = '']]) =>
    defineKernel({
      op,
      plan: (call) =>
        pointwise(call, op, {
          vec4: isVec4(call),
          reads: named(call.inputs, 'input'),
          declarations: `${helpers}\nfn value(i: u32) -> T { let x = T(input(i)); return ${expression}; }`,
        }),
    }),
);
