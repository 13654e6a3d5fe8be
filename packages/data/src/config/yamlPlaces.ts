import { AttuneError } from '@attune/core';
import { openRegular } from '@attune/core/io';
import { type Document, isNode, LineCounter, parseDocument } from 'yaml';

/** Aliases that a file may use: one that grows without end is refused. */
const MAX_ALIASES = 100;

/** Bytes of the largest file: pipelines have a few hundred. */
const MAX_BYTES = 2 ** 20;

/** A YAML file as plain values, and where in it each stands. */
export class YamlFile {
  private constructor(
    readonly path: string,
    readonly value: unknown,
    private readonly document: Document,
    private readonly counter: LineCounter,
  ) {}

  /** @throws DATA_YAML with line and column */
  static async read(path: string): Promise<YamlFile> {
    const text = await textOf(path);
    const counter = new LineCounter();
    const document = parseDocument(text, {
      lineCounter: counter,
      merge: true,
      prettyErrors: false,
      logLevel: 'error',
    });
    const place = (offset: number) => {
      const { line, col } = counter.linePos(offset);
      return `${path}:${line}:${col}`;
    };
    // A tag that nobody knows is a warning there, and what it stands for would be guessed.
    const [error] = [...document.errors, ...document.warnings];
    if (error) throw yamlError(place(error.pos[0]), said(error));
    try {
      return new YamlFile(path, document.toJS({ maxAliasCount: MAX_ALIASES }), document, counter);
    } catch (cause) {
      throw yamlError(path, said(cause as Error));
    }
  }

  /** "pipeline.yaml:12:5": where a value stands, or the nearest one around it. */
  placeOf(path: readonly PropertyKey[]): string {
    for (let length = path.length; length >= 0; length--) {
      const node = this.document.getIn(path.slice(0, length), true);
      if (!isNode(node) || !node.range) continue;
      const { line, col } = this.counter.linePos(node.range[0]);
      return `${this.path}:${line}:${col}`;
    }
    return this.path;
  }

  error(path: readonly PropertyKey[], message: string, remedy?: string): AttuneError {
    return yamlError(this.placeOf(path), message, remedy);
  }
}

const REMEDY = 'Give the path of a YAML file.';

/** @throws DATA_YAML for what is no file of text: a folder, a pipe, a device */
async function textOf(path: string): Promise<string> {
  const file = await openRegular(path, { code: 'DATA_YAML', remedy: REMEDY });
  try {
    const { size } = await file.stat();
    if (size > MAX_BYTES) throw new Error(`it has ${size} bytes, at most ${MAX_BYTES} are read`);
    const bytes = new Uint8Array(size);
    let length = 0;
    for (let last = -1; length < size && last !== 0; length += last)
      last = (await file.read(bytes, length, size - length, length)).bytesRead;
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length));
  } catch (cause) {
    const message = `${path} cannot be read: ${(cause as Error).message}.`;
    throw new AttuneError('DATA_YAML', message, { remedy: REMEDY, cause });
  } finally {
    await file.close();
  }
}

/** What is wrong with a text, in one line. */
function said({ name, code, message }: Error & { readonly code?: unknown }): string {
  if (code === 'MULTIPLE_DOCS') return 'a second document begins here; a pipeline is one.';
  if (name === 'RangeError' || message.startsWith('Maximum call stack'))
    return 'it is nested too deeply.';
  return `${message.split('\n')[0]!.replace(/\.$/, '')}.`;
}

/** Text of a file says nothing to a terminal but what is read. */
const visible = (text: string): string =>
  text.replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (c) =>
    c === '\n' ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

const yamlError = (place: string, message: string, remedy = 'Mend that line.'): AttuneError =>
  new AttuneError('DATA_YAML', `${place}: ${visible(message)}`, {
    remedy: visible(remedy),
    details: { place },
  });
