const digitsOf = (text: string): number[] =>
  [...text].flatMap((c) => (c >= '0' && c <= '9' ? [Number(c)] : []));

/** Luhn's sum (ISO/IEC 7812-1): from the right, every second digit doubled; a multiple of 10. */
export function isLuhn(text: string): boolean {
  let sum = 0;
  let isDoubled = false;
  for (let i = text.length - 1; i >= 0; i--) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) continue;
    const value = isDoubled ? 2 * digit : digit;
    sum += value > 9 ? value - 9 : value;
    isDoubled = !isDoubled;
  }
  return sum % 10 === 0;
}

/** ISO 7064 mod 97-10, as ISO 13616 has it for IBANs: the first four characters go to the end. */
export function isMod97(iban: string): boolean {
  let rest = 0;
  for (const c of iban.slice(4) + iban.slice(0, 4)) {
    const value = c >= 'A' ? c.charCodeAt(0) - 55 : Number(c);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}

/** The sum of digits times weights. */
const weighted = (digits: readonly number[], weights: readonly number[]): number =>
  weights.reduce((sum, weight, i) => sum + weight * (digits[i] ?? 0), 0);

/** Resident identity card of China (GB 11643): ISO 7064 mod 11-2 over 17 digits, X for 10. */
export function isChineseId(id: string): boolean {
  const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
  const check = '10X98765432'[weighted(digitsOf(id.slice(0, 17)), weights) % 11];
  return check === id.at(-1)!.toUpperCase() && isDate(id.slice(6, 14));
}

/** CPF of Brazil: two check digits, mod 11; eleven equal digits are none. */
export function isCpf(text: string): boolean {
  const digits = digitsOf(text);
  if (digits.length !== 11 || digits.every((digit) => digit === digits[0])) return false;
  const check = (length: number): number => {
    const sum = digits.slice(0, length).reduce((total, d, i) => total + d * (length + 1 - i), 0);
    return ((sum * 10) % 11) % 10;
  };
  return check(9) === digits[9] && check(10) === digits[10];
}

/** DNI and NIE of Spain: the number mod 23 gives the letter; X, Y, Z stand for 0, 1, 2. */
export function isSpanishId(text: string): boolean {
  const id = text.toUpperCase().replaceAll('-', '');
  const number = Number(id.slice(0, -1).replace(/^[XYZ]/, (c) => String('XYZ'.indexOf(c))));
  return 'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23] === id.at(-1);
}

/** NIR of France: 97 minus the first 13 digits mod 97; 2A and 2B of Corsica stand for 19 and 18. */
export function isFrenchNir(text: string): boolean {
  const id = text.replaceAll(' ', '').toUpperCase();
  const body = id.slice(0, 13).replace('2A', '19').replace('2B', '18');
  return /^\d{13}$/.test(body) && 97 - Number(BigInt(body) % 97n) === Number(id.slice(13));
}

/** Codice fiscale of Italy: odd and even places by two tables, mod 26 gives the last letter. */
export function isCodiceFiscale(text: string): boolean {
  const odd = [
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
  ];
  const code = text.toUpperCase();
  const sum = [...code.slice(0, 15)].reduce((total, c, i) => {
    const value = c >= 'A' ? c.charCodeAt(0) - 65 : Number(c);
    return total + (i % 2 === 0 ? odd[value]! : value);
  }, 0);
  return String.fromCharCode(65 + (sum % 26)) === code[15];
}

/** PESEL of Poland: weights 1 3 7 9, mod 10, and a date whose month tells the century. */
export function isPesel(text: string): boolean {
  const digits = digitsOf(text);
  const weights = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3];
  if ((10 - (weighted(digits, weights) % 10)) % 10 !== digits[10]) return false;
  const month = Number(text.slice(2, 4)) % 20;
  const day = Number(text.slice(4, 6));
  return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/** Steuer-IdNr of Germany: ISO 7064 mod 11,10; one digit of the first ten comes twice or more. */
export function isGermanTaxId(text: string): boolean {
  const digits = digitsOf(text);
  if (digits.length !== 11 || digits[0] === 0) return false;
  const distinct = new Set(digits.slice(0, 10)).size;
  if (distinct !== 9 && distinct !== 8) return false;
  let product = 10;
  for (const digit of digits.slice(0, 10)) {
    const sum = (digit + product) % 10 || 10;
    product = (2 * sum) % 11;
  }
  return (11 - product) % 10 === digits[10];
}

/** BSN of the Netherlands: weights 9 to 2 and -1, a multiple of 11. */
export function isBsn(text: string): boolean {
  const digits = digitsOf(text);
  const sum = weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2, -1]);
  return digits.length === 9 && sum !== 0 && sum % 11 === 0;
}

/** Verhoeff's dihedral check, as Aadhaar of India has it. */
export function isVerhoeff(text: string): boolean {
  const turn = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
  let row = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  let check = 0;
  for (const digit of digitsOf(text).toReversed()) {
    check = dihedral(check, row[digit]!);
    row = row.map((_, i) => row[turn[i]!]!);
  }
  return check === 0;
}

/** The product of the group of the pentagon's symmetries: 0 to 4 turn it, 5 to 9 mirror it. */
function dihedral(a: number, b: number): number {
  if (a < 5) return b < 5 ? (a + b) % 5 : 5 + ((a + b) % 5);
  return b < 5 ? 5 + ((a - b + 5) % 5) : (a - b + 5) % 5;
}

/** YYYYMMDD between 1900 and 2099. */
function isDate(text: string): boolean {
  const [year, month, day] = [text.slice(0, 4), text.slice(4, 6), text.slice(6, 8)].map(Number);
  if (year! < 1900 || year! > 2099) return false;
  const date = new Date(Date.UTC(year!, month! - 1, day!));
  return date.getUTCMonth() === month! - 1 && date.getUTCDate() === day!;
}
