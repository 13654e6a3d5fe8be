import { safetensorsBytes } from '@attune/core/io';
import { formatBytes, parseBytes, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { TensorTask } from '../contract/tensorTask.js';
import { planOutput } from '../execute/outputPlan.js';
import { planResources } from '../execute/resources.js';
import { type PlanMergeOptions, planShape } from '../options.js';
import { letterOf } from '../report/mergeReport.js';
import { effectiveWeights } from './effectiveWeights.js';
import type { MergePlan } from './mergePlan.js';
import { splitLayer } from './tensorNames.js';

/** How a plan would be run. */
export type DescribePlanOptions = Pick<PlanMergeOptions, 'maxShardSize' | 'maxMemory' | 'workers'>;

const describeOptions = z.strictObject(planShape);

/** Columns of a terminal. */
const WIDTH = 80;
const LABEL = 38;

/**
 * What a merge would do, as a text of 80 columns: models, tensors, bytes read and written, files,
 * memory, and with which weight each model counts in which tensors. Nothing is read or written.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION, SIZE_INVALID, MERGE_MEMORY
 */
export function describePlan(plan: MergePlan, options: DescribePlanOptions = {}): string {
  const parsed = parseOptions(describeOptions, options, { where: 'describePlan' });
  const { tasks, method, warnings } = plan;
  const { maxShardSize, maxMemory, workers } = parsed;
  const output = planOutput(tasks, maxShardSize);
  const resources = planResources(tasks, new Map([[method.name, method]]), {
    maxMemory: maxMemory === undefined ? null : parseBytes(maxMemory, 'maxMemory'),
    workers: workers ?? null,
  });
  const models = modelsOf(plan);
  const written = output.shards.reduce((sum, { numBytes }) => sum + numBytes, 0);
  const files = output.shards.length;
  const layers = new Set(tasks.flatMap(({ name }) => splitLayer(name)?.layer ?? [])).size;
  const lines = [
    `${method.title} of ${models.length} model${models.length === 1 ? '' : 's'}: ${tasks.length} tensors, ${layers} layers`,
    ...models.map((key, k) => `  ${letterOf(k)}  ${key}${isBase(plan, key) ? '  (base)' : ''}`),
    '',
    `  read     ${formatBytes(bytesRead(tasks))}`,
    `  written  ${formatBytes(output.tensorBytes)} in ${files} file${files === 1 ? '' : 's'} of at most ${sizeText(maxShardSize)}`,
    `  disk     ${formatBytes(written)} needed while it runs and after`,
    `  memory   ${formatBytes(resources.peakBytes)} at most beside Node's own, with ${resources.workers === 0 ? 'no workers' : `${resources.workers} worker${resources.workers === 1 ? '' : 's'}`}`,
    `  dtypes   ${countText(tasks.map(({ dtype }) => dtype))}; computed in ${countText(tasks.map((task) => task.arithmetic))}`,
    '',
    ...weightTable(plan, models),
  ];
  if (warnings.length > 0)
    lines.push('', 'Warnings', ...warnings.flatMap((warning) => wrapped(warning)));
  return lines.join('\n');
}

const sizeText = (size: number | string) => (typeof size === 'number' ? formatBytes(size) : size);

const isBase = ({ config }: MergePlan, key: string): boolean => config.baseModel?.key === key;

/** Models in the order in which tensors first name them. */
const modelsOf = ({ tasks }: MergePlan): readonly string[] => [
  ...new Set(tasks.flatMap(({ inputs }) => inputs.map(({ model }) => model))),
];

/** Bytes of all tensors that are read: a method may read them several times. */
const bytesRead = (tasks: readonly TensorTask[]): number =>
  tasks
    .flatMap(({ inputs }) => inputs)
    .reduce((sum, { source: { tensor } }) => sum + bytesOf(tensor), 0);

const bytesOf = ({ dtype, shape }: Pick<TensorTask, 'dtype' | 'shape'>): number =>
  shape.reduce((a, b) => a * b, safetensorsBytes[dtype]);

/** "BF16 (190), I64 (1)" */
function countText(values: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  if (counts.size === 1) return values[0]!;
  return [...counts].map(([value, count]) => `${value} (${count})`).join(', ');
}

/** A line for each kind of tensor; kinds with the same weights share one. */
function weightTable(plan: MergePlan, models: readonly string[]): string[] {
  const { tasks, method } = plan;
  const ranges = new Map<string, Range[]>();
  for (const task of tasks) {
    const split = splitLayer(task.name);
    const template = split ? `${split.prefix}*.${split.rest}` : task.name;
    const row = ranges.get(template) ?? models.map(() => new Range());
    ranges.set(template, row);
    const weights = task.method === null ? null : effectiveWeights(method, task);
    for (const [k, { model }] of task.inputs.entries())
      row[models.indexOf(model)]!.add(weights === null ? undefined : weights[k]);
  }
  const kinds = new Map<string, { readonly cells: string[]; readonly templates: string[] }>();
  for (const [template, row] of ranges) {
    const cells = row.map(String);
    const kind = kinds.get(cells.join('|')) ?? { cells, templates: [] };
    kind.templates.push(template);
    kinds.set(cells.join('|'), kind);
  }
  const rows = [...kinds.values()];
  const width = 2 + Math.max(...rows.flatMap(({ cells }) => cells.map(({ length }) => length)));
  const perBlock = Math.max(1, Math.floor((WIDTH - LABEL) / width));
  const lines: string[] = [];
  for (let from = 0; from < models.length; from += perBlock) {
    const line = (label: string, cells: readonly string[]) =>
      `${label.padEnd(LABEL)}${cells
        .slice(from, from + perBlock)
        .map((cell) => cell.padStart(width))
        .join('')}`;
    lines.push(
      line(
        from === 0 ? 'Effective weights' : '',
        models.map((_, k) => letterOf(k)),
      ),
    );
    for (const { cells, templates } of rows) lines.push(line(labelOf(templates), cells));
  }
  return lines;
}

/** As much of a name's end as there is room for, and how many more kinds. */
function labelOf([first, ...others]: readonly string[]): string {
  const more = others.length > 0 ? ` and ${others.length} more` : '';
  const room = LABEL - 2 - more.length;
  const name = first!.length > room ? `...${first!.slice(3 - room)}` : first!;
  return `  ${name}${more}`;
}

/** The weights of an input over tensors of a kind. */
class Range {
  readonly #values: number[] = [];
  #others: string | null = null;

  /** null: of the base; undefined: the method has no weights. */
  add(weight: number | null | undefined): void {
    if (typeof weight === 'number') this.#values.push(weight);
    else this.#others = weight === null ? 'base' : 'by method';
  }

  toString(): string {
    if (this.#values.length === 0) return this.#others ?? '-';
    const [low, high] = [Math.min(...this.#values), Math.max(...this.#values)].map(numberText);
    return low === high ? low! : `${low}..${high}`;
  }
}

/** Four digits that matter. */
export const numberText = (value: number): string => String(Number(value.toPrecision(4)));

/** A sentence as lines of 80 columns. */
function wrapped(text: string): string[] {
  const lines: string[] = [];
  let line = '  -';
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > WIDTH && line.trim() !== '') {
      lines.push(line);
      line = '   ';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
