import { rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { contents, encodings, expectRefusal, notFiles } from '../../core/test/hostile/cases.js';
import { fixture } from '../../core/test/models/support.js';
import { inspect } from '../src/inspect.js';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'attune-test-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('the file of a template for attune inspect', () => {
  for (const [name, put, says] of [
    ...notFiles,
    ...encodings.map(([n, bytes, s]) => [n, contents(bytes), s] as const),
  ])
    test(name, async () => {
      const folder = await mkdtemp(join(root, 'case-'));
      const path = join(folder, 'template.jinja');
      await put(path);
      const rows = join(folder, 'rows.jsonl');
      writeFileSync(rows, '{"text":"a"}\n');
      const run = () =>
        inspect(
          ['--model', fixture('tokenizers/bpe-llama3'), '--data', rows, '--chat-template', path],
          { out: () => {}, err: () => {} } as never,
        );
      await expectRefusal(run, path, /^CLI_ARGUMENTS$/, says);
    });
});
