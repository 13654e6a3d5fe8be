import { describe, expect, it } from 'vitest';
import { ChatTemplate } from '../../src/tokenizer/chatTemplate.js';

const messages = [{ role: 'user', content: 'hi' }];
const failure = (template: string): string => {
  try {
    new ChatTemplate(template).render(messages, {});
    return 'rendered';
  } catch (error) {
    return (error as Error).message;
  }
};
const loop = (body: string) => `{% for i in range(100000) %}${body}{% endfor %}`;

describe('a template ends, whatever it says', () => {
  it.each([
    ['a range of many numbers', '{% for i in range(200000000) %}x{% endfor %}'],
    ['loops in loops', loop(loop(loop('')))],
    ['text in loops in loops', loop(loop('some text'))],
    [
      'a text that doubles',
      `{% set ns = namespace(s="ab") %}${loop('{% set ns.s = ns.s ~ ns.s %}')}`,
    ],
    [
      'a list that doubles',
      `{% set ns = namespace(s=[1]) %}${loop('{% set ns.s = ns.s + ns.s %}')}`,
    ],
    [
      'lists of lists that print for ever',
      `{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}`,
    ],
    [
      'lists of lists that compare for ever',
      `{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}`,
    ],
    [
      'lists of lists as JSON',
      `{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|tojson }}`,
    ],
    [
      'a dict within a dict',
      `{% set ns = namespace(s={}) %}${loop('{% set ns.s = {"a": ns.s} %}')}{{ ns.s }}`,
    ],
    ['a text many times', '{{ "x" * 10000000000 }}'],
    ['a list many times', '{{ [1] * 10000000000 }}'],
    ['a power of powers', '{{ 9 ** 999999999 }}'],
    ['squares of squares', `{% set ns = namespace(x=3) %}${loop('{% set ns.x = ns.x * ns.x %}')}`],
    ['a macro that calls itself', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
    [
      'a macro that calls itself twice',
      '{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}',
    ],
    ['a loop that calls itself', '{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}'],
    ['padding', '{{ "a"|center(10000000000) }}'],
    ['a width', '{{ "%10000000000d"|format(1) }}'],
    ['a width in a format', '{{ "{:10000000000}".format(1) }}'],
    ['indentation', '{{ [1]|tojson(indent=10000000000) }}'],
    ['empty slices', '{{ [1]|slice(10000000000)|list }}'],
    ['replacements', '{{ ("a" * 10000000).replace("", "b" * 1000) }}'],
    ['parentheses', `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`],
    ['nots', `{{ ${'not '.repeat(100_000)}1 }}`],
    ['sums', `{{ ${'1+'.repeat(100_000)}1 }}`],
    ['ifs in ifs', '{% if 1 %}'.repeat(20_000)],
  ])('%s', (_, template) => {
    expect(failure(template)).toMatch(/^CHAT_TEMPLATE: line 1 of the chat template: .*\n {2}Fix: /);
  });

  it('a long conversation is no such template', () => {
    const template = new ChatTemplate(
      '{% for m in messages %}{% if "<think>" in m.content %}{{ m.content.split("</think>")[-1].strip() }}{% else %}{{ m.role | upper ~ ": " ~ m.content | trim }}{% endif %}\n{% endfor %}',
    );
    const content = 'All work and no play. '.repeat(200);
    const many = Array.from({ length: 3000 }, () => ({ role: 'user', content }));
    expect(template.render(many, {}).length).toBe(3000 * (content.trim().length + 6));
  });
});

describe('an error of a template', () => {
  it.each([
    [
      '{{ 1 }}\n{{ nothing.x }}',
      "line 2 of the chat template: UndefinedError: 'nothing' is undefined.",
    ],
    [
      '\n\n{{ 1 + "a" }}',
      "line 3 of the chat template: TypeError: unsupported operand types for +: 'int' and 'str'.",
    ],
    [
      '{% if true %}\n{{ x|nope }}{% endif %}',
      'line 2 of the chat template: TemplateRuntimeError: no filter named "nope".',
    ],
    ['\n{{ x|nope }}', 'line 2 of the chat template: TemplateSyntaxError: no filter named "nope".'],
    [
      '{% for m in messages %}\n',
      'line 1 of the chat template: TemplateSyntaxError: the template ends before else or endfor.',
    ],
    [
      'a\n{{ raise_exception("Roles must alternate!") }}',
      'line 2 of the chat template: Roles must alternate!\n',
    ],
    [
      '{{ messages.append(1) }}',
      "line 1 of the chat template: SecurityError: access to attribute 'append' of 'list' object is unsafe: templates change nothing.",
    ],
  ])('%j says its line and what is wrong', (template, expected) => {
    expect(failure(template)).toContain(expected);
  });
});
