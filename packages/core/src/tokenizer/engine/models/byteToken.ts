/** The token of a byte that no other token spells: "<0xE2>". */
export const byteToken = (byte: number): string =>
  `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
