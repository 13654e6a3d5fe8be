import type { Value } from './values.js';

/** Expressions and statements, as Jinja's grammar has them. `line` counts from 1. */
export type Expression = { readonly line: number } & (
  | { readonly kind: 'constant'; readonly value: Value }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'list' | 'tuple' | 'concat'; readonly items: readonly Expression[] }
  | { readonly kind: 'dict'; readonly pairs: readonly (readonly [Expression, Expression])[] }
  | { readonly kind: 'attribute'; readonly of: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly of: Expression; readonly index: Expression | Slice }
  | { readonly kind: 'call'; readonly of: Expression; readonly args: CallArgs }
  | FilterCall
  | {
      readonly kind: 'test';
      readonly of: Expression;
      readonly name: string;
      readonly args: CallArgs;
    }
  | { readonly kind: 'not' | 'negative' | 'positive'; readonly of: Expression }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | {
      readonly kind: 'compare';
      readonly first: Expression;
      readonly rest: readonly (readonly [operator: string, Expression])[];
    }
  | {
      readonly kind: 'binary';
      readonly operator: string;
      readonly left: Expression;
      readonly right: Expression;
    }
  | {
      readonly kind: 'conditional';
      readonly test: Expression;
      readonly value: Expression;
      readonly otherwise: Expression | null;
    }
);

/** `of` is null where a block's text is filtered. */
export interface FilterCall {
  readonly kind: 'filter';
  readonly of: Expression | null;
  readonly name: string;
  readonly args: CallArgs;
  readonly line: number;
}

export interface Slice {
  readonly kind: 'slice';
  readonly bounds: readonly [
    start: Expression | null,
    stop: Expression | null,
    step: Expression | null,
  ];
}

export interface CallArgs {
  readonly positional: readonly Expression[];
  readonly named: readonly (readonly [string, Expression])[];
  /** `*list` and `**dict`. */
  readonly list: Expression | null;
  readonly dict: Expression | null;
}

/** What is assigned to: a name, a namespace's attribute, or several. */
export type Target =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'namespace'; readonly name: string; readonly attribute: string }
  | { readonly kind: 'targets'; readonly items: readonly Target[] };

export interface Signature {
  readonly names: readonly string[];
  /** Those of the last names. */
  readonly defaults: readonly Expression[];
  /** Which of caller, varargs and kwargs the body reads. */
  readonly uses: ReadonlySet<string>;
}

export type Body = readonly Statement[];

export type Statement = { readonly line: number } & (
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly value: Expression }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: 'setBlock';
      readonly target: Target;
      readonly filter: FilterCall | null;
      readonly body: Body;
    }
  | {
      readonly kind: 'if';
      readonly branches: readonly (readonly [Expression, Body])[];
      readonly otherwise: Body;
    }
  | {
      readonly kind: 'for';
      readonly target: Target;
      readonly items: Expression;
      readonly test: Expression | null;
      readonly recursive: boolean;
      readonly body: Body;
      readonly otherwise: Body;
    }
  | {
      readonly kind: 'macro';
      readonly name: string;
      readonly signature: Signature;
      readonly body: Body;
    }
  | {
      readonly kind: 'callBlock';
      readonly signature: Signature;
      readonly call: Expression & { readonly kind: 'call' };
      readonly body: Body;
    }
  | { readonly kind: 'filterBlock'; readonly filter: FilterCall; readonly body: Body }
  | {
      readonly kind: 'with';
      readonly targets: readonly (readonly [Target, Expression])[];
      readonly body: Body;
    }
  | { readonly kind: 'block'; readonly name: string; readonly body: Body }
  | { readonly kind: 'generation'; readonly body: Body }
  | { readonly kind: 'autoescape'; readonly on: Expression; readonly body: Body }
  | { readonly kind: 'break' | 'continue' }
  | { readonly kind: 'otherFile'; readonly tag: string }
);
