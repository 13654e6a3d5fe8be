import { Engine, type Tensor } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { beforeEach, describe, expect, it } from 'vitest';

let backend: ReferenceBackend;
let engine: Engine;
beforeEach(() => {
  backend = new ReferenceBackend();
  engine = new Engine(backend);
});

describe('scope', () => {
  it('disposes what was made in it and gives all memory back', () => {
    const inside: Tensor[] = [];
    engine.scope('work', () => {
      inside.push(engine.ones([3]));
      inside.push(inside[0]!.add(1).reshape(1, 3).exp());
    });
    expect(inside.every((t) => t.isDisposed)).toBe(true);
    expect(engine.liveTensors).toBe(0);
    expect(backend.stats.liveBytes).toBe(0);
  });

  it('keeps what is returned: alone, in arrays, maps and plain objects', async () => {
    const make = (n: number) => engine.full([1], n);
    const result = engine.scope('work', () => ({
      list: [make(1), [make(2)]],
      map: new Map([['a', make(3)]]),
      nested: { deep: make(4) },
      other: 'text',
    }));
    const kept = [
      result.list[0] as Tensor,
      (result.list[1] as Tensor[])[0]!,
      result.map.get('a')!,
      result.nested.deep,
    ];
    expect(await Promise.all(kept.map((t) => t.item()))).toEqual([1, 2, 3, 4]);
    expect(kept.every((t) => t.scope === engine.currentScope)).toBe(true);
  });

  it('a returned tensor belongs to the enclosing scope and dies with it', () => {
    let inner: Tensor | undefined;
    engine.scope('outer', () => {
      inner = engine.scope('inner', () => engine.ones([2]));
      expect(inner.isDisposed).toBe(false);
    });
    expect(inner!.isDisposed).toBe(true);
  });

  it('leaves tensors of outer scopes alone, returned or not', () => {
    const outer = engine.ones([2]);
    engine.scope('work', () => [outer]);
    engine.scope('work', () => void outer.add(1));
    expect(outer.isDisposed).toBe(false);
    expect(engine.liveTensors).toBe(1);
  });

  it('keep() takes a tensor out of every scope', () => {
    const kept = engine.scope('work', () => {
      const t = engine.keep(engine.ones([2]));
      return () => t;
    })();
    expect(kept.isDisposed).toBe(false);
    expect(engine.liveTensors).toBe(0);
    kept.dispose();
    expect(backend.stats.liveBytes).toBe(0);
  });

  it('use after dispose names the scopes of birth and death', () => {
    let lost: Tensor | undefined;
    engine.scope('step', () =>
      engine.scope('loss', () => {
        lost = engine.ones([2, 3]);
      }),
    );
    expect(() => lost!.add(1)).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: TENSOR_DISPOSED: tensor [2, 3], made in scope "root/step/loss", was disposed in scope "root/step/loss".
        Fix: Return it from that scope, or keep it with engine.keep(tensor).]
    `);
  });

  it('refuses an async function', () => {
    expect(() => engine.scope('step', async () => {})).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: SCOPE_ASYNC: scope "step" was given an async function.
        Fix: Do the awaiting outside of the scope; record inside of it.]
    `);
  });

  it('is left when its function throws, and everything in it is freed', () => {
    const root = engine.currentScope;
    expect(() =>
      engine.scope('bad', () => {
        engine.ones([100]);
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(engine.currentScope).toBe(root);
    expect(backend.stats.liveBytes).toBe(0);
  });
});

describe('views', () => {
  it('share memory, which lives until the last of them is disposed', async () => {
    const x = engine.tensor([1, 2, 3, 4]);
    const view = x.reshape(2, 2);
    const bytes = backend.stats.liveBytes;
    x.dispose();
    x.dispose(); // harmless
    expect(backend.stats.liveBytes).toBe(bytes);
    expect([...(await view.data())]).toEqual([1, 2, 3, 4]);
    view.dispose();
    expect(backend.stats.liveBytes).toBe(0);
  });

  it('a window is a part of a flat tensor at an offset', async () => {
    const flat = engine.tensor(Float32Array.from({ length: 130 }, (_, i) => i));
    const window = engine.window(flat, 64, [3, 2]);
    expect(window.byteOffset).toBe(256);
    expect([...(await window.mul(2).data())]).toEqual([128, 130, 132, 134, 136, 138]);
  });
});

describe('reading', () => {
  it('data() of each dtype, item() of one element only', async () => {
    expect([...(await engine.tensor([1.5, 2], [2], 'bfloat16').data())]).toEqual([1.5, 2]);
    expect(await engine.tensor([7], [1, 1], 'int32').item()).toBe(7);
    expect((await engine.empty([0]).data()).length).toBe(0);
    await expect(engine.ones([2]).item()).rejects.toMatchObject({ code: 'NOT_A_SCALAR' });
  });

  it('nothing but data() and item() reads back', () => {
    engine
      .ones([2, 2])
      .matmul(engine.ones([2, 2]))
      .sum()
      .sqrt();
    expect(backend.stats.readbacks).toBe(0);
  });

  it('reading memory that was never written gives NaN on the reference', async () => {
    expect(await engine.empty([1]).item()).toBeNaN();
  });
});

it('two engines do not meet', () => {
  const other = new Engine(new ReferenceBackend());
  engine.scope('a', () => {
    expect(other.currentScope.path).toBe('root');
    expect(other.ones([1]).id).toBe(1);
  });
});

it('a tensor too large for the device is refused before it is allocated', () => {
  const small = new (class extends ReferenceBackend {
    override readonly limits = { maxBufferBytes: 1024 };
  })();
  expect(() => new Engine(small).empty([257])).toThrowErrorMatchingInlineSnapshot(`
    [AttuneError: TENSOR_TOO_LARGE: a float32 tensor [257] needs 1028 bytes; float64 on the host holds at most 1024 in one tensor.
      Fix: Use a 16-bit dtype, a smaller batch or a shorter maxLength.]
  `);
});
