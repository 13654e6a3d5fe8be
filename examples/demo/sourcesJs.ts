import { type Block, when } from './block.js';

/** Where the data of a JavaScript function comes from. */
export const SOURCES_JS: readonly Block[] = [
  {
    id: 'param',
    params: (n) => [n.data],
    hosts: {},
    lines: () => [],
  },
  {
    id: 'fetch',
    async: true,
    params: (n) => [n.key],
    hosts: { 'missing-await': (n) => `fetch${n.Data}` },
    lines: (n, bug) => [
      `const ${n.data} = ${bug === 'missing-await' ? '' : 'await '}fetch${n.Data}(${n.key});`,
    ],
  },
  {
    id: 'service',
    async: true,
    params: (n) => [n.key],
    hosts: { 'missing-await': (n) => `${n.service}.load${n.Data}` },
    lines: (n, bug) => [
      `const ${n.data} = ${bug === 'missing-await' ? '' : 'await '}${n.service}.load${n.Data}(${n.key});`,
    ],
  },
  {
    // Looks like `service`, but reads from memory: no promise, so no await is missing.
    id: 'cache',
    params: (n) => [n.key],
    hosts: {},
    lines: (n) => [`const ${n.data} = cache.get(${n.key});`],
  },
  {
    id: 'query',
    params: (n) => [n.key],
    hosts: { 'sql-injection': (n) => n.key },
    lines: (n, bug) => {
      const select = `SELECT * FROM ${n.many} WHERE ${n.keySnake} =`;
      return bug === 'sql-injection'
        ? [`const ${n.data} = db.query('${select} ' + ${n.key});`]
        : [`const ${n.data} = db.query('${select} ?', [${n.key}]);`];
    },
  },
  {
    id: 'queryTemplate',
    params: (n) => [n.key],
    hosts: { 'sql-injection': (n) => n.key },
    lines: (n, bug) => {
      const select = `SELECT * FROM ${n.many} WHERE ${n.keySnake} =`;
      return bug === 'sql-injection'
        ? [`const ${n.data} = db.all(\`${select} \${${n.key}}\`);`]
        : [`const ${n.data} = db.all(\`${select} ?\`, ${n.key});`];
    },
  },
  {
    id: 'file',
    params: () => ['path'],
    hosts: { 'unclosed-resource': (n) => n.handle },
    lines: (n, bug) => [
      `const ${n.handle} = open(path);`,
      `const ${n.data} = ${n.handle}.read();`,
      ...when(bug === undefined, `${n.handle}.close();`),
    ],
  },
  {
    id: 'pool',
    params: (n) => [n.key],
    hosts: { 'unclosed-resource': (n) => n.handle },
    lines: (n, bug) => [
      `const ${n.handle} = pool.connect();`,
      `const ${n.data} = ${n.handle}.find(${n.key});`,
      ...when(bug === undefined, `${n.handle}.release();`),
    ],
  },
  {
    id: 'parse',
    params: () => ['text'],
    hosts: { 'swallowed-error': () => 'JSON.parse' },
    lines: (n, bug) => [
      `let ${n.data} = null;`,
      'try {',
      `  ${n.data} = JSON.parse(text);`,
      ...(bug
        ? [`} catch (${n.failure}) {}`]
        : [`} catch (${n.failure}) {`, `  report(${n.failure});`, '}']),
    ],
  },
  {
    id: 'tryRead',
    params: (n) => [n.key],
    hosts: { 'swallowed-error': (n) => `read${n.Data}` },
    lines: (n, bug) => [
      `let ${n.data};`,
      'try {',
      `  ${n.data} = read${n.Data}(${n.key});`,
      `} catch (${n.failure}) {`,
      bug ? '  // ignore' : `  throw new Error('no ${n.data}');`,
      '}',
    ],
  },
];
