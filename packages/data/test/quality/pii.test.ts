import { findPii, redactPii } from '@attune/data';
import { describe, expect, test } from 'vitest';

const found = (text: string): string[] =>
  findPii(text).map(
    ({ kind, start, end, isReserved }) =>
      `${kind} ${text.slice(start, end)}${isReserved ? ' (reserved)' : ''}`,
  );

describe('personal data', () => {
  test.each([
    ['email', 'Write to anna.lee+x@firma-berlin.de, please.', 'anna.lee+x@firma-berlin.de'],
    ['email', '<o’x> mailto:jo_1@mail.acme.co.uk.', 'jo_1@mail.acme.co.uk'],
    ['phone', 'Call +49 30 901820 now', '+49 30 901820'],
    ['phone', 'Call +14155552671!', '+14155552671'],
    ['phone', 'Office: (415) 867-5309', '(415) 867-5309'],
    ['phone', 'ring 415-867-5309', '415-867-5309'],
    ['phone', 'Tél. 01 42 68 53 00', '01 42 68 53 00'],
    ['phone', 'my mobile is 07911 123456', '07911 123456'],
    ['phone', '电话：13812345678', '13812345678'],
    ['phone', '携帯 090-1234-5678', '090-1234-5678'],
    ['iban', 'IBAN DE89 3704 0044 0532 0130 00.', 'DE89 3704 0044 0532 0130 00'],
    ['iban', 'GB29NWBK60161331926819', 'GB29NWBK60161331926819'],
    ['credit-card', 'card 4111 1111 1111 1111, 12/27', '4111 1111 1111 1111'],
    ['credit-card', '5555555555554444', '5555555555554444'],
    ['credit-card', 'Amex 3782 822463 10005', '3782 822463 10005'],
    ['ssn', 'SSN 536-22-8726', '536-22-8726'],
    ['ssn', 'my social security number is 536228726', '536228726'],
    ['email', 'jo@müller.de, please', 'jo@müller.de'],
    ['ip-address', 'http://93.184.216.34:80/', '93.184.216.34'],
    ['national-id', '身份证 11010519491231002X', '11010519491231002X'],
    ['national-id', 'CPF 529.982.247-25', '529.982.247-25'],
    ['national-id', 'DNI 12345678Z', '12345678Z'],
    ['national-id', 'NIE X1234567L', 'X1234567L'],
    ['national-id', 'RSSMRA85T10A562S', 'RSSMRA85T10A562S'],
    ['national-id', 'NIR 2 55 08 14 168 025 38', '2 55 08 14 168 025 38'],
    ['national-id', 'PESEL 44051401359', '44051401359'],
    ['national-id', 'Steuer-ID: 86 095 742 719', '86 095 742 719'],
    ['national-id', 'BSN 111222333', '111222333'],
    ['national-id', 'Aadhaar 2341 2341 2346', '2341 2341 2346'],
    ['national-id', 'My SIN is 130 692 544', '130 692 544'],
    ['national-id', 'national insurance number AB 12 34 56 C', 'AB 12 34 56 C'],
    ['api-key', 'AKIAQ3EGRXZ4TLMNVW5P', 'AKIAQ3EGRXZ4TLMNVW5P'],
    [
      'api-key',
      'ghp_a8Kd73hfLqPz0sWm4NcVx62TbYeRgUjI1oB9',
      'ghp_a8Kd73hfLqPz0sWm4NcVx62TbYeRgUjI1oB9',
    ],
    ['api-key', 'key sk-proj-a8Kd73hfLqPz0sWm4NcVx62T', 'sk-proj-a8Kd73hfLqPz0sWm4NcVx62T'],
    ['api-key', ['xoxb', '2938471625', '8K2jdm3nQpLs'].join('-'), 'xoxb-2938471625-8K2jdm3nQpLs'],
    ['ip-address', 'from 93.184.216.34 port 22', '93.184.216.34'],
    ['ip-address', 'at 2606:2800:220:1:248:1893:25c8:1946', '2606:2800:220:1:248:1893:25c8:1946'],
    ['mac-address', 'ether 3c:22:fb:9a:01:7e', '3c:22:fb:9a:01:7e'],
  ])('%s: %s', (kind, text, part) => {
    expect(found(text)).toEqual([`${kind} ${part}`]);
  });

  test('a private key, but not a word about one', () => {
    const body = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ'.repeat(4);
    const key = `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----`;
    expect(found(`a ${key} b`)).toEqual([`api-key ${key}`]);
    expect(found('grep -r "BEGIN PRIVATE KEY" .')).toEqual([]);
    expect(found('-----BEGIN PRIVATE KEY-----')).toEqual([
      'api-key -----BEGIN PRIVATE KEY----- (reserved)',
    ]);
  });

  test.each([
    'user@host, a@b, @name, @media, x@y.z1',
    'git log --since=2024-01-02 12:34:56',
    'foo==1.2.3.4, section 1.2.3.4, build 10.0.19041.1',
    'the code 12345678Z',
    '536228726',
    'version 1.2.3.4, 300.1.2.3, 1.2.3.4.5',
    'std::vector and a::b, 12:34:56',
    '4111 1111 1111 1112 and 1234567812345678',
    'DE89 3704 0044 0532 0130 01 and AA12 3456',
    '000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000',
    '11010519491231002Y 11010519491331002X',
    'CPF 529.982.247-26 and 111.111.111-11',
    'DNI 12345678A',
    'BSN 111222334, and 111222333 things',
    'PESEL 44051401358',
    'Aadhaar 2341 2341 2347, and 2341 2341 2346 apples',
    'sk-learn, sk-short, ghp_tooshort, AKIA123',
    'tail -n +347340107 file; find . -size +200557600c',
    '3.14159265358979 and 0.4111111111111111',
    '1,234,567,890 dollars; 2024-11-29; 12/11/2024',
    '48/2=24 and 5 + 12 = 17; 555 123 4567 89',
    '123-456-789 and 2023-2024-2025',
    '00:11:22:33:44 and 00:11:22:33:44:55:66',
    'a8098c1a-f86e-11da-bd1a-00112444be1e',
    '01.02.2024 um 14.30 Uhr; 0800 ist frei',
  ])('nothing personal in %s', (text) => {
    expect(found(text)).toEqual([]);
  });

  test.each([
    ['jo@example.com', 'email jo@example.com (reserved)'],
    ['git@github.com:a/b.git', 'email git@github.com (reserved)'],
    ['noreply@acme.io', 'email noreply@acme.io (reserved)'],
    ['192.168.1.10', 'ip-address 192.168.1.10 (reserved)'],
    ['8.8.8.8', 'ip-address 8.8.8.8 (reserved)'],
    ['::1', 'ip-address ::1 (reserved)'],
    ['ff:ff:ff:ff:ff:ff', 'mac-address ff:ff:ff:ff:ff:ff (reserved)'],
    ['1-800-273-8255', 'phone 1-800-273-8255 (reserved)'],
    ['(212) 555-0123', 'phone (212) 555-0123 (reserved)'],
    ['078-05-1120', 'ssn 078-05-1120 (reserved)'],
    ['AKIAIOSFODNN7EXAMPLE', 'api-key AKIAIOSFODNN7EXAMPLE (reserved)'],
    ['sk-xxxxxxxxxxxxxxxxxxxxxxxx', 'api-key sk-xxxxxxxxxxxxxxxxxxxxxxxx (reserved)'],
  ])('%s is nobody’s', (text, expected) => {
    expect(found(text)).toEqual([expected]);
  });

  test('redaction replaces each by its kind, from left to right', () => {
    expect(
      redactPii('Jo (jo@acme.io, +49 30 901820) pays with 4111 1111 1111 1111 from 10.0.0.1.'),
    ).toBe('Jo ([EMAIL], [PHONE]) pays with [CREDIT_CARD] from [IP_ADDRESS].');
    expect(redactPii('jo@acme.io 4111111111111111', ['email'])).toBe('[EMAIL] 4111111111111111');
    expect(redactPii('nothing')).toBe('nothing');
  });
});

test('long lines of the worst kind cost no more than their length', () => {
  const size = 200_000;
  const fill = (unit: string) => unit.repeat(Math.ceil(size / unit.length)).slice(0, size);
  const slow: string[] = [];
  for (const unit of [
    'a',
    '1',
    '@',
    'a@',
    'a.',
    '1.',
    '1 ',
    '-',
    '+1',
    '(',
    'AA11',
    'AA11 ',
    ':',
    'a:',
    '1-',
    '0 ',
    'sk-',
    'eyJa',
    'ghp_',
    '4111 ',
    '12:',
    'Z',
    '００',
    '-----BEGIN PRIVATE KEY-----',
    'a@b.co ',
    '2341 2341 ',
  ])
    for (const kind of [
      'email',
      'phone',
      'iban',
      'credit-card',
      'ssn',
      'national-id',
      'api-key',
      'ip-address',
      'mac-address',
    ] as const) {
      const text = fill(unit);
      const begun = performance.now();
      findPii(text, [kind]);
      const took = performance.now() - begun;
      if (took > 1000) slow.push(`${kind} on "${unit}": ${Math.round(took)} ms`);
    }
  expect(slow).toEqual([]);
});
