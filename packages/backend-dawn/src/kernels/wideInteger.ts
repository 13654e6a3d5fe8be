/**
 * Integers of 64 bits as vec2u(low, high). `divide64(a, b)`: floor(a / b) where that is below 2^24.
 * They need `mulHigh`, which is with Philox.
 */
export const add64 = `
fn add64(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}
fn sub64(a: vec2u, b: vec2u) -> vec2u { return vec2u(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x)); }
fn less64(a: vec2u, b: vec2u) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }
fn divide64(a: vec2u, b: u32) -> u32 {
  var left = a;
  var quotient = 0u;
  for (var bit = 24u; bit > 0u; ) {
    bit--;
    let part = vec2u(b << bit, select(b >> ((32u - bit) & 31u), 0u, bit == 0u));
    if (!less64(left, part)) { left = sub64(left, part); quotient |= 1u << bit; }
  }
  return quotient;
}`;

/**
 * 2^30 e^d for d <= 0 as an integer, rounded. It is made by multiplying and adding alone (the
 * polynomial is that of Cephes' expf): `exp` differs from driver to driver, and is loose in some.
 */
export const fixedExp = `
fn fixedExp(d: f32) -> u32 {
  let k = round(d * 1.44269504);
  if (!(k > -32.0)) { return 0u; }
  let r = fma(k, 2.12194440e-4, fma(k, -0.693359375, d));
  var y = 1.9875691500e-4;
  y = fma(y, r, 1.3981999507e-3);
  y = fma(y, r, 8.3334519073e-3);
  y = fma(y, r, 4.1665795894e-2);
  y = fma(y, r, 1.6666665459e-1);
  y = fma(y, r, 5.0000001201e-1);
  y = fma(y, r * r, r) + 1.0;
  let whole = u32(min(y, 1.5) * 1073741824.0);
  let shift = u32(-min(k, 0.0));
  return (whole >> shift) + select(0u, (whole >> ((shift - 1u) & 31u)) & 1u, shift > 0u);
}`;

/**
 * `keyOf` gives numbers as integers in the same order, equal ones the same (-0 as 0); `logitOf` is
 * its inverse.
 */
export const logitKeys = `
fn keyOf(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) == 0u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn logitOf(key: u32) -> f32 { return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u)); }`;
