"""A notebook as one HTML page that needs no network: styles and pictures inside, no script. Formulas stand as LaTeX source."""

from jinja2 import DictLoader
from nbconvert import HTMLExporter

TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output {{ extra_class }}">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}" alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}">
</div>
{%- endblock data_png -%}
"""  # nbconvert's own block leaves the alt text out


def page(notebook, path):
    """`path` is the notebook's own, which its pictures are relative to."""
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})],
        template_file="page.html.j2",
        embed_images=True,
    )
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem, "path": str(path.parent)}})
    return html
