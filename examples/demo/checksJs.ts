import { type Block, equals, when } from './block.js';

/** What a JavaScript function looks at before it does its work. */
export const CHECKS_JS: readonly Block[] = [
  {
    id: 'state',
    shape: 'one',
    hosts: {
      'loose-equality': (n) => `${n.one}.${n.state}`,
      'assignment-in-condition': (n) => `${n.one}.${n.state}`,
    },
    lines: (n, bug) => [
      `if (${n.one}.${n.state} ${equals(bug)} '${n.value}') {`,
      '  return null;',
      '}',
    ],
  },
  {
    id: 'stateNot',
    shape: 'one',
    hosts: { 'loose-equality': (n) => `${n.one}.${n.state}` },
    lines: (n, bug) => [`if (${n.one}.${n.state} ${bug ? '!=' : '!=='} '${n.value}') return null;`],
  },
  {
    id: 'missing',
    hosts: {
      'loose-equality': (n) => n.data,
      'assignment-in-condition': (n) => n.data,
    },
    lines: (n, bug) => [`if (${n.data} ${equals(bug)} null) return null;`],
  },
  {
    id: 'mode',
    params: () => ['mode'],
    hosts: { 'loose-equality': () => 'mode', 'assignment-in-condition': () => 'mode' },
    lines: (n, bug) => [
      `if (mode ${equals(bug)} '${n.value}') {`,
      `  throw new Error('${n.value} ${n.data}');`,
      '}',
    ],
  },
  {
    id: 'limit',
    shape: 'one',
    params: () => ['max'],
    hosts: {},
    lines: (n) => [`if (${n.one}.${n.amount} <= max) return null;`],
  },
  {
    id: 'absent',
    hosts: {},
    lines: (n) => [`if (!${n.data}) throw new Error('no ${n.data}');`],
  },
  {
    // An assignment that is meant: `=` alone must not mean a bug.
    id: 'mark',
    shape: 'one',
    hosts: {},
    lines: (n) => [`${n.one}.${n.state} = '${n.value}';`],
  },
  {
    // String concatenation that never reaches a database: `+` alone must not mean one either.
    id: 'log',
    hosts: {},
    lines: (n) => [`log.info('${n.value} ' + ${n.data});`],
  },
  {
    id: 'local',
    shape: 'one',
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `const ${n.local} = ${n.one}.${n.state};`,
      bug ? `log.info('${n.value}');` : `log.info('${n.value}', ${n.local});`,
    ],
  },
  {
    id: 'count',
    shape: 'many',
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `const ${n.local} = ${n.many}.length;`,
      bug ? `log.info('${n.value}');` : `log.info(${n.local});`,
    ],
  },
  {
    id: 'config',
    params: () => ['options'],
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `const ${n.local} = options.${n.amount};`,
      ...when(bug === undefined, `check(${n.data}, ${n.local});`),
    ],
  },
];
