"""Reports on finished runs and sweeps: `python -m mtl_jax.reporting runs/*`.

`runs` reads work directories, `tables` and `figures` make the parts of a report, `report` puts them
in order, and `document` writes them as Markdown and HTML.
"""
