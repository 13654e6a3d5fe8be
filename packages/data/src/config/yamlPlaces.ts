import { readFile } from 'node:fs/promises';
import { AttuneError } from '@attune/core';
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
    let text: string;
    try {
      const bytes = await readFile(path);
      if (bytes.length > MAX_BYTES)
        throw new Error(`it has ${bytes.length} bytes, at most ${MAX_BYTES} are read`);
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch (cause) {
      throw new AttuneError('DATA_YAML', `${path} cannot be read: ${(cause as Error).message}.`, {
        remedy: 'Give the path of a YAML file.',
        cause,
      });
    }
    const counter = new LineCounter();
    const document = parseDocument(text, {
      lineCounter: counter,
      merge: true,
      prettyErrors: false,
    });
    const place = (offset: number) => {
      const { line, col } = counter.linePos(offset);
      return `${path}:${line}:${col}`;
    };
    const [error] = document.errors;
    if (error)
      throw yamlError(place(error.pos[0]), `${error.message.split('\n')[0]!.replace(/\.$/, '')}.`);
    try {
      return new YamlFile(path, document.toJS({ maxAliasCount: MAX_ALIASES }), document, counter);
    } catch (cause) {
      throw yamlError(path, `${(cause as Error).message}.`);
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

const yamlError = (place: string, message: string, remedy = 'Mend that line.'): AttuneError =>
  new AttuneError('DATA_YAML', `${place}: ${message}`, { remedy, details: { place } });
