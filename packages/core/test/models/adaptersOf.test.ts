import { type AdapterService, createAttune, definePlugin, TOKENS } from '@attune/core';
import { adaptersOf } from '@attune/core/models';
import { expect, test } from 'vitest';

test('core alone says what brings adapters', async () => {
  await using attune = await createAttune({ backend: 'reference' });
  expect(() => adaptersOf(attune, '"base+adapter" was given')).toThrow(
    /PEFT_MISSING: "base\+adapter" was given, but no plugin adds adapters\.[\s\S]*npm install @attune\/peft/,
  );
});

test('a plugin may bring its own', async () => {
  const own = {} as AdapterService;
  const plugin = definePlugin({
    name: 'adapters',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.provide(TOKENS.AdapterService, own),
  });
  await using attune = await createAttune({ backend: 'reference', plugins: [plugin] });
  expect(adaptersOf(attune, 'a reference was given')).toBe(own);
});
