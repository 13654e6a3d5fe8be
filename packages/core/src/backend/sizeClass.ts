/**
 * Size classes of pooled memory: multiples of 256 bytes up to 64 KiB, then eight per power of two.
 * Fine enough to waste at most an eighth, coarse enough that neighbouring lengths share buffers.
 */
export function sizeClass(bytes: number): number {
  const step = bytes <= 65536 ? 256 : 2 ** Math.floor(Math.log2(bytes - 1)) / 8;
  return Math.ceil(bytes / step) * step;
}
