import { AttuneError } from '@attune/core';
import { nearest } from '@attune/core/util';
import { describe, expect, it } from 'vitest';

describe('AttuneError', () => {
  it('says the code, what is wrong and what to do, and keeps the cause', () => {
    const cause = new Error('disk full');
    const error = new AttuneError('WRITE_FAILED', 'model.safetensors was not written.', {
      remedy: 'Free some space.',
      details: { bytes: 12 },
      cause,
    });
    expect(error.message).toBe(
      'WRITE_FAILED: model.safetensors was not written.\n  Fix: Free some space.',
    );
    expect(error).toMatchObject({ code: 'WRITE_FAILED', remedy: 'Free some space.', cause });
    expect(error.details).toEqual({ bytes: 12 });
  });

  it('is known across two copies of the package', () => {
    const fromAnotherCopy = Object.assign(new Error('X'), { [Symbol.for('attune.error')]: true });
    expect(AttuneError.isInstance(fromAnotherCopy)).toBe(true);
    expect(AttuneError.isInstance(new AttuneError('X', 'x'))).toBe(true);
    for (const other of [new Error('X'), null, undefined, 'X']) {
      expect(AttuneError.isInstance(other)).toBe(false);
    }
  });
});

describe('nearest', () => {
  const known = ['q_proj', 'k_proj', 'down_proj'];
  it('finds a misspelling', () => {
    expect(nearest('qproj', known)).toBe('q_proj');
    expect(nearest('DOWN_PORJ', known)).toBe('down_proj');
  });
  it('stays silent where nothing is near', () => {
    expect(nearest('embedding_table', known)).toBeUndefined();
    expect(nearest('x', [])).toBeUndefined();
  });
});
