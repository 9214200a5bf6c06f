# Sphinx's configuration of the book: https://www.sphinx-doc.org/en/master/usage/configuration.html
project = html_title = "alignbook"
extensions = ["myst_nb"]
exclude_patterns = ["_build"]

# The notebooks are shown as they were executed.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 6
myst_html_meta = {
    "description": "DPO and PPO for GPT-2, from scratch, in TypeScript notebooks: lessons as executed, documents, API."
}

html_theme = "sphinx_book_theme"
html_theme_options = {
    # One search: that of the contents, which on a narrow page is a button beside them.
    "navbar_persistent": [],
    # The only line that remains would be an author's, whom README names.
    "footer_content_items": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_show_sphinx = html_show_copyright = html_copy_source = html_show_sourcelink = False
# All of it in the book: its pages open from disk, without a network.
mathjax_path = "mathjax/tex-mml-chtml.js"
html_js_files = [("plotly.js", {"defer": "defer"}), ("figures.js", {"defer": "defer"})]
