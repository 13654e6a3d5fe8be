import { type Block, type ResultBlock, when } from './block.js';

/** Python: fewer blocks; it has neither loose equality nor assignment in a condition. */
export const SOURCES_PY: readonly Block[] = [
  {
    id: 'param',
    params: (n) => [n.data],
    hosts: {},
    lines: () => [],
  },
  {
    id: 'fetch',
    async: true,
    params: (n) => [n.keySnake],
    hosts: { 'missing-await': (n) => `fetch_${n.data}` },
    lines: (n, bug) => [`${n.data} = ${bug ? '' : 'await '}fetch_${n.data}(${n.keySnake})`],
  },
  {
    id: 'query',
    params: (n) => [n.keySnake],
    hosts: { 'sql-injection': (n) => n.keySnake },
    lines: (n, bug) => {
      const select = `SELECT * FROM ${n.many} WHERE ${n.keySnake} =`;
      return bug
        ? [`${n.data} = db.query(f"${select} {${n.keySnake}}")`]
        : [`${n.data} = db.query("${select} ?", ${n.keySnake})`];
    },
  },
  {
    id: 'file',
    params: () => ['path'],
    hosts: { 'unclosed-resource': (n) => n.handle },
    lines: (n, bug) => [
      `${n.handle} = open(path)`,
      `${n.data} = ${n.handle}.read()`,
      ...when(bug === undefined, `${n.handle}.close()`),
    ],
  },
  {
    id: 'tryRead',
    params: (n) => [n.keySnake],
    hosts: { 'swallowed-error': (n) => `read_${n.data}` },
    lines: (n, bug) => [
      'try:',
      `  ${n.data} = read_${n.data}(${n.keySnake})`,
      `except Exception as ${n.failure}:`,
      bug ? '  pass' : `  log.warn(${n.failure})`,
    ],
  },
];

export const CHECKS_PY: readonly Block[] = [
  {
    // `==` is the right comparison here: the operator alone does not give a class away.
    id: 'state',
    shape: 'one',
    hosts: {},
    lines: (n) => [`if ${n.one}.${n.state} == "${n.value}":`, '  return None'],
  },
  {
    id: 'limit',
    shape: 'one',
    params: () => ['top'],
    hosts: {},
    lines: (n) => [`if ${n.one}.${n.amount} <= top:`, '  return None'],
  },
  {
    id: 'local',
    shape: 'one',
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `${n.local} = ${n.one}.${n.state}`,
      bug ? `log.info("${n.value}")` : `log.info("${n.value}", ${n.local})`,
    ],
  },
  {
    id: 'count',
    shape: 'many',
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `${n.local} = len(${n.many})`,
      bug ? `log.info("${n.value}")` : `log.info(${n.local})`,
    ],
  },
  {
    id: 'log',
    hosts: {},
    lines: (n) => [`log.info("${n.value} " + ${n.data})`],
  },
];

export const RESULTS_PY: readonly ResultBlock[] = [
  {
    id: 'range',
    shape: 'many',
    title: (n) => ['sum', n.one, n.amount],
    purpose: (n) => `add up the ${n.amount} of all ${n.many}`,
    hosts: { 'off-by-one': (n) => n.many },
    lines: (n, bug) => [
      `${n.sum} = 0`,
      `for ${n.index} in range(len(${n.many})${bug ? ' + 1' : ''}):`,
      `  ${n.sum} += ${n.many}[${n.index}].${n.amount}`,
      `return ${n.sum}`,
    ],
  },
  {
    id: 'last',
    shape: 'many',
    title: (n) => ['last', n.one],
    purpose: (n) => `return the last of the ${n.many}`,
    hosts: { 'off-by-one': (n) => n.many },
    lines: (n, bug) => [`return ${n.many}[len(${n.many})${bug ? '' : ' - 1'}]`],
  },
  {
    id: 'average',
    shape: 'many',
    title: (n) => ['average', n.one, n.amount],
    purpose: (n) => `return the average ${n.amount} of the ${n.many}`,
    hosts: { 'division-by-zero': (n) => `len(${n.many})` },
    lines: (n, bug) => [
      ...when(bug === undefined, `if len(${n.many}) == 0:`, '  return 0'),
      `${n.sum} = sum(${n.one}.${n.amount} for ${n.one} in ${n.many})`,
      `return ${n.sum} / len(${n.many})`,
    ],
  },
  {
    id: 'each',
    shape: 'many',
    title: (n) => ['total', n.one, n.amount],
    purpose: (n) => `add up the ${n.amount} of the ${n.many}`,
    hosts: {},
    lines: (n) => [`return sum(${n.one}.${n.amount} for ${n.one} in ${n.many})`],
  },
  {
    id: 'save',
    shape: 'one',
    async: true,
    title: (n) => ['update', n.one, n.state],
    purpose: (n) => `save the ${n.one}`,
    hosts: { 'missing-await': (n) => `${n.service}.save` },
    lines: (n, bug) => [
      `${bug ? '' : 'await '}${n.service}.save(${n.one})`,
      `return ${n.one}.${n.state}`,
    ],
  },
  {
    id: 'surplus',
    shape: 'one',
    params: () => ['factor'],
    title: (n) => ['scale', n.one, n.amount],
    purpose: (n) => `return the ${n.amount} of the ${n.one} with a surplus`,
    hosts: { 'unused-variable': (n) => n.local },
    lines: (n, bug) => [
      `${n.local} = ${n.one}.${n.amount} * factor`,
      `return ${n.one}.${n.amount}${bug ? '' : ` + ${n.local}`}`,
    ],
  },
  {
    id: 'write',
    shape: 'one',
    title: (n) => ['export', n.one, n.amount],
    purpose: (n) => `write the ${n.amount} of the ${n.one} to a file`,
    hosts: { 'unclosed-resource': () => 'out' },
    lines: (n, bug) => [
      `out = open("${n.many}.txt", "w")`,
      `out.write(${n.one}.${n.amount})`,
      ...when(bug === undefined, 'out.close()'),
    ],
  },
];
