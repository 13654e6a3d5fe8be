/**
 * The error function to 1e-15, by its series for small |x| and its continued fraction beyond.
 * Only the float64 reference uses it; kernels use a float32 polynomial.
 */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    // erf x = 2/sqrt(pi) * sum (-1)^n x^(2n+1) / (n! (2n+1)), summed as x e^{-x^2} sum
    // (2x^2)^n/(2n+1)!!
    let term = a;
    let total = a;
    for (let n = 1; n < 200 && term > total * 1e-17; n++) {
      term *= (2 * a * a) / (2 * n + 1);
      total += term;
    }
    return (Math.sign(x) * 2 * total * Math.exp(-a * a)) / Math.sqrt(Math.PI);
  }
  // erfc x = e^{-x^2} / sqrt(pi) * 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...))))
  let fraction = a;
  for (let n = 60; n >= 1; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * fraction));
}
