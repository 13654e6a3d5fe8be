import { readFile } from 'node:fs/promises';
import { convertRow, unpairRow } from '@attune/data';
import { describe, expect, test } from 'vitest';

interface Case {
  readonly row: Record<string, unknown>;
  readonly output: never;
}

const fixture = JSON.parse(
  await readFile(new URL('../fixtures/formats.json', import.meta.url), 'utf8'),
) as Record<'chatml' | 'prompts' | 'unpaired', readonly Case[]>;

type Turn = { role: string };

describe('formats as TRL converts them', () => {
  test.each(fixture.chatml)(
    'maybe_convert_to_chatml, and its roles mapped %#',
    ({ row, output }) => {
      const { messages, ...rest } = output as { messages: Turn[] };
      const roles: Record<string, string> = { human: 'user', gpt: 'assistant' };
      const mapped = messages.map((turn) => ({ ...turn, role: roles[turn.role] ?? turn.role }));
      expect(convertRow(row, 'messages')).toEqual({ messages: mapped, ...rest });
    },
  );

  test.each(fixture.prompts)('extract_prompt %#', ({ row, output }) => {
    expect(convertRow(row, 'preference')).toEqual(output);
  });

  test.each(fixture.unpaired)('unpair_preference_dataset %#', ({ row, output }) => {
    expect(unpairRow(row)).toEqual(output);
  });
});
