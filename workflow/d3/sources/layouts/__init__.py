"""Layouts of published data sets, one module each; `d3.sources.layout` lists them."""
