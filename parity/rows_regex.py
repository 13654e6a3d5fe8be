"""Python's re as PEFT and transformers use it: which patterns match which module names, and which are refused."""

import re

from common import VERSIONS, write_json

NAMES = [
    *(f"model.layers.{i}.self_attn.{name}" for i in (0, 1, 9, 10, 23, 31) for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
    *(f"model.layers.{i}.mlp.{name}" for i in (0, 11, 27) for name in ("gate_proj", "up_proj", "down_proj")),
    "model.embed_tokens", "lm_head", "model.norm", "q_proj", "my_q_proj", "q_proj.weight", "layers.0.q_proj", "Q_PROJ", "model.LAYERS.3.Self_Attn.V_proj",
    "model.visual.blocks.0.attn.qkv", "model.visual.merger.mlp.0", "visual.q_proj", "model.language_model.layers.5.self_attn.q_proj",
    "vision_tower.vision_model.encoder.layers.2.self_attn.v_proj", "multi_modal_projector.linear_1", "transformer.h.0.attn.c_attn", "transformer.h.11.mlp.c_proj",
    "model.layers.3.block_sparse_moe.experts.7.w1", "model.layers.12.mlp.experts.0.up_proj", "base_model.model.model.layers.1.self_attn.q_proj",
    "", "a", "aa", "aaa", "aaaa", "ab", "abab", "abcabc", "a.b", "a\nb", "a\n", "\n", "q_proj\n", "é", "été", "straße", "١٢", "ſ", "K", "ı", "x_1", "x-1", "a b", "\t", "()", "{2}", "a{2}", "[x]", "a,b", "^$", "\\", "0", "00", "12-34-12", "foo bar", "foobar", "barfoo", "日本", "µ", "İ", "😀", "a😀b",
]

ADAPTERS = r"""
.*\.(q|v)_proj
.*\.(q_proj|k_proj|v_proj|o_proj)
^(?!.*visual).*(?:q_proj|v_proj)$
^(?!.*(?:visual|vision|merger)).*(?:q|k|v|o|gate|up|down)_proj.*
model\.layers\.(1[0-9]|2[0-3])\..*
model\.layers\.(?:[0-9]|1[01])\.self_attn\.[qkvo]_proj
.*layers\.(0|11|23)\.mlp\..*_proj
(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))
^(language_model|model)(?!.*(lm_head|output|emb|wte|shared|head)).*
^(model\.language_model(?=\.).*\.(?:q_proj|up_proj|down_proj))$
(?i).*self_attn\.(q|v)_proj
(?i)Q_PROJ
.*(?i)q_proj
.*\.[qkv]_proj\Z
\A.*\.[qkv]_proj\Z
.*\.[qkv]_proj$
.*_proj(?!\n)
.*experts\.\d+\.(w1|up_proj)
model\.layers\.\d{,2}\.self_attn\.q_proj
model\.layers\.\d{2,}\..*
model\.layers\.\d{2}\..*
model\.layers\.\d+?\.self_attn\.(?P<kind>[qk])_proj
model\.layers\.(?P<n>\d)\.(?P<kind>\w+)\.(?P=n)?.*
(?P<l>[a-z])_proj|.*\.(?P<m>[qv])_proj
.*(?#attention only)self_attn.*
.*++q_proj
[^.]++\.layers\.(?>\d+)\.self_attn\..*
(?>model|model\.layers)\..*
(?x) .* \. ( q | v ) _proj   # two of them
(?x: .* \. [qk] ) _proj
(?s-i:.*)_proj
(?i:MODEL)\.layers\..*q_proj
(?-i:q)_proj
.*(?<=self_attn\.)q_proj
.*(?<!self_attn\.)(up|down)_proj
.*(?<![0-9])\.0\..*
(my_)?q_proj(?(1)|\.weight)
(?P<my>my_)?q_proj(?(my)|\Z)
.*\bq_proj\b.*
.*\Bproj
\w+
[\w.]+
[^\W\d]+
\S+
.*\s.*
\d+
\D+
.
.*
.+
$
^$
q_proj$
q_proj\Z
q_proj
lm_head
.*mlp.*
.*mlp.(gate|up|down)_proj
.*self_attn.(?:q_proj|v_proj)
model.layers.*.self_attn.q_proj
*.q_proj
model.layers.[0-9].self_attn.q_proj
.*[.]q_proj
^.*h\.\d+\.(attn|mlp)\.c_.*
.*\.h\.0\..*c_.*
|q_proj
q_proj|
(q_proj|)
()
(|a)+
.*\.(?:[2-9]|1\d)\..*q_proj
^(?=.*self_attn)(?=.*proj)(?!.*o_proj).*$
^((?!mlp).)*$
.*(?:layers\.(?:0|1)\b).*
[a-z_.]*\d+[a-z_.]*
""".strip("\n").split("\n")

SYNTAX = r"""
a{2}
a{2,}
a{,2}
a{,}
a{2,3}
a{2,3}?
a{2,3}+
a{2,3}+a
a{3,2}
a{}
a{x}
a{ 2}
a{2
{2}
a**
a*+
a*+a
a++b
a?+a
a*?
a+?b
a??b
(a*)*
(a*)+b
(a|b)*
(a|ab)(c|bcabc)(.*)
(?:a|ab)(?:bcabc|b)
(?>a|ab)b
(?>a*)a
(?>ab|a)b?
(?:(?:a+)+)+
(a+)+$
(a+)+b
(ab)\1
(a)(b)\2\1
(.*)\1
(.+)\1
(?P<x>ab)(?P=x)
(?P<x>ab)(?P=y)
(?P<x>a)(?P<x>b)
(?P<1>a)
(?P<x y>a)
(?<x>a)
(?P>x)
(?P=x)
\1
(\1)
(a)\2
(?i)(a)\1
(\d+)-(\d+)-\1
(a)?b?(?(1)a|b)
(a)?(?(1)a|b|c)
(?(1)a|b)
(?(2)a|b)(a)
(?(0)a)
(?(x)a|b)
(?(1)a)(b)?
(a)?(?(1)b)
^a
a$
^a$
a\Z
\Aa
\ba
a\b
\Ba
\b
\B
^*
$*
\b+
(?:^)*a
(?=a)*a
(?=a)a
(?!a).
(?<=a)b
a(?<=a)b
a(?<!a)b
(?<=a*)b
(?<=a|bc)b
(?<=a|b)b
.(?<=(a|b))b?
(?<=(a))\1
(a)(?<=\1)b
(?i)É
(?i)STRASSE
(?i)straße
(?i)STRAßE
(?i)S
(?i)k
(?i)[k]
(?i)[^k]
(?i)[a-z]
(?i)[A-Z]+
(?i)i
(?i)µ
(?i)μ
(?ai)s
(?ai)É
(?a)\w+
(?a)\d+
(?u)\w+
(?au)\w
(?L)a
(?i
(?
(
)
a)
(a
[
[]
[]]
[^]]
[]a]+
[a-]
[-a]
[a-\d]
[\d-x]
[z-a]
[a\]]+
[\w.-]+
[^a]
[^\n]
[\b]
[\x61]
[\141]
[\8]
[\q]
[a&&b]
[[a]
[é-ü]t?[^x]*
\x61
\x6
\u0061
\U00000061
\U0001F600
\U00110000
a\U0001F600b
a.b
\N{DIGIT ONE}
\0
\08
\141
\41
\400
\q
\z
\
\.
\-
\_
\é
\ 
a\tb
\t
\n
\a
a\nb
a.b
(?s)a.b
(?m)^b
(?m)a$
(?m)a$\nb
(?s:.)
(?-s:.)
(?i-i:a)
(?i-:a)
(?-)
(?-i)a
(?i:a
(?q)a
(?iq)a
(?i-a:x)
(?a:\w)
(?#x)a
(?#x
a(?#x)*
a(?#x){2}
a* (?x)
(?x)a *
(?x)a a
(?x)a\ b
(?x)[a b]+
(?x)a # b
(?x)a{2} # b
(?x) a * *
(?x)a * # c
(?x)(?i) Q_PROJ
(?#c)(?i)A
a(?i)b
(?i)(?s)A.B
|(?i)a
((?i)a)
(?i)a|B
(?i:a)b|C
(?i)(?-i:a)A
(?:a)(?i:B)
a{1000}
(a{1000}){1000}
(?:a{0,100}){0,100}
日.
\w\w
[\w]{2}
\W+
(?a)\W+
été|straße
\d\d
[0-9]+
(foo|foobar)
(foo|foobar)$
(foo|foobar)\b.*
foo\b.*
(?:foo)?bar(?:foo)?
[(][)]
\(\)
\[x\]
a,b
\^\$
\\
\\\\
a|b|
a||b
(a||b)
(?:)
(?:)*
x*
(x*)*
(x+x+)+y
([ab]|a)*b
(a|b|ab)*abc?.*
((a)|b)*
((a)|b)*\2
(?:(a)|b)*(?(1)x|)
(a(?=b)|ab)+
(?=(a+))a*b?\1?
(?!(?!a))a+
(?<=(?<!x)a)b|ab
.{3}
.{2,4}
[^.]{1,3}
.{,3}
(..)*
(?:..)+?
""".strip("\n").split("\n")

SKIP = ["lm_head", "mlp", "q_proj", "layers.1", "model.layers.0", r".*\.self_attn", r"layers\.[01]\.", "proj", r"model\.layers\.\d+\.mlp", "visual", "model.visual", "head", r"(?i)MODEL", "("]


def answers(compiled, call):
    return "".join("1" if call(compiled, name) else "0" for name in NAMES)


def outcome(build, call):
    """One digit for each name, or null where Python refuses the pattern."""
    try:
        compiled = re.compile(build)
    except re.error:
        return None
    return answers(compiled, call)


def bits(digits):
    """Hexadecimal, four names a digit: the file stays small."""
    if digits is None:
        return None
    padded = digits.ljust(-len(digits) % 4 + len(digits), "0")
    return "".join(f"{int(padded[i : i + 4], 2):x}" for i in range(0, len(padded), 4))


def main():
    import warnings

    warnings.simplefilter("ignore")
    patterns = list(dict.fromkeys(ADAPTERS + SYNTAX))
    rows = []
    for pattern in patterns:
        full = outcome(pattern, lambda p, name: p.fullmatch(name))
        start = outcome(pattern, lambda p, name: p.match(name))
        rank = outcome(rf"(.*\.)?({pattern})$", lambda p, name: p.match(name))
        rows.append([pattern, bits(full), bits(start), bits(rank)])
    skips = [[key, bits(outcome(rf"(?:{key})(?:(?<=\.)|(?=\.|$))", lambda p, name: p.match(name) or name.endswith(key)))] for key in SKIP]
    layers = [[pattern, [int(m["idx"]) if (m := re.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", name)) else None for name in NAMES]] for pattern in ("layers", "h", "experts", "(?:layers|h)", r"[^.]*", "blocks")]
    write_json("row405-python-regex.json", {
        "row": 405, "case": "Python's re over module names", "versions": VERSIONS,
        "conventions": {
            "patterns": "[pattern, re.fullmatch, re.match, PEFT's re.match of (.*\\.)?(pattern)$]: hexadecimal digits, the highest bit of the first is names[0], 1 where it matches; null where Python refuses the pattern",
            "skips": "transformers' should_convert_module: 1 where llm_int8_skip_modules [key] leaves the module out",
            "layers": "PEFT's number of the layer for layers_pattern, by name",
        },
        "names": NAMES, "patterns": rows, "skips": skips, "layers": layers,
    })
    print(f"  {len(patterns)} patterns x {len(NAMES)} names, {sum(row[1] is None for row in rows)} refused")
