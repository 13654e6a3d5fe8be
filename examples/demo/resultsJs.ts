import { equals, type ResultBlock, when } from './block.js';

/** What a JavaScript function returns or does in the end. */
export const RESULTS_JS: readonly ResultBlock[] = [
  {
    id: 'forSum',
    shape: 'many',
    title: (n) => ['sum', n.One, n.amount],
    purpose: (n) => `add up the ${n.amount} of all ${n.many}`,
    hosts: { 'off-by-one': (n) => n.many },
    lines: (n, bug) => [
      `let ${n.sum} = 0;`,
      `for (let ${n.index} = 0; ${n.index} ${bug ? '<=' : '<'} ${n.many}.length; ${n.index}++) {`,
      `  ${n.sum} += ${n.many}[${n.index}].${n.amount};`,
      '}',
      `return ${n.sum};`,
    ],
  },
  {
    id: 'forPrint',
    shape: 'many',
    title: (n) => ['print', n.Many],
    purpose: (n) => `print every one of the ${n.many}`,
    hosts: { 'off-by-one': (n) => n.many },
    lines: (n, bug) => [
      `for (let ${n.index} = 0; ${n.index} ${bug ? '<=' : '<'} ${n.many}.length; ${n.index} += 1) {`,
      `  print(${n.many}[${n.index}]);`,
      '}',
    ],
  },
  {
    id: 'while',
    shape: 'many',
    title: (n) => ['show', n.One, n.state],
    purpose: (n) => `show the ${n.state} of each ${n.one}`,
    hosts: { 'off-by-one': (n) => n.many },
    lines: (n, bug) => [
      `let ${n.index} = 0;`,
      `while (${n.index} ${bug ? '<=' : '<'} ${n.many}.length) {`,
      `  show(${n.many}[${n.index}].${n.state});`,
      `  ${n.index}++;`,
      '}',
    ],
  },
  {
    id: 'last',
    shape: 'many',
    title: (n) => ['last', n.One],
    purpose: (n) => `return the last of the ${n.many}`,
    hosts: { 'off-by-one': (n) => n.many },
    lines: (n, bug) => [`return ${n.many}[${n.many}.length${bug ? '' : ' - 1'}];`],
  },
  {
    // Counts from one to a number, not over a list: here `<=` is right.
    id: 'pages',
    shape: 'many',
    params: () => ['pages'],
    title: (n) => ['print', n.One, 'Pages'],
    purpose: (n) => `print the pages of the ${n.many}`,
    hosts: {},
    lines: (n) => [`for (let page = 1; page <= pages; page++) {`, `  print(${n.many}, page);`, '}'],
  },
  {
    id: 'each',
    shape: 'many',
    title: (n) => ['total', n.One, n.amount],
    purpose: (n) => `add up the ${n.amount} of the ${n.many}`,
    hosts: {},
    lines: (n) => [
      `let ${n.sum} = 0;`,
      `for (const ${n.one} of ${n.many}) ${n.sum} += ${n.one}.${n.amount};`,
      `return ${n.sum};`,
    ],
  },
  {
    id: 'average',
    shape: 'many',
    title: (n) => ['average', n.One, n.amount],
    purpose: (n) => `return the average ${n.amount} of the ${n.many}`,
    hosts: { 'division-by-zero': (n) => `${n.many}.length` },
    lines: (n, bug) => [
      ...when(bug === undefined, `if (${n.many}.length === 0) return 0;`),
      `const ${n.sum} = sum(${n.many}, '${n.amount}');`,
      `return ${n.sum} / ${n.many}.length;`,
    ],
  },
  {
    id: 'share',
    shape: 'many',
    params: () => ['part'],
    title: (n) => ['share', n.Many],
    purpose: (n) => `return the part that falls to each of the ${n.many}`,
    hosts: { 'division-by-zero': (n) => `${n.many}.length` },
    lines: (n, bug) => [
      bug
        ? `return part / ${n.many}.length;`
        : `return ${n.many}.length === 0 ? 0 : part / ${n.many}.length;`,
    ],
  },
  {
    id: 'filter',
    shape: 'many',
    title: (n) => ['filter', n.Many],
    purpose: (n) => `keep the ${n.many} whose ${n.state} is ${n.value}`,
    hosts: {
      'loose-equality': (n) => `${n.one}.${n.state}`,
      'assignment-in-condition': (n) => `${n.one}.${n.state}`,
    },
    lines: (n, bug) => [
      `return ${n.many}.filter((${n.one}) => ${n.one}.${n.state} ${equals(bug)} '${n.value}');`,
    ],
  },
  {
    id: 'slice',
    shape: 'many',
    params: () => ['options'],
    title: (n) => ['top', n.Many],
    purpose: (n) => `return the first few ${n.many}`,
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `const ${n.local} = options.${n.amount};`,
      `return ${n.many}.slice(0, ${bug ? '10' : n.local});`,
    ],
  },
  {
    id: 'sendAll',
    shape: 'many',
    async: true,
    title: (n) => ['notify', n.Many],
    purpose: (n) => `send all ${n.many} and wait for them`,
    hosts: { 'missing-await': () => 'Promise.all' },
    lines: (n, bug) => [
      `${bug ? '' : 'await '}Promise.all(${n.many}.map(send${n.One}));`,
      `return ${n.many}.length;`,
    ],
  },
  {
    id: 'field',
    shape: 'one',
    title: (n) => ['get', n.One, n.amount],
    purpose: (n) => `return the ${n.amount} of the ${n.one}`,
    hosts: {},
    lines: (n) => [`return ${n.one}.${n.amount};`],
  },
  {
    // Division by a constant needs no guard.
    id: 'percent',
    shape: 'one',
    params: () => ['rate'],
    title: (n) => [n.one, n.amount, 'Part'],
    purpose: (n) => `return a percentage of the ${n.amount} of the ${n.one}`,
    hosts: {},
    lines: (n) => [`return (${n.one}.${n.amount} * rate) / 100;`],
  },
  {
    id: 'ratio',
    shape: 'one',
    title: (n) => [n.one, n.amount, 'Ratio'],
    purpose: (n) => `return the ${n.amount} of the ${n.one} for one part`,
    hosts: { 'division-by-zero': (n) => `${n.one}.parts` },
    lines: (n, bug) => [
      ...when(bug === undefined, `if (${n.one}.parts === 0) return 0;`),
      `return ${n.one}.${n.amount} / ${n.one}.parts;`,
    ],
  },
  {
    id: 'save',
    shape: 'one',
    async: true,
    title: (n) => ['update', n.One, n.state],
    purpose: (n) => `save the ${n.one}`,
    hosts: { 'missing-await': (n) => `${n.service}.save` },
    lines: (n, bug) => [
      `${bug ? '' : 'await '}${n.service}.save(${n.one});`,
      `return ${n.one}.${n.state};`,
    ],
  },
  {
    id: 'surplus',
    shape: 'one',
    params: () => ['factor'],
    title: (n) => ['scale', n.One, n.amount],
    purpose: (n) => `return the ${n.amount} of the ${n.one} with a surplus`,
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `const ${n.local} = ${n.one}.${n.amount} * factor;`,
      `return ${n.one}.${n.amount}${bug ? '' : ` + ${n.local}`};`,
    ],
  },
  {
    id: 'write',
    shape: 'one',
    title: (n) => ['export', n.One, n.amount],
    purpose: (n) => `write the ${n.amount} of the ${n.one} to a file`,
    hosts: { 'unclosed-resource': () => 'out' },
    lines: (n, bug) => [
      `const out = open('${n.many}.txt');`,
      `out.write(${n.one}.${n.amount});`,
      ...when(bug === undefined, 'out.close();'),
    ],
  },
  {
    id: 'tryCheck',
    shape: 'one',
    title: (n) => ['validate', n.One],
    purpose: (n) => `check that the ${n.one} is valid`,
    hosts: { 'swallowed-error': (n) => `check${n.One}` },
    lines: (n, bug) => [
      'try {',
      `  check${n.One}(${n.one});`,
      `} catch (${n.failure}) {`,
      ...when(bug === undefined, `  log.warn(${n.failure});`),
      '}',
    ],
  },
  {
    id: 'insert',
    shape: 'one',
    title: (n) => ['store', n.One, n.state],
    purpose: (n) => `store the ${n.state} of the ${n.one}`,
    hosts: { 'sql-injection': (n) => `${n.one}.${n.state}` },
    lines: (n, bug) =>
      bug
        ? [`db.run("INSERT INTO ${n.many} VALUES ('" + ${n.one}.${n.state} + "')");`]
        : [`db.run('INSERT INTO ${n.many} VALUES (?)', [${n.one}.${n.state}]);`],
  },
];
