import { AttuneError, Backends, definePlugin } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { expect, test } from 'vitest';
import { openForModels } from '../src/openAttune.js';

const acme = definePlugin({
  name: 'acme',
  version: '1.0.0',
  apiVersion: 1,
  register: (context) => context.add(Backends, { name: 'acme', create: async () => device }),
});
const device = Object.assign(new ReferenceBackend(), { name: 'acme' });

test('models run on the device; where there is none on the processor, with a warning', async () => {
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  await using onDevice = await openForModels([], warn, async () => acme);
  expect(onDevice.backend).toBe(device);
  expect(warnings).toEqual([]);
  const missing = Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' });
  const noAdapter = new AttuneError('NO_ADAPTER', 'there is no GPU.', { remedy: 'Install one.' });
  for (const [error, said] of [
    [missing, 'backend-dawn is not installed'],
    [noAdapter, 'there is no GPU'],
  ] as const) {
    await using onProcessor = await openForModels([], warn, () => Promise.reject(error));
    expect(onProcessor.backend).toBeInstanceOf(ReferenceBackend);
    expect(warnings.pop()).toMatch(said);
  }
  await expect(openForModels([], warn, () => Promise.reject(new Error('other')))).rejects.toThrow(
    'other',
  );
});
