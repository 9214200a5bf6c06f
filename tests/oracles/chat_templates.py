"""Makes tests/fixtures/chat-templates.json: conversations as transformers renders them by templates of many kinds, and
TRL's texts and ids of pairs.

    .alignbook/oracles/bin/python tests/oracles/chat_templates.py

The templates are written for this purpose, in the manner of those that chat models have. `rendered` holds, for each
conversation, the text without and with the beginning of the next answer, or null where the template refuses the
conversation; `pair` is what TRL's apply_chat_template makes of one preference pair, and `ids` the prompt and responses
as DPOTrainer 1.16 cuts them: both tokenized with the prompt, up to where the ids part.
"""

import json
import os
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer
from trl.data_utils import apply_chat_template

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(os.environ.get("ORACLES_OUT", ROOT / "tests"))
TINY = ROOT / "data" / "models" / "tiny"

TEMPLATES = {
    # what @huggingface/jinja 0.5.11 renders otherwise, or passes over
    "python's own": "{% set x = 'a' %}{% for m in messages %}{{ x }}{% if loop.first %}{% set x = 'b' %}{% endif %}"
    "{{ x }}[{{ m.role | capitalize }} {{ 'ANN'.capitalize() }}{{ -1 % 3 }}{{ loop.index0 % 2 }}]{{ "
    "m.content.strip('\n?') }}|{{ m.content.lstrip('WH') }}|{{ m.content.rstrip('.!?') }}|{{ m.content.strip() }}"
    "-}\r\n{% set y = m.role %}{% for c in [1, 2] %}{% set y = y ~ c %}{{ y }}{% endfor %}{{ y }}{{ eos_token }}\r\n"
    "{% endfor %}\r\n{% if add_generation_prompt %}[assistant]\r\n{% endif %}",
    "names": "{% for m in messages %}<{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}>{{ m.content }}{{ "
    "eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    "plain": "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}",
    "chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "chatml with a default system message": """{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nBe brief.' + eos_token + '\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ (message.content | trim) ~ eos_token ~ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt is defined and add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "llama 2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content | trim + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ ' '  + content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "llama 3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
        "message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
        "{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
    ),
    "phi": (
        "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
        "{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}"
        "{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}"
        "{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
    "vicuna": """{%- set ns = namespace(system='A chat between a curious user and an assistant.') -%}
{%- for message in messages if message.role == 'system' -%}{%- set ns.system = message.content -%}{%- endfor -%}
{{- ns.system -}}
{%- for message in messages -%}
    {%- if message['role'] == 'user' -%}
        {{- ' USER: ' + message['content'] -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- ' ASSISTANT: ' + message['content'] + eos_token -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- ' ASSISTANT:' -}}{%- endif -%}""",
    "alpaca": (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'user' %}"
        "{{ '### Instruction:\\n' + message['content'].strip() + '\\n\\n' }}{% else %}"
        "{{ '### Response:\\n' + message['content'].strip() + '\\n\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
    ),
    "mistral, with filters, macros and tools": """{%- macro turn(message) -%}{{ '[INST] ' ~ message.content ~ ' \
[/INST]' if message.role == 'user' else message.content ~ eos_token }}{%- endmacro -%}
{{- bos_token }}
{%- if tools is not none and tools is defined and tools | length > 0 %}{{ '[TOOLS]' ~ tools | tojson }}{% endif %}
{%- for message in messages | rejectattr('role', 'equalto', 'system') | list %}
    {%- if not loop.first and loop.previtem is defined and loop.previtem.role == message.role %}{{ \
raise_exception('two turns of one role') }}{% endif %}
    {{- turn(message) }}
{%- endfor %}""",
    "with what the trainer masks": (
        "{% for message in messages %}{% if message.role == 'assistant' %}{{ 'Assistant: ' }}{% generation %}"
        "{{ message.content + eos_token }}{% endgeneration %}{{ '\\n' }}{% else %}"
        "{{ message.role | capitalize ~ ': ' ~ message.content ~ '\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
    ),
}
user, assistant, system = (
    lambda content, role=role: {"role": role, "content": content} for role in ("user", "assistant", "system")
)
CONVERSATIONS = [
    [user("Say hello.")],
    [system("Be kind."), user("Say hello.")],
    [user("  Spaces \n"), assistant('Yes & <no> "quoted" é'), user("And then?")],
    [user("One."), assistant("Two."), user("Three."), assistant("Four.")],
    [user("Who?!\n") | {"name": "Ann"}, assistant("HELLO there.")],
]
PAIR = {"prompt": [user("Name a color.")], "chosen": [assistant("Blue, of course.")], "rejected": [assistant("No.")]}


def main():
    made = []
    for name, template in TEMPLATES.items():
        tokenizer = AutoTokenizer.from_pretrained(TINY)
        tokenizer.chat_template = template
        rendered = []
        for conversation in CONVERSATIONS:
            try:
                rendered.append(
                    [
                        tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=flag)
                        for flag in (False, True)
                    ]
                )
            except TemplateError:
                rendered.append(None)
        texts = apply_chat_template(PAIR, tokenizer)
        tokens = lambda messages, **more: tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, **more
        )["input_ids"]
        prompt, chosen, rejected = (
            tokens(PAIR["prompt"], add_generation_prompt=True),
            tokens(PAIR["prompt"] + PAIR["chosen"]),
            tokens(PAIR["prompt"] + PAIR["rejected"]),
        )
        same = lambda a, b: next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        cut = min(same(prompt, chosen), same(prompt, rejected))
        made.append(
            {
                "name": name,
                "template": template,
                "rendered": rendered,
                "pair": texts,
                "ids": {"promptIds": prompt[:cut], "chosenIds": chosen[cut:], "rejectedIds": rejected[cut:]},
            }
        )
    (OUT / "fixtures" / "chat-templates.json").write_text(
        json.dumps({"conversations": CONVERSATIONS, "pair": PAIR, "templates": made}) + "\n"
    )


if __name__ == "__main__":
    main()
