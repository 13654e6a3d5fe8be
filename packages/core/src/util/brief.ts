/** A number for people to read: at most five significant digits. */
export const brief = (value: number): string =>
  Number.isFinite(value) ? String(Number(value.toPrecision(5))) : String(value);
