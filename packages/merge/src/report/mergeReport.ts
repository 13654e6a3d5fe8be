import type { TensorStatistics } from './statistics.js';

/** Facts of a merge that the report begins with. */
export interface ReportFacts {
  readonly method: string;
  readonly title: string;
  readonly baseModel: string | null;
  readonly seed: number;
  readonly parity: 'float32' | 'mergekit';
  readonly seconds: number;
  readonly bytesWritten: number;
  readonly yaml: string;
  readonly warnings: readonly string[];
}

/** A tensor of the report: its statistics, with the names of its inputs. */
export interface ReportedTensor extends TensorStatistics {
  /** The inputs but the base, as the config names them. */
  readonly modelNames: readonly string[];
  /** Layer of the output; null: embeddings, final norm, head. */
  readonly layer: number | null;
}

/** What was measured over several tensors. */
export interface ReportGroup {
  /** "layer 3", or "others" for embeddings, final norm and head. */
  readonly label: string;
  /** |d_k| / |base| of each model, in the order of `MergeReport.models`; without a base |x_k|. */
  readonly norms: readonly (number | null)[];
  /** |y - base| / |base|; without a base |y|. */
  readonly change: number;
  /** Share of elements whose signs conflict; null: none can. */
  readonly signConflicts: number | null;
}

const ROWS_SHOWN = 12;
/** Columns of models that fit into 80 characters. */
const MODELS_SHOWN = 6;
const WIDTH = 80;

/** What a merge did, as a table, as JSON and for `reportHtml`. */
export class MergeReport {
  constructor(
    readonly facts: ReportFacts,
    readonly tensors: readonly ReportedTensor[],
  ) {}

  /** Every model but the base that took part, in the order in which it first did. */
  get models(): readonly string[] {
    return [...new Set(this.tensors.flatMap(({ modelNames }) => modelNames))];
  }

  /** Layer by layer, then what is in no layer. */
  get groups(): readonly ReportGroup[] {
    const rank = (layer: number | null) => layer ?? Number.POSITIVE_INFINITY;
    const layers = [...new Set(this.tensors.map(({ layer }) => layer))];
    return layers
      .sort((a, b) => (rank(a) < rank(b) ? -1 : 1))
      .map((layer) =>
        this.#group(
          layer === null ? 'others' : `layer ${layer}`,
          this.tensors.filter((tensor) => tensor.layer === layer),
        ),
      );
  }

  /** All tensors together. */
  get whole(): ReportGroup {
    return this.#group('all', this.tensors);
  }

  #group(label: string, tensors: readonly ReportedTensor[]): ReportGroup {
    const baseSquares = sum(tensors, ({ baseNorm }) => (baseNorm ?? 0) ** 2);
    const scale = Math.sqrt(baseSquares) || 1;
    const measured = tensors.filter(({ signConflicts }) => signConflicts !== null);
    return {
      label,
      norms: this.models.map((model) => {
        const parts = tensors.filter(({ modelNames }) => modelNames.includes(model));
        if (parts.length === 0) return null;
        const squares = sum(parts, (t) => t.norms[t.modelNames.indexOf(model)]! ** 2);
        return Math.sqrt(squares) / scale;
      }),
      change: Math.sqrt(sum(tensors, ({ change }) => change ** 2)) / scale,
      signConflicts:
        measured.length === 0
          ? null
          : sum(measured, (t) => t.signConflicts! * t.length) / sum(measured, (t) => t.length),
    };
  }

  /**
   * Cosine of the task vectors of two models over all tensors that both are in; null: there are
   * none.
   */
  cosine(first: string, second: string): number | null {
    let dot = 0;
    let [a, b] = [0, 0];
    for (const { modelNames, norms, cosines } of this.tensors) {
      const [j, k] = [modelNames.indexOf(first), modelNames.indexOf(second)];
      if (j < 0 || k < 0) continue;
      a += norms[j]! ** 2;
      b += norms[k]! ** 2;
      const cosine =
        j === k ? 1 : cosines[pairIndex(Math.min(j, k), Math.max(j, k), norms.length)]!;
      dot += cosine * norms[j]! * norms[k]!;
    }
    return a === 0 && b === 0 ? null : dot / (Math.sqrt(a * b) || 1);
  }

  /** Share of the elements of a model that the method kept; null: it trims nothing. */
  kept(model: string): number | null {
    const parts = this.tensors.flatMap(({ modelNames, kept, length }) => {
      const share = kept?.[modelNames.indexOf(model)];
      return share === undefined ? [] : [{ share, length }];
    });
    const total = sum(parts, ({ length }) => length);
    return total === 0 ? null : sum(parts, ({ share, length }) => share * length) / total;
  }

  toJSON(): object {
    const { models, groups, whole } = this;
    return {
      ...this.facts,
      models,
      whole,
      kept: models.map((model) => this.kept(model)),
      cosines: models.map((a) => models.map((b) => this.cosine(a, b))),
      groups,
      tensors: this.tensors,
    };
  }

  /** A table for a terminal of 80 columns. */
  toString(): string {
    const { facts } = this;
    const models = this.models.slice(0, MODELS_SHOWN);
    const letters = models.map((_, k) => letterOf(k));
    const header = ['', ...letters, 'change', 'conflicts'];
    const rowOf = ({ label, norms, change, signConflicts }: ReportGroup) => [
      label,
      ...norms.slice(0, MODELS_SHOWN).map(number),
      number(change),
      percent(signConflicts),
    ];
    const shown = mostChanged(this.groups, ROWS_SHOWN);
    const left = this.groups.length - shown.length;
    const lines = [
      facts.baseModel
        ? `${facts.title} on ${ending(facts.baseModel, WIDTH - facts.title.length - 4)}`
        : facts.title,
      ...models.map((model, k) => {
        const kept = this.kept(model);
        const share = kept === null ? '' : `, ${percent(kept)} kept`;
        return `  ${letters[k]} = ${ending(model, WIDTH - 6 - share.length)}${share}`;
      }),
      ...(this.models.length > models.length
        ? [`  (${this.models.length - models.length} more are left out)`]
        : []),
      '',
      facts.baseModel
        ? 'Norm of each task vector and of the change, as a share of the base:'
        : 'Norm of each model and of the result:',
      ...table([header, ...[this.whole, ...shown].map(rowOf)]),
      ...(left > 0 ? [`(${left} layers that changed less are left out)`] : []),
    ];
    if (models.length > 1) {
      const cosines = models.map((a, j) => [
        letters[j]!,
        ...models.map((b) => number(this.cosine(a, b))),
      ]);
      lines.push('', 'Cosine of the task vectors:', ...table([['', ...letters], ...cosines]));
    }
    return lines.join('\n');
  }
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);

/** Where the pair j < k stands in a list of all pairs of n. */
const pairIndex = (j: number, k: number, n: number): number =>
  j * n - (j * (j + 1)) / 2 + (k - j - 1);

/** A, B, ..., Z, then A1, B1, ... */
export const letterOf = (k: number): string =>
  `${String.fromCharCode(65 + (k % 26))}${k < 26 ? '' : Math.floor(k / 26)}`;

/** The end of a name that is too long: paths differ there. */
const ending = (name: string, length: number): string =>
  name.length <= length ? name : `...${name.slice(name.length - length + 3)}`;

/** Those that changed most, in their own order. */
function mostChanged(groups: readonly ReportGroup[], count: number): readonly ReportGroup[] {
  const kept = new Set(groups.toSorted((a, b) => b.change - a.change).slice(0, count));
  return groups.filter((group) => kept.has(group));
}

export const number = (value: number | null): string =>
  value === null
    ? '-'
    : value !== 0 && Math.abs(value) < 1e-3
      ? value.toExponential(1)
      : value.toFixed(3);

export const percent = (share: number | null): string =>
  share === null ? '-' : `${(100 * share).toFixed(1)} %`;

/** Columns under one another, the first to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((row) => row[c]!.length)));
  return rows.map((row) =>
    `  ${row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join('  ')}`.trimEnd(),
  );
}
