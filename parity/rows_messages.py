"""Row 120: conversations as data sets of columns have them (null keys, parts of content), as trl.SFTTrainer prepares them."""

from datasets import disable_progress_bars

from common import E, write_row
from rows_chat import CALL, WEATHER, load, prepared, template, wrapped

# Writes whatever a message holds.
ALL = "{% for m in messages %}{{ m | tojson }}{{ m.content is defined }}{{ m.tool_calls is defined }}{% endfor %}{{ tools | tojson }}"
# Takes parts and texts.
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
)


def m(role, content, **more):
    return {"role": role, "content": content, "name": None, "tool_calls": None, "tool_call_id": None, **more}


CALLED = [
    m("user", "Weather in Zürich?"),
    m("assistant", None, tool_calls=[CALL]),
    m("tool", '{"temperature": 21}', name="weather", tool_call_id="abcdefghi"),
    m("assistant", "It is 21 degrees.", reasoning_content=None),
]
PLAIN = [m("system", "Be brief."), m("user", "What is it?"), m("assistant", "A test.")]


def part(*texts):
    return [{"type": "text", "text": t} for t in texts]


IN_PARTS = [m("user", part("What is ", "2 + 2?")), m("assistant", part("It is 4."))]


def main():
    disable_progress_bars()
    groups = []

    def group(title, source, rows, **options):
        python = wrapped(load("bpe-llama3"), chat_template=source)
        made = prepared(python, rows, **options)
        groups.append({"name": title, "chatTemplate": source, "rows": rows, "ids": [r["input_ids"] for r in made]})

    for name, source in [("everything", ALL), ("chatml", template("chatml")), ("llama3", template("llama3")), ("qwen2_5", template("qwen2_5")), ("qwen3", template("qwen3"))]:
        group(f"null keys, {name}", source, [{"messages": PLAIN, "tools": None}])
        if name in ("everything", "qwen2_5", "qwen3"):
            group(f"a call without content, {name}", source, [{"messages": CALLED, "tools": [WEATHER]}])
    group("tools as text", ALL, [{"messages": PLAIN, "tools": '[{"a": 1.0, "2": 1e-05, "10": [], "big": 12345678901234567890}]'}])
    group("prompts and completions", template("chatml"), [{"prompt": PLAIN[:2], "completion": PLAIN[2:]}])
    group("parts", PARTS, [{"messages": IN_PARTS}])
    group("parts, everything", ALL, [{"messages": IN_PARTS}])
    write_row(120, "messages", "rows with null keys and parts as trl.SFTTrainer prepares them", E, groups)
