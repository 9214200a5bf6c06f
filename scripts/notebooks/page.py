"""A notebook as one HTML page that needs no network: styles, pictures and formulas inside, no script."""

import json
import os
import re
import subprocess
from pathlib import Path

from jinja2 import DictLoader, pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

ROOT = Path(__file__).resolve().parents[2]
FORMULAS = ROOT / ".alignbook" / "build" / "scripts" / "notebooks" / "formulas.js"

TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output {{ extra_class }}">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
 alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}">
</div>
{%- endblock data_png -%}
"""  # nbconvert's own block omits the alt text

# Placeholder for a formula until all formulas of the page are known: letters, which every step leaves unchanged.
PLACE = re.compile("alignbookformula(\\d+)place")


class Renderer(IPythonRenderer):
    """Renders Markdown and collects its formulas in `formulas`, for MathJax."""

    formulas: list

    def _later(self, tex, display):
        self.formulas.append({"tex": tex.strip(), "display": display})
        return f"alignbookformula{len(self.formulas) - 1}place"

    def block_math(self, body):
        return self._later(body, True)

    def inline_math(self, body):
        return self._later(body, False)

    def latex_environment(self, name, body):
        return self._later(f"\\begin{{{name}}}{body}\\end{{{name}}}", True)


class Exporter(HTMLExporter):
    def __init__(self, formulas, **options):
        super().__init__(**options)
        self.formulas = formulas

    @pass_context
    def markdown2html(self, context, source):
        attachments = context.get("cell", {}).get("attachments", {})
        path = context.get("resources", {}).get("metadata", {}).get("path", "")
        renderer = Renderer(
            escape=False,
            attachments=attachments,
            embed_images=True,
            path=path,
            anchor_link_text=self.anchor_link_text,
            **self.lexer_options,
        )
        renderer.formulas = self.formulas
        return MarkdownWithMath(renderer=renderer).render(source)

    def default_filters(self):
        yield from super().default_filters()
        yield ("markdown2html", self.markdown2html)


LINK = re.compile(r'(<a\b[^>]*\bhref=")(?!#|[a-z]+:)([^"#]+)')


def page(notebook, path, out, beside=()):
    """The page, for the folder `out`.

    `path` is the notebook's, to which its pictures and links are relative; `beside` are the notebooks that have a page
    in `out`.
    """

    def link(found):
        target = found[2]
        at_page = f"{Path(target).stem}.html" if target in beside else os.path.relpath(path.parent / target, out)
        return found[1] + at_page

    formulas = []
    exporter = Exporter(
        formulas,
        extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})],
        template_file="page.html.j2",
        embed_images=True,
    )
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem, "path": str(path.parent)}})
    html = LINK.sub(link, html)
    if not formulas:
        return html
    made = json.loads(
        subprocess.run(
            ["node", FORMULAS], input=json.dumps(formulas), capture_output=True, text=True, check=True
        ).stdout
    )
    html = PLACE.sub(lambda place: made["formulas"][int(place[1])], html)
    return html.replace("</head>", f"<style>{made['style']}</style>\n</head>", 1)
